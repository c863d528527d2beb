"""What pooling refuses: the message names the argument, what it got, what it expected and what was probably meant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from convpp import _core

X = np.ones((2, 3, 8, 9), np.float32)
PATTERN = 98765.0


def call(name: str, **changes: Any) -> Any:
    """A valid call with some arguments changed; ``out`` is full of a pattern, and stays so."""
    y_shape = (2, 3, 4, 4)
    first = {"max_pool": {"x": X}, "avg_pool": {"x": X}}.get(name, {"dy": np.ones(y_shape, np.float32)})
    if name == "max_pool_input_grad":
        first["x"] = X
    if name == "avg_pool_input_grad":
        first["x_shape"] = X.shape  # type: ignore[assignment]
    shape = y_shape if name in ("max_pool", "avg_pool") else X.shape
    arguments = {**first, "kernel_size": 2, "out": np.full(shape, PATTERN, np.float32)} | changes
    try:
        return getattr(convpp, name)(**arguments)
    finally:
        out = arguments["out"]
        assert not isinstance(out, np.ndarray) or (out == PATTERN).all()


def refuse(name: str, error: type[Exception], *words: str, **changes: Any) -> None:
    with pytest.raises(error) as caught:
        call(name, **changes)
    for word in words:
        assert word in str(caught.value), f"{word!r} is missing in: {caught.value}"


NAMES = ("max_pool", "avg_pool", "max_pool_input_grad", "avg_pool_input_grad")
every_function = pytest.mark.parametrize("name", NAMES)


@every_function
def test_geometry(name: str) -> None:
    for bad in (0, -2, 2.0, "2", None, True, (2, 0), (2, 2, 2, 2), ()):
        refuse(name, ValueError, "kernel_size", "expected", kernel_size=bad)
    for bad in (0, -1, 1.5, (1, 1, 1)):
        refuse(name, ValueError, "stride", "expected", stride=bad)
    refuse(name, ValueError, "padding is 2", "at most half of kernel_size (2)", padding=2)
    refuse(name, ValueError, "padding is -1", "0 or more", padding=-1)
    refuse(name, ValueError, "padding is 'full'", "at most half", kernel_size=3, padding="full")
    refuse(name, ValueError, "padding is 'SAME'", "did you mean 'same'?", padding="SAME")
    refuse(name, ValueError, "ceil_mode is 1", "did you mean True?", ceil_mode=1)
    refuse(name, ValueError, "layout is 'NHWC'", "did you mean 'channels_last'?", layout="NHWC")
    refuse(name, convpp.ShapeError, "no pixels on spatial axis 0", "= 9", "(2, 3, 8, 9)", kernel_size=9)
    refuse(name, convpp.ShapeError, "kernel_size", "2**24", kernel_size=2**20)
    refuse(name, convpp.ShapeError, "stride", "2**60", stride=2**61)
    refuse(name, ValueError, "threads", threads=0)


def test_options_of_one() -> None:
    for bad in (0, -1, 1.5):
        refuse("max_pool", ValueError, "dilation", dilation=bad)
    refuse("max_pool", ValueError, "return_indices is 1", return_indices=1)
    for name in ("avg_pool", "avg_pool_input_grad"):
        refuse(name, ValueError, "divisor_override is 0", "other than 0", divisor_override=0)
        refuse(name, ValueError, "divisor_override is 2.5", divisor_override=2.5)
        refuse(name, ValueError, "count_include_pad", count_include_pad="yes")
    for name in NAMES[2:]:
        refuse(name, ValueError, "accumulate is 2", accumulate=2)
        refuse(name, ValueError, "out is None", "accumulate is True", out=None, accumulate=True)


def test_shapes() -> None:
    refuse("max_pool", convpp.ShapeError, "(8, 9)", "Did you mean x[None, None]?", x=X[0, 0])
    refuse("max_pool", convpp.ShapeError, "(9,)", x=X[0, 0, 0])
    refuse(
        "max_pool", convpp.ShapeError, "Did you mean layout='channels_last'?", x=np.ones((2, 8, 9, 3)), kernel_size=4
    )
    picture = np.ones((20, 20, 3))
    refuse("avg_pool", convpp.ShapeError, "kernel_size=(4, 4) and layout='channels_last'?", x=picture, kernel_size=4)
    refuse("avg_pool", convpp.ShapeError, "layout='channels_last'?", x=picture, kernel_size=(4, 4))
    refuse(
        "max_pool", convpp.ShapeError, "2 spatial axes", "(8, 9)", x=X[0, 0], kernel_size=(2, 3), layout="channels_last"
    )
    refuse("max_pool", convpp.ShapeError, "spatial axis 1", "1 or more", x=X[..., :0])
    refuse("max_pool_input_grad", convpp.ShapeError, "dy has shape", "expected (2, 3, 4, 4)", dy=X)
    refuse("avg_pool_input_grad", convpp.ShapeError, "dy has shape", "expected (2, 3, 4, 4)", dy=X)
    refuse("avg_pool_input_grad", ValueError, "x_shape", x_shape=X)
    refuse("avg_pool_input_grad", convpp.ShapeError, "2**60", x_shape=(1, 1, 2**61, 2))


@every_function
def test_arrays(name: str) -> None:
    argument = "x" if name in ("max_pool", "avg_pool") else "dy"
    refuse(
        name,
        convpp.DTypeError,
        f"{argument} has dtype int64",
        ".astype(np.float64)",
        **{argument: np.ones((2, 3, 8, 9), int)},
    )
    refuse(name, convpp.DTypeError, f"{argument} is None", **{argument: None})
    masked = np.ma.masked_array(np.ones((2, 3, 8, 9)))
    refuse(name, convpp.DTypeError, f"{argument} is a masked array", **{argument: masked})
    refuse(name, convpp.ShapeError, "out has shape", out=np.full((2, 3, 4, 5), PATTERN, np.float32))
    refuse(name, convpp.DTypeError, "out has dtype float64", out=np.full((2, 3, 4, 4), PATTERN))


# ---------------------------------------------------------------- the compiled module by itself


def test_the_core_checks_again() -> None:
    one = (1, 1, 1)

    def pooling(**changes: Any) -> Any:
        given = {
            "rank": 2, "batch": 2, "channels": 3, "input": (1, 8, 9), "kernel": (1, 2, 2), "stride": (1, 2, 2),
            "dilation": one, "pad_lo": (0, 0, 0), "pad_hi": (0, 0, 0), "ceil_mode": False, "channels_last": False,
        } | changes  # fmt: skip
        return _core.Pooling(*given.values())

    for changes in (
        {"rank": 4}, {"batch": -1}, {"channels": -1}, {"input": (1, 0, 9)}, {"kernel": (1, 0, 2)},
        {"kernel": (1, 9, 2)},
        {"stride": (1, 0, 2)}, {"dilation": (1, 0, 1)}, {"pad_lo": (0, 2, 0)}, {"pad_hi": (0, 0, -1)},
        {"input": (2, 8, 9)}, {"input": (1, 2**59, 2**59)}, {"dilation": (1, 2**60, 1)}, {"stride": (1, 2**62, 1)},
    ):  # fmt: skip
        with pytest.raises(convpp.ShapeError):
            pooling(**changes)
    plain: Any = pooling()
    y, dx, indices = np.ones((2, 3, 4, 4), "float32"), X.copy(), np.ones((2, 3, 4, 4), np.int64)
    for arguments in ((X[:1], y, None), (X, y[:1], None), (X, y, indices[:1]), (None, y, None)):
        with pytest.raises(convpp.ShapeError):
            plain.max_pool(*arguments, 1)
    for arguments in ((X, y.astype("float64"), None), (X, y, indices.astype(np.int32)), (X, y, y), (X[::-1], y, None)):
        with pytest.raises(convpp.DTypeError):
            plain.max_pool(*arguments, 1)
    for arguments in ((y[:1], X, dx), (y, X[:1], dx), (y, X, dx[:1])):
        with pytest.raises(convpp.ShapeError):
            plain.max_pool_input_grad(*arguments, False, 1)
    for arguments in ((y[:1], dx), (y, dx[:1])):
        with pytest.raises(convpp.ShapeError):
            plain.avg_pool_input_grad(*arguments, True, 0, False, 1)
    with pytest.raises(convpp.ShapeError):
        plain.avg_pool(X[:1], y, True, 0, 1)
    with pytest.raises(ValueError, match="dilation is 2, expected 1 for an average"):
        pooling(dilation=(1, 2, 1)).avg_pool(X, np.ones((2, 3, 3, 4), "float32"), True, 0, 1)
    with pytest.raises(TypeError):
        _core.Pooling.__new__(_core.Pooling)  # type: ignore[call-arg]
