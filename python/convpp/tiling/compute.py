"""A block is computed: its parts of the arrays are read, and the core is called with just these.

In: a ``Block``, arrays that are sliced like NumPy's (or functions that read), bias and the like.   Out: an array.
Next: ``tiled.py`` (all blocks, one after the other); ``_call/run.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from convpp._call.arguments import Algorithm
from convpp._call.planning import PLANS
from convpp._call.run import run
from convpp._call.validation import FLOAT32, Array, dtype_from, is_masked, plain
from convpp.activation import activate
from convpp.errors import DTypeError
from convpp.tiling.blocks import Block, Part, Source

#: Reads a part of an array, by its name.
Fetch = Callable[[str, Source], Array]
#: Sums of blocks: in an order that does not look at their extents.
ALGORITHM: Final = "stream"


def read(array: Any, source: Source) -> Array:
    """What a block reads of an array, of which only slices are taken."""
    each = [axis.slices for axis in source]
    if all(len(slices) == 1 for slices in each):
        joined = _numbers(array[tuple(slices[0] for slices in each)])
    else:
        joined = np.empty(tuple(axis.joined for axis in source), array.dtype)
        for place, there in zip(itertools.product(*map(_places, each)), itertools.product(*each), strict=True):
            joined[place] = _numbers(array[there])
    return in_order(joined, source)


def _numbers(values: Any) -> Array:
    """What a source gave; a mask is not lost on the way, as netCDF's are that hide fill values."""
    if is_masked(values):
        if np.ma.is_masked(values):
            raise DTypeError("it gives masked arrays, expected numbers: fill what is masked, or hand on data and mask")
        values = values.data
    return np.asarray(values)


def _places(slices: tuple[slice, ...]) -> list[slice]:
    """Where slices lie when they are joined."""
    ends = list(itertools.accumulate((part.stop - part.start for part in slices), initial=0))
    return [slice(*ends_of) for ends_of in itertools.pairwise(ends)]


def in_order(joined: Array, source: Source) -> Array:
    """What is read, from the slices that were joined: elements repeated and turned around as padding modes do."""
    for axis, of_axis in enumerate(source):
        if of_axis.order is not None:
            joined = np.take(joined, np.concatenate([np.asarray(part) for part in of_axis.order]), axis)
    return joined


def compute(
    block: Block,
    fetch: Fetch,
    dtype: str,
    *,
    algorithm: Algorithm = ALGORITHM,
    threads: int | None = None,
    bias: Array | None = None,
    activation: Any = None,
    add: Array | None = None,
    rounded: bool = True,
) -> Array:
    """The block's part of the result; of weight gradients its partial sum.

    ``bias`` and ``add`` are the block's parts, too.  ``rounded=False``: sums of halves stay in float32.
    """
    of = dtype_from(dtype)
    wide = FLOAT32 if of.itemsize < FLOAT32.itemsize else of
    bias, add = (None if array is None else plain(array, of) for array in (bias, add))
    if len(block.parts) == 1 and (call := block.call) is not None and call.result_shape == block.shape:
        out = None if rounded or wide == of else np.empty(block.shape, wide)
        return _call(block.parts[0], 0, fetch, dtype, algorithm, threads, out, bias, activation, add)
    total = np.zeros(block.shape, wide)
    if not block.parts[0].calls and bias is not None:
        total += bias.astype(wide).reshape([-1 if axis == block.channel_axis else 1 for axis in range(total.ndim)])
    for part in block.parts:
        own = total if part.targets is None else np.zeros(part.shape, wide)
        for number, call in enumerate(part.calls):
            out = np.empty(call.result_shape, wide)
            of_first = bias if part.targets is None else None
            own[call.at] = _call(part, number, fetch, dtype, algorithm, threads, out, of_first, None, None)
        if part.targets is not None:
            fold(total, own, part.targets)
    if add is not None:
        total += add.astype(wide)
    if activation is not None:
        total = activate(total, activation)
    return total.astype(of, copy=False) if rounded else total


def _call(
    part: Part,
    number: int,
    fetch: Fetch,
    dtype: str,
    algorithm: Algorithm,
    threads: int | None,
    out: Array | None,
    bias: Array | None,
    activation: Any,
    add: Array | None,
) -> Array:
    call = part.calls[number]
    options = call.options._replace(algorithm=algorithm)
    planned = PLANS[call.op, dtype, call.x_shape, call.w_shape, options]
    of = dtype_from(dtype)
    first, second = (plain(fetch(name, source), of) for name, source in call.sources.items())
    return run(planned, first, second, bias, call.result_shape, out, False, threads, activation, add)


def fold(total: Array, gradients: Array, targets: tuple[tuple[range, ...] | None, ...]) -> None:
    """Adds each gradient to the element that it is folded to, those of one element in their order."""
    axes = [axis for axis, ranges in enumerate(targets) if ranges is not None]
    elements = [np.concatenate([np.asarray(part) for part in targets[axis] or ()]) for axis in axes]
    order = [axis for axis in range(total.ndim) if axis not in axes] + axes
    of_total, of_gradients = total.transpose(order), gradients.transpose(order)
    lead = total.ndim - len(axes)
    for at in _orderly([np.arange(len(each)) for each in elements], elements):
        where = np.ix_(*(each[some] for each, some in zip(elements, at, strict=True)))
        every = (slice(None),) * lead
        of_total[every + where] += of_gradients[every + np.ix_(*at)]


def _orderly(positions: list[Array], elements: list[Array]) -> list[list[Array]]:
    """Boxes of positions, in each of which no element is twice, in an order that keeps that of each element's."""
    each = []
    for some, of in zip(positions, elements, strict=True):
        order = np.argsort(of, kind="stable")
        _, starts, counts = np.unique(of[order], return_index=True, return_counts=True)
        rank = np.empty(len(of), np.intp)
        rank[order] = np.arange(len(of)) - np.repeat(starts, counts)
        each.append([some[rank == r] for r in range(int(rank.max(initial=-1)) + 1)])
    return [list(box) for box in itertools.product(*each)]
