"""A problem is computed block by block, in memory that does not grow with the arrays; or by one call of the engine.

In: a ``Problem``, its ``Arithmetic``, an ``Engine``.   Out: results, or gradients, in arrays that are given.
Next: ``gather.py``, ``engine.py``.

What lies beyond the ends, other byte orders, masks, parts of complex numbers, digits of long ones: all of that is
brought for one block, which a cache holds, and no array is copied whole.  Floats whose boundary the engine knows are
computed where they lie, but for their borders.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final

import numpy as np

from convpp._call.arguments import Shape
from convpp._call.validation import Array
from convpp.plain.engine import Engine
from convpp.plain.fields import Arithmetic, Matrix
from convpp.plain.gather import Reach, gather, reach_of, scatter
from convpp.plain.problem import Problem
from convpp.plain.separable import Factors

#: What a block may take, its source and its results together: a quarter of what a call may take beside its result.
#: More is no faster: new memory costs as much as what is computed in it.
BLOCK_BYTES = 4 << 20

#: What the engine takes for results of at most so many bytes is not asked for.
SMALL_BYTES = 16 << 20

#: From so many results on, a few borders are computed apart, and the rest as if zeros lay beyond the ends, which the
#: engine's fastest strategies do.
LARGE = 1 << 17
#: They are few if they are one in so many.
BORDER = 8

Everything: Final = slice(None)
#: Ranges of results along the convolved axes.
Region = tuple[range, ...]


@dataclass(frozen=True)
class Work:
    """What is computed: ``weights`` are (filters, channels/groups, \\*kernel), behind (\\*batch) for their own."""

    problem: Problem
    arithmetic: Arithmetic
    engine: Engine
    weights: Array
    real: np.dtype[Any]
    factors: Factors | None = None

    @property
    def planes(self) -> int:
        """Real arrays that the source becomes."""
        return self.engine.groups * int(self.weights.shape[1 + self._lead])

    @property
    def sums(self) -> int:
        """Real arrays that become the results."""
        return int(self.weights.shape[self._lead])

    @property
    def _lead(self) -> int:
        return len(self.problem.batch) if self.problem.own_kernels else 0

    def weights_of(self, batch: tuple[slice, ...]) -> Array:
        """Those of a block."""
        if not self.problem.own_kernels:
            return self.weights
        kernel = self.weights.shape[self._lead :]
        part = np.broadcast_to(self.weights, (*self.problem.batch, *kernel))[batch]
        return part.reshape(-1, *kernel)

    def add_to_weights(self, dw: Array, batch: tuple[slice, ...], part: Array) -> None:
        """Adds the gradient of the weights of a block to that of all."""
        if not self.problem.own_kernels:
            dw += part
            return
        lengths = (len(range(n)[s]) for s, n in zip(batch, self.problem.batch, strict=True))
        shared = part.reshape(*lengths, *dw.shape[self._lead :])
        inside = tuple(s if n > 1 else slice(None) for s, n in zip(batch, dw.shape, strict=False))
        over = tuple(i for i in range(self._lead) if dw.shape[i] == 1)
        dw[inside] += shared.sum(over, keepdims=True, dtype=dw.dtype)

    def planes_of(self, block: Array) -> list[Array]:
        """Views of (\\*batch, planes, ...)."""
        lead: tuple[Any, ...] = (Everything,) * len(self.problem.batch)
        return [block[(*lead, i)] for i in range(block.shape[len(lead)])]


@dataclass(frozen=True)
class Block:
    """A part of the results, and what it reads."""

    batch: tuple[slice, ...]
    results: tuple[slice, ...]
    reaches: tuple[Reach, ...]

    @property
    def where(self) -> tuple[slice, ...]:
        """Of the results, without the axis of the kernels."""
        return (*self.batch, *self.results)

    @property
    def samples(self) -> Shape:
        """Extents of the batch."""
        return tuple(s.stop - s.start for s in self.batch)


class Buffers:
    """Memory that blocks take one after the other: new pages cost as much as what is computed in them."""

    def __init__(self) -> None:
        self._kept: dict[str, Array] = {}

    def take(self, name: str, shape: Shape, dtype: np.dtype[Any]) -> Array:
        """An array that is not filled; the one of this name is then over."""
        size = math.prod(shape)
        kept = self._kept.get(name)
        if kept is None or kept.size < size:
            kept = self._kept[name] = np.empty(size, dtype)
        return kept[:size].reshape(shape)


def blocks_of(work: Work, results: Region | None = None) -> Iterator[Block]:
    """All blocks, or those of some results, in their order."""
    problem = work.problem
    batch = len(problem.batch)
    full = [range(n) for n in problem.batch] + list(results or (range(n) for n in problem.results))
    extents = extents_of_block(work, tuple(len(part) for part in full))
    cuts = [
        [slice(at, min(at + extent, part.stop)) for at in range(part.start, part.stop, extent)]
        for part, extent in zip(full, extents, strict=True)
    ]
    reaches: list[dict[int, Reach]] = [
        {s.start: reach_of(axis, s.start, s.stop) for s in cut}
        for axis, cut in zip(problem.axes, cuts[batch:], strict=True)
    ]
    for where in product(*cuts):
        read = tuple(known[s.start] for known, s in zip(reaches, where[batch:], strict=True))
        yield Block(where[:batch], where[batch:], read)


def borders_of(problem: Problem) -> list[Region]:
    """The results that read beyond the ends, each once."""
    regions: list[Region] = []
    inside: list[range] = []
    for number, axis in enumerate(problem.axes):
        first = min(-(-axis.lo // axis.stride), axis.count)
        last = max((axis.extent + axis.lo - axis.reach - 1) // axis.stride + 1, first)
        others = tuple(range(other.count) for other in problem.axes[number + 1 :])
        for part in range(first), range(min(last, axis.count), axis.count):
            if part:
                regions.append((*inside, part, *others))
        inside.append(range(first, min(last, axis.count)))
    return regions


def extents_of_block(work: Work, full: Shape) -> Shape:
    """Results of a block along the axes of the batch and the convolved ones: the last stay whole where they can."""
    problem = work.problem
    extents = [max(n, 1) for n in full]
    batch = len(problem.batch)
    copies = work.planes * (1 + work.engine.copies * bool(work.engine.leading) + bool(work.factors))

    def size() -> int:
        lead, ends = math.prod(extents[:batch]) * problem.columns, extents[batch:]
        read = math.prod((n - 1) * axis.stride + axis.reach + 1 for n, axis in zip(ends, problem.axes, strict=True))
        return lead * work.real.itemsize * (read * copies + math.prod(ends) * work.sums)

    # First without reading much twice, then as needed.
    for least in (*(0,) * batch, *(axis.reach // axis.stride for axis in problem.axes)), (0,) * len(extents):
        for i in range(len(extents)):
            parts = 1
            while size() > BLOCK_BYTES and extents[i] > max(2 * least[i], 1):
                parts += 1 + parts // 8
                extents[i] = -(-full[i] // parts)
    return tuple(extents)


def compute(work: Work, view: Array, y: Array, hidden: Array | None = None) -> bool:
    """The results, in y (kernels, \\*batch, \\*results, \\*trailing); ``view`` is a in canonical order.

    Returns whether one call of the engine was all.
    """
    if 0 in y.shape:
        return False
    buffers, left = Buffers(), _by_one_call(work, view, y)
    for block in (block for region in left for block in blocks_of(work, region)):
        target = y[(Everything, *block.where)]
        straight = work.arithmetic.plain() and target.dtype == work.real and not work.engine.leading
        in_place = straight and _is_flat(target, len(block.batch))
        sums = _sums(work, block, _source(work, block, buffers), buffers, target if in_place else None)
        if not in_place:
            at = (Everything, *block.where)
            work.arithmetic.store(work.planes_of(sums), target, None if hidden is None else hidden[at])
    return not left


def _by_one_call(work: Work, view: Array, y: Array) -> list[Region | None]:
    """Computes what one call of the engine can, where it lies; what is left: nothing, borders, or all (None)."""
    problem, engine = work.problem, padded(work)
    if not _in_place(work, view, y):
        return [None]
    borders: list[Region | None] = []
    if y.size >= LARGE and any(mode != "zeros" for mode in engine.modes):
        borders = [*borders_of(problem)]
        most = math.prod(problem.results) // BORDER
        if sum(math.prod(len(part) for part in region) for region in borders if region) > most:
            borders = []
        else:
            engine = replace(engine, modes=("zeros",) * len(engine.modes))
    x = view.reshape(-1, 1, *(axis.extent for axis in problem.axes), problem.columns)
    weights = work.weights_of((Everything,) * len(problem.batch))
    if not engine.takes_whole(engine.modes):
        return [None]
    if y.nbytes > SMALL_BYTES and engine.workspace_bytes(x.shape, weights) > BLOCK_BYTES:
        return [None]
    engine.forward(x, weights, out=y)
    return borders


def differentiate(work: Work, view: Array, dy: Array, targets: Sequence[Array] | None, dw: Array | None) -> None:
    """Adds the gradients: of a to ``targets`` (in canonical order; two of a complex one), of the weights to dw."""
    problem, engine = work.problem, work.engine
    if 0 in dy.shape:
        return
    batch = len(problem.batch)
    w_shape = work.weights.shape[work._lead :]
    if _in_place(work, view, dy) and engine.takes_whole(tuple(axis.boundary for axis in problem.axes)):
        _differentiate_whole(work, view, dy, targets, dw)
        return
    buffers = Buffers()
    looks_back = work.arithmetic.looks_back()
    for block in blocks_of(work):
        source = _source(work, block, buffers, looks_back or dw is not None)
        given = dy[(Everything, *block.where)]
        samples, n = block.samples, math.prod(block.samples)
        gradients = buffers.take("gradients", (*samples, work.sums, *given.shape[1 + batch :]), work.real)
        sums = work.planes_of(_sums(work, block, source, buffers, None)) if looks_back else []
        work.arithmetic.start(given, sums, work.planes_of(gradients))
        weights = work.weights_of(block.batch)
        x = source.reshape(n, work.planes, *source.shape[1 + batch : 1 + batch + len(problem.axes)], problem.columns)
        flat = gradients.reshape(
            n, work.sums, *gradients.shape[1 + batch : 1 + batch + len(problem.axes)], problem.columns
        )
        if dw is not None:
            shape = (n, *w_shape) if problem.own_kernels else w_shape
            work.add_to_weights(dw, block.batch, engine.weight_grad(flat, x, shape))
        if targets is not None:
            dx = engine.input_grad(flat, weights, x.shape).reshape(source.shape)
            parts = work.arithmetic.of_source(work.planes_of(dx), work.planes_of(source))
            for part, target in zip(parts if isinstance(parts, tuple) else (parts,), targets, strict=True):
                inside = tuple(
                    s if extent > 1 else slice(0, 1) for s, extent in zip(block.batch, target.shape, strict=False)
                )
                scatter(part, block.reaches, inside, target)


def _differentiate_whole(work: Work, view: Array, dy: Array, targets: Sequence[Array] | None, dw: Array | None) -> None:
    """By one call of the engine for each gradient; the targets are new."""
    problem, engine = work.problem, padded(work)
    x = view.reshape(-1, 1, *(axis.extent for axis in problem.axes), problem.columns)
    flat = dy.reshape(x.shape[0], work.sums, *problem.results, problem.columns)
    everything = (Everything,) * len(problem.batch)
    weights = work.weights_of(everything)
    if dw is not None:
        work.add_to_weights(dw, everything, engine.weight_grad(flat, x, weights.shape))
    if targets is not None:
        target = targets[0]
        straight = target.flags.c_contiguous and target.dtype == work.real and target.size == x.size
        dx = engine.input_grad(flat, weights, x.shape, out=target if straight else None)
        if not straight:
            target += dx.reshape(target.shape)


def kernel_gradients(work: Work, dw: Array) -> Matrix:
    """The gradient of the weights as those of the arithmetic's matrix."""
    lead, problem = work._lead, work.problem
    matrix = work.arithmetic.matrix
    groups, filters, channels = len(matrix), len(matrix[0]), len(matrix[0][0])
    kernel = dw.shape[lead + 2 :]
    cut = dw.reshape(*dw.shape[:lead], groups, problem.kernels, filters, channels, *kernel)
    everything = (Everything,) * lead
    each = Everything if not problem.own_kernels else 0  # the axis of the kernels
    return [
        [[cut[(*everything, g, each, f, c)] for c in range(channels)] for f in range(filters)] for g in range(groups)
    ]


