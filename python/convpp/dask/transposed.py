"""``conv_transpose`` and its gradients of dask arrays: the passes of the convolution that it is the adjoint of.

In: dask arrays and the geometry.   Out: dask arrays, not computed yet.   Next: ``functional.py``, which does the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dask.array import Array as DaskArray

from convpp._call.arguments import Activation, Layout, Padding, PaddingMode, PerAxis, shape
from convpp._call.options import conv_options, transpose_options
from convpp.dask.arrays import any_array, chunked
from convpp.dask.functional import product, weight_grad


def conv_transpose(
    x: DaskArray,
    w: Any,
    bias: Any = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    output_size: Iterable[int] | None = None,
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
    """``convpp.conv_transpose`` of a dask array: each block of y gathers what it needs of x.

    ``y[n, k, h] = bias[k] + sum over c, p, r with p*stride - lo + r*dilation = h  of  x[n, c, p] * w[c, k, r]``

    Parameters
    ----------
    x : dask array (N, C_in, \\*spatial)
    w : array (C_in, C_out/groups, \\*kernel)
        NumPy's or dask's.
    bias : array (C_out,), optional
    chunks : chunks of y, optional
        By default those of x, with all extents times the stride.
    output_padding, output_size
        As in ``convpp.conv_transpose``.
    stride, padding, dilation, groups, padding_mode, flip, layout, activation, add, per_sample, algorithm, threads
        As in ``convpp.dask.conv``.

    Returns
    -------
    dask array (N, C_out, \\*out)

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import convpp.dask
    >>> x = da.ones((1, 3, 40, 40), chunks=(1, 3, 20, 20))
    >>> y = convpp.dask.conv_transpose(x, np.ones((3, 8, 2, 2)), stride=2)
    >>> y.chunks, float(y[0, 0, 0, 0].compute())
    (((1,), (8,), (40, 40), (40, 40)), 3.0)
    """
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    options = transpose_options(shared, output_padding, output_size)
    source, weights = chunked(x, "x"), any_array(w, "w")
    return product("conv-transpose", "forward", options, source, weights, None, bias, activation, add, chunks, threads)


def conv_transpose_input_grad(
    dy: DaskArray,
    w: Any,
    x_shape: Iterable[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    output_size: Iterable[int] | None = None,
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
    """Gradient of a loss with respect to x of ``conv_transpose``: a plain convolution of dy with w.

    ``dx[n, c, p] = sum over k, r of dy[n, k, p*stride - lo + r*dilation] * w[c, k, r]``

    Parameters
    ----------
    dy : dask array (N, C_out, \\*out)
    w : array (C_in, C_out/groups, \\*kernel)
    x_shape : shape of x
    chunks : chunks of dx, optional
        For instance ``x.chunks``.
    stride, padding, output_padding, output_size, dilation, groups, padding_mode, flip, layout, per_sample, algorithm, \
threads
        As in ``convpp.dask.conv_transpose``.

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
    >>> dy = da.ones((1, 1, 6, 6), chunks=(1, 1, 3, 3))
    >>> dx = convpp.dask.conv_transpose_input_grad(dy, np.ones((1, 1, 2, 2)), (1, 1, 3, 3), stride=2)
    >>> dx.chunks[2], float(dx[0, 0, 2, 2].compute())
    ((2, 1), 4.0)
    """
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    options = transpose_options(shared, output_padding, output_size)
    source, weights = chunked(dy, "dy"), any_array(w, "w")
    of = shape(x_shape, "x_shape")
    kind = "conv-transpose-input-grad"
    return product(kind, "input_grad", options, source, weights, of, None, None, None, chunks, threads)


def conv_transpose_weight_grad(
    dy: DaskArray,
    x: DaskArray,
    w_shape: Iterable[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    output_size: Iterable[int] | None = None,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: str = "auto",
    threads: int | None = 1,
) -> DaskArray:
    """Gradient of a loss with respect to w of ``conv_transpose``, added in a tree over the chunks of x.

    ``dw[c, k, r] = sum over n, p of x[n, c, p] * dy[n, k, p*stride - lo + r*dilation]``

    Parameters
    ----------
    dy : dask array (N, C_out, \\*out)
    x : dask array (N, C_in, \\*spatial)
    w_shape : shape of w, (C_in, C_out/groups, \\*kernel)
    stride, padding, output_padding, output_size, dilation, groups, padding_mode, flip, layout, per_sample, algorithm, \
threads
        As in ``convpp.dask.conv_transpose``.

    Returns
    -------
    dask array of shape ``w_shape``, chunked along C_in as x is

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import dask.array as da
    >>> import convpp.dask
    >>> dy, x = da.ones((1, 1, 6, 6), chunks=(1, 1, 3, 3)), da.ones((1, 1, 3, 3), chunks=(1, 1, 2, 2))
    >>> float(convpp.dask.conv_transpose_weight_grad(dy, x, (1, 1, 2, 2), stride=2)[0, 0, 0, 0].compute())
    9.0
    """
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    options = transpose_options(shared, output_padding, output_size)
    kind = "conv-transpose-weight-grad"
    return weight_grad(kind, options, chunked(dy, "dy"), chunked(x, "x"), w_shape, threads)
