"""The convolution and its gradients: what users call.

In: NumPy arrays and the geometry.   Out: NumPy arrays.   (``conv`` itself is in ``forward.py``.)
Each function takes four steps, which are in ``_call/``: ``conv_options`` (the geometry as one value), ``operands``
(plain arrays of one type), ``plan`` (made once for a geometry, and remembered), ``run`` (the compiled core).
Next: ``transposed.py``, the same for transposed convolutions; ``backward.py`` and ``derivatives.py``, made of these.

The operation is cross-correlation, as in every deep-learning library::

    y[n, k, p] = bias[k] + sum over c, r of  x[n, c, p * stride - lo + r * dilation] * w[k, c, r]

with p, r running over 1, 2 or 3 spatial axes and c over the channels of k's group; elements outside x add nothing, or
are what ``padding_mode`` says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Unpack, overload

import numpy as np
import numpy.typing as npt

from convpp import _core
from convpp._call.arguments import (
    LAYOUTS,
    Algorithm,
    Layout,
    Padding,
    PaddingMode,
    PerAxis,
    as_int,
    choice,
    flag,
    shape,
    shape_of_weights,
)
from convpp._call.geometry import wrong_dy
from convpp._call.keywords import F, GradHow, Scalar
from convpp._call.options import conv_options
from convpp._call.planning import PLANS
from convpp._call.run import Passes, run
from convpp._call.validation import Array, as_array, as_float, delivered, operands, plain, result
from convpp.errors import ShapeError
from convpp.forward import conv
from convpp.runtime import threads_of_call


@overload
def conv_input_grad(
    dy: npt.NDArray[F],
    w: npt.NDArray[F],
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
    algorithm: Algorithm = "auto",
    out: npt.NDArray[F] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def conv_input_grad(
    dy: npt.ArrayLike,
    w: npt.ArrayLike,
    x_shape: Iterable[int],
    *,
    out: Array | None = None,
    **how: Unpack[GradHow],
) -> Array: ...
def conv_input_grad(
    dy: npt.ArrayLike,
    w: npt.ArrayLike,
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
    algorithm: Algorithm = "auto",
    out: Array | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> Array:
    """Gradient of a loss with respect to x, given its gradient with respect to y (dgrad).

    ``dx[n, c, h] = sum over k, p, r with p*stride - lo + r*dilation = h  of  dy[n, k, p] * w[k, c, r]``

    The adjoint of ``conv`` in x.  At stride 1 it is a convolution itself, of dy with the filters rotated by 180
    degrees and their depth and number swapped: ``conv(dy, adjoint_kernel(w), padding="full")``.  At other strides
    each residue class of the input pixel is one, with some of the taps; no zeros are inserted.  With a
    ``padding_mode``, h runs over the padded x, and what belongs to padding is added to the element of x that was read
    there.

    Parameters
    ----------
    dy : (N, K, \\*out)
        Shape and layout of ``conv``'s result.
    w : (K, C/groups, \\*kernel)
    x_shape : shape of x
        In full, with N if dy has it.
    accumulate : bool
        True adds to ``out``.
    stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm, out, threads
        As in ``conv``.

    Returns
    -------
    array of shape ``x_shape``; 0 where no output reads x

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument; ``out`` is then untouched.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> dy = np.ones((5, 18, 18), dtype=np.float32)
    >>> w = np.ones((5, 3, 3, 3), dtype=np.float32)
    >>> convpp.conv_input_grad(dy, w, (3, 20, 20)).shape
    (3, 20, 20)
    """
    dy, w, _, dtype = operands(dy, w, None, ("dy", "w"))
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    planned = PLANS["input_grad", dtype, shape(x_shape, "x_shape"), w.shape, options]
    if dy.shape != planned.y_shape:
        raise wrong_dy(dy.shape, planned.y_shape, planned.x_shape, planned.w_shape, options)
    return run(planned, dy, w, None, planned.x_shape, out, accumulate, threads)


@overload
def conv_weight_grad(
    dy: npt.NDArray[F],
    x: npt.NDArray[F],
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
    algorithm: Algorithm = "auto",
    out: npt.NDArray[F] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def conv_weight_grad(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    w_shape: Iterable[int],
    *,
    out: Array | None = None,
    **how: Unpack[GradHow],
) -> Array: ...
def conv_weight_grad(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
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
    algorithm: Algorithm = "auto",
    out: Array | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> Array:
    """Gradient of a loss with respect to w, given its gradient with respect to y (wgrad).

    ``dw[k, c, r] = sum over n, p of dy[n, k, p] * x[n, c, p*stride - lo + r*dilation]``

    Parameters
    ----------
    dy : (N, K, \\*out)
    x : (N, C, \\*spatial)
    w_shape : shape of w, (K, C/groups, \\*kernel)
    per_sample : bool
        True: not summed over the samples.  The result is (N, K, C/groups, \\*kernel); ``w_shape`` may be given
        with or without the N.
    accumulate : bool
        True adds to ``out``.
    stride, padding, dilation, groups, padding_mode, flip, layout, algorithm, out, threads
        As in ``conv``.

    Returns
    -------
    array of shape ``w_shape``

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument; ``out`` is then untouched.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> dy = np.ones((5, 18, 18), dtype=np.float32)
    >>> x = np.ones((3, 20, 20), dtype=np.float32)
    >>> convpp.conv_weight_grad(dy, x, (5, 3, 3, 3))[0, 0, 0]
    array([324., 324., 324.], dtype=float32)
    """
    dy, x, _, dtype = operands(dy, x, None, ("dy", "x"))
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    w_shape = shape_of_weights(w_shape, x.shape, per_sample) if per_sample else shape(w_shape, "w_shape")
    planned = PLANS["weight_grad", dtype, x.shape, w_shape, options]
    if dy.shape != planned.y_shape:
        raise wrong_dy(dy.shape, planned.y_shape, planned.x_shape, planned.w_shape, options)
    return run(planned, dy, x, None, planned.w_shape, out, accumulate, threads)


@overload
def conv_bias_grad(
    dy: npt.NDArray[F],
    *,
    layout: Layout = "channels_first",
    batched: bool = True,
    per_sample: bool = False,
    out: npt.NDArray[F] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def conv_bias_grad(
    dy: npt.ArrayLike,
    *,
    layout: Layout = "channels_first",
    batched: bool = True,
    per_sample: bool = False,
    out: Array | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> Array: ...
def conv_bias_grad(
    dy: npt.ArrayLike,
    *,
    layout: Layout = "channels_first",
    batched: bool = True,
    per_sample: bool = False,
    out: Array | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> Array:
    """Gradient of a loss with respect to bias: ``db[k] = sum over n, p of dy[n, k, p]``.

    Parameters
    ----------
    dy : (N, K, \\*out)
        With ``batched=False``: (K, \\*out), one sample.  1 to 3 spatial axes.
    per_sample : bool
        True: not summed over the samples.
    layout, out, threads
        As in ``conv``.
    accumulate : bool
        True adds to ``out``.

    Returns
    -------
    (K,), or (N, K) with ``per_sample=True``; summed in float64 and rounded once

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.conv_bias_grad(np.ones((2, 3, 4, 4)))
    array([32., 32., 32.])
    """
    last = choice(layout, "layout", LAYOUTS) == "channels_last"
    dy = as_float(dy, "dy")
    dy = plain(dy, dy.dtype)
    lead = int(flag(batched, "batched"))
    each = flag(per_sample, "per_sample")
    if each and not lead:
        raise ValueError("per_sample is True, expected batched=True with it: the samples of an N axis")
    if dy.ndim - 1 - lead not in (1, 2, 3):
        form = "(N, K, *out)" if batched else "(K, *out)"
        meant = f": did you mean batched={not lead}?" if dy.ndim in (2, 5) else ""
        raise ShapeError(f"dy has shape {dy.shape}, expected {form} with 1, 2 or 3 spatial axes{meant}")
    batch = dy.shape[0] if lead else 1
    channels = dy.shape[-1] if last else dy.shape[lead]
    spatial = dy.shape[lead:-1] if last else dy.shape[lead + 1 :]
    pixels = math.prod(spatial)
    shape_of_result = (batch, channels) if each else (channels,)
    target, copy_to = result(out, shape_of_result, dy.dtype, flag(accumulate, "accumulate"), (dy,))
    _core.bias_grad(dy, batch, channels, pixels, last, each, target, accumulate, threads_of_call(threads))
    return delivered(target, copy_to)


@overload
def adjoint_kernel(w: npt.NDArray[Scalar], groups: int = 1) -> npt.NDArray[Scalar]: ...
@overload
def adjoint_kernel(w: npt.ArrayLike, groups: int = 1) -> Array: ...
def adjoint_kernel(w: npt.ArrayLike, groups: int = 1) -> Array:
    """The filters of the backward pass: rotated by 180 degrees, depth and number swapped.

    From (K, C/groups, \\*kernel) to (C, K/groups, \\*kernel): ``a[c, k, r] = w[k, c, kernel - 1 - r]``.  At stride 1,
    ``conv(dy, adjoint_kernel(w), padding="full")`` is ``conv_input_grad(dy, w, x.shape)``: the gradient of C channels
    gathers from K filters, so the K filters of depth C become C filters of depth K.

    Parameters
    ----------
    w : (K, C/groups, \\*kernel), any dtype
    groups : int
        Must divide K.

    Returns
    -------
    (C, K/groups, \\*kernel), a C-contiguous copy

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> w = np.arange(5 * 3 * 3 * 3).reshape(5, 3, 3, 3)
    >>> a = convpp.adjoint_kernel(w)
    >>> a.shape
    (3, 5, 3, 3)
    >>> bool(a[2, 4, 0, 1] == w[4, 2, 2, 1])
    True
    """
    w = as_array(w, "w")
    groups = as_int(groups, "groups")
    if w.ndim not in (3, 4, 5):
        raise ShapeError(f"w has shape {w.shape}, expected (K, C/groups, *kernel) with 1, 2 or 3 kernel axes")
    if groups < 1:
        raise ValueError(f"groups is {groups}, expected 1 or more")
    if w.shape[0] % groups:
        raise ShapeError(f"groups is {groups}, expected a divisor of K = {w.shape[0]} (w has shape {w.shape})")
    out_channels, in_channels = w.shape[0] // groups, w.shape[1]
    split = w.reshape(groups, out_channels, in_channels, *w.shape[2:]).swapaxes(1, 2)
    rotated = np.flip(split, axis=tuple(range(3, split.ndim)))
    return np.ascontiguousarray(rotated.reshape(groups * in_channels, out_channels, *w.shape[2:]))


CONV = Passes(conv, conv_input_grad, conv_weight_grad)
