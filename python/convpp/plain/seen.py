"""Calls that were seen before, and that are one call of the engine: recognised in constant time.

In: the arguments of ``convolve`` or ``correlate``, by arrays of the plainest kind.   Out: the result, or None.
Next: ``forward.py``, which remembers what ``prepare.py`` has found out; ``../planning.py``, which keeps the plans.

Checking arguments and finding out axes takes ten times as long as a small sum.  Nothing of that depends on the numbers
in the arrays, but for whole numbers and for kernels that may be products of 1-D ones, which are not remembered.  A key
holds what users wrote, if it is of the exact types that it stands for: 1, True and 1.0 are one key, and not one option.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp._call.arguments import Shape
from convpp._call.default_algorithm import default_algorithm
from convpp._call.options import ConvOptions
from convpp._call.planning import PLANS
from convpp._call.run import run
from convpp._call.validation import FLOAT32, FLOAT64, Array
from convpp.plain.blocks import padded
from convpp.plain.prepare import Call, Options, may_be_separable

#: They are small, and all forgotten when there are more.
MOST_KEPT = 1024
#: Bits of ``ndarray.flags.num``: C-contiguous and aligned.
_PLAIN = 0x0001 | 0x0100

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """Shapes and options of the engine's call, and the shape of the result."""

    x_shape: Shape
    w_shape: Shape
    dtype: str
    turn: tuple[slice, ...] | None
    options: ConvOptions
    result_shape: Shape

    def call(self, a: Array, kernel: Array, threads: int | None) -> Array:
        """The result."""
        planned = PLANS["forward", self.dtype, self.x_shape, self.w_shape, self.options]
        w = kernel if self.turn is None else kernel[self.turn]
        x, w = a.reshape(self.x_shape), np.ascontiguousarray(w).reshape(self.w_shape)
        return run(planned, x, w, None, planned.y_shape, None, False, threads).reshape(self.result_shape)


_SEEN: dict[Key, Seen] = {}


def key_of(a: Any, kernel: Any, others: tuple[Any, ...], options: Options) -> Key | None:
    """What a call is remembered by; None: it is not.  ``others``: kernels, mask, dtype and out."""
    o = options
    if (
        type(a) is not np.ndarray
        or type(kernel) is not np.ndarray
        or any(other is not None for other in others)
        or (dtype := a.dtype) is not kernel.dtype
        or (dtype is not FLOAT32 and dtype is not FLOAT64)
        or a.flags.num & _PLAIN != _PLAIN
        or type(o.mode) is not str
        or type(o.boundary) is not str
        or type(o.method) is not str
        or type(o.nan) is not str
        or o.nan != "propagate"
        or type(o.min_weight) is not float
        or o.fill_value is not np.nan
        or not (_exact(o.axes) and _exact(o.stride) and _exact(o.dilation) and _exact(o.origin))
    ):
        return None
    given = (o.axes, o.mode, o.boundary, o.origin, o.stride, o.dilation, o.method, o.min_weight, o.turned, o.stream)
    return (a.shape, kernel.shape, dtype is FLOAT32, default_algorithm(), given)


def seen(key: Key | None) -> Seen | None:
    """The call of this key."""
    return None if key is None else _SEEN.get(key)


def remember(key: Key | None, call: Call, method: str) -> None:
    """Keeps a call that one of the engine was all of."""
    work, problem = call.work, call.problem
    in_order = problem.order == tuple(range(len(problem.order)))
    in_order = in_order and problem.kernel_order == tuple(range(len(problem.axes)))
    if key is None or not in_order or problem.own_kernels or may_be_separable(problem, method):
        return
    positions = tuple(axis.extent for axis in problem.axes)
    x = (math.prod(problem.batch), 1, *positions, problem.columns)
    x_shape, w_shape, options = padded(work).seen_as(x, work.weights.shape)
    turn = (slice(None, None, -1),) * len(problem.axes) if problem.turned else None
    if len(_SEEN) >= MOST_KEPT:
        _SEEN.clear()
    _SEEN[key] = Seen(x_shape, w_shape, work.real.name, turn, options, problem.result_shape)


def _exact(value: Any) -> bool:
    """None, an int, or a tuple of ints; no bool, and nothing that stands for them."""
    if value is None or type(value) is int:
        return True
    return type(value) is tuple and all(type(entry) is int for entry in value)
