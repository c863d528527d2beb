"""Errors of dtypes, ``out`` and sizes, and of what later versions bring (refusal.py)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import convpp
from geometry import Array, assert_same_bits
from refusal import FUNCTIONS, PATTERN, PLAIN, arguments_of, call, every_function, forward_functions, refuse
from scripts import succeed

# ---------------------------------------------------------------- dtypes


@every_function
@pytest.mark.parametrize(
    "dtype", ["int8", "int32", "int64", "uint8", "bool", "complex64", "longdouble", "object", "U1", "M8[s]"]
)
def test_dtypes(name: str, dtype: str) -> None:
    """What to do is said, too: test_guesses_of_arrays.py."""
    for argument, value in arguments_of(name).items():
        if argument != "out" and isinstance(value, np.ndarray):
            bad = np.zeros(value.shape, dtype)
            refuse(name, convpp.DTypeError, f"{argument} has dtype {bad.dtype}", "float32", **{argument: bad})


@every_function
def test_foreign_byte_order(name: str) -> None:
    """Read as any other, like files in FITS; not written."""
    given = arguments_of(name)
    expected = call(name, given).copy()
    for argument, value in given.items():
        if isinstance(value, np.ndarray):
            foreign = value.astype(value.dtype.newbyteorder())
            if argument == "out":
                refuse(name, convpp.DTypeError, argument, foreign.dtype.str, **{argument: foreign})
            else:
                assert_same_bits(call(name, given | {argument: foreign}), expected)
    whole = np.ones(given["w" if "w" in given else "x"].shape, ">i4")
    refuse(name, convpp.DTypeError, "dtype >i4", "astype(np.float64)", **{"w" if "w" in given else "x": whole})


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
    pytest.importorskip("resource", reason="limits are those of POSIX")
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


# ---------------------------------------------------------------- explain


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