def weights_of(problem: Problem, matrix: Matrix, real: np.dtype[Any]) -> Array:
    """(filters, channels/groups, \\*kernel), by group, kernel and filter; with (\\*batch) in front of their own."""
    lead = len(problem.batch) if problem.own_kernels else 0
    stacked = np.array([[[np.asarray(part, real) for part in row] for row in group] for group in matrix])
    # (groups, filters, channels, [kernels or *batch], *kernel)
    kernel = tuple(range(stacked.ndim - len(problem.axes), stacked.ndim))
    order = (*range(3, 3 + lead), 0, 1, 2, *kernel) if problem.own_kernels else (0, 3, 1, 2, *kernel)
    arranged = stacked.transpose(order)
    channels = len(matrix[0][0])
    return np.ascontiguousarray(
        arranged.reshape(*arranged.shape[:lead], -1, channels, *arranged.shape[arranged.ndim - len(kernel) :])
    )


def _source(work: Work, block: Block, buffers: Buffers, filled: bool = True) -> Array:
    """(\\*batch, planes, \\*positions, \\*trailing); not ``filled``: for its shape alone."""
    positions = tuple(reach.length for reach in block.reaches)
    source = buffers.take("source", (*block.samples, work.planes, *positions, *work.problem.trailing), work.real)
    if not filled:
        return source

    def get(view: Array, target: Array, constant: Any) -> None:
        gather(view, block.reaches, block.batch, target, constant)

    work.arithmetic.fill(work.planes_of(source), get)
    return source


