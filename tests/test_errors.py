"""Every error of the public functions: its class, its message, and that ``out`` is untouched.

Each message must name the argument, show what it got and say what was expected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import convpp
from geometry import Array, Geometry, assert_same_bits
from scripts import succeed

PLAIN = Geometry(2, 4, 6, (9, 8), (3, 2), groups=2)
#: Every function with its positional arguments; the transposed ones take x and dy in each other's place.
FUNCTIONS = {
    "conv": ("x", "w", "bias"),
    "conv_input_grad": ("dy", "w", "x_shape"),
    "conv_weight_grad": ("dy", "x", "w_shape"),
    "conv_transpose": ("x", "w", "bias"),
    "conv_transpose_input_grad": ("dy", "w", "x_shape"),
    "conv_transpose_weight_grad": ("dy", "x", "w_shape"),
}
RESULTS = {"conv": "dy", "conv_input_grad": "x", "conv_weight_grad": "w"}
PATTERN = 98765.0


def arguments_of(name: str) -> dict[str, Any]:
    """Valid arguments, and an out full of a pattern."""
    rng = np.random.default_rng(70)
    g = PLAIN
    transposed = "transpose" in name
    x_shape, y_shape = (g.y_shape(), g.x_shape()) if transposed else (g.x_shape(), g.y_shape())
    operands = {
        "x": rng.standard_normal(x_shape, "float32"),
        "w": rng.standard_normal(g.w_shape, "float32"),
        "bias": rng.standard_normal(y_shape[1], "float32"),
        "dy": rng.standard_normal(y_shape, "float32"),
        "x_shape": x_shape,
        "w_shape": g.w_shape,
    }
    like = operands[RESULTS[name.replace("conv_transpose", "conv")]]
    return {
        **{argument: operands[argument] for argument in FUNCTIONS[name]},
        "groups": g.groups,
        "out": np.full_like(like, PATTERN),
    }


def call(name: str, arguments: dict[str, Any]) -> Any:
    keywords = {key: value for key, value in arguments.items() if key not in FUNCTIONS[name]}
    return getattr(convpp, name)(*(arguments[key] for key in FUNCTIONS[name]), **keywords)


def refuse(name: str, error: type[Exception], *words: str, **changes: Any) -> None:
    """The call with these arguments changed raises, says all the words, and leaves out as it was."""
    arguments = {**arguments_of(name), **changes}
    out = arguments["out"]
    before = out.copy() if isinstance(out, np.ndarray) else out
    with pytest.raises(error) as caught:
        call(name, arguments)
    expected_class = error if error in (convpp.ShapeError, convpp.DTypeError) else Exception
    assert issubclass(caught.type, expected_class)
    message = str(caught.value)
    for word in words:
        assert word in message, f"{word!r} is missing in: {message}"
    if isinstance(out, np.ndarray):
        assert_same_bits(np.ascontiguousarray(out), np.ascontiguousarray(before))


every_function = pytest.mark.parametrize("name", FUNCTIONS)
forward_functions = pytest.mark.parametrize("name", ["conv", "conv_transpose"])


@every_function
def test_the_arguments_are_valid_as_they_stand(name: str) -> None:
    arguments = arguments_of(name)
    result = call(name, arguments)
    assert result is arguments["out"]
    assert not np.any(result == PATTERN)


# ---------------------------------------------------------------- arguments of the geometry

BAD_INTEGERS = [1.5, 2.0, True, "2", None, np.float32(2), b"2", object()]


@every_function
@pytest.mark.parametrize("argument", ["stride", "dilation"])
@pytest.mark.parametrize(
    "bad", [0, -1, (0, 1), (2, -3), (1, 1, 1), (), *BAD_INTEGERS, (1, 1.5), (True, 1), ((1, 1), (1, 1))]
)
def test_stride_and_dilation(name: str, argument: str, bad: Any) -> None:
    refuse(name, ValueError, argument, "expected", **{argument: bad})


@every_function
@pytest.mark.parametrize(
    "bad",
    [
        *BAD_INTEGERS,
        *((1, 1, 1), (), (1, True), ((1, 1), (1, 1), (1, 1)), ((1,), (2,)), ((1, 2, 3), (1, 2, 3))),
        *(((1, 2), 3), ((1, 2), (1, 2.5)), "sam", "SAME", "", ("same", "same")),
    ],
)
def test_padding(name: str, bad: Any) -> None:
    refuse(name, ValueError, "padding", "expected", padding=bad)


@every_function
@pytest.mark.parametrize("bad", [0, -2, *BAD_INTEGERS, (2, 2)])
def test_groups(name: str, bad: Any) -> None:
    refuse(name, ValueError, "groups", "expected", groups=bad)


@every_function
def test_groups_must_divide_the_channels(name: str) -> None:
    refuse(name, convpp.ShapeError, groups=3)
    refuse(name, convpp.ShapeError, groups=1)


@every_function
@pytest.mark.parametrize("bad", ["NCHW", "channels-last", "", None, 1, ["channels_last"]])
def test_layout(name: str, bad: Any) -> None:
    refuse(name, ValueError, "layout", repr(bad), "channels_first", "channels_last", layout=bad)


@every_function
@pytest.mark.parametrize("bad", ["fast", "", None, 1, "Direct", ["direct"]])
def test_algorithm(name: str, bad: Any) -> None:
    refuse(name, ValueError, "algorithm", repr(bad), "auto", "direct", "reference", algorithm=bad)


@every_function
@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", True])
def test_threads(name: str, bad: Any) -> None:
    refuse(name, ValueError, "threads", repr(bad), "expected", threads=bad)


@every_function
@pytest.mark.parametrize("bad", [2, "yes", None])
def test_flip(name: str, bad: Any) -> None:
    refuse(name, ValueError, "flip", repr(bad), "expected", flip=bad)


@every_function
def test_unknown_keywords(name: str) -> None:
    refuse(name, TypeError, "strid", strid=2)


@pytest.mark.parametrize("name", ["conv", "conv_input_grad", "conv_weight_grad"])
def test_padding_mode(name: str) -> None:
    for bad in ("zero", "mirror", "", None, 0):
        refuse(name, ValueError, "padding_mode", repr(bad), "zeros", padding_mode=bad)
    for later in ("reflect", "replicate", "circular", "symmetric"):
        refuse(name, ValueError, "padding_mode", later, "not available yet", padding_mode=later)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "transpose" in name])
def test_output_padding_and_size(name: str) -> None:
    for bad in (1, -1, (0, 2), (1, 1, 1), *BAD_INTEGERS):
        refuse(name, ValueError, "output_padding", "expected", output_padding=bad)
    refuse(name, ValueError, "output_padding", "2", "stride", output_padding=2, stride=2, out=None)
    for size in ((8, 8), (10, 8), (9, 9), (9,) * 5, 9.0, "99"):
        refuse(name, ValueError, "output_size", "expected", output_size=size)


@pytest.mark.parametrize("name", ["conv_backward", "conv_transpose_backward"])
@pytest.mark.parametrize("bad", [("y",), ("x", "weights"), ("b",), (1,), 5])
def test_needs(name: str, bad: Any) -> None:
    given = arguments_of(name.replace("backward", "weight_grad"))
    w = np.ones(PLAIN.w_shape, "float32")
    with pytest.raises(ValueError, match="needs"):
        getattr(convpp, name)(given["dy"], given["x"], w, groups=2, needs=bad)


# ---------------------------------------------------------------- shapes


@pytest.mark.parametrize("name", ["conv", "conv_transpose"])
def test_shapes_of_the_operands(name: str) -> None:
    given = arguments_of(name)
    x, w, bias = given["x"], given["w"], given["bias"]
    for bad in (x[0, 0], x[0, 0, 0], x[0, 0, 0, 0], x[None], x[None, None]):
        refuse(name, convpp.ShapeError, "x", str(bad.shape), "expected", x=bad)
    for bad in (w[0, 0], w[0, 0, 0], w[None, None], np.float32(3)):
        refuse(name, convpp.ShapeError, "w", str(np.shape(bad)), "expected", w=bad)
    for bad in (x[:, :2], np.concatenate([x, x], axis=1)):
        refuse(name, convpp.ShapeError, "x", str(bad.shape), "w", str(w.shape), x=bad)
    for bad in (w[:, :, :0], w[:, :, :, :0]):
        refuse(name, convpp.ShapeError, "w", str(bad.shape), "kernel", w=bad)
    for bad in (bias[:-1], bias[:, None], bias[0], bias[None], np.append(bias, bias)):
        refuse(name, convpp.ShapeError, "bias", str(bad.shape), f"expected {bias.shape}", bias=bad)


@pytest.mark.parametrize("name", ["conv", "conv_input_grad", "conv_weight_grad"])
def test_kernel_longer_than_the_padded_input(name: str) -> None:
    too_long = [
        {"dilation": 5},
        {"dilation": (1, 9)},
        {"padding": (-4, 0)},
        {"padding": ((-9, 9), (0, -7))},
        {"padding": -5},
        {"padding": -100},
    ]
    for changes in too_long:
        words = ("the kernel is longer than the padded input", str(PLAIN.x_shape()), str(PLAIN.w_shape))
        refuse(name, convpp.ShapeError, *words, **changes)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.endswith("grad")])
def test_shapes_of_the_gradients(name: str) -> None:
    given = arguments_of(name)
    dy = given["dy"]
    twice = np.concatenate([dy, dy], axis=-1)
    for bad in (dy[0], dy[:1], dy[:, :-1], dy[..., :-1], dy[:, :, 1:], dy[None], twice):
        refuse(name, convpp.ShapeError, "dy", str(bad.shape), f"expected {dy.shape}", dy=bad)
    refuse(name, convpp.ShapeError, "dy", "expected", stride=2)
    refuse(name, convpp.ShapeError, "dy", "expected", padding=1)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.endswith("grad")])
def test_shape_arguments(name: str) -> None:
    argument = FUNCTIONS[name][2]
    shape = arguments_of(name)[argument]
    for bad in (5, None, "2345", tuple(map(float, shape)), (True, *shape[1:]), (None, *shape[1:])):
        refuse(name, ValueError, argument, "expected", **{argument: bad})
    for bad in (shape[:-3], shape + shape, (), (*shape[:-1], -1), (-1, *shape[1:])):
        refuse(name, convpp.ShapeError, argument[0], str(bad), "expected", **{argument: bad})
    for bad in ((shape[0], shape[1] + 1, *shape[2:]), (shape[0] + 1, *shape[1:])):
        refuse(name, convpp.ShapeError, **{argument: bad})


def test_per_sample_shapes() -> None:
    each = np.ones((2, *PLAIN.w_shape), "float32")
    refuse("conv", convpp.ShapeError, "w", str(PLAIN.w_shape), per_sample=True)
    refuse("conv", convpp.ShapeError, "w", str(each.shape), w=each)
    three = np.ones((3, *PLAIN.w_shape), "float32")
    refuse("conv", convpp.ShapeError, "w", str(three.shape), w=three, per_sample=True)
    one = arguments_of("conv")["x"][0]
    refuse("conv", convpp.ShapeError, "w", str(each.shape), x=one, w=each, per_sample=True)


def test_shapes_of_derivatives() -> None:
    x, w = np.ones(PLAIN.x_shape(), "float32"), np.ones(PLAIN.w_shape, "float32")
    dy, bias = np.ones(PLAIN.y_shape(), "float32"), np.ones(6, "float32")
    for argument, bad in (("ddx", x[:1]), ("ddw", w[:, :1]), ("ddb", bias[:3]), ("dy", dy[0])):
        given = {"ddx": x, "ddw": w, "ddb": bias, "dy": dy, argument: bad}
        with pytest.raises(convpp.ShapeError, match=argument):
            convpp.conv_double_backward(*given.values(), x, w, groups=2)
    for argument, bad in (("x_dot", x[:1]), ("w_dot", w[:, :1]), ("bias_dot", bias[:3])):
        given = {"x_dot": x, "w_dot": w, "bias_dot": bias, argument: bad}
        with pytest.raises(convpp.ShapeError, match=argument):
            convpp.conv_jvp((x, w, bias), tuple(given.values()), groups=2)


# ---------------------------------------------------------------- dtypes


@every_function
@pytest.mark.parametrize(
    "dtype", ["int8", "int32", "int64", "uint8", "bool", "complex64", "longdouble", "object", "U1", "M8[s]"]
)
def test_dtypes(name: str, dtype: str) -> None:
    for argument, value in arguments_of(name).items():
        if argument != "out" and isinstance(value, np.ndarray):
            bad = np.zeros(value.shape, dtype)
            words = (f"{argument} has dtype {bad.dtype}", "float32", f"{argument}.astype")
            refuse(name, convpp.DTypeError, *words, **{argument: bad})


@every_function
def test_foreign_byte_order(name: str) -> None:
    for argument, value in arguments_of(name).items():
        if isinstance(value, np.ndarray):
            bad = value.astype(value.dtype.newbyteorder())
            refuse(name, convpp.DTypeError, argument, bad.dtype.str, **{argument: bad})


@every_function
def test_half_precision_comes_later(name: str) -> None:
    for argument, value in arguments_of(name).items():
        if argument != "out" and isinstance(value, np.ndarray):
            for dtype in (np.float16, ml_dtypes.bfloat16):
                half = value.astype(dtype)
                refuse(name, ValueError, argument, half.dtype.name, "not available yet", **{argument: half})


@forward_functions
def test_lists_follow_the_same_rules(name: str) -> None:
    refuse(name, convpp.DTypeError, "bias", "int64", bias=[1] * 6)
    refuse(name, convpp.DTypeError, "x", "object", x=[[None]])
    refuse(name, convpp.DTypeError, "w is not an array", w=[[1.0], [1.0, 2.0]])
    refuse(name, convpp.DTypeError, "x", "masked", x=np.ma.masked_array(arguments_of(name)["x"]))


# ---------------------------------------------------------------- out


@every_function
def test_out(name: str) -> None:
    out = arguments_of(name)["out"]
    refuse(name, convpp.DTypeError, "out", "float64", "expected float32", out=out.astype("float64"))
    refuse(name, convpp.DTypeError, "out", "int32", "expected float32", out=out.astype("int32"))
    for bad in (out[0], out[None], out[..., :-1].copy(), out.ravel(), out[:0]):
        refuse(name, convpp.ShapeError, "out", str(bad.shape), f"expected {out.shape}", out=bad)
    locked = out.copy()
    locked.flags.writeable = False
    refuse(name, ValueError, "out", "read-only", out=locked)
    refuse(name, ValueError, "out", "read-only", out=np.broadcast_to(out[:1], out.shape))
    for bad in (np.asfortranarray(out), np.flip(out), np.repeat(out, 2, axis=-1)[..., ::2]):
        refuse(name, ValueError, "out", str(bad.strides), "contiguous", out=bad)
    unaligned = np.ndarray(out.shape, out.dtype, buffer=bytearray(out.nbytes + 1), offset=1)
    refuse(name, ValueError, "out", "aligned", out=unaligned)
    for bad in (out.tolist(), "out", 0.0):
        refuse(name, (ValueError, TypeError), "out", "array", out=bad)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name.endswith("grad")])
def test_accumulate_needs_out(name: str) -> None:
    refuse(name, ValueError, "out", "accumulate", out=None, accumulate=True)
    out = arguments_of(name)["out"]
    refuse(name, convpp.ShapeError, "out", out=out[:0], accumulate=True)


def test_bias_grad() -> None:
    dy = np.ones((2, 3, 4, 5), "float32")
    out = np.full(3, PATTERN, "float32")
    bad_calls: list[tuple[type[Exception], str, Callable[[], Array]]] = [
        (ValueError, "layout", lambda: convpp.conv_bias_grad(dy, layout="NCHW", out=out)),
        (ValueError, "batched", lambda: convpp.conv_bias_grad(dy, batched=2, out=out)),
        (convpp.ShapeError, "dy", lambda: convpp.conv_bias_grad(dy[0, 0], out=out)),
        (convpp.ShapeError, "dy", lambda: convpp.conv_bias_grad(dy[None, None], out=out)),
        (convpp.ShapeError, "out", lambda: convpp.conv_bias_grad(dy, out=out[:2])),
        (convpp.DTypeError, "dy", lambda: convpp.conv_bias_grad(dy.astype(int), out=out)),
        (convpp.DTypeError, "out", lambda: convpp.conv_bias_grad(dy.astype("float64"), out=out)),
        (ValueError, "out", lambda: convpp.conv_bias_grad(dy, accumulate=True)),
    ]
    for error, word, bad_call in bad_calls:
        with pytest.raises(error, match=word):
            bad_call()
        assert np.all(out == PATTERN)


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("size", [2**61, 2**62, 2**63 - 1, 2**63, 2**64, 2**70])
def test_extents_beyond_64_bits(size: int) -> None:
    for argument in ("padding", "dilation"):
        for name in ("conv", "conv_input_grad", "conv_weight_grad", "conv_transpose"):
            refuse(name, convpp.ShapeError, argument, str(size), **{argument: size})
    for name in ("conv_input_grad", "conv_weight_grad"):
        argument = FUNCTIONS[name][2]
        shape = arguments_of(name)[argument]
        refuse(name, convpp.ShapeError, **{argument: (*shape[:-1], size)})
        refuse(name, convpp.ShapeError, **{argument: (size, *shape[1:])})
    with pytest.raises(convpp.ShapeError):
        convpp.conv_output_shape((2, 4, size, 8), (6, 2, 3, 2), groups=2, padding=1)
    with pytest.raises(convpp.ShapeError):
        convpp.conv_transpose_output_shape((2, 4, 9, 8), (4, 2, 3, 2), stride=size)
    with pytest.raises(convpp.ShapeError):
        convpp.explain((2, 4, size, 8), (6, 2, 3, 2), groups=2)


def test_kernels_of_more_than_2_to_the_24_taps() -> None:
    wide = np.broadcast_to(np.float32(1), (1, 1, 2**12, 2**13))
    with pytest.raises(convpp.ShapeError, match="too large"):
        convpp.conv_weight_grad(np.ones((1, 1, 2, 2)), np.ones((1, 1, 8, 8)), wide.shape, padding=2**13)
    with pytest.raises(convpp.ShapeError, match="too large"):
        convpp.explain((1, 1, 8, 8, 8), (1, 1, 2**14, 2**14, 2**8), op="weight_grad", padding=2**14)


def test_products_beyond_64_bits() -> None:
    half = 2**33
    for x_shape, w_shape in [
        ((half, 1, half), (1, 1, 1)),
        ((1, half, half), (1, half, 1)),
        ((half, 1, 5), (half, 1, 1)),
        ((1, 1, half, half, half), (1, 1, 1, 1, 1)),
        ((1, 1, 2, 2, 2), (1, 1, half, half, half)),
    ]:
        with pytest.raises(convpp.ShapeError):
            convpp.conv_output_shape(x_shape, w_shape, padding=0 if w_shape[-1] == 1 else half)


def test_no_memory() -> None:
    """Legal numbers for which there is no memory, in a process that may have 4 GiB.

    The limit is there so that what tries all the same ends soon and hurts nobody.
    """
    succeed(
        """
        import resource
        import numpy as np
        import convpp

        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        x, w, huge = np.ones((1, 1, 8), "f4"), np.ones((1, 1, 2), "f4"), 2**55
        wide = np.broadcast_to(np.float32(1), (1, 1, huge))  # a kernel that nobody can copy
        out = np.full((1, 1, 9), 98765, "f4")
        many, wide_shape = np.ones((1, 64, 8), "f4"), (64, 64, 2**20)
        calls = {
            "conv": lambda: convpp.conv(x, w, padding=huge),
            "conv_input_grad": lambda: convpp.conv_input_grad(x[..., :2], w, (1, 1, huge + 2), stride=huge),
            "conv_weight_grad": lambda: convpp.conv_weight_grad(
                many[..., :2], many, wide_shape, padding=((0, 2**20 - 7),)
            ),
            "conv_transpose": lambda: convpp.conv_transpose(x, w, stride=huge // 4),
            "conv with a wide kernel": lambda: convpp.conv(x, wide, padding=((0, huge),), out=out),
        }
        for name, call in calls.items():
            try:
                call()
            except MemoryError:
                continue
            raise AssertionError(f"{name} did not raise MemoryError")
        assert np.all(out == 98765)
        assert convpp.conv(x, w).tolist() == [[[2] * 7]]  # and all is well afterwards
        """
    )


def test_large_numbers_that_are_legal() -> None:
    x, w = np.arange(1.0, 9).reshape(1, 1, 8), np.array([[[2.0, 3.0]]])
    assert convpp.conv(x, w, stride=2**59).tolist() == [[[2 * 1 + 3 * 2]]]
    assert convpp.conv(x, w, dilation=2**16, padding=((0, 2**16 - 3),)).tolist() == [[[2, 4, 6, 8, 10]]]
    assert convpp.conv(x, w, padding=((2**40, 5 - 2**40),)).tolist() == [[[0] * 12]]
    dx = convpp.conv_input_grad(np.array([[[5.0]]]), w, x.shape, stride=2**59)
    assert dx.tolist() == [[[10, 15, 0, 0, 0, 0, 0, 0]]]


# ---------------------------------------------------------------- what later versions bring


def test_not_available_yet() -> None:
    for name in FUNCTIONS:
        refuse(name, ValueError, "winograd", "not available yet", algorithm="winograd")
    for activation in ("relu", "leaky_relu", "silu", "gelu", ("clip", 0, 6)):
        refuse("conv", ValueError, "activation", "not available yet", activation=activation)
    refuse("conv", ValueError, "add", "not available yet", add=arguments_of("conv")["out"])
    for dtype in ("float16", ml_dtypes.bfloat16):
        with pytest.raises(ValueError, match="not available yet"):
            convpp.explain(PLAIN.x_shape(), PLAIN.w_shape, groups=2, dtype=dtype)


def test_explain() -> None:
    shapes = (PLAIN.x_shape(), PLAIN.w_shape)
    with pytest.raises(ValueError, match=r"op .*backward.*forward.*input_grad.*weight_grad"):
        convpp.explain(*shapes, groups=2, op="backward")
    with pytest.raises(convpp.DTypeError, match=r"int32.*float32"):
        convpp.explain(*shapes, groups=2, dtype="int32")
    with pytest.raises(convpp.ShapeError, match="channels"):
        convpp.explain(*shapes)
    with pytest.raises(ValueError, match="algorithm"):
        convpp.explain(*shapes, groups=2, algorithm="fast")


def test_adjoint_kernel() -> None:
    w = np.ones((6, 2, 3, 3), "float32")
    for bad in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="groups"):
            convpp.adjoint_kernel(w, groups=bad)
    with pytest.raises(convpp.ShapeError, match="groups"):
        convpp.adjoint_kernel(w, groups=4)
    with pytest.raises(convpp.ShapeError, match="w "):
        convpp.adjoint_kernel(w[0, 0])
