"""What a call of ``convolve``, ``correlate`` or ``convolve_backward`` computes, from what users write.

In: all arguments but ``out``.   Out: a ``Call``: the ``Work``, the array and its view.
Next: ``blocks.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp._call.arguments import Algorithm, shown
from convpp._call.default_algorithm import default_algorithm
from convpp._call.validation import FLOAT32, HALVES, Array
from convpp.errors import DTypeError, ShapeError
from convpp.plain.arguments import METHODS, NANS, exact_number, fraction, is_number, name_of
from convpp.plain.blocks import Work, weights_of
from convpp.plain.engine import Engine
from convpp.plain.fields import Arithmetic, Complex, Real
from convpp.plain.missing import Missing, Normalised
from convpp.plain.operands import Types, as_operand, as_source, types_of
from convpp.plain.problem import Problem, make_problem
from convpp.plain.separable import AUTO_TAPS, UNITS, Factors, factors_of, outer
from convpp.plain.whole import Whole

#: With more taps, sums of what is there may be transformed, too, and what is left of nothing is told by a bound.
MOST_EXACT_TAPS = 1024


@dataclass(frozen=True)
class Options:
    """What ``convolve`` is told beside arrays, as users write it."""

    axes: Any
    mode: Any
    boundary: Any
    origin: Any
    stride: Any
    dilation: Any
    method: Any
    nan: Any
    min_weight: Any
    fill_value: Any
    turned: bool
    threads: int | None
    #: In an order of the sums that does not look at the length of a.
    stream: bool = False


@dataclass(frozen=True)
class Call:
    """``masked`` says that a came as a masked array; ``lines`` are the kernels of each axis if it was given so."""

    work: Work
    a: Array
    kernel: Array
    types: Types
    masked: bool
    lines: tuple[Array, ...] | None

    @property
    def problem(self) -> Problem:
        """The problem in canonical form."""
        return self.work.problem

    @property
    def view(self) -> Array:
        """a in canonical order."""
        return self.problem.source(self.a)


def prepare(
    a: Any, kernel: Any, kernels: Any, mask: Any, dtype: Any, options: Options, for_gradients: bool = False
) -> Call:
    """A call that is checked; ``for_gradients``: whole numbers count as floats, and halves as float32."""
    method = name_of(options.method, "method", METHODS)
    array, hidden, masked = as_source(a, mask)
    several = kernels is not None
    if several == (kernel is not None):
        raise ValueError(
            f"kernel and kernels are {'both' if several else 'not'} given, expected one of them: kernel, or kernels "
            "with an axis in front for several at once"
        )
    lines = None
    if not several and method == "separable" and isinstance(kernel, (list, tuple)):
        lines = _lines(kernel)
        w = outer(lines)
    else:
        w = as_operand(kernels if several else kernel, "kernels" if several else "kernel")
    problem = make_problem(
        array,
        w,
        several,
        options.turned,
        options.axes,
        options.mode,
        options.boundary,
        options.origin,
        options.stride,
        options.dilation,
    )
    skip_nan = name_of(options.nan, "nan", NANS) == "ignore" and array.dtype.kind not in "biu"
    normalised = masked or hidden is not None or name_of(options.nan, "nan", NANS) == "ignore"
    min_weight = fraction(options.min_weight, "min_weight")
    if not is_number(options.fill_value):
        raise ValueError(f"fill_value is {shown(options.fill_value)}, expected a number")
    exact_number(options.fill_value, "fill_value")  # only to fail here
    if min_weight and not normalised:
        raise ValueError(
            f"min_weight is {min_weight}, expected it with nan='ignore' or a mask: else nothing is missing"
        )
    types = types_of(array.dtype, w.dtype, dtype, normalised or for_gradients)
    if (normalised or for_gradients) and types.real.name in HALVES:
        types = Types(types.result, FLOAT32, False)
    constant = _constant(problem, array, types)
    exact = method == "direct" or (method == "auto" and _taps(problem) <= MOST_EXACT_TAPS)
    kernel_axes, own = len(problem.axes), problem.own_kernels
    weights = problem.weights if options.turned or w.dtype.kind != "c" else np.conj(problem.weights)
    arithmetic: Arithmetic
    algorithm: Algorithm = "auto" if method == "separable" else method
    if types.whole:
        if method in ("fft", "winograd"):
            raise ValueError(
                f"method is {method!r}, expected 'auto' or 'direct': sums of whole numbers (a has dtype {array.dtype}, "
                f"kernel {w.dtype}) are exact, and transforms round; with floats use a.astype(np.float64)"
            )
        whole = Whole(problem.source(array), weights, own, kernel_axes, int(constant.real))
        types = Types(types.result, whole.real, True)
        arithmetic, algorithm = whole, "direct"
    elif normalised:
        missing = Missing(None if hidden is None else problem.source(hidden), skip_nan, min_weight, options.fill_value)
        arithmetic = Normalised(problem.source(array), weights, own, kernel_axes, constant, missing, types.real, exact)
        algorithm = "direct" if exact else algorithm
    elif array.dtype.kind == "c" or w.dtype.kind == "c":
        arithmetic = Complex(problem.source(array), weights, constant)
    else:
        arithmetic = Real(problem.source(array), weights, constant.real)
    axes = problem.axes
    algorithm = "stream" if options.stream else algorithm
    engine = Engine(
        tuple(axis.kernel for axis in axes),
        tuple(axis.stride for axis in axes),
        tuple(axis.dilation for axis in axes),
        problem.columns,
        len(arithmetic.matrix),
        own,
        algorithm=algorithm,
        threads=options.threads,
    )
    factors = None if for_gradients else _factors(problem, arithmetic, method, lines, weights, types)
    work = Work(problem, arithmetic, engine, weights_of(problem, arithmetic.matrix, types.real), types.real, factors)
    return Call(work, array, w, types, masked, lines)


def _lines(kernel: Sequence[Any]) -> tuple[Array, ...]:
    """One kernel for each axis."""
    lines = tuple(as_operand(line, f"kernel[{i}]") for i, line in enumerate(kernel))
    if not lines or any(line.ndim != 1 or not line.size for line in lines):
        raise ShapeError(
            f"kernel is a {type(kernel).__name__} of arrays of shapes {[line.shape for line in lines]}, expected a 1-D "
            "kernel for each axis: method is 'separable' (a kernel of several axes must be an array)"
        )
    return lines


def may_be_separable(problem: Problem, method: str) -> bool:
    """Whether it depends on the kernel's numbers if it is applied axis by axis."""
    several = sum(axis.kernel > 1 for axis in problem.axes) > 1
    return method == "separable" or (method == "auto" and several and _taps(problem) >= AUTO_TAPS)


