"""Pooling: the largest or the mean element of each window, and the gradients.

In: NumPy arrays, a kernel size and the geometry.   Out: NumPy arrays.   Meanings are PyTorch's.
Next: ``_call/pooling.py`` (extents and checks); the core (cpp/include/convpp/pool.hpp); ``nn/pooling.py`` (layers).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Unpack, overload

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Layout, Padding, PerAxis, as_int, check_shape, flag, shape
from convpp._call.geometry import LARGEST
from convpp._call.keywords import AvgPoolGradHow, AvgPoolHow, F, MaxPoolGradHow, MaxPoolHow
from convpp._call.pooling import pool_options, pooling_of
from convpp._call.validation import Array, as_float, delivered, operands, plain, result
from convpp.runtime import threads_of_call

Indices = npt.NDArray[np.int64]


@overload
def max_pool(
    x: npt.NDArray[F],
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
    layout: Layout = "channels_first",
    out: npt.NDArray[F] | None = None,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def max_pool(
    x: npt.NDArray[F],
    kernel_size: PerAxis,
    *,
    return_indices: Literal[True],
    out: npt.NDArray[F] | None = None,
    **how: Unpack[MaxPoolHow],
) -> tuple[npt.NDArray[F], Indices]: ...
@overload
def max_pool(
    x: npt.ArrayLike,
    kernel_size: PerAxis,
    *,
    return_indices: Literal[False] = False,
    out: Array | None = None,
    **how: Unpack[MaxPoolHow],
) -> Array: ...
@overload
def max_pool(
    x: npt.ArrayLike,
    kernel_size: PerAxis,
    *,
    return_indices: Literal[True],
    out: Array | None = None,
    **how: Unpack[MaxPoolHow],
) -> tuple[Array, Indices]: ...
def max_pool(
    x: npt.ArrayLike,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    layout: Layout = "channels_first",
    out: Array | None = None,
    threads: int | None = None,
) -> Array | tuple[Array, Indices]:
    """The largest element of each window, in 1, 2 or 3 dimensions.

    ``y[n, c, p] = max over r of x[n, c, p*stride - lo + r*dilation]``

    Parameters
    ----------
    x : (N, C, \\*spatial)
        Float32, float64, float16 or bfloat16; with ``layout="channels_last"``: (N, \\*spatial, C).
    kernel_size : int, or one for each spatial axis
        An int is for all of the ``x.ndim - 2`` spatial axes, so a picture (C, H, W) without N wants ``(2, 2)``, not 2.
        One for each axis says how many there are: x may then be one sample, without N.
    stride : int, or one for each spatial axis, optional
        ``kernel_size`` where it is left out: windows lie side by side.
    padding : int, one for each axis, a (lo, hi) pair for each axis, "valid", "same" or "same_lower"
        At most half of the kernel size, as in PyTorch.  What lies outside x is never the largest (but -inf, where a
        dilated window has nothing else).
    dilation : int, or one for each spatial axis
    ceil_mode : bool
        True: the output's extent is rounded up, so that the last window may reach beyond x and its padding; one that
        would begin behind x (and the padding in front) is left out.
    return_indices : bool
        True: ``(y, indices)``, where each element of y lies in its plane of x, counted as in PyTorch:
        ``(d*H + h)*W + w``; -1 for a window that lies beside x altogether, which needs a dilation.
    layout : "channels_first" or "channels_last"
    out : array of y's shape and dtype, C-contiguous, optional
        It may overlap x.
    threads : int, optional
        At most so many threads.  The result does not depend on it.

    Returns
    -------
    (N, C, \\*out), with ``out = floor((in + lo + hi - dilation*(kernel_size-1) - 1) / stride) + 1``
        A NaN is larger than anything (the last one of a window is taken); of equal elements the first one is taken.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument; ``out`` is then untouched.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x = np.array([[[3.0, 1.0, 4.0, 1.0, 5.0, 9.0]]])
    >>> convpp.max_pool(x, 2)
    array([[[3., 4., 9.]]])
    >>> y, indices = convpp.max_pool(x, 3, stride=2, padding=1, return_indices=True)
    >>> y, indices
    (array([[[3., 4., 9.]]]), array([[[0, 2, 5]]]))
    """
    options = pool_options(kernel_size, stride, padding, dilation, ceil_mode, layout)
    x = as_float(x, "x")
    pooling = pooling_of(x.shape, options)
    wanted = flag(return_indices, "return_indices")
    count = threads_of_call(threads)
    x = plain(x, x.dtype)
    target, copy_to = result(out, pooling.y_shape, x.dtype, False, (x,))
    indices = np.empty(pooling.y_shape, np.int64) if wanted else None
    pooling.core.max_pool(x, target, indices, count)
    y = delivered(target, copy_to)
    return y if indices is None else (y, indices)


@overload
def max_pool_input_grad(
    dy: npt.NDArray[F],
    x: npt.NDArray[F],
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    layout: Layout = "channels_first",
    out: npt.NDArray[F] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def max_pool_input_grad(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    kernel_size: PerAxis,
    *,
    out: Array | None = None,
    **how: Unpack[MaxPoolGradHow],
) -> Array: ...
def max_pool_input_grad(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    layout: Layout = "channels_first",
    out: Array | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> Array:
    """Gradient of a loss with respect to x, where ``y = max_pool(x, kernel_size)``.

    ``dx[n, c, h] = sum of dy[n, c, p] over the windows p whose largest element is x[n, c, h]``

    Which element that was is found out again from x, in less time than it takes to keep it.

    Parameters
    ----------
    dy : of the shape of ``max_pool``'s result
    x : what was pooled
    accumulate : bool
        True adds to ``out``.
    kernel_size, stride, padding, dilation, ceil_mode, layout, out, threads
        As in ``max_pool``.

    Returns
    -------
    array of x's shape; of equal elements in a window the first one has the gradient, as in PyTorch

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument; ``out`` is then untouched.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x = np.array([[[3.0, 1.0, 4.0, 4.0]]])
    >>> convpp.max_pool_input_grad(np.array([[[10.0, 20.0]]]), x, 2)
    array([[[10.,  0., 20.,  0.]]])
    """
    options = pool_options(kernel_size, stride, padding, dilation, ceil_mode, layout)
    dy, x, _, _ = operands(dy, x, None, ("dy", "x"))
    pooling = pooling_of(x.shape, options)
    check_shape(dy.shape, pooling.y_shape, "dy", f"the output of x {x.shape}")
    accumulate = flag(accumulate, "accumulate")
    count = threads_of_call(threads)
    target, copy_to = result(out, x.shape, x.dtype, accumulate, (dy, x))
    pooling.core.max_pool_input_grad(dy, x, target, accumulate, count)
    return delivered(target, copy_to)


@overload
def avg_pool(
    x: npt.NDArray[F],
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    layout: Layout = "channels_first",
    out: npt.NDArray[F] | None = None,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def avg_pool(
    x: npt.ArrayLike, kernel_size: PerAxis, *, out: Array | None = None, **how: Unpack[AvgPoolHow]
) -> Array: ...
def avg_pool(
    x: npt.ArrayLike,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    layout: Layout = "channels_first",
    out: Array | None = None,
    threads: int | None = None,
) -> Array:
    """The mean of each window, in 1, 2 or 3 dimensions.

    ``y[n, c, p] = sum over r of x[n, c, p*stride - lo + r] / count[p]``

    Elements outside x add nothing.  The global mean is ``avg_pool(x, x.shape[2:])``.

    Parameters
    ----------
    count_include_pad : bool
        True: ``count`` is the number of the window's elements inside x and its padding (not of those that ``ceil_mode``
        has beyond it).  False: of those inside x, as TensorFlow counts.
    divisor_override : int, optional
        In place of ``count``.
    x, kernel_size, stride, padding, ceil_mode, layout, out, threads
        As in ``max_pool``.  Of float16 and bfloat16, ``out`` may also be float32, and is then not rounded.

    Returns
    -------
    (N, C, \\*out), as from ``max_pool``
        Halves are computed in float32, and rounded once.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument; ``out`` is then untouched.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x = np.array([[[3.0, 1.0, 4.0, 2.0]]])
    >>> convpp.avg_pool(x, 2)
    array([[[2., 3.]]])
    >>> convpp.avg_pool(x, 2, padding=1, count_include_pad=False)
    array([[[3. , 2.5, 2. ]]])
    """
    options = pool_options(kernel_size, stride, padding, 1, ceil_mode, layout)
    x = as_float(x, "x")
    pooling = pooling_of(x.shape, options)
    include = flag(count_include_pad, "count_include_pad")
    divisor = check_divisor(divisor_override)
    count = threads_of_call(threads)
    x = plain(x, x.dtype)
    target, copy_to = result(out, pooling.y_shape, x.dtype, False, (x,))
    pooling.core.avg_pool(x, target, include, divisor, count)
    return delivered(target, copy_to)


@overload
def avg_pool_input_grad(
    dy: npt.NDArray[F],
    x_shape: Iterable[int],
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    layout: Layout = "channels_first",
    out: npt.NDArray[F] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def avg_pool_input_grad(
    dy: npt.ArrayLike,
    x_shape: Iterable[int],
    kernel_size: PerAxis,
    *,
    out: Array | None = None,
    **how: Unpack[AvgPoolGradHow],
) -> Array: ...
def avg_pool_input_grad(
    dy: npt.ArrayLike,
    x_shape: Iterable[int],
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    layout: Layout = "channels_first",
    out: Array | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> Array:
    """Gradient of a loss with respect to x, where ``y = avg_pool(x, kernel_size)``.

    ``dx[n, c, h] = sum of dy[n, c, p] / count[p] over the windows p that read x[n, c, h]``

    Parameters
    ----------
    dy : of the shape of ``avg_pool``'s result
    x_shape : shape of x
        In full, with N if dy has it.
    accumulate : bool
        True adds to ``out``.
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, layout, out, threads
        As in ``avg_pool``.

    Returns
    -------
    array of shape ``x_shape``; 0 where no window reads x

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument; ``out`` is then untouched.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.avg_pool_input_grad(np.array([[[10.0, 20.0]]]), (1, 1, 5), 2)
    array([[[ 5.,  5., 10., 10.,  0.]]])
    """
    options = pool_options(kernel_size, stride, padding, 1, ceil_mode, layout)
    dy = as_float(dy, "dy")
    pooling = pooling_of(shape(x_shape, "x_shape"), options)
    check_shape(dy.shape, pooling.y_shape, "dy", f"the output of x {pooling.x_shape}")
    include = flag(count_include_pad, "count_include_pad")
    divisor = check_divisor(divisor_override)
    accumulate = flag(accumulate, "accumulate")
    count = threads_of_call(threads)
    dy = plain(dy, dy.dtype)
    target, copy_to = result(out, pooling.x_shape, dy.dtype, accumulate, (dy,))
    pooling.core.avg_pool_input_grad(dy, target, include, divisor, accumulate, count)
    return delivered(target, copy_to)


def check_divisor(divisor_override: int | None) -> int:
    """As the core takes it: 0 for none."""
    if divisor_override is None:
        return 0
    divisor = as_int(divisor_override, "divisor_override")
    if divisor == 0 or abs(divisor) > LARGEST:
        raise ValueError(f"divisor_override is {divisor}, expected an integer other than 0, at most 2**60")
    return divisor
