"""``out=`` that shares memory with an input: the result is what separate memory gives, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import LAYOUTS, Array, Geometry, assert_same_bits, failures_name, normal

SAME_SHAPE = [
    Geometry(2, 8, 8, (17, 15), (3, 3), padding=1),
    Geometry(3, 5, 5, (40,), (7,), padding="same"),
    Geometry(2, 16, 16, (12, 13), (1, 1)),
    Geometry(2, 12, 12, (11, 13), (5, 5), padding=2, groups=12),
    Geometry(1, 4, 4, (7, 8, 9), (3, 3, 3), padding=1, dtype="float64"),
    Geometry(None, 33, 33, (20, 20), (3, 3), padding=1, flip=True),
]


def overlapping(source: Array, shape: tuple[int, ...]) -> Iterator[tuple[str, Array, Array]]:
    """``(how, input, out)``: the values of ``source``, and an out of ``shape`` over the same memory."""
    size = int(np.prod(shape))
    shifts = {0, 1, 7, source.shape[-1], source.size // 2}
    for shift in sorted(shift for shift in shifts if shift < min(source.size, size)):
        for input_first in (True, False):
            memory = np.zeros(max(source.size, size) + shift, source.dtype)
            starts = (0, shift) if input_first else (shift, 0)
            operand = memory[starts[0] : starts[0] + source.size].reshape(source.shape)
            operand[...] = source
            yield (
                f"out {'behind' if input_first else 'before'} by {shift}",
                operand,
                (memory[starts[1] : starts[1] + size].reshape(shape)),
            )
    memory = np.zeros((max(source.size, size), 2), source.dtype).reshape(-1)
    operand = memory[: 2 * source.size : 2].reshape(source.shape)
    operand[...] = source
    yield "strided input", operand, memory[:size].reshape(shape)
    memory = np.zeros(max(source.size, size), source.dtype)
    operand = np.flip(memory[: source.size].reshape(source.shape))
    operand[...] = source
    yield "reversed input", operand, memory[:size].reshape(shape)


def check_overlaps(function: Any, arguments: dict[str, Any], want: Array, *after: Any, **keywords: Any) -> None:
    """Each array among the arguments in turn shares its memory with out."""
    for name, source in arguments.items():
        for how, operand, out in overlapping(source, want.shape):
            values = list({**arguments, name: operand}.values())
            with failures_name(f"{function.__name__}: out over {name}, {how}", keywords):
                assert np.shares_memory(operand, out)
                assert function(*values, *after, **keywords, out=out) is out
                assert_same_bits(out, want)


def check_passes_over_inputs(name: str, g: Geometry, layout: str, rng: np.random.Generator) -> Array:
    """All passes of ``conv`` or ``conv_transpose``.  Returns dy."""
    x, dy = normal(rng, g.x_shape(layout), g.dtype), normal(rng, g.y_shape(layout), g.dtype)
    w, bias = normal(rng, g.w_shape, g.dtype), normal(rng, (g.k if name == "conv" else g.c,), g.dtype)
    keywords = {**g.keywords(layout), "threads": 2}
    for function, arguments, after in (
        (name, {"x": x, "w": w, "bias": bias}, ()),
        (f"{name}_input_grad", {"dy": dy, "w": w}, (x.shape,)),
        (f"{name}_weight_grad", {"dy": dy, "x": x}, (w.shape,)),
    ):
        call = getattr(convpp, function)
        check_overlaps(call, arguments, call(*arguments.values(), *after, **keywords), *after, **keywords)
    return dy


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("number", range(len(SAME_SHAPE)))
def test_out_over_an_input(number: int, layout: str, rng: np.random.Generator) -> None:
    g = SAME_SHAPE[number]
    dy = check_passes_over_inputs("conv", g, layout, rng)
    keywords = {"layout": layout, "batched": g.n is not None}
    check_overlaps(convpp.conv_bias_grad, {"dy": dy}, convpp.conv_bias_grad(dy, **keywords), **keywords)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_transposed_out_over_an_input(layout: str, rng: np.random.Generator) -> None:
    check_passes_over_inputs("conv_transpose", Geometry(2, 6, 6, (9, 11), (3, 3), padding=1), layout, rng)


def test_accumulate_over_an_input(rng: np.random.Generator) -> None:
    """``out`` is an input and a summand at once: both are read before either is written."""
    w = normal(rng, (5, 5, 3, 3), "float32")
    dy = normal(rng, (2, 5, 12, 11), "float32")
    want = dy + convpp.conv_input_grad(dy, w, dy.shape, padding=1)
    out = dy.copy()
    convpp.conv_input_grad(out, w, dy.shape, padding=1, out=out, accumulate=True)
    np.testing.assert_allclose(out, want, rtol=0, atol=1e-5)


def test_one_array_in_every_role(rng: np.random.Generator) -> None:
    """x, w and out may all be the same array: 3x3x3 filters over a batch of 3x3x3 images."""
    array = normal(rng, (3, 3, 3, 3), "float32")
    want = convpp.conv(array.copy(), array.copy(), padding=1)
    convpp.conv(array, array, padding=1, out=array)
    assert_same_bits(array, want)
