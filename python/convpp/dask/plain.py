"""``convolve`` and ``correlate`` of dask arrays, along any axes.

In: a dask array, a kernel, options.   Out: a dask array, not computed yet.   Next: ``plan.py``, ``layer.py``;
``convpp/plain/problem.py``, which says what is convolved.

A block of the result is one call of ``convpp.convolve`` with ``mode="valid"`` on what it reads; where that lies beyond
the ends of the array, elements (or numbers) are put there as the boundary says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from dask.array import Array as DaskArray
from dask.base import tokenize

from convpp._call.arguments import Shape, shown
from convpp._call.validation import Array
from convpp.dask.arrays import Given, any_array, chunked, threads_of_task
from convpp.dask.chunks import Chunks, ends_of, following, given_chunks, shift_of
from convpp.dask.layer import BlockLayer, array_on
from convpp.dask.plan import Operand, Plan
from convpp.errors import DTypeError, ShapeError
from convpp.plain.arguments import METHODS, NANS, Axes, Boundary, Method, Mode, PerAxis, fraction, is_number, name_of
from convpp.plain.forward import _run as run_whole
from convpp.plain.operands import Types, as_operand, check_numbers, types_of
from convpp.plain.prepare import Options
from convpp.plain.prepare import _lines as lines_of
from convpp.plain.problem import Problem, axes_of, make_problem
from convpp.plain.separable import outer
from convpp.tiling.axes import Axis, Stretch, forward_stretch, run_of
from convpp.tiling.compute import read


def convolve(
    a: DaskArray,
    kernel: Any = None,
    *,
    kernels: Any = None,
    axes: Axes | None = None,
    mode: Mode = "full",
    boundary: Boundary | Sequence[Boundary] = "zeros",
    origin: PerAxis = 0,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    method: Method = "auto",
    nan: str = "propagate",
    mask: Any = None,
    min_weight: float = 0.0,
    fill_value: complex = np.nan,
    dtype: Any = None,
    chunks: Any = None,
    threads: int | None = 1,
) -> DaskArray:
    """``convpp.convolve`` of a dask array, chunked along any axes: ``y[p] = sum over r of kernel[r] * a[p - r]``.

    A block of y is one task, which reads its part of a and halos just as long as the kernel reaches, from as many
    chunks as are thinner than that.  Boundaries are those of the whole array: no chunk has one of its own.

    Parameters
    ----------
    a : dask array of any number of axes
        Of the types of ``convpp.convolve``; no masked arrays: ``mask`` says what is left out.
    kernel, kernels : array in memory
        As in ``convpp.convolve``; every worker gets it.
    mask : bool array, optional
        A dask array of a's shape, or an array in memory, which is broadcast to it.
    method : "auto", "direct", "fft", "winograd" or "separable"
        "direct" adds in an order that looks at no extent: y has the same bits however a is chunked.  "auto" takes what
        is fastest for a block: equal to rounding, and exact for integers.
    chunks : chunks of y, optional
        By default those of a: a result belongs to the chunk that its kernel is centred in.
    threads : int, optional
        Of each task: 1, since dask computes several at a time.  None: convpp's own number on the worker.
    axes, mode, boundary, origin, stride, dilation, nan, min_weight, fill_value, dtype
        As in ``convpp.convolve``.

    Returns
    -------
    dask array

    Raises
    ------
    ShapeError, DTypeError, ValueError
        Now, where shapes, types or chunks do not fit; a sum that an integer type does not hold, when it is computed.

    Examples
    --------
    >>> import dask.array as da
    >>> import convpp, convpp.dask
    >>> picture = da.ones((2000, 3000, 3), chunks=(500, 1000, 3), dtype="float32")
    >>> kernel = convpp.gaussian(2, ndim=2)
    >>> blurred = convpp.dask.convolve(picture, kernel, axes=(0, 1), mode="same", boundary="reflect")
    >>> blurred.chunks[:2]
    ((500, 500, 500, 500), (1000, 1000, 1000))
    >>> float(blurred[0, 0, 0].compute().round(4))
    1.0
    """
    options = Options(
        axes, mode, boundary, origin, stride, dilation, method, nan, min_weight, fill_value, True, threads
    )
    return _convolved(a, kernel, kernels, mask, dtype, options, chunks)


def correlate(
    a: DaskArray,
    kernel: Any = None,
    *,
    kernels: Any = None,
    axes: Axes | None = None,
    mode: Mode = "full",
    boundary: Boundary | Sequence[Boundary] = "zeros",
    origin: PerAxis = 0,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    method: Method = "auto",
    nan: str = "propagate",
    mask: Any = None,
    min_weight: float = 0.0,
    fill_value: complex = np.nan,
    dtype: Any = None,
    chunks: Any = None,
    threads: int | None = 1,
) -> DaskArray:
    """``convpp.correlate`` of a dask array: ``y[p] = sum over r of conj(kernel[r]) * a[p + r]``; else as ``convolve``.

    Parameters
    ----------
    a, kernel, kernels, axes, mode, boundary, origin, stride, dilation, method, nan, mask, min_weight, fill_value, \
