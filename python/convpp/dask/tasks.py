"""What workers do: functions of the chunks that they are given.

In: a plan, the place of a block, and the chunks (or parts of them) that it reads.   Out: an array.
Next: ``convpp.tiling.compute``, ``plan.py``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convpp._call.arguments import Shape
from convpp._call.validation import Array
from convpp.tiling.axes import AxisRead, Pair, run_of
from convpp.tiling.blocks import Source
from convpp.tiling.reads import runs_of

if TYPE_CHECKING:
    from convpp.dask.plan import Hull, Piece, Plan


class Segment(NamedTuple):
    """Neighbours along an axis that lie in one part: which, where in it, and where in the result.

    A slice of one element may have a longer place: it is repeated.
    """

    part: int
    within: slice
    place: slice


class Patchwork:
    """Parts of chunks as the array that they are parts of: only what lies in them can be read.

    ``pieces`` are those of each axis, and ``parts`` the arrays of their products, in this order.
    """

    def __init__(self, pieces: tuple[tuple[Piece, ...], ...], parts: Iterable[Array], dtype: np.dtype[Any]) -> None:
        self._pieces = pieces
        self._parts = dict(zip(itertools.product(*(range(len(axis)) for axis in pieces)), parts, strict=True))
        self.dtype = dtype

    def __getitem__(self, index: tuple[slice, ...]) -> Array:
        """Slices, each with its start and its stop."""
        return self.read(tuple(run_of(part.start, part.stop) for part in index))

    def read(
        self, source: Source, pads: Sequence[Pair] = (), constant: complex = 0, dtype: np.dtype[Any] | None = None
    ) -> Array:
        """What a block reads, in its order, with a number around it; a view, if it all lies in one part as it is.

        What is put together is of ``dtype``, by default the array's.
        """
        pads = pads or [(0, 0)] * len(source)
        each = [
            list(_segments(axis, pieces, lo)) for axis, pieces, (lo, _) in zip(source, self._pieces, pads, strict=True)
        ]
        padded = any(any(pair) for pair in pads)
        alone = all(len(found) == 1 and found[0].within.step == 1 for found in each) and not padded
        if alone and all(_length(found.within) == _length(found.place) for [found] in each):
            return self._parts[tuple(found.part for [found] in each)][tuple(found.within for [found] in each)]
        shape = [lo + axis.extent + hi for axis, (lo, hi) in zip(source, pads, strict=True)]
        result = np.empty(shape, self.dtype if dtype is None else dtype)
        for axis, (lo, hi) in enumerate(pads):
            around = (slice(None),) * axis
            result[(*around, slice(0, lo))] = constant
            result[(*around, slice(result.shape[axis] - hi, None))] = constant
        for of_axes in itertools.product(*each):
            part = self._parts[tuple(of.part for of in of_axes)]
            result[tuple(of.place for of in of_axes)] = part[tuple(of.within for of in of_axes)]
        return result


def _length(part: slice) -> int:
    return int(part.stop) - int(part.start)


def _segments(read: AxisRead, pieces: tuple[Piece, ...], at: int) -> Iterator[Segment]:
    """What is read along an axis, cut where parts end; the first element comes to ``at``."""
    for first, step, count in runs_of(read):
        last = first + step * (count - 1)
        for number, piece in enumerate(pieces):
            begin = piece.first
            start, stop = max(begin, min(first, last)), min(begin + piece.stop - piece.start, max(first, last) + 1)
            if start >= stop:
                continue
            local = slice(start - begin, stop - begin, 1)
            if step < 0:
                local = slice(stop - 1 - begin, start - 1 - begin if start > begin else None, -1)
            to = at + (first - stop + 1 if step < 0 else start - first)
            yield Segment(number, local, slice(to, to + (count if step == 0 else stop - start)))
        at += count


def compute_block(plan: Plan, index: Shape, *arrays: Any) -> Array:
    """A block of the result; of weight gradients, its part of the sum."""
    given = iter(arrays)
    sources: dict[str, Any] = dict(plan.constants)
    for operand in plan.operands:
        pieces = plan.pieces(operand, index)
        parts = [
            _cut(array, hull, whole)
            for hull, (_, whole), array in zip(
                itertools.product(*(((piece.start, piece.stop) for piece in axis) for axis in pieces)),
                plan.chunks_read(operand, index),
                itertools.islice(given, math.prod(map(len, pieces))),
                strict=True,
            )
        ]
        sources[operand.name] = Patchwork(pieces, parts, operand.dtype)
    return plan.compute(index, sources)


def _cut(array: Any, hull: Hull, whole: bool) -> Array:
    """A part of a chunk, or of the parts that were cut out of it."""
    part: Array = np.asarray(array)[tuple(slice(*ends) for ends in hull)] if whole else array[hull]
    return part


def halos(plan: Plan, name: str, index: Shape, chunk: Any) -> dict[Hull, Array]:
    """The parts of a chunk that other blocks read; copies, so that the chunk itself need not be kept for them."""
    operand = next(operand for operand in plan.operands if operand.name == name)
    array = np.asarray(chunk)
    return {hull: np.array(array[tuple(slice(*ends) for ends in hull)]) for hull in plan.hulls(operand, index)}


def add_tree(parts: list[Array], dtype: Any) -> Array:
    """The sum of neighbours, then of neighbouring sums, and so on; rounded to ``dtype`` where one is given."""
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [pair[0] + pair[1] if len(pair) == 2 else pair[0] for pair in pairs]
    total = parts[0]
    return total if dtype is None else total.astype(dtype, copy=False)
