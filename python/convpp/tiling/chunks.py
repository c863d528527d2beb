"""How a result is cut into blocks: from memory, a block's shape, or the extents of all blocks along each axis.

In: what users write as ``chunks``, and the shape that is cut.   Out: the extents of the blocks along each axis, as dask
has them.   Next: ``tiles.py``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from convpp._call.arguments import Shape, as_int, entries, shown
from convpp.errors import ShapeError

#: For each axis of what is cut, the extents of its blocks.
Chunks = tuple[Shape, ...]

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_EXPECTED = 'expected memory ("64 MiB" or bytes), the shape of a block, or the extents of all blocks along each axis'


def bytes_of(value: Any) -> int | None:
    """Memory in bytes; None if it is something else."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([kKmMgGtT]?i?[bB]?)\s*", value)
        unit = _UNITS.get(match[2].lower()) if match else None
        if match is None or unit is None or math.isinf(float(match[1]) * unit):
            raise ValueError(f"chunks is {shown(value)}, {_EXPECTED}")
        count = int(float(match[1]) * unit)
    elif entries(value, "chunks") is None:
        count = as_int(value, "chunks")
    else:
        return None
    if count < 1:
        raise ValueError(f"chunks is {shown(value)}, expected at least one byte")
    return count


def chunks_of(value: Any, shape: Shape, names: tuple[str, ...]) -> Chunks:
    """The extents of blocks along each axis, from those of one block or of all; -1 or None: the whole axis."""
    listed = entries(value, "chunks")
    if listed is None or len(listed) != len(shape):
        raise ValueError(f"chunks is {shown(value)}, {_EXPECTED}: {len(shape)} entries, for shape {shape}")
    return tuple(_along(value, entry, extent, name) for entry, extent, name in zip(listed, shape, names, strict=True))


def _along(value: Any, entry: Any, extent: int, name: str) -> Shape:
    if isinstance(entry, Sequence) and not isinstance(entry, (str, bytes)):
        extents = tuple(as_int(part, "chunks") for part in entry)
        if any(part < 0 for part in extents) or sum(extents) != extent:
            raise ShapeError(
                f"chunks is {shown(value)}, expected extents along axis {name} that add up to {extent}, got "
                f"{sum(extents)}"
            )
        return extents
    size = -1 if entry is None else as_int(entry, "chunks")
    if size == -1:
        size = max(extent, 1)
    if size < 1:
        raise ValueError(f"chunks is {shown(value)}, expected blocks of 1 or more along axis {name} (-1: all of it)")
    return even(extent, size)


def even(extent: int, size: int) -> Shape:
    """Blocks of a size, and what is left."""
    if extent == 0:
        return (0,)
    full, left = divmod(extent, size)
    return (size,) * full + ((left,) if left else ())


def block_that_fits(
    limit: int, shape: Shape, cuts: list[tuple[int, int]], bytes_of_block: Callable[[Shape], int]
) -> Shape:
    """The shape of a block whose arrays take at most ``limit`` bytes.

    ``cuts``: axes in the order in which they are cut, each as little as will do, and down to an extent at most; an axis
    may come twice.
    """
    block = list(shape)
    for axis, least in cuts:
        low, high = min(least, block[axis]), block[axis]  # at most as large as `high`; `low` need not fit
        while low < high:
            middle = (low + high + 1) // 2
            if bytes_of_block((*block[:axis], middle, *block[axis + 1 :])) <= limit:
                low = middle
            else:
                high = middle - 1
        block[axis] = low
        if bytes_of_block(tuple(block)) <= limit:
            return tuple(block)
    raise ValueError(
        f"chunks is {limit} bytes, expected {bytes_of_block(tuple(block))} or more: a block of the result of shape "
        f"{tuple(block)} reads and writes so much"
    )