def _sums(work: Work, block: Block, source: Array, buffers: Buffers, out: Array | None) -> Array:
    """(\\*batch, sums, \\*results, \\*trailing)."""
    problem, batch = work.problem, len(block.batch)
    n, axes = math.prod(block.samples), len(problem.axes)
    x = source.reshape(n, work.planes, *source.shape[1 + batch : 1 + batch + axes], problem.columns)
    if out is None and not work.engine.leading:
        results = tuple(s.stop - s.start for s in block.results)
        out = buffers.take("sums", (n, work.sums, *results, problem.columns), work.real)
    if work.factors is not None:
        sums = work.factors.apply(work.engine, x, buffers.take, out)
    else:
        sums = work.engine.forward(x, work.weights_of(block.batch), out)
    return sums.reshape(*block.samples, work.sums, *sums.shape[2:-1], *problem.trailing)


def _is_flat(target: Array, batch: int) -> bool:
    """Whether the engine's result of a block lies there as it comes: (batch, kernels, ...)."""
    one = target.shape[0] == 1 or math.prod(target.shape[1 : 1 + batch]) == 1
    return one and target.flags.c_contiguous and target.flags.aligned


def _in_place(work: Work, view: Array, y: Array) -> bool:
    """Whether arrays are as the engine takes them: sums of one type that are the results, in canonical order."""
    return (
        work.arithmetic.plain()
        and work.factors is None
        and view.dtype == work.real
        and view.dtype.isnative
        and y.dtype == work.real
        and view.flags.c_contiguous
        and view.flags.aligned
        and not work.engine.leading
        and _is_flat(y, len(work.problem.batch))
    )


def padded(work: Work) -> Engine:
    """The engine, which pads."""
    axes = work.problem.axes
    return replace(
        work.engine,
        padding=tuple((axis.lo, axis.hi) for axis in axes),
        modes=tuple(axis.boundary for axis in axes),
    )
