"""The shape of a block whose arrays take no more than some memory.

In: a pass, a geometry, bytes.   Out: a shape, as if it had been given.   Next: ``chunks.py``, which looks for it.
"""

from __future__ import annotations

import math

from convpp._call.arguments import Shape
from convpp._call.geometry import Geometry
from convpp.tiling.chunks import block_that_fits


def block_of_memory(core: str, geometry: Geometry, limit: int, itemsize: int) -> Shape:
    """The block of the grid (of y, or of dx) that reads and writes at most ``limit`` bytes.

    Samples are cut first, which share nothing; then space, the outermost axis first, so that what is read lies together
    in memory or on disk, down to eight times what a result reads along an axis; then channels, for which x is read
    again; then space down to single pixels.
    """
    options = geometry.options.conv
    of_dx = core == "input_grad"
    grid = geometry.x_shape if of_dx else geometry.y_shape
    lead = 0 if geometry.batch is None else 1
    spatial = list(range(lead, lead + geometry.rank)) if options.channels_last else list(range(len(grid)))[lead + 1 :]
    channel = len(grid) - 1 if options.channels_last else lead
    own = (geometry.in_channels if of_dx else geometry.out_channels) // options.groups
    other = (geometry.out_channels if of_dx else geometry.in_channels) // options.groups

    def sizes(block: Shape) -> tuple[int, int]:
        """Elements of a block's part of the grid, with those of its source; of the weights."""
        samples = block[0] if lead else 1
        channels = block[channel]
        groups = max(-(-channels // own), 1) if own else 1
        extents = [block[axis] for axis in spatial]
        read = [_read(geometry, a, extent, of_dx) for a, extent in enumerate(extents)]
        weights = min(channels, groups * own) * other * math.prod(geometry.kernel)
        weights *= samples if options.per_sample else 1
        return samples * (channels * math.prod(extents) + groups * other * math.prod(read)), weights

    def bytes_of_block(block: Shape) -> int:
        return sum(sizes(block)) * itemsize

    spans = [d * (k - 1) + 1 for d, k in zip(geometry.dilation, geometry.kernel, strict=True)]
    usual = [max(8 * (span if of_dx else -(-span // s)), 16) for span, s in zip(spans, geometry.stride, strict=True)]
    cuts = [(0, 1)] if lead else []
    cuts += list(zip(spatial, usual, strict=True))
    steps = [(channel, own)] if options.groups > 1 else []
    cuts += [*steps, (channel, 1), *((axis, 1) for axis in spatial)]
    block = list(block_that_fits(limit, grid, cuts, bytes_of_block))
    block = [_alike(extent, of) for extent, of in zip(block, grid, strict=True)]
    block[channel] = _whole_groups(block[channel], own)
    return tuple(max(extent, 1) for extent in block)


def _alike(extent: int, of: int) -> int:
    """The extent of as many blocks that are nearly alike."""
    return -(-of // -(-of // extent)) if extent else extent


def _whole_groups(channels: int, own: int) -> int:
    """At most so many channels, that cut groups nowhere or evenly."""
    if own <= 1 or channels % own == 0:
        return channels
    if channels > own:
        return channels // own * own
    return next(part for part in range(channels, 0, -1) if own % part == 0)


def _read(geometry: Geometry, a: int, extent: int, of_dx: bool) -> int:
    """Elements that a stretch reads of its source along a spatial axis, at most."""
    reach = geometry.dilation[a] * (geometry.kernel[a] - 1)
    if of_dx:
        return min((extent - 1 + reach) // geometry.stride[a] + 1, geometry.output[a])
    padded = (extent - 1) * geometry.stride[a] + reach + 1
    return padded if geometry.padding_mode[a] != "zeros" else min(padded, geometry.input[a])
