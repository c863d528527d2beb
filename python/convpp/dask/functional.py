"""``conv`` and its gradients of dask arrays.

In: dask arrays and the geometry.   Out: dask arrays, not computed yet.   Next: ``arrays.py`` (operands), ``chunks.py``
(the result's chunks), ``layer.py`` (the graph); ``transposed.py`` and ``backward.py``, made of these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dask.array import Array as DaskArray

from convpp._call.arguments import (
    Activation,
    Layout,
    Padding,
    PaddingMode,
    PerAxis,
    check_shape,
    shape,
    shape_of_weights,
)
from convpp._call.geometry import Geometry, geometry_of, wrong_dy
from convpp._call.options import Options, conv_options
from convpp.dask.arrays import (
    Given,
    any_array,
    array_of,
    channel_axis,
    check_cuts,
    chunked,
    dtype_of,
    joined,
    residual,
    split,
)
from convpp.dask.chunks import Chunks, channel_chunks, check_groups, given_chunks, spatial_chunks
from convpp.tiling.grid import Tiles


def conv(
    x: DaskArray,
    w: Any,
    bias: Any = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    activation: Activation | None = None,
    add: Any = None,
    per_sample: bool = False,
    algorithm: str = "auto",
    chunks: Any = None,
    threads: int | None = 1,
) -> DaskArray:
    """``convpp.conv`` of a dask array that is chunked along any axes.

    ``y[n, k, p] = bias[k] + sum over c, r of x[n, c, p*stride - lo + r*dilation] * w[k, c, r]``

    A block of y is one task, which reads what its results read: of the chunks around, halos of just that length, from
    as many of them as are thinner than that.  Nothing is rechunked.

    Parameters
    ----------
    x : dask array (N, C, \\*spatial), chunked along any axes
    w : array (K, C/groups, \\*kernel)
        NumPy's, which every worker gets, or a dask array, whose chunks along K are those of y.
    bias : array (K,), optional
        NumPy's or dask's.
    add : array of y's shape, optional
        A dask array with the chunks of y, or an array in memory.
    algorithm : as in ``convpp.conv``
        "auto" and "direct" are "stream", direct sums whose order looks at no extent: y has the bits of
        ``convpp.conv(..., algorithm="stream")``, however x is chunked.  By "winograd" and "fft", last bits depend on
        the chunks.
    chunks : chunks of y, optional
        As dask has them.  By default those of x: a result belongs to the chunk that its kernel is centred in.  Channels
        are cut where w is; else where a chunk of x and a group end together.
    threads : int, optional
        Of each task: 1, since dask computes several at a time.  None: convpp's own number on the worker.
    stride, padding, dilation, groups, padding_mode, flip, layout, activation, per_sample
        As in ``convpp.conv``.

    Returns
    -------
    dask array (N, K, \\*out)

    Raises
    ------
    ShapeError, DTypeError, ValueError
        Now, where shapes, types or chunks do not fit; the message says which rechunk to make.  What a chunk raises when
        it is computed is raised then.

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import convpp.dask
    >>> x = da.ones((1, 3, 1000, 1000), chunks=(1, 3, 250, 500))
    >>> y = convpp.dask.conv(x, np.ones((8, 3, 5, 5)), padding="same")
    >>> y.chunks
    ((1,), (8,), (250, 250, 250, 250), (500, 500))
    >>> float(y[0, 0, 500, 500].compute())
    75.0
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    source, weights = chunked(x, "x"), any_array(w, "w")
    return product("conv", "forward", options, source, weights, None, bias, activation, add, chunks, threads)


