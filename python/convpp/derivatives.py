"""Derivatives of the derivatives: what forward mode, Hessian products and gradient penalties need.

A convolution is bilinear in x and w, so each of these is a sum of convolutions and their gradients.

In: NumPy arrays.   Out: NumPy arrays.   Read first: ``functional.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convpp.arguments import Layout, Padding, PerAxis, check_shape
from convpp.functional import conv, conv_input_grad, conv_weight_grad
from convpp.validation import Array, as_float


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
    padding_mode: str = "zeros",
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
    geometry = _geometry(stride, padding, dilation, groups, padding_mode, flip, layout, threads)
    dy, x, w = as_float(dy, "dy"), as_float(x, "x"), as_float(w, "w")
    ddx = _like(ddx, x, "ddx", "the shape of x")
    ddw = _like(ddw, w, "ddw", "the shape of w")
    dtype = np.result_type(*(a for a in (ddx, ddw, dy, x, w) if a is not None))
    channels = _channel_axis(dy, w, layout)
    bias = None if ddb is None else as_float(ddb, "ddb")
    if bias is not None:
        check_shape(bias.shape, (w.shape[0],), "ddb", "(K,)")
    ddy = conv(x if ddx is None else ddx, w, **geometry) if ddx is not None else None
    if ddw is not None:
        term = conv(x, ddw, **geometry)
        ddy = term if ddy is None else ddy + term
    if ddy is None:
        conv_weight_grad(dy, x, w.shape, **geometry)  # only its checks: the shapes must fit all the same
        ddy = np.zeros(dy.shape, dtype)
    else:
        check_shape(dy.shape, ddy.shape, "dy", "the shape of the output")
    if bias is not None:
        ddy = ddy + bias.reshape((-1,) + (1,) * (dy.ndim - 1 - channels % dy.ndim))
    dx = np.zeros(x.shape, dtype) if ddw is None else conv_input_grad(dy, ddw, x.shape, **geometry)
    dw = np.zeros(w.shape, dtype) if ddx is None else conv_weight_grad(dy, ddx, w.shape, **geometry)
    return ddy, dx, dw


def conv_jvp(
    primals: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None],
    tangents: tuple[npt.ArrayLike | None, npt.ArrayLike | None, npt.ArrayLike | None],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
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
    geometry = _geometry(stride, padding, dilation, groups, padding_mode, flip, layout, threads)
    x, w, bias = primals
    x, w = as_float(x, "x"), as_float(w, "w")
    x_dot = _like(tangents[0], x, "x_dot", "the shape of x")
    w_dot = _like(tangents[1], w, "w_dot", "the shape of w")
    bias_dot = None if tangents[2] is None else as_float(tangents[2], "bias_dot")
    if bias_dot is not None:
        check_shape(bias_dot.shape, (w.shape[0],), "bias_dot", "(K,)")
    y = conv(x, w, bias, **geometry)
    y_dot = None
    if x_dot is not None:
        y_dot = conv(x_dot, w, bias_dot, **geometry)
    if w_dot is not None:
        term = conv(x, w_dot, bias_dot if y_dot is None else None, **geometry)
        y_dot = term if y_dot is None else y_dot + term
    if y_dot is None:
        y_dot = np.zeros_like(y)
        if bias_dot is not None:
            channels = _channel_axis(y, w, layout)
            y_dot = y_dot + bias_dot.reshape((-1,) + (1,) * (y.ndim - 1 - channels % y.ndim))
    return y, y_dot


def _geometry(
    stride: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    groups: int,
    padding_mode: str,
    flip: bool,
    layout: Layout,
    threads: int | None,
) -> dict[str, Any]:
    return {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": padding_mode,
        "flip": flip,
        "layout": layout,
        "threads": threads,
    }


def _channel_axis(y: Array, w: Array, layout: str) -> int:
    return -1 if layout == "channels_last" else y.ndim - w.ndim + 1


def _like(value: npt.ArrayLike | None, array: Array, argument: str, meaning: str) -> Array | None:
    if value is None:
        return None
    result = as_float(value, argument)
    check_shape(result.shape, array.shape, argument, meaning)
    return result
