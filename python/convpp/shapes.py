"""Shapes of results, without computing them.

In: shapes and the geometry.   Out: a tuple, or the error that the operation itself would raise.
Next: ``_call/geometry.py`` and ``_call/pooling.py``, which compute all extents.
"""

from __future__ import annotations

from collections.abc import Iterable

from convpp._call.arguments import Layout, Padding, PaddingMode, PerAxis, shape
from convpp._call.geometry import geometry_of
from convpp._call.options import conv_options, transpose_options
from convpp._call.pooling import pool_options, pooling_of


def conv_output_shape(
    x_shape: Iterable[int],
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
) -> tuple[int, ...]:
    """Shape of ``conv``'s result, without computing it.

    ``out = floor((in + lo + hi - dilation*(k-1) - 1) / stride) + 1`` on each spatial axis

    Parameters are those of ``conv``, with shapes for arrays.

    Returns
    -------
    (N, K, \\*out), without N if x has none

    Raises
    ------
    ShapeError, ValueError

    Examples
    --------
    >>> import convpp
    >>> convpp.conv_output_shape((8, 3, 224, 224), (64, 3, 7, 7), stride=2, padding=3)
    (8, 64, 112, 112)
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample)
    return geometry_of(shape(x_shape, "x_shape"), shape(w_shape, "w_shape"), options).result_shape


def conv_transpose_output_shape(
    x_shape: Iterable[int],
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
) -> tuple[int, ...]:
    """Shape of ``conv_transpose``'s result.

    ``out = stride*(in-1) + dilation*(k-1) + 1 + output_padding - lo - hi`` on each spatial axis

    Parameters are those of ``conv_transpose``, with shapes for arrays.

    Returns
    -------
    (N, C_out, \\*out), without N if x has none

    Raises
    ------
    ShapeError, ValueError

    Examples
    --------
    >>> import convpp
    >>> convpp.conv_transpose_output_shape((1, 16, 7, 7), (16, 8, 4, 4), stride=2, padding=1)
    (1, 8, 14, 14)
    """
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample)
    options = transpose_options(shared, output_padding, output_size)
    return geometry_of(shape(x_shape, "x_shape"), shape(w_shape, "w_shape"), options).result_shape


def pool_output_shape(
    x_shape: Iterable[int],
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    layout: Layout = "channels_first",
) -> tuple[int, ...]:
    """Shape of the result of ``max_pool`` and ``avg_pool``, without computing it.

    Parameters are those of ``max_pool``, with a shape for x.

    Returns
    -------
    (N, C, \\*out), without N if x has none

    Raises
    ------
    ShapeError, ValueError

    Examples
    --------
    >>> import convpp
    >>> convpp.pool_output_shape((8, 64, 112, 112), 3, stride=2, padding=1)
    (8, 64, 56, 56)
    """
    options = pool_options(kernel_size, stride, padding, dilation, ceil_mode, layout)
    return pooling_of(shape(x_shape, "x_shape"), options).y_shape
