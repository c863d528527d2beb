"""What every function on arrays does after its arguments are arrays: recognise the geometry, execute the plan.

In: the geometry as users write it, plain arrays, a ``Planned`` pass, ``out``.   Out: the result.
Used by ``functional.py``, ``transposed.py`` and ``prepared.py``; next: ``planning.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convpp.arguments import (
    LAYOUTS,
    Padding,
    PaddingMode,
    PerAxis,
    as_int,
    choice,
    flag,
    padding_modes,
    pads,
    per_axis,
)
from convpp.planning import Planned
from convpp.runtime import threads_of_call
from convpp.validation import Array, result


def geometry_key(
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    padding_mode: PaddingMode,
    flip: bool,
    layout: str,
    per_sample: bool,
) -> tuple[Any, ...]:
    """The geometry arguments as ``plan_conv`` takes them: hashable, ints and names."""
    return (
        stride if type(stride) is int else per_axis(stride, "stride"),
        padding if type(padding) is int else pads(padding),
        dilation if type(dilation) is int else per_axis(dilation, "dilation"),
        groups if type(groups) is int else as_int(groups, "groups"),
        flip if flip is False else flag(flip, "flip"),
        layout if layout == "channels_first" else choice(layout, "layout", LAYOUTS),
        per_sample if per_sample is False else flag(per_sample, "per_sample"),
        padding_mode if type(padding_mode) is str and padding_mode == "zeros" else padding_modes(padding_mode),
    )


def run(
    planned: Planned,
    first: Array,
    second: Array,
    bias: Array | None,
    result_shape: tuple[int, ...],
    dtype: str,
    out: Array | None,
    accumulate: bool,
    threads: int | None,
) -> Array:
    """Executes a planned pass into ``out``, or into a new array."""
    count = threads_of_call(threads)
    if out is None and accumulate is False:
        target = np.empty(result_shape, first.dtype)  # which is ``dtype``: quicker than to look it up by its name
        planned.execute(first, second, bias, target, False, count)
        return target
    accumulate = flag(accumulate, "accumulate")
    target, copy_to = result(out, result_shape, dtype, accumulate, (first, second, bias))
    planned.execute(first, second, bias, target, accumulate, count)
    return target if copy_to is None else copied(target, copy_to)


def copied(source: Array, to: Array) -> Array:
    """``to``, holding what ``source`` holds."""
    to[...] = source
    return to
