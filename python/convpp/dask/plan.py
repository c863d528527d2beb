"""What every block of a result reads of which chunks: found when it is asked for, by the layer and by the workers.

In: ``convpp.tiles``, and the chunks of the operands.   Out: pieces of chunks.   Next: ``layer.py``, which makes tasks
of them; ``tasks.py``, which carries them out.

A block is a place in a grid, and what it reads along an axis of an operand depends on its number along one axis of the
grid alone.  So tables of axes say it all, and neither the graph nor the plan grows with their product.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from convpp._call.arguments import Shape
from convpp._call.geometry import Geometry
from convpp._call.validation import Array, dtype_from, plain
from convpp.dask.chunks import Chunks, ends_of
from convpp.tiling.blocks import Source
from convpp.tiling.compute import compute, read
from convpp.tiling.grid import Tiles
from convpp.tiling.reads import axis_reads, span

#: Of each axis of a chunk, where a part of it begins and ends.
Hull = tuple[tuple[int, int], ...]


class Piece(NamedTuple):
    """Elements [start, stop) of a chunk along an axis; the first one is element ``first`` of the array."""

    chunk: int
    start: int
    stop: int
    first: int


class Operand(NamedTuple):
    """A dask array that blocks read.

    ``by``: for each of its axes, that axis of the grid by which it is read; None: every block reads all of it.
    ``halos``: whether small parts of its chunks are cut out, once, for the blocks around.
    """

    name: str
    key: str
    chunks: Chunks
    by: tuple[int | None, ...]
    dtype: np.dtype[Any]
    halos: bool = False


#: The largest share of a chunk that is cut out for a block: of more, the whole chunk is read.
MOST = 0.5


#: What a plan makes again where it is sent to.
TABLES = ("_along", "_shares", "_hulls")


class Plan:
    """The grid, the operands, and what is computed; ``constants`` are operands that are no dask arrays."""

    def __init__(self, numblocks: Shape, operands: tuple[Operand, ...], constants: Mapping[str, Any]) -> None:
        self.numblocks = numblocks
        self.operands = operands
        self.constants: dict[str, Any] = dict(constants)
        self._forget()

    def _forget(self) -> None:
        self._along: dict[tuple[str, int, int], tuple[Piece, ...]] = {}
        self._shares: dict[tuple[str, int, int], list[tuple[int, float]]] = {}
        self._hulls: dict[tuple[str, int], dict[int, list[tuple[int, int]]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Without the tables, which are quickly made again."""
        return {name: value for name, value in self.__dict__.items() if name not in TABLES}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    # ------------------------------------------------------------ what a kind of result says

    def reads(self, name: str, axis: int, number: int) -> list[slice]:
        """Of an operand's axis, the slices that blocks with this number read."""
        raise NotImplementedError

    def compute(self, index: Shape, sources: Mapping[str, Any]) -> Array:
        """A block of the result, from arrays (or patchworks) by name."""
        raise NotImplementedError

    # ------------------------------------------------------------ pieces of chunks

    def along(self, operand: Operand, axis: int, number: int) -> tuple[Piece, ...]:
        """What is read along an axis of an operand: of each chunk that is read, from the first element to the last."""
        key = (operand.name, axis, number)
        if key not in self._along:
            self._along[key] = tuple(_pieces(self.reads(operand.name, axis, number), operand.chunks[axis]))
        return self._along[key]

    def pieces(self, operand: Operand, index: Shape) -> tuple[tuple[Piece, ...], ...]:
        """The same of each axis, for a block."""
        return tuple(self.along(operand, axis, 0 if by is None else index[by]) for axis, by in enumerate(operand.by))

    def chunks_read(self, operand: Operand, index: Shape) -> list[tuple[Shape, bool]]:
        """The chunks that a block reads, and of each, whether it is read itself or a part that was cut out of it."""
        found: list[tuple[Shape, float]] = [((), 1.0)]
        for axis, by in enumerate(operand.by):
            parts = self._shares_of(operand, axis, 0 if by is None else index[by])
            found = [((*chunk, at), share * of) for chunk, share in found for at, of in parts]
        most = MOST if operand.halos else 0.0
        return [(chunk, share > most) for chunk, share in found]

    def _shares_of(self, operand: Operand, axis: int, number: int) -> list[tuple[int, float]]:
        """Along an axis, the chunks that are read, and the share of each."""
        key = (operand.name, axis, number)
        if key not in self._shares:
            extents = operand.chunks[axis]
            self._shares[key] = [
                (piece.chunk, (piece.stop - piece.start) / extents[piece.chunk])
                for piece in self.along(operand, axis, number)
            ]
        return self._shares[key]

    def hulls(self, operand: Operand, chunk: Shape) -> list[Hull]:
        """All parts of a chunk that are cut out of it."""
        found: list[tuple[Hull, float]] = [((), 1.0)]
        for axis, number in enumerate(chunk):
            extent = operand.chunks[axis][number]
            parts = [(ends, (ends[1] - ends[0]) / extent) for ends in self._of_chunks(operand, axis).get(number, [])]
            found = [((*hull, ends), share * of) for hull, share in found for ends, of in parts]
        return [hull for hull, share in found if share <= MOST]

    def _of_chunks(self, operand: Operand, axis: int) -> dict[int, list[tuple[int, int]]]:
        """For each chunk along an axis, the parts of it that blocks read."""
        key = (operand.name, axis)
        if key not in self._hulls:
            by = operand.by[axis]
            found: dict[int, set[tuple[int, int]]] = {}
            for number in range(1 if by is None else self.numblocks[by]):
                for piece in self.along(operand, axis, number):
                    found.setdefault(piece.chunk, set()).add((piece.start, piece.stop))
            self._hulls[key] = {chunk: sorted(parts) for chunk, parts in found.items()}
        return self._hulls[key]


