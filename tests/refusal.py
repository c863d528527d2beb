"""What the tests of errors share: valid calls of every function, and `refuse`, which spoils one argument.

Each message must name the argument, show what it got and say what was expected; ``out`` stays as it was.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from geometry import Geometry, assert_same_bits

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
