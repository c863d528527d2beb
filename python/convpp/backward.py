"""All gradients of a convolution, or of a transposed one, in one call.

In: dy, x, w, the geometry, which gradients are wanted, and arrays for them.   Out: (dx, dw, db).
Next: ``_gradients.py``, which computes them; ``functional.py`` and ``transposed.py``, which say what each gradient is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Unpack, overload

from numpy.typing import ArrayLike, NDArray

from convpp._call.arguments import Algorithm, Layout, Padding, PaddingMode, PerAxis
from convpp._call.keywords import (
    All,
    F,
    GradHow,
    Needs,
    NotB,
    NotW,
    NotX,
    OnlyB,
    OnlyW,
    OnlyX,
    Outs,
    TransposeGradHow,
    Unsaid,
)
from convpp._call.options import conv_options, transpose_options
from convpp._call.validation import Array
from convpp._gradients import NEEDS, backward
from convpp.functional import CONV
from convpp.transposed import TRANSPOSE


@overload
def conv_backward(
    dy: NDArray[F],
    x: NDArray[F],
    w: NDArray[F],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    needs: All = NEEDS,
    algorithm: Algorithm = "auto",
    out: Outs[F] = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> tuple[NDArray[F], NDArray[F], NDArray[F]]: ...
@overload
def conv_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: OnlyX, out: Outs[F] = None, **how: Unpack[GradHow]
) -> tuple[NDArray[F], None, None]: ...
@overload
def conv_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: OnlyW, out: Outs[F] = None, **how: Unpack[GradHow]
) -> tuple[None, NDArray[F], None]: ...
@overload
def conv_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: OnlyB, out: Outs[F] = None, **how: Unpack[GradHow]
) -> tuple[None, None, NDArray[F]]: ...
@overload
def conv_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: NotB, out: Outs[F] = None, **how: Unpack[GradHow]
) -> tuple[NDArray[F], NDArray[F], None]: ...
@overload
def conv_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: NotW, out: Outs[F] = None, **how: Unpack[GradHow]
) -> tuple[NDArray[F], None, NDArray[F]]: ...
@overload
def conv_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: NotX, out: Outs[F] = None, **how: Unpack[GradHow]
) -> tuple[None, NDArray[F], NDArray[F]]: ...
@overload
def conv_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: Unsaid, out: Outs[F] = None, **how: Unpack[GradHow]
) -> tuple[NDArray[F] | None, NDArray[F] | None, NDArray[F] | None]: ...
@overload
def conv_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    needs: All = NEEDS,
    out: Outs[Any] = None,
    **how: Unpack[GradHow],
) -> tuple[Array, Array, Array]: ...
@overload
def conv_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: OnlyX, out: Outs[Any] = None, **how: Unpack[GradHow]
) -> tuple[Array, None, None]: ...
@overload
def conv_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: OnlyW, out: Outs[Any] = None, **how: Unpack[GradHow]
) -> tuple[None, Array, None]: ...
@overload
def conv_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: OnlyB, out: Outs[Any] = None, **how: Unpack[GradHow]
) -> tuple[None, None, Array]: ...
@overload
def conv_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: NotB, out: Outs[Any] = None, **how: Unpack[GradHow]
) -> tuple[Array, Array, None]: ...
@overload
def conv_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: NotW, out: Outs[Any] = None, **how: Unpack[GradHow]
) -> tuple[Array, None, Array]: ...
@overload
def conv_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: NotX, out: Outs[Any] = None, **how: Unpack[GradHow]
) -> tuple[None, Array, Array]: ...
@overload
def conv_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: Unsaid, out: Outs[Any] = None, **how: Unpack[GradHow]
) -> tuple[Array | None, Array | None, Array | None]: ...
def conv_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    needs: Needs = NEEDS,
    algorithm: Algorithm = "auto",
    out: Sequence[Array | None] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """All gradients of ``conv`` at once: (dx, dw, db).

    Those of ``conv_input_grad``, ``conv_weight_grad`` and ``conv_bias_grad``, where the equations are.

    Parameters
    ----------
    dy : (N, K, \\*out)
    x : (N, C, \\*spatial)
    w : (K, C/groups, \\*kernel)
    per_sample : bool
        True with w of shape (N, K, C/groups, \\*kernel): filters for each sample, as in ``conv``.
        True with w of shape (K, C/groups, \\*kernel): dw and db are not summed over the samples, but have a leading N
        axis (what differential privacy needs).
    needs : any of "x", "w", "bias"
        What is left out comes back as None and costs nothing.
    out : (dx, dw, db), optional
        Arrays to write into, each as in the function for that gradient, or None for a new one.
    accumulate : bool
        True adds to the arrays of ``out``.
    stride, padding, dilation, groups, padding_mode, flip, layout, algorithm, threads
        As in ``conv``.

    Returns
    -------
    (dx, dw, db), shaped like x, w and (K,)
        None for what ``needs`` leaves out.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument.  All are checked before anything is written.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((2, 3, 8, 8)), np.ones((4, 3, 3, 3))
    >>> dx, dw, db = convpp.conv_backward(np.ones((2, 4, 6, 6)), x, w, needs=("x", "bias"))
    >>> dx.shape, dw, db
    ((2, 3, 8, 8), None, array([72., 72., 72., 72.]))
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    return backward(CONV, options, (dy, x, w), needs, out, accumulate, threads)