def conv_input_grad(
    dy: DaskArray,
    w: Any,
    x_shape: Iterable[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: str = "auto",
    chunks: Any = None,
    threads: int | None = 1,
) -> DaskArray:
    """Gradient of a loss with respect to x, given its gradient with respect to y.

    ``dx[n, c, h] = sum over k, p, r with p*stride - lo + r*dilation = h  of  dy[n, k, p] * w[k, c, r]``

    A block of dx gathers what it needs of dy and its halo, so no chunk is written twice, and each sum is in one task.

    Parameters
    ----------
    dy : dask array (N, K, \\*out)
    w : array (K, C/groups, \\*kernel)
        NumPy's or dask's.
    x_shape : shape of x
    chunks : chunks of dx, optional
        For instance ``x.chunks``.  By default they follow those of dy, as those of y do those of x.
    stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm, threads
        As in ``convpp.dask.conv``.

    Returns
    -------
    dask array of shape ``x_shape``

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import convpp.dask
    >>> dy = da.ones((2, 5, 18, 18), chunks=(1, 5, 9, 18))
    >>> dx = convpp.dask.conv_input_grad(dy, np.ones((5, 3, 3, 3)), (2, 3, 20, 20))
    >>> dx.chunks, float(dx[0, 0, 10, 10].compute())
    (((1, 1), (3,), (10, 10), (20,)), 45.0)
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    source, weights = chunked(dy, "dy"), any_array(w, "w")
    of = shape(x_shape, "x_shape")
    return product("conv-input-grad", "input_grad", options, source, weights, of, None, None, None, chunks, threads)


def conv_weight_grad(
    dy: DaskArray,
    x: DaskArray,
    w_shape: Iterable[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: str = "auto",
    threads: int | None = 1,
) -> DaskArray:
    """Gradient of a loss with respect to w, given its gradient with respect to y.

    ``dw[k, c, r] = sum over n, p of dy[n, k, p] * x[n, c, p*stride - lo + r*dilation]``

    Each chunk of dy gives a sum over its pixels, and these are added in a binary tree over the chunks' numbers: the
    same bits on any number of threads or workers, whoever is ready first.  (Other chunks are another tree.)  Halves
    are added in float32, and rounded once.

    Parameters
    ----------
    dy : dask array (N, K, \\*out)
    x : dask array (N, C, \\*spatial)
        Its chunks may be other ones than those of dy.
    w_shape : shape of w, (K, C/groups, \\*kernel)
    stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm, threads
        As in ``convpp.dask.conv``.

    Returns
    -------
    dask array of shape ``w_shape``, chunked along K as dy is

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import dask.array as da
    >>> import convpp.dask
    >>> dy = da.ones((2, 5, 18, 18), chunks=(1, 5, 9, 9))
    >>> x = da.ones((2, 3, 20, 20), chunks=(1, 3, 10, 10))
    >>> float(convpp.dask.conv_weight_grad(dy, x, (5, 3, 3, 3))[0, 0, 0, 0].compute())
    648.0
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    return weight_grad("conv-weight-grad", options, chunked(dy, "dy"), chunked(x, "x"), w_shape, threads)


def product(
    kind: str,
    op: str,
    options: Options,
    source: Given,
    weights: Given,
    x_shape: tuple[int, ...] | None,
    bias: Any,
    activation: Activation | None,
    add: Any,
    chunks: Any,
    threads: int | None,
) -> DaskArray:
    """y or dx, of a convolution or a transposed one: what its blocks read of ``source`` and of the weights."""
    geometry = geometry_of(x_shape or source.shape, weights.shape, options)
    transposed = options is not options.conv
    of_dx = (op == "input_grad") != transposed  # whether the core's pass is the input gradient
    wanted = geometry.y_shape if of_dx else geometry.x_shape
    if source.shape != wanted:
        raise wrong_dy(source.shape, wanted, x_shape or source.shape, weights.shape, options)
    result = geometry.x_shape if of_dx else geometry.y_shape
    cut = (
        result_chunks(geometry, source, weights, of_dx)
        if chunks is None
        else given_chunks(chunks, result, dtype_of(source, weights))
    )
    axis, own = channel_axis(geometry), (geometry.in_channels if of_dx else geometry.out_channels)
    check_groups(cut[axis], max(own // geometry.options.conv.groups, 1), "chunks", axis)
    tiles = Tiles(op, geometry, cut, transposed)
    extra: dict[str, Any] = {"activation": activation}
    if bias is not None:
        extra["bias"] = any_array(bias, "bias")
        check_shape(extra["bias"].shape, (own,), "bias", "one for each channel of the result")
    if add is not None:
        extra["add"] = residual(add, result, cut)
    return array_of(kind, tiles, (source, weights), extra, threads, options.conv.algorithm)


def result_chunks(geometry: Geometry, source: Given, weights: Given, of_dx: bool) -> Chunks:
    """Those that follow the source's, and along the channels the weights'."""
    assert source.chunks is not None
    samples, channels, spatial = split(geometry, source.chunks)
    along = None
    if weights.chunks is not None:
        lead = len(weights.shape) - geometry.rank - 2
        along = weights.chunks[lead + of_dx] if not of_dx or geometry.options.conv.groups == 1 else None
    own = channel_chunks(geometry, channels, along, of_dx)
    if along is not None and own == along:
        filters = geometry.in_channels if of_dx else geometry.out_channels
        groups = geometry.options.conv.groups
        check_groups(own, max(filters // groups, 1), weights.name, len(weights.shape) - geometry.rank - 2 + of_dx)
    return joined(geometry, samples, own, spatial_chunks(geometry, spatial, of_dx))


def weight_grad(
    kind: str, options: Options, dy: Given, x: Given, w_shape: Iterable[int], threads: int | None
) -> DaskArray:
    """dw, of a convolution or a transposed one: its grid are the chunks of the core's dy."""
    transposed = options is not options.conv
    per_sample = options.conv.per_sample
    of = shape_of_weights(w_shape, x.shape, per_sample) if per_sample else shape(w_shape, "w_shape")
    geometry = geometry_of(x.shape, of, options)
    if dy.shape != geometry.result_shape:
        raise wrong_dy(dy.shape, geometry.result_shape, x.shape, of, options)
    grid = x if transposed else dy
    assert grid.chunks is not None
    check_cuts(geometry, grid, of_dx=False)
    tiles = Tiles("weight_grad", geometry, grid.chunks, transposed)
    return array_of(kind, tiles, (dy, x), {}, threads, options.conv.algorithm)
