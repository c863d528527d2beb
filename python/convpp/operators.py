"""Convolutions as linear operators, for the solvers of SciPy and whoever takes its operators.

In: the shape of what is convolved, a kernel, options.   Out: a ``scipy.sparse.linalg.LinearOperator``, y = A x, whose
adjoint is exact for each mode and boundary.   Next: ``convolve``, ``conv`` and their gradients, which do the work.

SciPy is imported here, and nowhere else in the package: ``pip install scipy``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

try:
    from scipy.sparse.linalg import LinearOperator
except ImportError as _error:
    raise ImportError("convpp.operators needs SciPy: pip install scipy") from _error

from convpp._call.arguments import ALGORITHMS, Shape, as_int, check_shape, choice, entries, flag, shape, shown
from convpp._call.validation import FLOAT32, FLOAT64, Array, as_float
from convpp.errors import DTypeError
from convpp.forward import conv
from convpp.functional import conv_input_grad
from convpp.plain.arguments import Axes, Boundary, Method, Mode, PerAxis, is_number
from convpp.plain.backward import convolve_backward
from convpp.plain.forward import convolve, correlate
from convpp.plain.operands import as_operand, check_numbers
from convpp.plain.prepare import Options, prepare
from convpp.runtime import threads_of_call
from convpp.shapes import conv_output_shape

__all__ = ["Conv", "Convolution"]


class _Operator(LinearOperator):
    """An operator on arrays of ``input_shape``, whose results have ``output_shape``; vectors are they, raveled."""

    def __init__(self, dtype: np.dtype[Any], input_shape: Shape, output_shape: Shape) -> None:
        self.input_shape = input_shape
        self.output_shape = output_shape
        super().__init__(dtype, (math.prod(output_shape), math.prod(input_shape)))

    def __call__(self, a: npt.ArrayLike) -> Array:
        """The result for an array of ``input_shape``; ShapeError for another one."""
        return self._one(self._forward, a, "a", self.input_shape)

    def adjoint_of(self, y: npt.ArrayLike) -> Array:
        """The adjoint for an array of ``output_shape``; ShapeError for another one."""
        return self._one(self._backward, y, "y", self.output_shape)

    def _forward(self, stack: Array) -> Array:
        """Of arrays along the first axis."""
        raise NotImplementedError

    def _backward(self, stack: Array) -> Array:
        raise NotImplementedError

    def _one(self, function: Callable[[Array], Array], value: npt.ArrayLike, argument: str, of: Shape) -> Array:
        array = as_operand(value, argument)
        check_shape(array.shape, of, argument, "what the operator was made for")
        result: Array = function(self._as_stack(array, 1, of))[0]
        return result

    def _as_stack(self, values: Array, count: int, of: Shape) -> Array:
        """Arrays of a shape along the first axis, in a type that holds the vectors' numbers."""
        check_numbers(values.dtype, "the vector")
        return np.ascontiguousarray(values, np.result_type(self.dtype, values.dtype)).reshape(count, *of)

    def _matvec(self, x: Array) -> Array:
        return self._forward(self._as_stack(x, 1, self.input_shape)).reshape(-1)

    def _rmatvec(self, x: Array) -> Array:
        return self._backward(self._as_stack(x, 1, self.output_shape)).reshape(-1)

    def _matmat(self, X: Array) -> Array:
        count = X.shape[1]
        return self._forward(self._as_stack(X.T, count, self.input_shape)).reshape(count, self.shape[0]).T

    def _rmatmat(self, X: Array) -> Array:
        count = X.shape[1]
        return self._backward(self._as_stack(X.T, count, self.output_shape)).reshape(count, self.shape[1]).T