@overload
def conv_transpose_backward(
    dy: NDArray[F],
    x: NDArray[F],
    w: NDArray[F],
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
    needs: All = NEEDS,
    algorithm: Algorithm = "auto",
    out: Outs[F] = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> tuple[NDArray[F], NDArray[F], NDArray[F]]: ...
@overload
def conv_transpose_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: OnlyX, out: Outs[F] = None, **how: Unpack[TransposeGradHow]
) -> tuple[NDArray[F], None, None]: ...
@overload
def conv_transpose_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: OnlyW, out: Outs[F] = None, **how: Unpack[TransposeGradHow]
) -> tuple[None, NDArray[F], None]: ...
@overload
def conv_transpose_backward(
    dy: NDArray[F],
    x: NDArray[F],
    w: NDArray[F],
    *,
    needs: OnlyB,
    out: Outs[F] = None,
    **how: Unpack[TransposeGradHow],
) -> tuple[None, None, NDArray[F]]: ...
@overload
def conv_transpose_backward(
    dy: NDArray[F],
    x: NDArray[F],
    w: NDArray[F],
    *,
    needs: NotB,
    out: Outs[F] = None,
    **how: Unpack[TransposeGradHow],
) -> tuple[NDArray[F], NDArray[F], None]: ...
@overload
def conv_transpose_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: NotW, out: Outs[F] = None, **how: Unpack[TransposeGradHow]
) -> tuple[NDArray[F], None, NDArray[F]]: ...
@overload
def conv_transpose_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: NotX, out: Outs[F] = None, **how: Unpack[TransposeGradHow]
) -> tuple[None, NDArray[F], NDArray[F]]: ...
@overload
def conv_transpose_backward(
    dy: NDArray[F], x: NDArray[F], w: NDArray[F], *, needs: Unsaid, out: Outs[F] = None, **how: Unpack[TransposeGradHow]
) -> tuple[NDArray[F] | None, NDArray[F] | None, NDArray[F] | None]: ...
@overload
def conv_transpose_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    needs: All = NEEDS,
    out: Outs[Any] = None,
    **how: Unpack[TransposeGradHow],
) -> tuple[Array, Array, Array]: ...
@overload
def conv_transpose_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: OnlyX, out: Outs[Any] = None, **how: Unpack[TransposeGradHow]
) -> tuple[Array, None, None]: ...
@overload
def conv_transpose_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: OnlyW, out: Outs[Any] = None, **how: Unpack[TransposeGradHow]
) -> tuple[None, Array, None]: ...
@overload
def conv_transpose_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    *,
    needs: OnlyB,
    out: Outs[Any] = None,
    **how: Unpack[TransposeGradHow],
) -> tuple[None, None, Array]: ...
@overload
def conv_transpose_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: NotB, out: Outs[Any] = None, **how: Unpack[TransposeGradHow]
) -> tuple[Array, Array, None]: ...
@overload
def conv_transpose_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: NotW, out: Outs[Any] = None, **how: Unpack[TransposeGradHow]
) -> tuple[Array, None, Array]: ...
@overload
def conv_transpose_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: NotX, out: Outs[Any] = None, **how: Unpack[TransposeGradHow]
) -> tuple[None, Array, Array]: ...
@overload
def conv_transpose_backward(
    dy: ArrayLike, x: ArrayLike, w: ArrayLike, *, needs: Unsaid, out: Outs[Any] = None, **how: Unpack[TransposeGradHow]
) -> tuple[Array | None, Array | None, Array | None]: ...
def conv_transpose_backward(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
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
    needs: Needs = NEEDS,
    algorithm: Algorithm = "auto",
    out: Sequence[Array | None] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """All gradients of ``conv_transpose`` at once: (dx, dw, db).

    Those of ``conv_transpose_input_grad``, ``conv_transpose_weight_grad`` and ``conv_bias_grad``, where the equations
    are.

    Parameters
    ----------
    dy : (N, C_out, \\*out)
    x : (N, C_in, \\*spatial)
    w : (C_in, C_out/groups, \\*kernel)
    per_sample : bool
        True with w of shape (N, C_in, C_out/groups, \\*kernel): filters for each sample, as in ``conv_transpose``.
        True with w of shape (C_in, C_out/groups, \\*kernel): dw and db are not summed over the samples, but have a
        leading N axis.
    needs : any of "x", "w", "bias"
        What is left out comes back as None and costs nothing.
    out : (dx, dw, db), optional
        Arrays to write into, each as in the function for that gradient, or None for a new one.
    accumulate : bool
        True adds to the arrays of ``out``.
    stride, padding, output_padding, output_size, dilation, groups, padding_mode, flip, layout, algorithm, threads
        As in ``conv_transpose``.

    Returns
    -------
    (dx, dw, db), shaped like x, w and (C_out,)
        None for what ``needs`` leaves out.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> dy, x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2))
    >>> dx, dw, db = convpp.conv_transpose_backward(dy, x, w, needs=("bias",))
    >>> dx, dw, db
    (None, None, array([9.]))
    """
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    options = transpose_options(shared, output_padding, output_size)
    return backward(TRANSPOSE, options, (dy, x, w), needs, out, accumulate, threads)
