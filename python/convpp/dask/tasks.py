"""What workers do: functions of the chunks that they are given.

In: a plan, the place of a block, and the chunks (or parts of them) that it reads.   Out: an array.
Next: ``convpp.tiling.compute``, ``plan.py``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from convpp._call.arguments import Shape
from convpp._call.validation import Array

if TYPE_CHECKING:
    from convpp.dask.plan import Hull, Piece, Plan


class Patchwork:
    """Parts of chunks as the array that they are parts of: only what lies in them can be sliced.

    ``pieces`` are those of each axis, and ``parts`` the arrays of their products, in this order.
    """

    def __init__(self, pieces: tuple[tuple[Piece, ...], ...], parts: Iterable[Array], dtype: np.dtype[Any]) -> None:
        self._pieces = pieces
        self._parts = dict(zip(itertools.product(*(range(len(axis)) for axis in pieces)), parts, strict=True))
        self.dtype = dtype

    def __getitem__(self, index: tuple[slice, ...]) -> Array:
        """A copy, unless all lies in one part."""
        each = [list(_within(pieces, part)) for pieces, part in zip(self._pieces, index, strict=True)]
        if all(len(found) == 1 for found in each):
            return self._parts[tuple(found[0][0] for found in each)][tuple(found[0][1] for found in each)]
        result = np.empty(tuple(part.stop - part.start for part in index), self.dtype)
        for parts in itertools.product(*each):
            result[tuple(to for _, _, to in parts)] = self._parts[tuple(n for n, _, _ in parts)][
                tuple(local for _, local, _ in parts)
            ]
        return result


def _within(pieces: tuple[Piece, ...], wanted: slice) -> Iterable[tuple[int, slice, slice]]:
    """The pieces that a slice meets: which, where in them, and where in the result."""
    for number, piece in enumerate(pieces):
        start, stop = max(piece.first, wanted.start), min(piece.first + piece.stop - piece.start, wanted.stop)
        if start < stop:
            yield (
                number,
                slice(start - piece.first, stop - piece.first),
                slice(start - wanted.start, stop - wanted.start),
            )


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