@lru_cache(maxsize=16)
def _ends(extents: Shape) -> list[int]:
    return ends_of(extents)


def _pieces(slices: list[slice], extents: Shape) -> list[Piece]:
    """The chunks that slices meet, none of them empty."""
    found: dict[int, Piece] = {}
    ends = _ends(extents)
    for part in slices:
        first, last = bisect.bisect_right(ends, part.start) - 1, bisect.bisect_left(ends, part.stop)
        for chunk in range(first, last):
            begin, extent = ends[chunk], extents[chunk]
            start, stop = max(part.start - begin, 0), min(part.stop - begin, extent)
            if chunk in found:
                start, stop = min(start, found[chunk].start), max(stop, found[chunk].stop)
            if extent:
                found[chunk] = Piece(chunk, start, stop, begin + start)
    return [found[chunk] for chunk in sorted(found)]


class ConvPlan(Plan):
    """Of a convolution, or a gradient of one: what blocks read is what ``convpp.tiles`` says.

    ``how``: keywords of ``convpp.tiling.compute``.
    """

    def __init__(
        self,
        tiles: Tiles,
        operands: tuple[Operand, ...],
        constants: Mapping[str, Any],
        dtype: str,
        how: Mapping[str, Any],
    ) -> None:
        super().__init__(tiles.numblocks, operands, constants)
        self.tiles = tiles
        self.dtype = dtype
        self.how: dict[str, Any] = dict(how)

    @property
    def geometry(self) -> Geometry:
        """Of the whole."""
        return self.tiles.geometry

    def reads(self, name: str, axis: int, number: int) -> list[slice]:
        """Of x, dy or w what the blocks' calls read; of bias and what is added, the block itself."""
        if name in ("bias", "add"):
            by = next(operand.by[axis] for operand in self.operands if operand.name == name)
            assert by is not None
            found = [slice(*span(self.tiles, by, number))]
        else:
            found = [part for of in axis_reads(self.tiles, name, axis, number) for part in of.slices]
        return [part for part in found if part.start < part.stop]

    def compute(self, index: Shape, sources: Mapping[str, Any]) -> Array:
        """By one call of convpp (of dx with a padding mode, some)."""
        block = self.tiles.block(index)

        def fetch(name: str, source: Source) -> Array:
            array = sources[name]
            return read(array, source) if isinstance(array, np.ndarray) else array.read(source)

        how = dict(self.how)
        if "bias" in sources:
            how["bias"] = plain(sources["bias"][(block.result[block.channel_axis],)], dtype_from(self.dtype))
        if "add" in sources:
            how["add"] = plain(sources["add"][block.result], dtype_from(self.dtype))
        return compute(block, fetch, self.dtype, **how)