def _taps(problem: Problem) -> int:
    return math.prod(axis.kernel for axis in problem.axes)


def _constant(problem: Problem, a: Array, types: Types) -> complex:
    """The number beyond the ends, in the type of a."""
    constant = problem.constant
    if constant.imag and a.dtype.kind != "c":
        raise DTypeError(f"boundary is {constant}, expected a real number: a has dtype {a.dtype}")
    if types.whole and constant.real != constant.real // 1:  # NaN and Inf are none, either
        raise DTypeError(
            f"boundary is {constant.real}, expected a whole number: a has dtype {a.dtype}; use a.astype(np.float64)"
        )
    if not types.whole:
        with np.errstate(over="ignore"):
            held = np.array([constant.real, constant.imag], np.float64).astype(types.real).astype(np.float64)
        if np.isinf(held).any() and math.isfinite(constant.real) and math.isfinite(constant.imag):
            number = constant if constant.imag else constant.real
            raise ValueError(f"boundary is {number}, expected a number that {types.real.name} holds")
    return constant


def _factors(
    problem: Problem,
    arithmetic: Arithmetic,
    method: str,
    lines: tuple[Array, ...] | None,
    weights: Array,
    types: Types,
) -> Factors | None:
    """The kernel axis by axis, if it was given so, asked for, or faster."""
    axes = problem.axes
    matrix = arithmetic.matrix
    one = problem.kernels == 1 and not problem.own_kernels and weights.dtype.kind != "c"
    alike = one and all(len(group) == len(group[0]) == 1 and group[0][0] is matrix[0][0][0] for group in matrix)
    if method == "auto":
        wide = types.real.name not in HALVES and not types.whole
        free = default_algorithm() == "auto"  # who asks for direct sums by set_algorithm gets them
        if not (alike and wide and free and may_be_separable(problem, method)):
            return None
    elif method != "separable":
        return None
    if not one:
        what = "complex" if weights.dtype.kind == "c" else "several"
        raise ValueError(f"method is 'separable', expected one real kernel: it is {what}")
    if lines is not None:
        if len(lines) != len(axes):
            raise ShapeError(f"kernel has {len(lines)} 1-D kernels, expected {len(axes)}, one for each convolved axis")
        ordered = [lines[i - (len(problem.kernel_order) - len(axes))] for i in problem.kernel_order]
        found = [line[::-1] if problem.turned else line for line in ordered]
    else:
        found, off = factors_of(weights[0])
        if off > UNITS or not found:
            if method == "auto":
                return None
            raise ValueError(
                f"method is 'separable', but the kernel of shape {problem.kernel_shape} is no product of 1-D kernels: "
                f"the nearest is {off:.3g} units in the last place off, expected at most {UNITS}"
            )
    whole = not types.whole or all((np.rint(line) == line).all() for line in found)
    if not alike or not whole:  # in one step: digits, negative weights of what is missing, quotients of whole numbers
        return None
    return Factors(tuple(np.ascontiguousarray(line, types.real) for line in found))
