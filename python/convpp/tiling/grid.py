"""The blocks of a result, made one by one: what each reads, from tables of the axes.

In: a pass, a geometry, the extents of the blocks along each axis.   Out: ``Tiles``, a sequence of ``Block``.
Next: ``axes.py`` (one axis), ``channels.py`` (groups), ``compute.py`` (a block is computed).

A block is the product of stretches of the axes, and each stretch is described once: so blocks need not be listed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from convpp._call.arguments import Shape, as_int
from convpp._call.geometry import Geometry
from convpp._call.options import ConvOptions
from convpp.tiling.axes import (
    Axis,
    AxisRead,
    Positions,
    Run,
    Stretch,
    forward_stretch,
    gradient_positions,
    run_of,
)
from convpp.tiling.blocks import Block, Call, Index, Part, Source, shape_of
from convpp.tiling.channels import ChannelStretch, channel_stretch
from convpp.tiling.chunks import Chunks
from convpp.tiling.tree import Tree

#: The pass of the convolution that a transposed one is the adjoint of.
OF_TRANSPOSED = {"forward": "input_grad", "input_grad": "forward", "weight_grad": "weight_grad"}


class Tiles(Sequence[Block]):
    """The blocks of a result, made one by one when they are asked for; see ``tiles``.

    Attributes
    ----------
    op : "forward", "input_grad" or "weight_grad"
        As it was asked for.
    transposed : bool
    grid_shape : tuple of ints
        The shape that is cut: the result's; of weight gradients that of dy (of a transposed convolution: of x).
    result_shape : tuple of ints
    chunks : tuple of tuples of ints
        The extents of the blocks along each axis of ``grid_shape``, as dask has them.
    numblocks : tuple of ints
    tree : Tree
        Of weight gradients, how the blocks that belong to one result are added, by their ``number``.  Else of one.
    """

    def __init__(self, op: str, geometry: Geometry, chunks: Chunks, transposed: bool) -> None:
        self.op = op
        self.geometry = geometry
        self.transposed = transposed
        self.core: str = OF_TRANSPOSED[op] if transposed else op
        self.chunks = chunks
        self.numblocks: tuple[int, ...] = tuple(map(len, chunks))
        self.grid_shape: Shape
        self.names: tuple[str, ...]
        self.grid_shape, self.names = grid_of(geometry, self.core)
        shapes = {"forward": geometry.y_shape, "input_grad": geometry.x_shape, "weight_grad": geometry.w_shape}
        self.result_shape: Shape = shapes[self.core]
        self._ends = tuple(tuple(itertools.accumulate(extents, initial=0)) for extents in chunks)
        self._axes = tuple(
            Axis(n, out, k, s, d, lo, mode)
            for n, out, k, s, d, (lo, _), mode in zip(
                geometry.input,
                geometry.output,
                geometry.kernel,
                geometry.stride,
                geometry.dilation,
                geometry.padding,
                geometry.padding_mode,
                strict=True,
            )
        )
        self._found: dict[tuple[int, int], Any] = {}
        self._spatial_axes = [axis for axis, name in enumerate(self.names) if name not in ("N", "C", "K")]
        self._channel_axis = self.names.index("K" if "K" in self.names else "C")
        for number in range(self.numblocks[self._channel_axis]):
            self._channels(number)

    def __len__(self) -> int:
        return math.prod(self.numblocks)

    def __iter__(self) -> Iterator[Block]:
        for index in itertools.product(*map(range, self.numblocks)):
            yield self.block(index)

    def __getitem__(self, number: Any) -> Any:
        """The block of this number, or, with one number for each axis of the grid, at this place."""
        if isinstance(number, slice):
            return [self[i] for i in range(*number.indices(len(self)))]
        if isinstance(number, tuple):
            return self.block(number)
        number = as_int(number, "block")
        if not -len(self) <= number < len(self):
            raise IndexError(f"block is {number}, expected less than {len(self)}")
        number %= len(self)
        index = []
        for count in reversed(self.numblocks):
            number, at = divmod(number, count)
            index.append(at)
        return self.block(tuple(reversed(index)))

    @cached_property
    def tree(self) -> Tree:
        """How partial sums of one result are added; a tree of one where blocks are results."""
        if self.core != "weight_grad":
            return Tree(1)
        return Tree(math.prod(n for axis, n in enumerate(self.numblocks) if axis in self._summed))

    @cached_property
    def _summed(self) -> frozenset[int]:
        """Axes of the grid whose blocks are added."""
        if self.core != "weight_grad":
            return frozenset()
        each = {"K", "N"} if self.geometry.options.conv.per_sample else {"K"}
        return frozenset(axis for axis, name in enumerate(self.names) if name not in each)

    def block(self, index: tuple[int, ...]) -> Block:
        """The block at a place of the grid."""
        if len(index) != len(self.numblocks) or not all(0 <= i < n for i, n in zip(index, self.numblocks, strict=True)):
            raise IndexError(f"block is {index}, expected less than {self.numblocks} along each axis")
        if self.core == "input_grad":
            return self._gradient_block(index)
        return self._forward_block(index)

    # ------------------------------------------------------------ axes of the grid

    def _span(self, axis: int, number: int) -> tuple[int, int]:
        return self._ends[axis][number], self._ends[axis][number + 1]

    def _channels(self, number: int) -> ChannelStretch:
        key = (self._channel_axis, number)
        if key not in self._found:
            self._found[key] = channel_stretch(
                self.geometry, *self._span(*key), of_x=self.core == "input_grad", name=self.names[self._channel_axis]
            )
        found: ChannelStretch = self._found[key]
        return found

    def _spatial(self, index: tuple[int, ...]) -> list[tuple[int, int, int]]:
        """Of each spatial axis: which one, that of the grid, and the block's number along it."""
        return [(a, axis, index[axis]) for a, axis in enumerate(self._spatial_axes)]

    def _stretch(self, a: int, axis: int, number: int) -> Stretch:
        key = (axis, number)
        if key not in self._found:
            self._found[key] = forward_stretch(self._axes[a], *self._span(axis, number))
        found: Stretch = self._found[key]
        return found

    def _positions(self, a: int, axis: int, number: int) -> dict[str, Positions]:
        key = (axis, number)
        if key not in self._found:
            self._found[key] = gradient_positions(self._axes[a], *self._span(axis, number))
        found: dict[str, Positions] = self._found[key]
        return found

    def _samples(self, index: tuple[int, ...]) -> AxisRead | None:
        return None if self.geometry.batch is None else run_of(*self._span(0, index[0]))

    # ------------------------------------------------------------ blocks

    def _result(self, index: tuple[int, ...]) -> Index:
        return tuple(slice(*self._span(axis, number)) for axis, number in enumerate(index))

    def _forward_block(self, index: tuple[int, ...]) -> Block:
        """Of y, or of dw: both read the x of some results."""
        samples, channels = self._samples(index), self._channels(index[self._channel_axis])
        stretches = [self._stretch(*axis) for axis in self._spatial(index)]
        x = self._array(samples, channels.x, [stretch.read for stretch in stretches])
        w = self._weights(samples, channels)
        options = self._options(channels, [stretch.padding for stretch in stretches])
        place = self._result(index)
        if self.core == "forward":
            sources = {self._name("x"): x, "w": w}
            result, number, channel_axis = place, 0, self._channel_axis
        else:
            dy = tuple(run_of(part.start, part.stop) for part in place)
            sources = {self._name("dy"): dy, self._name("x"): x}
            result, number, channel_axis = _place(w), self._number(index), len(w) - len(self._axes) - 2
        shape_ = tuple(part.stop - part.start for part in result)
        nothing = any(part.start == part.stop for part in place)
        call = Call(self.core, sources, options, shape_of(x), shape_of(w), shape_, _all(shape_))
        return Block(index, result, shape_, (Part(shape_, () if nothing else (call,)),), channel_axis, number)

    def _number(self, index: tuple[int, ...]) -> int:
        number = 0
        for axis, at in enumerate(index):
            if axis in self._summed:
                number = number * self.numblocks[axis] + at
        return number

    def _gradient_block(self, index: tuple[int, ...]) -> Block:
        """Of dx: the block itself, then what padding modes have read of it, in the order of the core's slabs."""
        spatial = [self._positions(*axis) for axis in self._spatial(index)]
        result = self._result(index)
        shape_ = tuple(part.stop - part.start for part in result)
        parts = [self._part(index, [positions["block"] for positions in spatial], folded=False)]
        for a, axis in enumerate(self._axes):
            if axis.mode == "zeros":
                continue
            for side in ("front", "behind"):
                each = [
                    positions["inside" if b < a or self._axes[b].mode == "zeros" else side if b == a else "read"]
                    for b, positions in enumerate(spatial)
                ]
                if all(positions.total for positions in each):
                    parts.append(self._part(index, each, folded=True))
        return Block(index, result, shape_, tuple(parts), self._channel_axis)

    def _part(self, index: tuple[int, ...], positions: list[Positions], folded: bool) -> Part:
        samples, channels = self._samples(index), self._channels(index[self._channel_axis])
        w = self._weights(samples, channels)
        calls = []
        runs = [
            zip(each.runs, each.lengths, itertools.accumulate(each.lengths, initial=0), strict=False)
            for each in positions
        ]
        nothing = (samples is not None and samples.extent == 0) or channels.x.extent == 0
        for of_axes in [] if nothing else itertools.product(*runs):
            found: list[Run] = [run for run, _, _ in of_axes if run is not None]
            if len(found) < len(of_axes):
                continue
            dy = self._array(samples, channels.y, [run.read for run in found])
            options = self._options(channels, [run.padding for run in found])
            spatial = tuple(run.extent for run in found)
            x_shape = self._ordered(samples and samples.extent, channels.x.extent, spatial)
            at = self._ordered(
                samples and slice(0, samples.extent),
                slice(0, channels.x.extent),
                tuple(slice(start, start + length) for _, length, start in of_axes),
            )
            sources = {self._name("dy"): dy, "w": w}
            calls.append(Call(self.core, sources, options, x_shape, shape_of(w), x_shape, at))
        counts = tuple(each.total for each in positions)
        shape_ = self._ordered(samples and samples.extent, channels.x.extent, counts)
        targets = self._ordered(samples and None, None, tuple(each.targets for each in positions)) if folded else None
        return Part(shape_, tuple(calls), targets)

    # ------------------------------------------------------------ arrays

    def _ordered(self, samples: Any, channels: Any, spatial: tuple[Any, ...]) -> tuple[Any, ...]:
        """What belongs to the axes of x or y, in their order."""
        lead = () if self.geometry.batch is None else (samples,)
        last = self.geometry.options.conv.channels_last
        return (*lead, *spatial, channels) if last else (*lead, channels, *spatial)

    def _array(self, samples: AxisRead | None, channels: AxisRead, spatial: list[AxisRead]) -> Source:
        return self._ordered(samples, channels, tuple(spatial))

    def _weights(self, samples: AxisRead | None, channels: ChannelStretch) -> Source:
        kernel = tuple(run_of(0, extent) for extent in self.geometry.kernel)
        each = (samples,) if self.geometry.options.conv.per_sample and samples is not None else ()
        return (*each, channels.w_filters, channels.w_depth, *kernel)

    def _name(self, of_core: str) -> str:
        """An array's name in the function that was asked for."""
        return {"x": "dy", "dy": "x"}[of_core] if self.transposed else of_core

    def _options(self, channels: ChannelStretch, padding: list[tuple[int, int]]) -> ConvOptions:
        g = self.geometry
        return g.options.conv._replace(
            stride=g.stride, padding=tuple(padding), dilation=g.dilation, groups=channels.groups, padding_mode="zeros"
        )


def _place(source: Source) -> Index:
    """Where in an array something lies that is read in one piece."""
    parts = [read.slices[0] if read.slices else slice(0, 0) for read in source]
    return tuple(slice(part.start, part.stop) for part in parts)


def _all(shape_: Shape) -> Index:
    return tuple(slice(0, extent) for extent in shape_)


def grid_of(geometry: Geometry, core: str) -> tuple[Shape, tuple[str, ...]]:
    """The shape that is cut into blocks, and the names of its axes in messages."""
    shape_ = geometry.x_shape if core == "input_grad" else geometry.y_shape
    channels = "C" if core == "input_grad" else "K"
    lead = () if geometry.batch is None else ("N",)
    spatial = ("D", "H", "W")[3 - geometry.rank :]
    names = (*lead, *spatial, channels) if geometry.options.conv.channels_last else (*lead, channels, *spatial)
    return shape_, names
