"""``convolve_backward``: the gradients of ``convolve`` and ``correlate``.

In: the gradient of a loss with respect to the result, what was convolved.   Out: (da, dkernel).
Next: ``prepare.py``, ``blocks.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any, Literal, Unpack, overload

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import check_shape, entries, flag, shown
from convpp._call.keywords import F
from convpp._call.validation import FLOAT32, FLOAT64, Array, is_masked
from convpp.errors import DTypeError
from convpp.plain.arguments import Axes, Boundary, ConvolveHow, Method, Mode, Nan, PerAxis
from convpp.plain.blocks import differentiate, kernel_gradients
from convpp.plain.operands import as_operand
from convpp.plain.prepare import Call, Options, prepare
from convpp.plain.separable import of_lines

NEEDS: Both = ("a", "kernel")

#: Which gradients are wanted, and what then comes back: see the overloads.
Need = Literal["a", "kernel"]
Needs = Need | Iterable[Need]
Unsaid = list[Need] | Set[Need]
OnlyA = Literal["a"] | tuple[Literal["a"]]
OnlyKernel = Literal["kernel"] | tuple[Literal["kernel"]]
Both = tuple[Literal["a"], Literal["kernel"]] | tuple[Literal["kernel"], Literal["a"]]


@overload
def convolve_backward(
    dy: npt.NDArray[F],
    a: npt.NDArray[F],
    kernel: npt.NDArray[F] | None = None,
    *,
    kernels: npt.NDArray[F] | None = None,
    flip: bool = True,
    needs: Both = NEEDS,
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
    threads: int | None = None,
) -> tuple[npt.NDArray[F], npt.NDArray[F]]: ...
@overload
def convolve_backward(
    dy: npt.NDArray[F],
    a: npt.NDArray[F],
    kernel: npt.NDArray[F] | None = None,
    *,
    kernels: npt.NDArray[F] | None = None,
    flip: bool = True,
    needs: OnlyA,
    **how: Unpack[ConvolveHow],
) -> tuple[npt.NDArray[F], None]: ...
@overload
def convolve_backward(
    dy: npt.NDArray[F],
    a: npt.NDArray[F],
    kernel: npt.NDArray[F] | None = None,
    *,
    kernels: npt.NDArray[F] | None = None,
    flip: bool = True,
    needs: OnlyKernel,
    **how: Unpack[ConvolveHow],
) -> tuple[None, npt.NDArray[F]]: ...
@overload
def convolve_backward(
    dy: npt.NDArray[F],
    a: npt.NDArray[F],
    kernel: npt.NDArray[F] | None = None,
    *,
    kernels: npt.NDArray[F] | None = None,
    flip: bool = True,
    needs: Unsaid,
    **how: Unpack[ConvolveHow],
) -> tuple[npt.NDArray[F] | None, npt.NDArray[F] | None]: ...
@overload
def convolve_backward(
    dy: npt.ArrayLike,
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    flip: bool = True,
    needs: Both = NEEDS,
    **how: Unpack[ConvolveHow],
) -> tuple[Array, Array | list[Array]]: ...
@overload
def convolve_backward(
    dy: npt.ArrayLike,
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    flip: bool = True,
    needs: OnlyA,
    **how: Unpack[ConvolveHow],
) -> tuple[Array, None]: ...
@overload
def convolve_backward(
    dy: npt.ArrayLike,
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    flip: bool = True,
    needs: OnlyKernel,
    **how: Unpack[ConvolveHow],
) -> tuple[None, Array | list[Array]]: ...
@overload
def convolve_backward(
    dy: npt.ArrayLike,
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    flip: bool = True,
    needs: Unsaid,
    **how: Unpack[ConvolveHow],
) -> tuple[Array | None, Array | list[Array] | None]: ...
def convolve_backward(
    dy: npt.ArrayLike,
    a: npt.ArrayLike,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    flip: bool = True,
    needs: Needs = NEEDS,
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
    threads: int | None = None,
) -> tuple[Array | None, Array | list[Array] | None]:
    """Gradients of a loss with respect to a and the kernel, given that with respect to ``convolve(a, kernel, ...)``.

    ``da[q] = sum over p of dy[p] * kernel[p - q]``, ``dkernel[r] = sum over p of dy[p] * a[p - r]``

    They are the exact adjoints for each mode and boundary: what was read beyond an end is added to the element that
    lay there.  Of ``nan="ignore"`` and masks, y = u/v, they are those of the quotient: du = dy/v, dv = -dy u/v^2, and 0
    where a is missing or the result was filled.  Of complex numbers they are dL/dre + i dL/dim, as in PyTorch.

    Parameters
    ----------
    dy : array of the result's shape
        Of a masked array the masked elements count as 0.
    flip : bool
        True: of ``convolve``; False: of ``correlate``.
    needs : any of "a", "kernel"
        What is left out comes back as None and costs nothing.
    a, kernel, kernels, axes, mode, boundary, origin, stride, dilation, method, nan, mask, min_weight, fill_value
        As in ``convolve``.
    threads : int, optional

    Returns
    -------
    (da, dkernel), shaped like a and the kernel
        In the type of the result; that of a real operand is real, that of whole numbers is float64.  For a list of 1-D
        kernels dkernel is a list.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> a, kernel = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0])
    >>> convpp.convolve_backward(np.ones(4), a, kernel)
    (array([1., 1., 1.]), array([6., 6.]))
    """
    options = Options(
        axes, mode, boundary, origin, stride, dilation, method, nan, min_weight, fill_value, flag(flip, "flip"), threads
    )
    listed = entries(needs, "needs")
    wanted = (needs,) if listed is None else listed
    if any(not isinstance(name, str) or name not in NEEDS for name in wanted):
        raise ValueError(f"needs is {shown(needs)}, expected any of {', '.join(NEEDS)}")
    call = prepare(a, kernel, kernels, mask, None, options, for_gradients=True)
    given = _as_dy(dy, call)
    problem, work = call.problem, call.work
    da = np.zeros(call.a.shape, _type(call, call.a)) if "a" in wanted else None
    dw = np.zeros(work.weights.shape, FLOAT64) if "kernel" in wanted else None
    if da is None:
        targets = None
    else:
        view = da.transpose(problem.order)
        targets = [view.real, view.imag] if da.dtype.kind == "c" else [view]
    differentiate(work, call.view, problem.result(given), targets, dw)
    rounded = None if da is None else da.astype(_delivered(call, call.a), copy=False)
    return rounded, None if dw is None else _of_kernel(call, dw)


def _as_dy(dy: Any, call: Call) -> Array:
    """dy as an array of numbers."""
    given = as_operand(dy.filled(0) if is_masked(dy) else dy, "dy")
    check_shape(given.shape, call.problem.result_shape, "dy", "the shape of the result")
    if given.dtype.kind == "c" and call.types.result.kind != "c":
        raise DTypeError(f"dy has dtype {given.dtype}, expected a real one: a and kernel are real")
    return given


def _of_kernel(call: Call, dw: Array) -> Array | list[Array]:
    """The gradient of the kernel as users gave it, from that of the weights."""
    problem = call.problem
    gradient = call.work.arithmetic.of_kernel(kernel_gradients(call.work, dw))
    count = len(problem.axes)
    if not call.work.problem.turned:
        gradient = np.conj(gradient) if gradient.dtype.kind == "c" else gradient
    else:
        gradient = np.flip(gradient, tuple(range(gradient.ndim - count, gradient.ndim)))
    if gradient.ndim != len(problem.kernel_order):  # one kernel for all
        gradient = gradient[0]
    if gradient.ndim == len(problem.kernel_shape):
        gradient = gradient.transpose(np.argsort(problem.kernel_order))
    gradient = gradient.reshape(problem.kernel_shape)
    to = _delivered(call, call.kernel)
    if call.lines is not None:
        return [part.astype(to) for part in of_lines(gradient, call.lines)]
    return np.ascontiguousarray(gradient, to)


def _type(call: Call, operand: Array) -> np.dtype[Any]:
    """The type in which the gradient of an operand is added up."""
    if operand.dtype.kind != "c":
        return call.work.real
    return np.dtype(np.complex64 if call.work.real == FLOAT32 else np.complex128)


def _delivered(call: Call, operand: Array) -> np.dtype[Any]:
    """The type in which it is returned: that of the result, real for a real operand."""
    if operand.dtype.kind == "c" or call.types.result.kind == "c":
        return _type(call, operand)
    return call.types.result
