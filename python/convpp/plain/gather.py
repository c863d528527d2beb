"""Part of an array with what lies beyond its ends: brought together, and its adjoint.

In: a view in canonical order, and the range that a block of results reads.   Out: a contiguous copy of it.
Next: ``blocks.py``, which asks for it.

``scatter`` is the adjoint: <gather(x), g> = <x, scatter(g)> for all x and g.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp._call.validation import Array
from convpp.plain.axes import OUTSIDE, Axis, Indices


@dataclass(frozen=True)
class Reach:
    """The elements of one axis that a block reads: ``core`` is what lies inside, from ``at`` on; ``border`` the rest.

    ``border`` lists positions in the block, and ``taken`` the elements of the source that lie there.
    """

    core: slice
    at: int
    length: int
    border: Indices
    taken: Indices

    @property
    def outside(self) -> bool:
        """Whether what lies beyond the ends is no element of the source."""
        return bool((self.taken == OUTSIDE).any())

    @property
    def inside(self) -> slice:
        """Where the core lies in the block."""
        return slice(self.at, self.at + self.core.stop - self.core.start)


def reach_of(axis: Axis, start: int, stop: int) -> Reach:
    """What results start to stop read."""
    first, end = axis.read(start, stop)
    low, high = min(max(first, 0), axis.extent), min(max(end, 0), axis.extent)
    high = max(low, high)
    at = min(max(low - first, 0), end - first)
    before, behind = axis.sources(first, first + at), axis.sources(first + at + high - low, end)
    border = np.concatenate((np.arange(at), np.arange(at + high - low, end - first)))
    return Reach(slice(low, high), at, end - first, border, np.concatenate((before, behind)))


def gather(view: Array, reaches: tuple[Reach, ...], batch: tuple[slice, ...], target: Array, constant: Any) -> None:
    """Fills ``target`` (\\*batch, \\*positions, \\*trailing), axis after axis, as ``np.pad`` does."""
    lead = len(batch)
    inside: list[slice] = [*batch, *(reach.inside for reach in reaches)]
    # An axis whose border lies elsewhere in the source is brought whole, by its indices; it is small, as its block is.
    far = [_is_far(reach) for reach in reaches]
    source = view[(*batch, *(slice(None) if f else r.core for r, f in zip(reaches, far, strict=True)))]
    for number, (reach, f) in enumerate(zip(reaches, far, strict=True)):
        if f:
            source = source.take(_whole(reach), axis=lead + number)
    everything = (slice(None),) * lead
    target[(*everything, *(slice(None) if f else s for s, f in zip(inside[lead:], far, strict=True)))] = source
    done = [slice(None) if f else s for s, f in zip(inside[lead:], far, strict=True)]
    for number, (reach, f) in enumerate(zip(reaches, far, strict=True)):
        if f:
            continue

        def along(where: Any, number: int = number) -> tuple[Any, ...]:
            return (*everything, *done[:number], where, *done[number + 1 :])

        if reach.outside:
            target[along(slice(0, reach.at))] = constant
            target[along(slice(reach.inside.stop, None))] = constant
        elif reach.border.size:
            target[along(reach.border)] = target[along(reach.taken + (reach.at - reach.core.start))]
        done[number] = slice(None)


def scatter(gradient: Array, reaches: tuple[Reach, ...], batch: tuple[slice, ...], view: Array) -> None:
    """Adds the gradient of what was gathered to that of the source; ``gradient`` is used up."""
    lead = len(batch)
    everything = (slice(None),) * lead
    region: list[slice] = [slice(None)] * len(reaches)
    for number in reversed(range(len(reaches))):
        reach = reaches[number]
        if _is_far(reach):
            continue
        for position, element in () if reach.outside else zip(reach.border.tolist(), reach.taken.tolist(), strict=True):
            to = (*everything, *region[:number], reach.at + element - reach.core.start, *region[number + 1 :])
            gradient[to] += gradient[(*everything, *region[:number], position, *region[number + 1 :])]
        region[number] = reach.inside
    gradient = gradient[(*everything, *region)]
    _add(gradient, reaches, 0, batch, view)


def _add(gradient: Array, reaches: tuple[Reach, ...], number: int, index: tuple[Any, ...], view: Array) -> None:
    """Adds along axis ``number`` and those behind it; the far ones element by element."""
    if number == len(reaches):
        target = view[index]
        for axis, (wide, narrow) in enumerate(zip(gradient.shape, target.shape, strict=True)):
            if wide != narrow:  # the source was broadcast along a batch axis
                gradient = gradient.sum(axis, keepdims=True, dtype=target.dtype)
        target += gradient
        return
    reach = reaches[number]
    if not _is_far(reach):
        _add(gradient, reaches, number + 1, (*index, reach.core), view)
        return
    lead = (slice(None),) * len(index)
    for position, element in enumerate(_whole(reach).tolist()):
        part = gradient[(*lead, slice(position, position + 1))]
        _add(part, reaches, number + 1, (*index, slice(element, element + 1)), view)


def _is_far(reach: Reach) -> bool:
    """Whether the border repeats elements that are not in the block's core."""
    if reach.outside or not reach.taken.size:
        return False
    return bool(reach.taken.min() < reach.core.start or reach.taken.max() >= reach.core.stop)


def _whole(reach: Reach) -> Indices:
    """The source of every position."""
    core = np.arange(reach.core.start, reach.core.stop, dtype=np.intp)
    before = reach.taken[reach.border < reach.at]
    behind = reach.taken[reach.border >= reach.at]
    return np.concatenate((before, core, behind))
