"""Operands: dask arrays as they are, others as constants of the plan; or an error that says what to do.

In: what users pass.   Out: ``Given``, with shape, type and chunks; dask arrays of results.   Next: ``functional.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from dask.array import Array as DaskArray
from dask.base import tokenize

from convpp._call.arguments import Shape, as_int, check_activation, check_shape
from convpp._call.geometry import Geometry, geometry_of
from convpp._call.options import Options
from convpp._call.validation import as_array, as_float, common_dtype
from convpp.dask.chunks import Chunks, check_groups
from convpp.dask.layer import BlockLayer, SumLayer, array_on
from convpp.dask.plan import ConvPlan, Operand
from convpp.errors import DTypeError, ShapeError
from convpp.prepared import PreparedWeights
from convpp.tiling.compute import ALGORITHM
from convpp.tiling.grid import Tiles
from convpp.tiling.reads import grid_axes


class Given(NamedTuple):
    """An operand: ``array`` is a dask array, or a NumPy array that every task gets."""

    name: str
    array: Any
    dtype: np.dtype[Any]

    @property
    def shape(self) -> Shape:
        """Whole numbers."""
        return tuple(int(extent) for extent in self.array.shape)

    @property
    def chunks(self) -> Chunks | None:
        """None of a constant."""
        return self.array.chunks if isinstance(self.array, DaskArray) else None


def chunked(value: Any, name: str, *, floats: bool = True) -> Given:
    """An operand that has to be a dask array."""
    if not isinstance(value, DaskArray):
        raise DTypeError(
            f"{name} is a {type(value).__name__}, expected a dask array: dask.array.from_array({name}, chunks=...), or "
            "the function of this name in convpp, which is for arrays in memory"
        )
    if any(math.isnan(extent) for axis in value.chunks for extent in axis):
        raise ShapeError(
            f"{name} has chunks of unknown extents, {value.chunks}, expected known ones: use "
            f"{name}.compute_chunk_sizes()"
        )
    if not isinstance(value._meta, np.ndarray) or isinstance(value._meta, np.ma.MaskedArray):
        raise DTypeError(
            f"{name} is a dask array of chunks of {type(value._meta).__name__}, expected plain NumPy arrays: "
            f"use {name}.map_blocks(numpy.asarray)"
        )
    empty = np.empty((0,) * value.ndim, value.dtype)
    return Given(name, value, (as_float if floats else as_array)(empty, name).dtype)


def any_array(value: Any, name: str, *, floats: bool = True) -> Given:
    """An operand that is a dask array, or else an array that is small enough to be sent to every worker."""
    if isinstance(value, DaskArray):
        return chunked(value, name, floats=floats)
    if isinstance(value, PreparedWeights):
        raise DTypeError(
            f"{name} was prepared for one shape of x, expected plain weights: blocks have shapes of their own"
        )
    array = (as_float if floats else as_array)(value, name)
    return Given(name, array, array.dtype)


def dtype_of(*given: Given | None) -> np.dtype[Any]:
    """Of the result, as convpp's functions have it."""
    return common_dtype(*(operand.dtype for operand in given if operand is not None))


def geometry_for(x_shape: Shape, w_shape: Shape, options: Options) -> Geometry:
    """What is asked for, checked as convpp's functions check it."""
    return geometry_of(x_shape, w_shape, options)


def threads_of_task(threads: Any) -> int | None:
    """Of each task; None: as many as convpp has on that worker."""
    if threads is None:
        return None
    count = as_int(threads, "threads")
    if count < 1:
        raise ValueError(
            f"threads is {count}, expected 1 or more, of each task (None: convpp's own number on the worker)"
        )
    return count


