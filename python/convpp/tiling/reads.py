"""What blocks read along one axis of an array: for who cuts arrays into chunks and asks which ones a block needs.

In: ``Tiles``, an array's name, one of its axes, and a block's number along the axis of the grid by which it is read.
Out: ``AxisRead``: one, or (of dx, whose padding modes read several stretches of dy) some.   Next: ``dask/plan.py``.
"""

from __future__ import annotations

import bisect
import itertools

from convpp._call.arguments import Shape
from convpp.tiling.axes import AxisRead, run_of
from convpp.tiling.grid import Tiles


def grid_axes(tiles: Tiles, name: str) -> tuple[int | None, ...]:
    """For each axis of an array, the axis of the grid that decides what is read along it; None: all is always read."""
    if name != "w":
        return tuple(range(len(tiles.numblocks)))
    g = tiles.geometry
    samples = (0,) if g.options.conv.per_sample else ()
    channels = tiles.names.index("C" if "C" in tiles.names else "K")
    return (*samples, channels, channels, *(None for _ in g.kernel))


def span(tiles: Tiles, axis: int, number: int) -> tuple[int, int]:
    """The elements of the grid's axis that such blocks have."""
    return tiles._span(axis, number)


def axis_reads(tiles: Tiles, name: str, axis: int, number: int) -> tuple[AxisRead, ...]:
    """What blocks with this number along ``grid_axes(tiles, name)[axis]`` read along an axis of "x", "dy" or "w"."""
    by = grid_axes(tiles, name)[axis]
    if by is None:
        return (run_of(0, _weights(tiles)[axis]),)
    if tiles.names[by] == "N":
        return (run_of(*span(tiles, by, number)),)
    of_core = {"x": "dy", "dy": "x", "w": "w"}[name] if tiles.transposed else name
    if tiles.names[by] in ("C", "K"):
        channels = tiles._channels(number)
        if of_core == "w":
            return (channels.w_filters if axis == len(_weights(tiles)) - tiles.geometry.rank - 2 else channels.w_depth,)
        return (channels.x if of_core == "x" else channels.y,)
    [a] = [a for a, of_grid, _ in tiles._spatial((0,) * len(tiles.numblocks)) if of_grid == by]
    if tiles.core == "input_grad":
        positions = tiles._positions(a, by, number)
        return tuple(run.read for name in ("block", "read") for run in positions[name].runs if run is not None)
    if of_core == "dy":
        return (run_of(*span(tiles, by, number)),)
    return (tiles._stretch(a, by, number).read,)


def _weights(tiles: Tiles) -> Shape:
    return tiles.geometry.w_shape


def runs_of(read: AxisRead) -> list[tuple[int, int, int]]:
    """What is read as (first element, step, count): neighbours that ascend (1) or descend (-1), or one repeated (0)."""
    starts = [part.start for part in read.slices]
    if read.order is None:
        return [(part.start, 1, part.stop - part.start) for part in read.slices if part.stop > part.start]
    ends = list(itertools.accumulate((part.stop - part.start for part in read.slices), initial=0))
    found: list[tuple[int, int, int]] = []
    for part in read.order:
        within = bisect.bisect_right(ends, part[0]) - 1
        run = (starts[within] + part[0] - ends[within], part.step if len(part) > 1 else 0, len(part))
        if found and run[2] == 1 and found[-1][:2] == run[:2]:
            found[-1] = (*run[:2], found[-1][2] + 1)
        else:
            found.append(run)
    return found
