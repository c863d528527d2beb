"""One axis of a block: what a stretch of results reads, in whole numbers.

In: extents of an axis, and a stretch of its results.   Out: slices of the source, and the padding that is left to add.
Next: ``tiles.py``, where blocks are products of such stretches.

A forward stretch reads one run of positions of the padded x.  Those inside x are elements; those outside are zeros, or
the elements that the padding mode puts there.  A stretch of dx receives one run of dy for the elements themselves, and
one for each run of positions outside x that the padding mode took from them: the adjoint.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import NamedTuple

#: Padding of an axis that a call has to add: (in front, behind).  Negative padding leaves elements out.
Pair = tuple[int, int]


class AxisRead(NamedTuple):
    """What is read of one axis: ascending slices that do not touch, joined; then, with ``order``, taken from those.

    ``order`` is None, or ranges of numbers of elements in the joined slices, where a padding mode turns elements around
    or repeats them.
    """

    slices: tuple[slice, ...]
    order: tuple[range, ...] | None = None

    @property
    def joined(self) -> int:
        """Elements in the slices."""
        if len(self.slices) == 1:  # mostly
            return int(self.slices[0].stop - self.slices[0].start)
        return sum(part.stop - part.start for part in self.slices)

    @property
    def extent(self) -> int:
        """Elements of what is read."""
        return self.joined if self.order is None else sum(map(len, self.order))

    def elements(self) -> tuple[int, ...]:
        """The number in the source of each element that is read."""
        joined = tuple(i for part in self.slices for i in range(part.start, part.stop))
        return joined if self.order is None else tuple(joined[i] for part in self.order for i in part)


class Axis(NamedTuple):
    """A spatial axis of a convolution, from x of ``input`` to y of ``output`` elements."""

    input: int
    output: int
    kernel: int
    stride: int
    dilation: int
    lo: int
    mode: str

    @property
    def reach(self) -> int:
        """From the first tap to the last."""
        return self.dilation * (self.kernel - 1)

    @property
    def read(self) -> range:
        """Positions of x that are read, from the first to the last; those below 0 or from ``input`` on are padding."""
        return range(-self.lo, (self.output - 1) * self.stride + self.reach - self.lo + 1)


class Stretch(NamedTuple):
    """What a stretch of an axis reads, and the padding of the axis in a call that has just that."""

    read: AxisRead
    padding: Pair


class Run(NamedTuple):
    """Neighbouring positions of x whose gradients come from ``read``, in a call with an x of ``extent`` elements."""

    read: AxisRead
    padding: Pair
    extent: int


class Positions(NamedTuple):
    """Ascending positions of x, in runs of neighbours, and what they fold to.

    Of a run whose positions no result reads, there is None.
    """

    runs: tuple[Run | None, ...]
    lengths: tuple[int, ...]
    #: Elements of the block, one for each position; None: the positions are the block itself.
    targets: tuple[range, ...] | None

    @property
    def total(self) -> int:
        """Of all runs."""
        return sum(self.lengths)


def run_of(start: int, stop: int) -> AxisRead:
    """A plain slice."""
    return AxisRead((slice(start, stop),) if stop > start else ())


def border_element(mode: str, at: int, n: int) -> int | None:
    """The element of an axis of n that is read at a position; None where that is a zero."""
    if 0 <= at < n:
        return at
    if mode == "zeros" or n == 0:
        return None
    if mode == "replicate":
        return 0 if at < 0 else n - 1
    if mode == "circular":
        return at % n
    if mode == "symmetric":
        at %= 2 * n
        return min(at, 2 * n - 1 - at)
    if n == 1:
        return 0
    at %= 2 * (n - 1)
    return min(at, 2 * (n - 1) - at)


def forward_stretch(axis: Axis, start: int, stop: int) -> Stretch:
    """What the results [start, stop) read of x."""
    first = start * axis.stride - axis.lo
    end = (stop - 1) * axis.stride + axis.reach - axis.lo + 1 if stop > start else first
    inside = max(first, 0), min(end, axis.input)
    if axis.mode == "zeros":
        inside = trimmed(*inside, lambda at: _is_read(axis, at, start, stop))
        if inside[0] >= inside[1]:  # in padding alone
            return Stretch(AxisRead(()), (0, end - first))
        return Stretch(run_of(*inside), (inside[0] - first, end - inside[1]))
    front = outside(axis, first, min(0, end))
    behind = outside(axis, max(axis.input, first), end)
    return Stretch(gathered([*front, range(inside[0], max(inside)), *behind]), (0, 0))


def trimmed(start: int, stop: int, counts: Callable[[int], bool]) -> tuple[int, int]:
    """[start, stop) without what does not count at either end."""
    while start < stop and not counts(start):
        start += 1
    while start < stop and not counts(stop - 1):
        stop -= 1
    return start, stop


def _is_read(axis: Axis, position: int, start: int, stop: int) -> bool:
    """Whether one of the results [start, stop) reads a position of x."""
    first = position + axis.lo - axis.reach  # the tap's distance to the last tap is a multiple of the dilation
    lowest = max(start, -(-first // axis.stride))
    highest = min(stop - 1, (position + axis.lo) // axis.stride)
    return any((position + axis.lo - p * axis.stride) % axis.dilation == 0 for p in range(lowest, highest + 1))


def _reads(axis: Axis, p: int, start: int, stop: int) -> bool:
    """Whether result p reads one of the positions [start, stop)."""
    first = p * axis.stride - axis.lo
    tap = max(-((first - start) // axis.dilation), 0)
    return tap < axis.kernel and first + tap * axis.dilation < stop


def outside(axis: Axis, start: int, stop: int) -> list[range]:
    """The elements that positions [start, stop) outside x read, as ranges."""
    return as_ranges(border_element(axis.mode, at, axis.input) or 0 for at in range(start, stop))


def as_ranges(numbers: Iterable[int]) -> list[range]:
    """Numbers as ranges of neighbours that ascend, or descend."""
    found: list[list[int]] = []  # first, last, step
    for at in numbers:
        if found and at - found[-1][1] in ((1, -1) if found[-1][2] == 0 else (found[-1][2],)):
            found[-1][2] = at - found[-1][1]
            found[-1][1] = at
        else:
            found.append([at, at, 0])
    return [range(first, last + (step or 1), step or 1) for first, last, step in found]


def neighbours(ascending: Iterable[int]) -> list[tuple[int, int]]:
    """Runs [start, stop) of neighbouring numbers."""
    found: list[tuple[int, int]] = []
    for at in ascending:
        if found and found[-1][1] == at:
            found[-1] = (found[-1][0], at + 1)
        else:
            found.append((at, at + 1))
    return found


def gathered(wanted: Iterable[range]) -> AxisRead:
    """The read that gives these elements, in this order."""
    ranges = [part for part in wanted if len(part)]
    ends: list[list[int]] = []
    for start, stop in sorted((min(part[0], part[-1]), max(part[0], part[-1]) + 1) for part in ranges):
        if ends and start <= ends[-1][1]:
            ends[-1][1] = max(ends[-1][1], stop)
        else:
            ends.append([start, stop])
    slices = tuple(slice(start, stop) for start, stop in ends)
    order, before = [], 0
    moved: dict[int, int] = {}  # what begins a slice, and the number there
    for start, stop in ends:
        moved[start] = before - start
        before += stop - start
    for part in ranges:
        shift = next(shift for start, shift in reversed(moved.items()) if start <= min(part[0], part[-1]))
        order.append(range(part.start + shift, part.stop + shift, part.step))
    steps = [range(0), *order, range(before, before)]
    if all(a.stop == b.start and b.step == 1 for a, b in itertools.pairwise(steps)):
        return AxisRead(slices)
    return AxisRead(slices, tuple(order))


def gradient_run(axis: Axis, start: int, stop: int) -> Run | None:
    """What positions [start, stop) of x receive of dy; None where no result reads any of them."""
    first = max(-((axis.reach - start - axis.lo) // axis.stride), 0)
    end = min((stop - 1 + axis.lo) // axis.stride + 1, axis.output)
    first, end = trimmed(first, end, lambda at: _reads(axis, at, start, stop))
    if end <= first or stop <= start:
        return None
    lo = axis.lo + start - first * axis.stride
    hi = (end - 1 - first) * axis.stride + axis.reach + 1 - (stop - start) - lo
    return Run(run_of(first, end), (lo, hi), stop - start)


def gradient_positions(axis: Axis, start: int, stop: int) -> dict[str, Positions]:
    """Of elements [start, stop) of dx: the "block" itself, and where a padding mode has read them.

    "inside": in x; "front" and "behind": outside; "read": all these.  They are lists of positions in ascending order,
    those that the core goes through (cpp/src/plan/halo.hpp), as far as they concern this block.
    """
    read = axis.read
    inside = range(max(start, read.start), max(min(stop, read.stop), max(start, read.start)))
    front: list[tuple[int, int]] = []
    behind: list[tuple[int, int]] = []
    if axis.mode != "zeros":
        front = _folded(axis, range(read.start, min(0, read.stop)), start, stop)
        behind = _folded(axis, range(max(axis.input, read.start), read.stop), start, stop)
    here = [(inside.start, inside.stop)] if len(inside) else []
    return {
        "block": Positions((gradient_run(axis, start, stop),), (stop - start,), None),
        "front": _positions(axis, front, start),
        "inside": _positions(axis, here, start),
        "behind": _positions(axis, behind, start),
        "read": _positions(axis, front + here + behind, start),
    }


def _folded(axis: Axis, positions: range, start: int, stop: int) -> list[tuple[int, int]]:
    """Runs of positions outside x that read an element of the block."""
    elements = ((at, border_element(axis.mode, at, axis.input)) for at in positions)
    return neighbours(at for at, element in elements if element is not None and start <= element < stop)


def _positions(axis: Axis, runs: list[tuple[int, int]], start: int) -> Positions:
    joined: list[tuple[int, int]] = []
    for run in runs:
        if joined and joined[-1][1] == run[0]:
            joined[-1] = (joined[-1][0], run[1])
        else:
            joined.append(run)
    targets: list[range] = []
    for first, stop in joined:
        inside = range(max(first, 0), min(stop, axis.input))
        parts = [
            *outside(axis, first, min(0, stop)),
            *([inside] if len(inside) else []),
            *outside(axis, max(axis.input, first), stop),
        ]
        targets += [range(part.start - start, part.stop - start, part.step) for part in parts]
    return Positions(tuple(gradient_run(axis, *run) for run in joined), tuple(b - a for a, b in joined), tuple(targets))
