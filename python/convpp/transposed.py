"""Transposed convolutions: the input gradient of a convolution as an operation of its own.

In: NumPy arrays, weights (C_in, C_out/groups, \\*kernel) as in PyTorch and ONNX.   Out: NumPy arrays.
Next: ``_call/options.py``, ``_call/geometry.py``; ``backward.py``.

Nothing is computed here that ``functional.py`` does not compute: with the convolution that takes y back to x,

    conv_transpose               is its input gradient       (dy := x)
    conv_transpose_input_grad    is its forward pass         (x  := dy)
    conv_transpose_weight_grad   is its weight gradient      (dy := x, x := dy)

so all three run on the same planned passes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack, overload

import numpy.typing as npt

from convpp._call.arguments import (
    Activation,
    Algorithm,
    Layout,
    Padding,
    PaddingMode,
    PerAxis,
    check_shape,
    shape,
    shape_of_weights,
)
from convpp._call.geometry import wrong_dy
from convpp._call.keywords import F, TransposeGradHow, TransposeHow
from convpp._call.options import conv_options, transpose_options
from convpp._call.planning import PLANS
from convpp._call.run import Passes, run
from convpp._call.validation import Array, operands, with_residual


@overload
def conv_transpose(
    x: npt.NDArray[F],
    w: npt.NDArray[F],
    bias: npt.NDArray[F] | None = None,
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
    add: npt.NDArray[F] | None = None,
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    out: npt.NDArray[F] | None = None,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def conv_transpose(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    add: npt.ArrayLike | None = None,
    out: Array | None = None,
    **how: Unpack[TransposeHow],
) -> Array: ...
def conv_transpose(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
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
    add: npt.ArrayLike | None = None,
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
    threads: int | None = None,
) -> Array:
    """Transposed convolution: each input pixel adds its multiple of the filters to the output.

    ``y[n, k, h] = bias[k] + sum over c, p, r with p*stride - lo + r*dilation = h  of  x[n, c, p] * w[c, k, r]``

    Parameters
    ----------
    x : (N, C_in, \\*spatial), or without N for one sample
        Of the types of ``conv``; with ``layout="channels_last"``: (N, \\*spatial, C_in).
    w : (C_in, C_out/groups, \\*kernel)
        With ``per_sample=True``: (N, C_in, C_out/groups, \\*kernel), a set of filters for each sample.
    bias : (C_out,), optional
    padding : as in ``conv``
        Crops the output.  "same" gives ``in * stride``, the crop split as in ONNX's SAME_UPPER.
    output_padding : int, or one for each axis
        Extends the output on the high side, by values that are computed; less than stride or dilation.
    output_size : spatial extents of the output, optional
        Sets output_padding; batch and channels in front are ignored.
    padding_mode : as in ``conv``
        What becomes of the part that ``padding`` crops: "zeros" drops it.  The others are the adjoints of ``conv``'s:
        they add each value of it to the element of the output that ``conv`` would pad with there (its mirror image,
        the last element, or the other end), which keeps the sum of the output.
    stride, dilation, groups, flip, layout, activation, add, per_sample, algorithm, out, threads
        As in ``conv``.

    Returns
    -------
    (N, C_out, \\*out), with ``out = stride*(in-1) + dilation*(k-1) + 1 + output_padding - lo - hi``

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument; ``out`` is then untouched.

    References
    ----------
    Dumoulin and Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285, chapter 4.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2))
    >>> convpp.conv_transpose(x, w)[0, 0]
    array([[1., 2., 1.],
           [2., 4., 2.],
           [1., 2., 1.]])
    """
    x, w, bias, dtype = operands(x, w, bias, ("x", "w"))
    if add is not None:
        x, w, bias, add, dtype = with_residual(x, w, bias, add, dtype)
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    options = transpose_options(shared, output_padding, output_size)
    planned = PLANS["input_grad", dtype, x.shape, w.shape, options]
    if bias is not None:
        check_shape(bias.shape, (planned.geometry.in_channels,), "bias", "(C_out,), one for each output channel")
    return run(planned, x, w, bias, planned.x_shape, out, False, threads, activation, add)


@overload
def conv_transpose_input_grad(
    dy: npt.NDArray[F],
    w: npt.NDArray[F],
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
    algorithm: Algorithm = "auto",
    out: npt.NDArray[F] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def conv_transpose_input_grad(
    dy: npt.ArrayLike,
    w: npt.ArrayLike,
    x_shape: Iterable[int],
    *,
    out: Array | None = None,
    **how: Unpack[TransposeGradHow],
) -> Array: ...
def conv_transpose_input_grad(
    dy: npt.ArrayLike,
    w: npt.ArrayLike,
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
    algorithm: Algorithm = "auto",
    out: Array | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> Array:
    """Gradient of a loss with respect to x of ``conv_transpose``: a plain convolution of dy with w.

    ``dx[n, c, p] = sum over k, r of dy[n, k, p*stride - lo + r*dilation] * w[c, k, r]``

    Parameters
    ----------
    dy : (N, C_out, \\*out)
    w : (C_in, C_out/groups, \\*kernel)
    x_shape : shape of x, in full
    per_sample : bool
        True: w is (N, C_in, C_out/groups, \\*kernel).
    accumulate : bool
        True adds to ``out``.
    stride, padding, output_padding, output_size, dilation, groups, padding_mode, flip, layout, algorithm, out, threads
        As in ``conv_transpose``.

    Returns
    -------
    array of shape ``x_shape``

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.conv_transpose_input_grad(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), (1, 1, 2, 2))[0, 0]
    array([[4., 4.],
           [4., 4.]])
    """
    dy, w, _, dtype = operands(dy, w, None, ("dy", "w"))
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    options = transpose_options(shared, output_padding, output_size)
    planned = PLANS["forward", dtype, shape(x_shape, "x_shape"), w.shape, options]
    if dy.shape != planned.x_shape:
        raise wrong_dy(dy.shape, planned.x_shape, planned.y_shape, planned.w_shape, options)
    return run(planned, dy, w, None, planned.y_shape, out, accumulate, threads)


@overload
def conv_transpose_weight_grad(
    dy: npt.NDArray[F],
    x: npt.NDArray[F],
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
    algorithm: Algorithm = "auto",
    out: npt.NDArray[F] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def conv_transpose_weight_grad(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    w_shape: Iterable[int],
    *,
    out: Array | None = None,
    **how: Unpack[TransposeGradHow],
) -> Array: ...
def conv_transpose_weight_grad(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
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
    algorithm: Algorithm = "auto",
    out: Array | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> Array:
    """Gradient of a loss with respect to w of ``conv_transpose``.

    ``dw[c, k, r] = sum over n, p of x[n, c, p] * dy[n, k, p*stride - lo + r*dilation]``

    Parameters
    ----------
    dy : (N, C_out, \\*out)
    x : (N, C_in, \\*spatial)
    w_shape : shape of w, (C_in, C_out/groups, \\*kernel)
    per_sample : bool
        True: not summed over the samples.  The result is (N, C_in, C_out/groups, \\*kernel); ``w_shape`` may be given
        with or without the N.
    accumulate : bool
        True adds to ``out``.
    stride, padding, output_padding, output_size, dilation, groups, padding_mode, flip, layout, algorithm, out, threads
        As in ``conv_transpose``.

    Returns
    -------
    array of shape ``w_shape``

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.conv_transpose_weight_grad(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), (1, 1, 2, 2))[0, 0]
    array([[4., 4.],
           [4., 4.]])
    """
    dy, x, _, dtype = operands(dy, x, None, ("dy", "x"))
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    options = transpose_options(shared, output_padding, output_size)
    w_shape = shape_of_weights(w_shape, x.shape, per_sample)
    planned = PLANS["weight_grad", dtype, x.shape, w_shape, options]
    if dy.shape != planned.x_shape:
        raise wrong_dy(dy.shape, planned.x_shape, planned.y_shape, planned.w_shape, options)
    return run(planned, x, dy, None, planned.w_shape, out, accumulate, threads)


TRANSPOSE = Passes(conv_transpose, conv_transpose_input_grad, conv_transpose_weight_grad)
