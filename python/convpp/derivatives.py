"""Derivatives of the derivatives: what forward mode, Hessian products and gradient penalties need.

A convolution is bilinear in x and w, so each of these is a sum of convolutions and their gradients.

In: NumPy arrays.   Out: NumPy arrays.   Read first: ``functional.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convpp.arguments import Layout, Padding, PaddingMode, PerAxis, check_shape
from convpp.functional import conv, conv_input_grad, conv_weight_grad
from convpp.shapes import conv_output_shape
from convpp.validation import FLOAT32, HALVES, Array, as_float, common_dtype


def conv_double_backward(
    ddx: npt.ArrayLike | None,
    ddw: npt.ArrayLike | None,
    ddb: npt.ArrayLike | None,
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """Backward pass of the backward pass.

    With ``dx, dw, db = conv_backward(dy, x, w)`` and a loss whose gradients with respect to them are ddx, ddw, ddb,
    the gradients of that loss with respect to dy, x and w are

    ``ddy = conv(ddx, w) + conv(x, ddw) + ddb``,
    ``dx = conv_input_grad(dy, ddw)``,
    ``dw = conv_weight_grad(dy, ddx)``.

    Parameters
    ----------
    ddx, ddw, ddb : shaped like x, w and bias (K,); any may be None (zero)
    dy, x, w : as in ``conv_backward``
    stride, padding, dilation, groups, padding_mode, flip, layout, threads
        As in ``conv``.

    Returns
    -------
    (ddy, dx, dw), shaped like dy, x and w

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w, dy = np.ones((1, 2, 5, 5)), np.ones((3, 2, 3, 3)), np.ones((1, 3, 3, 3))
    >>> ddy, dx, dw = convpp.conv_double_backward(None, w, None, dy, x, w)
    >>> ddy.shape, float(dx[0, 0, 2, 2]), float(dw.sum())
    ((1, 3, 3, 3), 27.0, 0.0)
    """
    geometry = _geometry(stride, padding, dilation, groups, padding_mode, flip, layout)
    dy, x, w = as_float(dy, "dy"), as_float(x, "x"), as_float(w, "w")
    check_shape(dy.shape, conv_output_shape(x.shape, w.shape, **geometry), "dy", "the shape of the output")
    ddx = _like(ddx, x.shape, "ddx", "the shape of x")
    ddw = _like(ddw, w.shape, "ddw", "the shape of w")
    ddb = _like(ddb, w.shape[:1], "ddb", "(K,)")
    how = {**geometry, "threads": threads}
    dtype = common_dtype(*(a.dtype for a in (ddx, ddw, ddb, dy, x, w) if a is not None))
    terms: list[tuple[Array, Array]] = []
    if ddx is not None:
        terms.append((ddx, w))
    if ddw is not None:
        terms.append((x, ddw))
    ddy = _sum_of_convs(terms, dy.shape, dtype, ddb, w.ndim - 2, layout, how)
    dx = np.zeros(x.shape, dtype) if ddw is None else conv_input_grad(dy, ddw, x.shape, **how)
    dw = np.zeros(w.shape, dtype) if ddx is None else conv_weight_grad(dy, ddx, w.shape, **how)
    return ddy, dx, dw


def conv_jvp(
    primals: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None],
    tangents: tuple[npt.ArrayLike | None, npt.ArrayLike | None, npt.ArrayLike | None],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    threads: int | None = None,
) -> tuple[Array, Array]:
    """The result of ``conv`` and its directional derivative (forward mode).

    ``y = conv(x, w, bias)``, ``y_dot = conv(x_dot, w) + conv(x, w_dot) + bias_dot``

    Parameters
    ----------
    primals : (x, w, bias); bias may be None
    tangents : (x_dot, w_dot, bias_dot), shaped like the primals; any may be None (zero)
    stride, padding, dilation, groups, padding_mode, flip, layout, threads
        As in ``conv``.

    Returns
    -------
    (y, y_dot)

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((1, 1, 3)), np.ones((1, 1, 2))
    >>> y, y_dot = convpp.conv_jvp((x, w, None), (None, w, None))
    >>> y, y_dot
    (array([[[2., 2.]]]), array([[[2., 2.]]]))
    """
    how = {**_geometry(stride, padding, dilation, groups, padding_mode, flip, layout), "threads": threads}
    x, w = as_float(primals[0], "x"), as_float(primals[1], "w")
    x_dot = _like(tangents[0], x.shape, "x_dot", "the shape of x")
    w_dot = _like(tangents[1], w.shape, "w_dot", "the shape of w")
    bias_dot = _like(tangents[2], w.shape[:1], "bias_dot", "(K,)")
    y = conv(x, w, primals[2], **how)
    dtype = common_dtype(y.dtype, *(a.dtype for a in (x_dot, w_dot, bias_dot) if a is not None))
    terms: list[tuple[Array, Array]] = []
    if x_dot is not None:
        terms.append((x_dot, w))
    if w_dot is not None:
        terms.append((x, w_dot))
    return y, _sum_of_convs(terms, y.shape, dtype, bias_dot, w.ndim - 2, layout, how)


def _geometry(
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    padding_mode: PaddingMode,
    flip: bool,
    layout: Layout,
) -> dict[str, Any]:
    return {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": padding_mode,
        "flip": flip,
        "layout": layout,
    }


def _sum_of_convs(
    terms: list[tuple[Array, Array]],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    bias: Array | None,
    rank: int,
    layout: Layout,
    how: dict[str, Any],
) -> Array:
    """The sum of some convolutions and a bias: of halves in float32, rounded once."""
    half = dtype.name in HALVES
    total = np.zeros(shape, FLOAT32 if half else dtype)
    for x, w in terms:
        term = np.empty(shape, FLOAT32) if common_dtype(x.dtype, w.dtype).name in HALVES else None
        total += conv(x, w, **how, out=term)
    if bias is not None:
        total += _per_channel(bias, rank, layout)
    return total.astype(dtype) if half else total


def _per_channel(values: Array, rank: int, layout: Layout) -> Array:
    """One value a channel, broadcast over the pixels."""
    return values if layout == "channels_last" else values.reshape(-1, *(1,) * rank)


def _like(value: npt.ArrayLike | None, expected: tuple[int, ...], argument: str, meaning: str) -> Array | None:
    if value is None:
        return None
    array = as_float(value, argument)
    check_shape(array.shape, expected, argument, meaning)
    return array
