"""``convolve`` and ``correlate`` in blocks: what a block reads of a, of the kernel and of the mask; how it is computed.

In: the arguments of ``convolve``, of an a that is only sliced.   Out: blocks, and their values.
Next: ``convolve.py``, the functions; ``../plain/``, which computes a block.

A block of results is the "valid" part of a convolution of what it reads, with what lies beyond the ends put around it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convpp._call.arguments import Shape
from convpp._call.validation import Array, as_array
from convpp.errors import DTypeError
from convpp.plain.forward import _run
from convpp.plain.operands import as_operand, as_source, common, types_of
from convpp.plain.prepare import Options, _constant
from convpp.plain.problem import make_problem
from convpp.plain.separable import outer
from convpp.plain.whole import limits
from convpp.tiling.axes import Axis, Pair, Stretch, forward_stretch, run_of
from convpp.tiling.blocks import Index, Source
from convpp.tiling.chunks import Chunks, block_that_fits, bytes_of, chunks_of
from convpp.tiling.loop import part_of
from convpp.tiling.stores import release, shape_of_array, sliceable


@dataclass(frozen=True, slots=True)
class PlainBlock:
    """A block of the result of ``convolve``; ``around``: what lies beyond the ends of a, along each axis of it."""

    index: Shape
    result: Index
    source: Source
    around: tuple[Pair, ...]
    #: Of the kernel, or of the kernels.
    kernel: Index


class PlainCall:
    """A call of ``convolve`` or ``correlate``, checked without a look at a's elements."""

    def __init__(self, a: Any, kernel: Any, kernels: Any, mask: Any, dtype: Any, options: Options) -> None:
        self.a: Any = a
        self.shape: Shape = shape_of_array(a)
        self.several: bool = kernels is not None
        given = kernels if self.several else kernel
        lines = options.method == "separable" and isinstance(given, (list, tuple)) and not self.several
        unread: Array = np.broadcast_to(np.empty((), np.dtype(a.dtype)), self.shape)
        mask = None if mask is None else sliceable(mask, "mask", _as_mask)
        self.mask: Any = mask if mask is None or shape_of_array(mask) == self.shape else as_source(unread, mask)[1]
        if given is None or (self.several and kernel is not None):
            _run(np.zeros(1), kernel, kernels, None, dtype, None, options)  # says what is wrong with that
        w = outer(tuple(as_operand(line, "kernel") for line in given)) if lines else as_operand(given, "kernel")
        geometry = (options.axes, options.mode, options.boundary, options.origin, options.stride, options.dilation)
        problem = make_problem(unread, w, self.several, options.turned, *geometry)
        self.kernel: Any = given if lines else w
        self.result_shape: Shape = problem.result_shape
        lead = len(problem.batch)
        numbers = problem.order[lead : lead + len(problem.axes)]
        self.axes: dict[int, Axis] = {
            number: Axis(of.extent, of.count, of.kernel, of.stride, of.dilation, of.lo, _mode(of.boundary))
            for number, of in zip(numbers, problem.axes, strict=True)
        }
        #: Axes of a along which each element has a kernel of its own.
        self.own: set[int] = {
            axis
            for axis in range(len(self.shape))
            if not lines and w.ndim == len(self.shape) and axis not in self.axes and w.shape[axis] > 1
        }
        stream = options.method in ("auto", "direct")
        self.options: Options = replace(options, mode="valid", boundary="zeros", origin=0, stream=stream)
        quotient = mask is not None or options.nan == "ignore"
        types = types_of(np.dtype(a.dtype), w.dtype, dtype, quotient)
        self.constant: complex = _constant(problem, unread, types)
        self.filled: np.dtype[Any] = _type_with(np.dtype(a.dtype), self.constant, types.real)
        #: Whole numbers that become floats for the number beyond their ends: no NaN is one of theirs, to be left out.
        self.masked: bool = self.filled.kind == "f" and np.dtype(a.dtype).kind in "biu" and quotient
        if self.masked:
            self.options = replace(self.options, nan="propagate")
        self._stretches: dict[tuple[int, int, int], Stretch] = {}
        one = [1] * len(self.shape)
        for axis in self.own:
            one[axis] = w.shape[axis]
        for axis, of_axis in self.axes.items():
            one[axis] = of_axis.reach + 1
        nothing = None if self.mask is None else np.zeros(one, bool)
        found = self._convolved(np.zeros(one, self.filled), self._whole_kernel(), nothing, dtype)
        #: Of results.
        self.dtype: np.dtype[Any] = found.dtype

    @property
    def kernels(self) -> dict[str, Array]:
        """All arrays of the kernel, by names."""
        if isinstance(self.kernel, (list, tuple)):
            return {f"kernel[{i}]": np.asarray(line) for i, line in enumerate(self.kernel)}
        return {"kernel": self.kernel}

    def _whole_kernel(self) -> Any:
        return self.kernel[:1] if self.several else self.kernel

    def _convolved(self, a: Array, kernel: Any, mask: Array | None, dtype: Any) -> Array:
        single, several = (None, kernel) if self.several else (kernel, None)
        if self.masked and mask is None:
            mask = np.zeros(a.shape, bool)
        return _run(a, single, several, mask, dtype, None, self.options)

    # ------------------------------------------------------------ blocks

    def tiles(self, chunks: Any) -> PlainTiles:
        """The blocks of the result."""
        if (limit := bytes_of(chunks)) is not None:
            chunks = self._block_of_memory(limit)
        names = tuple(map(str, range(len(self.result_shape))))
        return PlainTiles(self, chunks_of(chunks, self.result_shape, names))

    def block(self, index: Shape, spans: list[tuple[int, int]]) -> PlainBlock:
        """The block of a stretch of each axis of the result."""
        result = tuple(slice(*span) for span in spans)
        kernels = result[:1] if self.several else ()
        source, around = [], []
        for axis, (start, stop) in enumerate(spans[self.several :]):
            stretch = self.stretch(axis, start, stop)
            source.append(stretch.read)
            around.append(stretch.padding)
        own: Index = ()
        if self.own:
            own = tuple(result[axis] if axis in self.own else slice(None) for axis in range(len(self.shape)))
        return PlainBlock(index, result, tuple(source), tuple(around), kernels if self.several else own)

    def stretch(self, axis: int, start: int, stop: int) -> Stretch:
        """What a stretch of results reads along an axis of a, and how much lies beyond its ends."""
        if axis not in self.axes:
            return Stretch(run_of(0, 1) if self.shape[axis] == 1 and stop > start else run_of(start, stop), (0, 0))
        key = (axis, start, stop)
        if key not in self._stretches:
            self._stretches[key] = forward_stretch(self.axes[axis], start, stop)
        return self._stretches[key]

    def _block_of_memory(self, limit: int) -> Shape:
        """Batches are cut first, then convolved axes, the outermost first; what trails, and kernels, last."""
        shape, lead = self.result_shape, int(self.several)
        first, last = min(self.axes), max(self.axes)
        itemsize = self.dtype.itemsize

        def bytes_of_block(block: Shape) -> int:
            read = 1
            for axis, extent in enumerate(block[lead:]):
                of = self.axes.get(axis)
                padded = (extent - 1) * of.stride + of.reach + 1 if of is not None else min(extent, self.shape[axis])
                read *= padded
            masks = 0 if self.mask is None else read
            return math.prod(block) * itemsize + read * self.filled.itemsize + masks

        usual = {axis: max(8 * -(-(of.reach + 1) // of.stride), 16) for axis, of in self.axes.items()}
        rest = [axis for axis in range(first, len(self.shape)) if axis not in self.axes]
        between = [axis for axis in rest if axis < last]
        cuts = [(lead + axis, 1) for axis in (*range(first), *between)]
        cuts += [(lead + axis, usual[axis]) for axis in sorted(self.axes)]
        cuts += [(0, 1)] if self.several else []
        cuts += [(lead + axis, 1) for axis in (*(axis for axis in rest if axis > last), *sorted(self.axes))]
        return tuple(max(extent, 1) for extent in block_that_fits(limit, shape, cuts, bytes_of_block))

    # ------------------------------------------------------------ values

    def read(self, block: PlainBlock) -> tuple[Array, Array | None]:
        """The parts of a and of the mask."""
        a = part_of(self.a, "a", block.source, block, as_operand)
        mask = None if self.mask is None else part_of(self.mask, "mask", block.source, block, _as_mask)
        release(self.a)
        release(self.mask)
        return a, mask

    def compute(self, block: PlainBlock, found: tuple[Array, Array | None]) -> Array:
        """The block's results."""
        a, mask = found
        if any(max(pads) for pads in block.around):
            a = self._surrounded(a, block.around)
            mask = None if mask is None else np.pad(mask, block.around)
        return self.convolved(block, a, mask)

    def convolved(self, block: PlainBlock, a: Array, mask: Array | None) -> Array:
        """The block's results, of what it reads with all that lies around."""
        kernel = self.kernel[block.kernel] if isinstance(self.kernel, np.ndarray) and block.kernel else self.kernel
        return self._convolved(a, kernel, mask, self.dtype)

    @property
    def number(self) -> complex:
        """What lies beyond the ends, if it is no element."""
        return self.constant if self.filled.kind == "c" else self.constant.real

    def _surrounded(self, a: Array, around: tuple[Pair, ...]) -> Array:
        """With the number that lies beyond its ends."""
        shape = tuple(lo + extent + hi for (lo, hi), extent in zip(around, a.shape, strict=True))
        padded = np.full(shape, self.number, self.filled)
        padded[tuple(slice(lo, lo + extent) for (lo, _), extent in zip(around, a.shape, strict=True))] = a
        return padded


class PlainTiles(Sequence[PlainBlock]):
    """All blocks of a call, made one by one."""

    def __init__(self, call: PlainCall, chunks: Chunks) -> None:
        self.call = call
        self.chunks = chunks
        self._ends = tuple(tuple(itertools.accumulate(extents, initial=0)) for extents in chunks)

    def __len__(self) -> int:
        return math.prod(map(len, self.chunks))

    def __iter__(self) -> Iterator[PlainBlock]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: Any) -> Any:
        index = tuple(map(int, np.unravel_index(number, tuple(map(len, self.chunks)))))
        spans = [(ends[at], ends[at + 1]) for ends, at in zip(self._ends, index, strict=True)]
        return self.call.block(index, spans)


def _mode(boundary: str) -> str:
    """The padding mode of a boundary; what is a number is put around the block."""
    return "zeros" if boundary == "constant" else boundary


def _as_mask(values: Any, argument: str) -> Array:
    mask = as_array(values, argument)
    if mask.dtype != np.bool_:
        raise DTypeError(f"{argument} has dtype {mask.dtype}, expected bool: True where a is left out, as in np.ma")
    return mask


def _type_with(dtype: np.dtype[Any], constant: complex, real: np.dtype[Any]) -> np.dtype[Any]:
    """a's type, or one that holds its numbers and the one beyond its ends: that of the sums if this is not whole."""
    native: np.dtype[Any] = dtype if dtype.kind == "V" or dtype.isnative else dtype.newbyteorder("=")
    number = constant.real
    if native.kind not in "biu":
        return native if constant == 0 else common(native, real)
    if number != number // 1:  # nor are NaN and Inf whole
        return real
    for wide in (native, *(np.result_type(native, signed) for signed in (np.int8, np.int16, np.int32, np.int64))):
        if wide.kind in "biu" and limits(wide)[0] <= number <= limits(wide)[1]:
            return wide
    raise DTypeError(f"boundary is {int(number)}, expected a number that {native} holds: a has that dtype")
