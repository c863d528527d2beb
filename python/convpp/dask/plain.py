"""``convolve`` and ``correlate`` of dask arrays, along any axes.

In: a dask array, a kernel, options.   Out: a dask array, not computed yet.   Next: ``plan.py``, ``layer.py``;
``convpp/tiling/plain.py``, which says what blocks read, and computes them.

A block of the result is one call of ``convpp.convolve`` with ``mode="valid"`` on what it reads; where that lies beyond
the ends of the array, elements (or numbers) are put there as the boundary says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from dask.array import Array as DaskArray
from dask.base import tokenize

from convpp._call.arguments import Shape
from convpp._call.validation import Array
from convpp.dask.arrays import Given, any_array, chunked, threads_of_task
from convpp.dask.chunks import Chunks, ends_of, following, given_chunks, shift_of
from convpp.dask.layer import BlockLayer, array_on
from convpp.dask.plan import Operand, Plan
from convpp.errors import DTypeError, ShapeError
from convpp.plain.arguments import Axes, Boundary, Method, Mode, PerAxis
from convpp.plain.operands import check_numbers
from convpp.plain.prepare import Options
from convpp.tiling.compute import read
from convpp.tiling.plain import PlainCall


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
        "auto" is "direct", in an order of the sums that looks at no extent: y has the same bits however a is chunked.
        By "fft" (for kernels of hundreds of taps), "winograd" and "separable", last bits depend on the chunks.
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
    for name, given in (("kernel", kernel), ("kernels", kernels)):
        if isinstance(given, DaskArray):
            raise DTypeError(f"{name} is a dask array, expected one in memory: {name}.compute()")
    hidden = None if mask is None else _mask(mask, source.shape)
    # Arrays of these shapes without memory: nothing of them is read.
    shadow, of_mask = _Shadow(source.shape, source.dtype), None if hidden is None else np.zeros((), bool)
    call = PlainCall(
        shadow, kernel, kernels, of_mask, dtype, replace(options, threads=threads_of_task(options.threads))
    )
    call.a = call.mask = None
    assert source.chunks is not None
    cut = _chunks(call, source.chunks) if chunks is None else given_chunks(chunks, call.result_shape, call.dtype)
    operands, constants = [], {}
    for operand in (source, *(() if hidden is None else (hidden,))):
        if operand.chunks is None:
            constants[operand.name] = operand.array
        else:
            by = tuple(axis + call.several for axis in range(len(source.shape)))
            operands.append(Operand(operand.name, operand.array.name, operand.chunks, by, operand.dtype, halos=True))
    token = tokenize(operands, constants, cut, call.kernel, call.several, str(dtype), repr(options), str(source.dtype))
    name = f"convpp-{'convolve' if options.turned else 'correlate'}-{token}"
    dependencies = [operand.array for operand in (source, hidden) if operand is not None and operand.chunks is not None]
    return array_on(BlockLayer(name, _PlainPlan(tuple(operands), constants, call, cut)), cut, call.dtype, dependencies)


class _Shadow(NamedTuple):
    """What is known of an array before it is computed."""

    shape: Shape
    dtype: np.dtype[Any]


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


def _chunks(call: PlainCall, source: Chunks) -> Chunks:
    """Of the result, those of a; along axes that the kernel broadcasts, and of several kernels, one."""
    shape = call.result_shape[int(call.several) :]
    cut = [of if sum(of) == extent else (extent,) for of, extent in zip(source, shape, strict=True)]
    for number, axis in call.axes.items():
        hi = axis.reach + 1 + (axis.output - 1) * axis.stride - axis.input - axis.lo
        shift, stride = shift_of(axis.reach, axis.lo, hi), axis.stride
        cut[number] = following(source[number], axis.output, lambda h, s=stride, t=shift: -((t - h) // s))  # type: ignore[misc]
    return (call.result_shape[:1], *cut) if call.several else tuple(cut)


class _PlainPlan(Plan):
    """Blocks are those of ``convolve_tiled``."""

    def __init__(
        self, operands: tuple[Operand, ...], constants: Mapping[str, Any], call: PlainCall, cut: Chunks
    ) -> None:
        super().__init__(tuple(map(len, cut)), operands, constants)
        self.call = call
        self._ends = tuple(ends_of(extents) for extents in cut)

    def reads(self, name: str, axis: int, number: int) -> list[slice]:
        """Of a and of its mask the same."""
        start, stop = self._ends[axis + self.call.several][number : number + 2]
        return [part for part in self.call.stretch(axis, start, stop).read.slices if part.start < part.stop]

    def compute(self, index: Shape, sources: Mapping[str, Any]) -> Array:
        """The boundary is put around what is read of a; it is never masked."""
        spans = [(ends[at], ends[at + 1]) for ends, at in zip(self._ends, index, strict=True)]
        block = self.call.block(index, spans)
        a = sources["a"].read(block.source, block.around, self.call.number, self.call.filled)
        mask = None
        if (given := sources.get("mask")) is not None:
            whole = np.broadcast_to(given, self.call.shape) if isinstance(given, np.ndarray) else None
            parts = given.read(block.source, block.around) if whole is None else read(whole, block.source)
            mask = parts if whole is None else np.pad(parts, block.around)
        return self.call.convolved(block, a, mask)