class Convolution(_Operator):
    """``convolve(a, kernel, ...)`` (``flip=False``: ``correlate``) as an operator on arrays a of one shape.

    Parameters
    ----------
    shape : tuple of ints
        Of the arrays that it is applied to.
    kernel : array
        Copied. As of ``convolve``: as many axes as are convolved, or as many as the arrays.
    axes, mode, boundary, origin, stride, dilation, method
        As of ``convolve``, but that ``mode`` is "same" by default.  A number as ``boundary`` must be 0: what is added
        by another one is not linear.
    flip : bool
        False: ``correlate``.
    dtype : float32, float64, complex64 or complex128, optional
        Of the kernel, and of results for vectors of this type or a smaller one.  By default that of the kernel; of
        whole numbers float64.
    threads : int, optional

    Attributes
    ----------
    input_shape, output_shape : tuples of ints
        ``A(a)`` and ``A.adjoint_of(y)`` take arrays of these shapes; ``A @ v`` and ``A.H @ v`` take them raveled, one
        or (as columns) several, which are computed by one call.

    Raises
    ------
    ShapeError, DTypeError, ValueError
        As ``convolve``.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.operators import Convolution
    >>> blur = Convolution((32, 32), np.full((3, 3), 1 / 9), boundary="reflect")
    >>> blur.shape, blur(np.ones((32, 32))).round(6).max()
    ((1024, 1024), np.float64(1.0))
    """

    def __init__(
        self,
        shape: Any,
        kernel: npt.ArrayLike,
        *,
        axes: Axes | None = None,
        mode: Mode = "same",
        boundary: Boundary | Any = "zeros",
        origin: PerAxis = 0,
        stride: PerAxis = 1,
        dilation: PerAxis = 1,
        method: Method = "auto",
        flip: bool = True,
        dtype: npt.DTypeLike | None = None,
        threads: int | None = None,
    ) -> None:
        w, turned = as_operand(kernel, "kernel"), flag(flip, "flip")
        threads_of_call(threads)  # only to fail here and not at the first vector
        of_kernel = np.result_type(w.dtype, np.float32) if dtype is None else _type_from(dtype)
        if w.dtype.kind == "c" and of_kernel.kind != "c":
            raise DTypeError(f"dtype is {of_kernel}, expected a complex type: the kernel has dtype {w.dtype}")
        for one in boundary if isinstance(boundary, (list, tuple)) else [boundary]:
            if is_number(one) and one != 0:
                given = shown(boundary)
                raise ValueError(f"boundary is {given}, expected 0 or a name: what another number adds is not linear")
        w = w.astype(of_kernel)
        self._arguments: dict[str, Any] = {
            "mode": mode, "boundary": boundary, "origin": origin, "stride": stride, "dilation": dilation,
            "method": method, "threads": threads,
        }  # fmt: skip
        a = np.zeros(_extents(shape), of_kernel)
        options = Options(
            axes, mode, boundary, origin, stride, dilation, method, "propagate", 0.0, np.nan, turned, threads
        )
        problem = prepare(a, w, None, None, None, options).problem
        self._flip = turned
        # One more axis in front, for several vectors.
        own = w.ndim == a.ndim and len(problem.axes) != a.ndim
        listed = range(a.ndim - w.ndim, a.ndim) if axes is None else entries(axes, "axes") or (axes,)
        self._axes = tuple(as_int(axis, "axes") % a.ndim + 1 for axis in listed)
        self._kernel = w[None] if own else w
        super().__init__(of_kernel, a.shape, problem.result_shape)

    def _forward(self, stack: Array) -> Array:
        function = convolve if self._flip else correlate
        y: Array = function(stack, self._kernel, axes=self._axes, **self._arguments)
        return y

    def _backward(self, stack: Array) -> Array:
        a = np.zeros((len(stack), *self.input_shape), stack.dtype)  # nobody reads it
        da, _ = convolve_backward(
            stack, a, self._kernel, flip=self._flip, needs="a", axes=self._axes, **self._arguments
        )
        assert da is not None
        return da


class Conv(_Operator):
    """``conv(x, w, ...)`` as an operator on x of one shape, whose adjoint is ``conv_input_grad``.

    Parameters
    ----------
    x_shape : tuple of ints
        (N, C, \\*spatial), or as ``layout`` says; with or without N.
    w : array (K, C/groups, \\*kernel) of float32 or float64
        Copied.
    threads : int, optional
    geometry
        stride, padding, dilation, groups, padding_mode, flip, layout, algorithm: as of ``conv``.

    Raises
    ------
    ShapeError, DTypeError, ValueError
        As ``conv``.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.operators import Conv
    >>> A = Conv((3, 20, 20), np.ones((5, 3, 3, 3)))
    >>> A.shape, A.output_shape
    ((1620, 1200), (5, 18, 18))
    """

    def __init__(self, x_shape: Any, w: npt.ArrayLike, *, threads: int | None = None, **geometry: Any) -> None:
        weights = as_float(w, "w")
        if weights.dtype not in (FLOAT32, FLOAT64):
            raise DTypeError(f"w has dtype {weights.dtype}, expected float32 or float64: vectors have no half types")
        threads_of_call(threads)
        choice(geometry.get("algorithm", "auto"), "algorithm", ALGORITHMS)
        if geometry.get("per_sample", False):
            raise ValueError("per_sample is True, expected weights for all samples")
        given = _extents(x_shape)
        shapes = {name: value for name, value in geometry.items() if name != "algorithm"}
        out = conv_output_shape(given, weights.shape, **shapes)
        self._batched = len(given) == weights.ndim
        self._w, self._geometry = weights.copy(), {**geometry, "threads": threads}
        super().__init__(weights.dtype, given, out)

    def _forward(self, stack: Array) -> Array:
        return self._parts(stack, self.output_shape, lambda x: conv(x, self._w, **self._geometry))

    def _backward(self, stack: Array) -> Array:
        def adjoint(dy: Array) -> Array:
            one = self.input_shape[1:] if self._batched else self.input_shape
            return conv_input_grad(dy, self._w, (len(dy), *one), **self._geometry)

        return self._parts(stack, self.input_shape, adjoint)

    def _parts(self, stack: Array, to: Shape, function: Any) -> Array:
        """Vectors as samples of one call; the parts of complex ones are two."""
        if stack.dtype.kind == "c":
            parts = np.concatenate([stack.real, stack.imag])
            real, imaginary = np.split(self._parts(parts, to, function), 2)
            return np.asarray(real + 1j * imaginary, stack.dtype)
        count = len(stack) * stack.shape[1]
        samples = stack.reshape(count, *stack.shape[2:]) if self._batched else stack
        return np.asarray(function(samples)).reshape(len(stack), *to)


def _extents(given: Any) -> Shape:
    return shape(given, "shape")


def _type_from(dtype: Any) -> np.dtype[Any]:
    found: np.dtype[Any] | None
    try:
        found = np.dtype(dtype).newbyteorder("=")
    except Exception:  # TypeError, or whatever the dtype of another library raises
        found = None
    if found is None or found.name not in ("float32", "float64", "complex64", "complex128"):
        raise DTypeError(f"dtype is {shown(dtype)}, expected float32, float64, complex64 or complex128")
    return found
