"""Errors of arguments and shapes: the class, the message, and that ``out`` is untouched (refusal.py).

Read next: test_errors_of_arrays.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from refusal import FUNCTIONS, PATTERN, PLAIN, arguments_of, call, every_function, refuse


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


@pytest.mark.parametrize("name", FUNCTIONS)
def test_padding_mode(name: str) -> None:
    for bad in ("zero", "mirror", "", None, 0):
        refuse(name, ValueError, "padding_mode", repr(bad), "zeros", padding_mode=bad)
    refuse(name, ValueError, "padding_mode", "expected a name or 2 names", padding_mode=("reflect",) * 3)


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


def test_an_array_in_place_of_its_shape_is_not_printed() -> None:
    x, w = np.ones((2, 3, 9, 9)), np.ones((5, 3, 3, 3))
    dy = convpp.conv(x, w)
    for wrong, name, shape in (
        (lambda: convpp.conv_input_grad(dy, w, x), "x", "(2, 3, 9, 9)"),  # type: ignore[arg-type]
        (lambda: convpp.conv_weight_grad(dy, x, w), "w", "(5, 3, 3, 3)"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=f"{name}_shape") as caught:
            wrong()
        assert str(caught.value) == (
            f"{name}_shape is an array of shape {shape}, expected a shape (a tuple of integers): did you mean "
            f"{name}.shape?"
        )


def test_per_sample_filters_without_their_n() -> None:
    for function in (convpp.conv, convpp.conv_transpose):
        with pytest.raises(convpp.ShapeError, match=r"w has shape \(3, 3, 2, 2\), with its N in front: per_sample"):
            function(np.ones((2, 3, 9, 9)), np.ones((3, 3, 2, 2)), per_sample=True)


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
