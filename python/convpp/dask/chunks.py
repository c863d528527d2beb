"""Which chunks a result has, and which rechunk to make where there is no such result.

In: the chunks of the operands, and a geometry.   Out: the chunks of the result.   Next: ``convpp.tiling``, for which
they are the blocks.

Along a spatial axis, pixel p of y is above pixel ``p * stride + shift`` of x, which is where its kernel is centred
(with padding that keeps the extent, pixel p itself); and it belongs to the chunk that has that pixel, or the nearest.
So with ``padding="same"`` and no stride the chunks of y are those of x.  Chunks of dx follow those of dy by the same
rule.  Chunks that would be empty are left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

from convpp._call.arguments import Shape, shown
from convpp._call.geometry import Geometry
from convpp.errors import ShapeError

#: For each axis, the extents of its chunks.
Chunks = tuple[Shape, ...]


def ends_of(extents: Iterable[int]) -> list[int]:
    """Where chunks begin and end: one more than there are."""
    return list(itertools.accumulate(extents, initial=0))


def cut_at(ends: Iterable[int], extent: int) -> Shape:
    """Chunks that end at these places, as far as they are inside."""
    inside = sorted({0, extent, *(end for end in ends if 0 < end < extent)})
    return tuple(stop - start for start, stop in itertools.pairwise(inside)) or (0,)


def shift_of(reach: int, lo: int, hi: int) -> int:
    """Pixel p of y is above pixel ``p * stride + shift`` of x."""
    return (reach - lo - hi) // 2


def following(extents: Shape, of_result: int, place: Callable[[int], int]) -> Shape:
    """Chunks of a result, which end where ``place`` puts the ends of a source's chunks."""
    return cut_at((place(end) for end in ends_of(extents)[1:-1]), of_result)


def spatial_chunks(geometry: Geometry, extents: Chunks, of_dx: bool) -> Chunks:
    """Along the spatial axes: of y from those of x, or (``of_dx``) of x from those of y."""
    found = []
    for a, given in enumerate(extents):
        stride, (lo, hi) = geometry.stride[a], geometry.padding[a]
        shift = shift_of(geometry.dilation[a] * (geometry.kernel[a] - 1), lo, hi)
        if of_dx:
            found.append(following(given, geometry.input[a], lambda p, s=stride, t=shift: p * s + t))  # type: ignore[misc]
        else:
            found.append(following(given, geometry.output[a], lambda h, s=stride, t=shift: -((t - h) // s)))  # type: ignore[misc]
    return tuple(found)


def channel_chunks(geometry: Geometry, source: Shape, weights: Shape | None, of_dx: bool) -> Shape:
    """Along the channels: those of the weights where these are cut, else where a chunk and a group of the source end.

    ``weights``: the extents of their chunks along the axis of the result's channels, if that is the whole of it.
    """
    groups = geometry.options.conv.groups
    channels, result = geometry.in_channels, geometry.out_channels
    if of_dx:
        channels, result = result, channels
    if weights is not None and len(weights) > 1:
        return weights
    if channels == 0:
        return (result,)
    ends = [end * groups // channels for end in ends_of(source)[1:-1] if end * groups % channels == 0]
    return cut_at((end * result // groups for end in ends), result)


def check_groups(extents: Shape, own: int, array: str, axis: int) -> None:
    """That no chunk has parts of two groups, which have ``own`` channels each; ``array`` is what the message names."""
    advice = f"{array}.rechunk({{{axis}: {own}}})" if array != "chunks" else f"{own} along axis {axis}"
    for start, stop in itertools.pairwise(ends_of(extents)):
        if start < stop and (start % own or stop % own) and start // own != (stop - 1) // own:
            raise ShapeError(
                f"{array} has a chunk with channels {start} to {stop - 1}, parts of more than one group, expected "
                f"chunks of a multiple of {own} or a divisor of it: use {advice}"
            )


def given_chunks(value: Any, shape: Shape, dtype: Any) -> Chunks:
    """What the argument ``chunks`` says, as dask reads it; ``dtype``: of the result, for "auto"."""
    from dask.array.core import normalize_chunks

    try:
        found = normalize_chunks(value, shape, dtype=dtype)
    except (ValueError, TypeError) as error:
        raise ShapeError(f"chunks is {shown(value)}, expected chunks of shape {shape}: {error}") from None
    chunks = tuple(tuple(int(extent) for extent in axis) for axis in found)
    if any(math.fsum(axis) != extent for axis, extent in zip(chunks, shape, strict=True)):
        raise ShapeError(f"chunks is {shown(value)}, expected extents that add up to shape {shape}")
    return chunks
