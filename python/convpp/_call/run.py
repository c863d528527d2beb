"""What every function on arrays does last: the planned pass is executed.

In: a ``Planned`` pass, plain arrays, ``out``.   Out: the result.
Used by ``functional.py``, ``transposed.py`` and ``prepared.py``; next: ``_core`` (cpp/bindings/module.cpp).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from convpp import _core
from convpp._call.arguments import Shape, check_activation, check_shape, flag
from convpp._call.planning import Planned
from convpp._call.validation import Array, delivered, result
from convpp.runtime import threads_of_call


class Passes(NamedTuple):
    """The three functions of one operation: those of ``conv``, or those of ``conv_transpose``."""

    forward: Callable[..., Array]
    input_grad: Callable[..., Array]
    weight_grad: Callable[..., Array]


def run(
    planned: Planned,
    first: Array,
    second: Array | _core.PreparedWeights,
    bias: Array | None,
    result_shape: Shape,
    out: Array | None,
    accumulate: bool,
    threads: int | None,
    activation: Any = None,
    add: Array | None = None,
) -> Array:
    """``activation(sums + bias + add)`` of a planned pass, in ``out`` or in a new array."""
    if activation is not None:
        activation = check_activation(activation)
    if add is not None:
        check_shape(add.shape, result_shape, "add", "the shape of the result")
    count = threads_of_call(threads)
    if out is None and accumulate is False:
        target = np.empty(result_shape, first.dtype)
        planned.execute(first, second, bias, add, target, activation, False, count)
        return target
    accumulate = flag(accumulate, "accumulate")
    target, copy_to = result(out, result_shape, first.dtype, accumulate, (first, second, bias, add))
    planned.execute(first, second, bias, add, target, activation, accumulate, count)
    return delivered(target, copy_to)