def check_cuts(geometry: Geometry, given: Given, of_dx: bool) -> None:
    """That channels of what is cut as the result is are cut between groups, or within one."""
    chunks = given.chunks
    assert chunks is not None
    axis = channel_axis(geometry)
    channels = geometry.in_channels if of_dx else geometry.out_channels
    check_groups(chunks[axis], max(channels // geometry.options.conv.groups, 1), given.name, axis)


def channel_axis(geometry: Geometry) -> int:
    """Of x, y and their gradients."""
    lead = 0 if geometry.batch is None else 1
    return lead + geometry.rank if geometry.options.conv.channels_last else lead


def split(geometry: Geometry, chunks: Chunks) -> tuple[Chunks, Shape, Chunks]:
    """Chunks of x or y as those of (N, if there is one), channels, space."""
    lead = 0 if geometry.batch is None else 1
    axis = channel_axis(geometry)
    return chunks[:lead], chunks[axis], tuple(c for a, c in enumerate(chunks) if a >= lead and a != axis)


def joined(geometry: Geometry, samples: Chunks, channels: Shape, spatial: Chunks) -> Chunks:
    """The way back."""
    last = geometry.options.conv.channels_last
    return (*samples, *spatial, channels) if last else (*samples, channels, *spatial)


def array_of(
    kind: str, tiles: Tiles, sources: Sequence[Given], extra: Mapping[str, Any], threads: Any, algorithm: str
) -> DaskArray:
    """The result of a pass as a dask array: tiles say what each block reads of ``sources``.

    ``extra``: bias and add (operands of their own) and activation, if there are.
    """
    g = tiles.geometry
    how: dict[str, Any] = {
        "threads": threads_of_task(threads),
        "algorithm": ALGORITHM if algorithm in ("auto", "direct") else algorithm,
    }
    activation = extra.get("activation")
    if activation is not None:
        check_activation(activation)
        how["activation"] = activation
    channels = (channel_axis(g),)
    added = [extra[name] for name in ("bias", "add") if extra.get(name) is not None]
    of_grid = {"bias": channels, "add": tuple(range(len(tiles.numblocks)))}
    operands, constants = [], {}
    for given in (*sources, *added):
        if given.chunks is None:
            constants[given.name] = given.array
        else:
            by = of_grid.get(given.name) or grid_axes(tiles, given.name)
            operands.append(
                Operand(given.name, given.array.name, given.chunks, by, given.dtype, given.name in ("x", "dy"))
            )
    dtype = dtype_of(*sources, *added)
    if tiles.core == "weight_grad":
        how["rounded"] = False
    plan = ConvPlan(tiles, tuple(operands), constants, dtype.name, how)
    token = tokenize(kind, g, tiles.op, tiles.chunks, operands, constants, dtype.name, sorted(how.items(), key=str))
    name = f"convpp-{kind}-{token}"
    dependencies = [given.array for given in (*sources, *added) if given.chunks is not None]
    if tiles.core != "weight_grad":
        return array_on(BlockLayer(name, plan), tiles.chunks, dtype, dependencies)
    lead = (0,) if g.options.conv.per_sample else ()
    kept = (*lead, channel_axis(g), *(None for _ in range(g.rank + 1)))
    chunks = tuple(
        (extent,) if axis is None else tiles.chunks[axis] for axis, extent in zip(kept, tiles.result_shape, strict=True)
    )
    return array_on(SumLayer(name, plan, kept, dtype), chunks, dtype, dependencies)


def residual(value: Any, shape: Shape, chunks: Chunks) -> Given:
    """What is added to a result: a dask array with the result's chunks, or an array that is cut so."""
    from dask.array import from_array

    if not isinstance(value, DaskArray):
        array = as_float(value, "add")
        check_shape(array.shape, shape, "add", "the shape of the result")
        value = from_array(array, chunks=chunks)
    given = chunked(value, "add")
    check_shape(given.shape, shape, "add", "the shape of the result")
    if given.chunks != chunks:
        raise ShapeError(
            f"add has chunks {given.chunks}, expected those of the result: use add.rechunk({chunks}), or "
            "chunks=add.chunks for the result"
        )
    return given
