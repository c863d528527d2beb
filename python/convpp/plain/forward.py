"""``convolve`` and ``correlate``: what users call.

In: an array, a kernel, options.   Out: an array; a masked one for a masked one.
Next: ``prepare.py`` (what is computed), ``blocks.py`` (how), ``seen.py`` (small calls), ``stream.py`` (signals in
chunks); ``backward.py``, the gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack, overload

import numpy as np
import numpy.typing as npt

from convpp._call.keywords import Complex, F, Scalar
from convpp._call.validation import Array, delivered, result
from convpp.plain.arguments import Axes, Boundary, ConvolveHow, Method, Mode, Nan, PerAxis
from convpp.plain.blocks import compute
from convpp.plain.prepare import Options, prepare
from convpp.plain.seen import key_of, remember, seen
from convpp.plain.stream import run_chunk
from convpp.plain.whole import Whole
from convpp.streaming import State


@overload
def convolve(
    a: npt.NDArray[F],
    kernel: npt.NDArray[F] | Sequence[npt.NDArray[F]] | None = None,
    *,
    kernels: npt.NDArray[F] | None = None,
    axes: Axes | None = None,
    mode: Mode = "full",
    boundary: Boundary | Sequence[Boundary] = "zeros",
    origin: PerAxis = 0,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    method: Method = "auto",
    nan: Nan = "propagate",
    mask: npt.ArrayLike | None = None,
    min_weight: float = 0.0,
    fill_value: complex = np.nan,
    dtype: None = None,
    out: npt.NDArray[F] | None = None,
    threads: int | None = None,
    state: None = None,
) -> npt.NDArray[F]: ...
@overload
def convolve(
    a: npt.NDArray[Complex],
    kernel: npt.NDArray[Complex] | Sequence[npt.NDArray[Complex]] | None = None,
    *,
    kernels: npt.NDArray[Complex] | None = None,
    dtype: None = None,
    out: npt.NDArray[Complex] | None = None,
    state: None = None,
    **how: Unpack[ConvolveHow],
) -> npt.NDArray[Complex]: ...
@overload
def convolve(
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    dtype: type[Scalar] | np.dtype[Scalar],
    out: npt.NDArray[Scalar] | None = None,
    state: None = None,
    **how: Unpack[ConvolveHow],
) -> npt.NDArray[Scalar]: ...
@overload
def convolve(
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike | None = None,
    out: Array | None = None,
    state: None = None,
    **how: Unpack[ConvolveHow],
) -> Array: ...
@overload
def convolve(
    a: npt.NDArray[F],
    kernel: npt.NDArray[F] | Sequence[npt.NDArray[F]] | None = None,
    *,
    kernels: npt.NDArray[F] | None = None,
    dtype: None = None,
    out: npt.NDArray[F] | None = None,
    state: str | npt.NDArray[F],
    **how: Unpack[ConvolveHow],
) -> tuple[npt.NDArray[F], npt.NDArray[F]]: ...
@overload
def convolve(
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike | None = None,
    out: Array | None = None,
    state: State,
    **how: Unpack[ConvolveHow],
) -> tuple[Array, Array]: ...
def convolve(
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    axes: Axes | None = None,
    mode: Mode = "full",
    boundary: Boundary | Sequence[Boundary] = "zeros",
    origin: PerAxis = 0,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    method: Method = "auto",
    nan: Nan = "propagate",
    mask: npt.ArrayLike | None = None,
    min_weight: float = 0.0,
    fill_value: complex = np.nan,
    dtype: npt.DTypeLike | None = None,
    out: Array | None = None,
    threads: int | None = None,
    state: State | None = None,
) -> Array | tuple[Array, Array]:
    """Convolution of an array with a kernel, along some of its axes.

    ``y[p] = sum over r of kernel[r] * a[p - r]``, where p is counted from the first result of "full" on

    Parameters
    ----------
    a : array of any number of axes
        Floats, complex numbers, integers or bool, of any byte order and any strides; or a masked array.
    kernel : array with as many axes as are convolved
        Or with as many axes as a: those that are not convolved are broadcast, a kernel for each element of a batch.
        With ``method="separable"`` also a list of 1-D kernels, one for each convolved axis.
    kernels : (kernels, \\*kernel), instead of kernel
        Several at once, which read a together; the result has this axis in front.
    axes : int, or one for each axis of the kernel
        The convolved axes of a; the others are a batch.  By default the last ones, as many as the kernel has.
    mode : "full", "same", "valid" or "causal"
        All results; the centre of them, as many as a has elements (``full[(k-1)//2:]``, as in ``scipy.signal``); those
        that read nothing beyond the ends; the first, as many as a has elements (``scipy.signal.lfilter``'s).
    boundary : a name or a number, or one for each convolved axis
        What lies beyond the ends: "zeros", the number, or a as it goes on: "reflect" (mirrored at its last element,
        which is not repeated; ndimage's mirror), "symmetric" (repeated; ndimage's reflect), "replicate", "circular".
    origin : int, or one for each convolved axis
        With ``mode="same"``: moves the kernel, as in ``scipy.ndimage`` (whose ``convolve`` has the centre of a kernel
        of even extent one further: its origin 0 is 1 here).
    stride : int, or one for each convolved axis
        Only every so many results: ``y[::stride]``.
    dilation : int, or one for each convolved axis
        From tap to tap in a.
    method : "auto", "direct", "fft", "winograd" or "separable"
        "auto" is the fastest.  It takes the FFT for large kernels that are no products: its errors are those of the
        largest elements nearby, so a fill value of 1e20 spoils what is far from it, and sums of zeros may be slightly
        negative.  Where that matters, mask the elements, or take "direct".
        "separable" goes axis by axis; it is for kernels that are products of 1-D kernels,
        within ``8 eps max|kernel|``, which "auto" finds out, too.  "direct" has the least error; sums of whole numbers
        are exact by it.
    nan : "propagate" or "ignore"
        "ignore": ``sum(kernel * a) / sum(kernel)``, both over the elements that are not NaN.
    mask : bool array of a's shape, or broadcast to it
        True is left out, as in ``np.ma`` and as NaN is by "ignore".  A boundary is there; it is missing, too, with
        ``boundary=np.nan`` and ``nan="ignore"``.
    min_weight : 0 to 1
        The least part of ``sum|kernel|`` that must be there for a result.
    fill_value : number
        The result where less, or nothing, is there.
    dtype : type of the result
        By default ``np.result_type``; a half with another type counts as float32.  Integers and bool give int64,
        exactly.  A sum that int64, or the type that is asked for, does not hold is an error; ``np.float64`` rounds it.
    out : array of the result's shape and dtype, C-contiguous, optional
        The result is written here; it may overlap the inputs.
    threads : int, optional
        At most so many threads.
    state : "zeros", or the state that the call before returned, optional
        Of a signal, or a batch of them, whose chunk is a, along one axis, with ``mode="causal"``.  "zeros" begins one.
        The state is an array, the last ``dilation*(k-1)`` elements along that axis.  Chunks may have any lengths, and y
        has the same bits however a signal is cut.  The result is then (y, state).

    Returns
    -------
    array of a's shape, but for the convolved axes
        Full n + d*(k-1), same and causal n, valid n - d*(k-1), divided by stride (rounded up).  A masked
        array if a is one: masked where too little was there.  Beside the result a call takes at most 16 MiB, however
        large a is; where kernels of thousands of taps are transformed, up to 40.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument.

    References
    ----------
    Knutsson and Westin, Normalized and differential convolution, CVPR 1993 (``nan``, ``mask``).

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.convolve([1, 2, 3], [0, 1, 5])
    array([ 0,  1,  7, 13, 15])
    >>> picture = np.ones((480, 640, 3), np.float32)
    >>> convpp.convolve(picture, convpp.box(5, ndim=2), axes=(0, 1), mode="same", boundary="reflect").shape
    (480, 640, 3)
    >>> convpp.convolve([1.0, np.nan, 3.0], [1.0, 1.0, 1.0], mode="same", nan="ignore", boundary="replicate")
    array([1., 2., 3.])
    """
    options = Options(
        axes, mode, boundary, origin, stride, dilation, method, nan, min_weight, fill_value, True, threads
    )
    if state is not None:
        return run_chunk(a, kernel, kernels, mask, dtype, out, options, state, _run)
    return _run(a, kernel, kernels, mask, dtype, out, options)


@overload
def correlate(
    a: npt.NDArray[F],
    kernel: npt.NDArray[F] | Sequence[npt.NDArray[F]] | None = None,
    *,
    kernels: npt.NDArray[F] | None = None,
    axes: Axes | None = None,
    mode: Mode = "full",
    boundary: Boundary | Sequence[Boundary] = "zeros",
    origin: PerAxis = 0,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    method: Method = "auto",
    nan: Nan = "propagate",
    mask: npt.ArrayLike | None = None,
    min_weight: float = 0.0,
    fill_value: complex = np.nan,
    dtype: None = None,
    out: npt.NDArray[F] | None = None,
    threads: int | None = None,
    state: None = None,
) -> npt.NDArray[F]: ...
@overload
def correlate(
    a: npt.NDArray[Complex],
    kernel: npt.NDArray[Complex] | Sequence[npt.NDArray[Complex]] | None = None,
    *,
    kernels: npt.NDArray[Complex] | None = None,
    dtype: None = None,
    out: npt.NDArray[Complex] | None = None,
    state: None = None,
    **how: Unpack[ConvolveHow],
) -> npt.NDArray[Complex]: ...
@overload
def correlate(
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    dtype: type[Scalar] | np.dtype[Scalar],
    out: npt.NDArray[Scalar] | None = None,
    state: None = None,
    **how: Unpack[ConvolveHow],
) -> npt.NDArray[Scalar]: ...
@overload
def correlate(
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike | None = None,
    out: Array | None = None,
    state: None = None,
    **how: Unpack[ConvolveHow],
) -> Array: ...
@overload
def correlate(
    a: npt.NDArray[F],
    kernel: npt.NDArray[F] | Sequence[npt.NDArray[F]] | None = None,
    *,
    kernels: npt.NDArray[F] | None = None,
    dtype: None = None,
    out: npt.NDArray[F] | None = None,
    state: str | npt.NDArray[F],
    **how: Unpack[ConvolveHow],
) -> tuple[npt.NDArray[F], npt.NDArray[F]]: ...
@overload
def correlate(
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    dtype: npt.DTypeLike | None = None,
    out: Array | None = None,
    state: State,
    **how: Unpack[ConvolveHow],
) -> tuple[Array, Array]: ...
def correlate(
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    axes: Axes | None = None,
    mode: Mode = "full",
    boundary: Boundary | Sequence[Boundary] = "zeros",
    origin: PerAxis = 0,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    method: Method = "auto",
    nan: Nan = "propagate",
    mask: npt.ArrayLike | None = None,
    min_weight: float = 0.0,
    fill_value: complex = np.nan,
    dtype: npt.DTypeLike | None = None,
    out: Array | None = None,
    threads: int | None = None,
    state: State | None = None,
) -> Array | tuple[Array, Array]:
    """Correlation of an array with a kernel, along some of its axes: as in ``scipy.signal.correlate``.

    ``y[p] = sum over r of conj(kernel[r]) * a[p + r]``: ``convolve`` with the kernel turned about, and conjugated.

    Parameters
    ----------
    a, kernel, kernels, axes, mode, boundary, stride, dilation, method, nan, mask, min_weight, fill_value, dtype, out
        As in ``convolve``.
    origin : int, or one for each convolved axis
        With ``mode="same"``: ``y[p] = sum over r of kernel[r] * a[p + r - k//2 - origin]``, as in ``scipy.ndimage``.
    threads : int, optional
    state : as in ``convolve``

    Returns
    -------
    As of ``convolve``.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument.

    Examples
    --------
    >>> import convpp
    >>> convpp.correlate([1, 2, 3], [0, 1, 5], mode="valid")
    array([17])
    """
    options = Options(
        axes, mode, boundary, origin, stride, dilation, method, nan, min_weight, fill_value, False, threads
    )
    if state is not None:
        return run_chunk(a, kernel, kernels, mask, dtype, out, options, state, _run)
    return _run(a, kernel, kernels, mask, dtype, out, options)


def _run(a: Any, kernel: Any, kernels: Any, mask: Any, dtype: Any, out: Any, options: Options) -> Array:
    """What both functions do."""
    key = key_of(a, kernel, (kernels, mask, dtype, out), options)
    if (before := seen(key)) is not None:
        return before.call(a, kernel, options.threads)
    call = prepare(a, kernel, kernels, mask, dtype, options)
    problem = call.problem
    dtype = call.types.result
    target, copy_to = result(out, problem.result_shape, dtype, False, (call.a, call.kernel))
    arithmetic = call.work.arithmetic
    if target is out and isinstance(arithmetic, Whole) and not arithmetic.fits(dtype):
        target, copy_to = np.empty(problem.result_shape, dtype), target  # a sum that does not fit leaves out as it is
    hidden = np.zeros(problem.result_shape, bool) if call.masked else None
    shown = None if hidden is None else problem.result(hidden)
    if compute(call.work, call.view, problem.result(target), shown):
        remember(key, call, options.method)
    y = delivered(target, copy_to)
    return y if hidden is None else np.ma.MaskedArray(y, mask=hidden)
