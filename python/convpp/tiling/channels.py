"""Stretches of channels: which groups, and which channels of the other arrays, a block of some channels needs.

In: a geometry, and a range of the result's channels.   Out: ranges of the channels of x, y and w.   Next: ``tiles.py``.

A block has whole groups, or a part of one: then it is a convolution itself.
"""

from __future__ import annotations

from typing import NamedTuple

from convpp._call.geometry import Geometry
from convpp.errors import ShapeError
from convpp.tiling.axes import AxisRead, run_of


class ChannelStretch(NamedTuple):
    """Channels of x, y and w (its two axes), in so many groups."""

    x: AxisRead
    y: AxisRead
    w_filters: AxisRead
    w_depth: AxisRead
    groups: int


def channel_stretch(geometry: Geometry, start: int, stop: int, *, of_x: bool, name: str) -> ChannelStretch:
    """What channels [start, stop) of x (else of y) need; of a part of a group, all of the group's other channels."""
    groups = geometry.options.conv.groups
    depth, filters = geometry.in_channels // groups, geometry.out_channels // groups
    own, other = (depth, filters) if of_x else (filters, depth)
    if own == 0 or (start % own == 0 and stop % own == 0):
        first, last = (start // own, stop // own) if own else (0, groups)
        x, y = run_of(first * depth, last * depth), run_of(first * filters, last * filters)
        return ChannelStretch(x, y, y, run_of(0, depth), max(last - first, 1))
    group = start // own
    if group != (stop - 1) // own:
        raise ShapeError(
            f"a block has channels {start} to {stop - 1} along axis {name}, parts of more than one group, expected "
            f"chunks of a multiple of {own} channels along it, or of a divisor of {own}"
        )
    part, whole = run_of(start, stop), run_of(group * other, (group + 1) * other)
    inside = run_of(start - group * own, stop - group * own)
    if of_x:
        return ChannelStretch(part, whole, whole, inside, 1)
    return ChannelStretch(whole, part, part, run_of(0, depth), 1)