dtype, chunks, threads
        As in ``convpp.dask.convolve``.

    Returns
    -------
    dask array

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import dask.array as da
    >>> import convpp.dask
    >>> convpp.dask.correlate(da.arange(6, chunks=2), [0, 0, 1], mode="same").compute()
    array([1, 2, 3, 4, 5, 0])
    """
    options = Options(
        axes, mode, boundary, origin, stride, dilation, method, nan, min_weight, fill_value, False, threads
    )
    return _convolved(a, kernel, kernels, mask, dtype, options, chunks)


def _convolved(a: Any, kernel: Any, kernels: Any, mask: Any, dtype: Any, options: Options, chunks: Any) -> DaskArray:
    source = _source(a)
    several = kernels is not None
    if several == (kernel is not None):
        raise ValueError(f"kernel and kernels are {'both' if several else 'not'} given, expected one of them")
    given = kernels if several else kernel
    name = "kernels" if several else "kernel"
    if isinstance(given, DaskArray):
        raise DTypeError(f"{name} is a dask array, expected one in memory: {name}.compute()")
    separable = name_of(options.method, "method", METHODS) == "separable"
    listed = separable and not several and isinstance(given, (list, tuple))
    lines = lines_of(given) if listed else None
    w = outer(lines) if lines is not None else as_operand(given, name)
    normalised = mask is not None or name_of(options.nan, "nan", NANS) == "ignore"
    if not is_number(options.fill_value):
        raise ValueError(f"fill_value is {shown(options.fill_value)}, expected a number")
    if fraction(options.min_weight, "min_weight") and not normalised:
        raise ValueError(f"min_weight is {options.min_weight}, expected it with nan='ignore' or a mask")
    # An array of this shape without memory: nothing of it is read.
    shadow = np.broadcast_to(np.zeros((), source.dtype), source.shape)
    problem = make_problem(
        shadow, w, several, options.turned, options.axes, options.mode, options.boundary, options.origin,
        options.stride, options.dilation,
    )  # fmt: skip
    types = types_of(source.dtype, w.dtype, dtype, normalised)
    hidden = None if mask is None else _mask(mask, source.shape)
    shape = problem.result_shape
    assert source.chunks is not None
    numbers, _ = axes_of(shadow, w, several, options.axes)
    cut = _chunks(problem, source.chunks, numbers) if chunks is None else given_chunks(chunks, shape)
    lead = int(several)
    operands, constants = [], {}
    for operand in (source, *(() if hidden is None else (hidden,))):
        if operand.chunks is None:
            constants[operand.name] = operand.array
        else:
            by = tuple(axis + lead for axis in range(len(source.shape)))
            operands.append(Operand(operand.name, operand.array.name, operand.chunks, by, operand.dtype, halos=True))
    how = (lines if lines is not None else w, several, dtype, options, threads_of_task(options.threads))
    plan = _PlainPlan(tuple(operands), constants, problem, numbers, cut, types, how)
    token = tokenize(operands, constants, cut, *how[:3], repr(options), str(source.dtype))
    layer = BlockLayer(f"convpp-{'convolve' if options.turned else 'correlate'}-{token}", plan)
    dependencies = [operand.array for operand in (source, hidden) if operand is not None and operand.chunks is not None]
    return array_on(layer, cut, types.result, dependencies)


def _source(a: Any) -> Given:
    if isinstance(a, DaskArray) and isinstance(a._meta, np.ma.MaskedArray):
        raise DTypeError(
            "a is a dask array of masked arrays, expected plain ones: use dask.array.ma.getdata(a), and "
            "mask=dask.array.ma.getmaskarray(a)"
        )
    given = chunked(a, "a", floats=False)
    check_numbers(given.dtype, "a")
    return given


def _mask(mask: Any, shape: Shape) -> Given:
    given = any_array(mask, "mask", floats=False)
    if given.dtype != np.bool_:
        raise DTypeError(f"mask has dtype {given.dtype}, expected bool: True where a is left out, as in np.ma")
    if given.chunks is not None and given.shape != shape:
        raise ShapeError(f"mask has shape {given.shape}, expected that of a, {shape}")
    try:
        np.broadcast_to(np.False_, np.broadcast_shapes(given.shape, shape)).reshape(shape)
    except ValueError:
        raise ShapeError(f"mask has shape {given.shape}, expected that of a, {shape}") from None
    return given


def _chunks(problem: Problem, source: Chunks, numbers: tuple[int, ...]) -> Chunks:
    """Of the result, those of a; along axes that the kernel broadcasts, and of several kernels, one."""
    shape = problem.result_shape[int(problem.several) :]
    cut = [of if sum(of) == extent else (extent,) for of, extent in zip(source, shape, strict=True)]
    for number, axis in zip(numbers, problem.axes, strict=True):
        shift, stride = shift_of(axis.reach, axis.lo, axis.hi), axis.stride
        cut[number] = following(source[number], axis.count, lambda h, s=stride, t=shift: -((t - h) // s))  # type: ignore[misc]
    return ((problem.kernels,), *cut) if problem.several else tuple(cut)


class _PlainPlan(Plan):
    """Blocks are calls of ``convolve`` or ``correlate`` on what they read."""

    def __init__(
        self,
        operands: tuple[Operand, ...],
        constants: Mapping[str, Any],
        problem: Problem,
        numbers: tuple[int, ...],
        cut: Chunks,
        types: Types,
        how: tuple[Any, bool, Any, Options, int | None],
    ) -> None:
        super().__init__(tuple(map(len, cut)), operands, constants)
        self.kernel, self.several, self.asked, self.options, self.threads = how
        self.dtype = operands[0].dtype
        self.shape = tuple(sum(extents) for extents in operands[0].chunks)
        self._ends = tuple(ends_of(extents) for extents in cut)
        self.real = None if types.whole else types.real
        self.constant = problem.constant
        self.kernel_shape = problem.kernel_shape
        self.axes = {
            number: Axis(
                axis.extent, axis.count, axis.kernel, axis.stride, axis.dilation, axis.lo,
                "zeros" if axis.boundary == "constant" else axis.boundary,
            )
            for number, axis in zip(numbers, problem.axes, strict=True)
        }  # fmt: skip

    def _span(self, axis: int, number: int) -> tuple[int, int]:
        """Of an axis of a, the results of blocks with this number."""
        ends = self._ends[axis + self.several]
        return ends[number], ends[number + 1]

    def _stretch(self, axis: int, number: int) -> Stretch:
        start, stop = self._span(axis, number)
        if axis in self.axes:
            return forward_stretch(self.axes[axis], start, stop)
        broadcast = self.shape[axis] == 1 and stop > start
        return Stretch(run_of(0, 1) if broadcast else run_of(start, stop), (0, 0))

    def reads(self, name: str, axis: int, number: int) -> list[slice]:
        """Of a and of its mask the same."""
        return [part for part in self._stretch(axis, number).read.slices if part.start < part.stop]

    def compute(self, index: Shape, sources: Mapping[str, Any]) -> Array:
        """The boundary is put around what is read of a; it is never masked."""
        stretches = [self._stretch(axis, index[axis + self.several]) for axis in range(len(self.shape))]
        source = tuple(stretch.read for stretch in stretches)
        pads = [stretch.padding for stretch in stretches]
        constant = self.constant if self.dtype.kind == "c" else self.constant.real
        if constant and self.dtype.kind in "biu" and self.real is not None and any(map(any, pads)):
            a = np.pad(sources["a"].read(source).astype(self.real), pads, constant_values=constant)
        else:
            a = sources["a"].read(source, pads, constant)
        mask = None
        if (given := sources.get("mask")) is not None:
            around = np.broadcast_to(given, self.shape) if isinstance(given, np.ndarray) else None
            mask = given.read(source, pads) if around is None else np.pad(read(around, source), pads)
        options = replace(self.options, mode="valid", boundary="zeros", origin=0, threads=self.threads)
        if options.method == "direct":
            options = replace(options, stream=True)
        kernel, kernels = (None, self._kernel(index)) if self.several else (self._kernel(index), None)
        return run_whole(a, kernel, kernels, mask, self.asked, None, options)

    def _kernel(self, index: Shape) -> Any:
        """Several kernels, and one for each element of a batch, are cut as the result is."""
        if self.several:
            return self.kernel[slice(*self._ends[0][index[0] : index[0] + 2])]
        if not isinstance(self.kernel, np.ndarray) or self.kernel.ndim != len(self.shape):
            return self.kernel
        cut = [
            slice(None) if axis in self.axes or extent == 1 else slice(*self._span(axis, index[axis]))
            for axis, extent in enumerate(self.kernel.shape)
        ]
        return self.kernel[tuple(cut)]
