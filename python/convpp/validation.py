"""Arrays: what users pass becomes contiguous float32 or float64 arrays, or an error that names the argument.

In: anything array-like, and ``out``.   Out: C-contiguous, aligned arrays of one type; the array to write into.
Next: ``planning.py``.

The fast path (plain, contiguous arrays of one type) copies nothing and costs a fraction of a microsecond; strided,
transposed, unaligned or mixed arrays are copied once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convpp.arguments import Shape, not_available
from convpp.errors import DTypeError, ShapeError

Array = npt.NDArray[Any]

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
_NAMES = {FLOAT32: "float32", FLOAT64: "float64"}
_HALVES = ("float16", "bfloat16")

#: Bits of ``ndarray.flags.num``: C-contiguous and aligned.
_PLAIN = 0x0001 | 0x0100


def operands(first: Any, second: Any, bias: Any, names: tuple[str, str]) -> tuple[Array, Array, Array | None, str]:
    """The arrays of one call in their common type (``np.result_type``), plain, and the type's name."""
    if (
        type(first) is np.ndarray
        and type(second) is np.ndarray
        and (dtype := first.dtype) in _NAMES
        and second.dtype is dtype
        and first.flags.num & _PLAIN == _PLAIN
        and second.flags.num & _PLAIN == _PLAIN
        and (bias is None or (type(bias) is np.ndarray and bias.dtype is dtype and bias.flags.num & _PLAIN == _PLAIN))
        and dtype.isnative
    ):
        return first, second, bias, _NAMES[dtype]
    given = [(first, names[0]), (second, names[1]), (bias, "bias")]
    arrays = [None if value is None and name == "bias" else as_float(value, name) for value, name in given]
    dtype = np.result_type(*(a.dtype for a in arrays if a is not None))
    a, b, c = (None if array is None else plain(array, dtype) for array in arrays)
    assert a is not None
    assert b is not None
    return a, b, c, dtype.name


def as_float(value: Any, argument: str) -> Array:
    """``value`` as an array of float32 or float64 (no cast: the caller decides what to round)."""
    if isinstance(value, np.ma.MaskedArray):
        raise DTypeError(f"{argument} is a masked array, expected a plain one: use {argument}.filled(0)")
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DTypeError(f"{argument} is not an array: {error}") from None
    dtype = array.dtype
    if not dtype.isnative:
        raise DTypeError(
            f"{argument} has dtype {dtype.str} (foreign byte order), expected native float32 or float64: use "
            f"{argument}.astype({argument}.dtype.newbyteorder('='))"
        )
    if dtype.name in _HALVES:
        raise not_available(f"dtype {dtype.name} ({argument})")
    if dtype != FLOAT32 and dtype != FLOAT64:
        raise DTypeError(
            f"{argument} has dtype {dtype}, expected float32 or float64: use {argument}.astype(np.float32)"
        )
    return array


def plain(array: Array, dtype: np.dtype[Any]) -> Array:
    """C-contiguous and aligned, in this type; copied only if it has to be."""
    return np.require(array, dtype=dtype, requirements=("C_CONTIGUOUS", "ALIGNED"))


def dtype_name(dtype: npt.DTypeLike) -> str:
    """``float32`` or ``float64`` from whatever NumPy takes as a type."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    if name in _HALVES:
        raise not_available(f"dtype {name}")
    if name not in _NAMES.values():
        raise DTypeError(f"dtype is {name}, expected float32 or float64")
    return name


def result(
    out: Any, shape: Shape, dtype: str, accumulate: bool, inputs: tuple[Array | None, ...]
) -> tuple[Array, Array | None]:
    """The array to compute into, and ``out`` if the result has to be copied there afterwards (overlap)."""
    if out is None:
        if accumulate:
            raise ValueError("out is None, expected an array to add to: accumulate is True")
        return np.empty(shape, dtype), None
    check_out(out, shape, dtype)
    # Both sides are contiguous here, so that comparing their bounds is exact.
    if any(a is not None and np.may_share_memory(out, a) for a in inputs):
        return (out.copy() if accumulate else np.empty(shape, dtype)), out
    return out, None


def check_out(out: Any, shape: Shape, dtype: str, argument: str = "out") -> None:
    """``out`` must be able to hold the result as it is."""
    if not isinstance(out, np.ndarray):
        raise DTypeError(f"{argument} is a {type(out).__name__}, expected a NumPy array of shape {shape}")
    if out.dtype != np.dtype(dtype):
        given = out.dtype.name if out.dtype.isnative else f"{out.dtype.str} (foreign byte order)"
        raise DTypeError(f"{argument} has dtype {given}, expected {dtype}")
    if out.shape != shape:
        raise ShapeError(f"{argument} has shape {out.shape}, expected {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{argument} is read-only, expected a writable array")
    if not out.flags.c_contiguous or not out.flags.aligned:
        raise ValueError(
            f"{argument} has strides {out.strides} for shape {shape}, expected a C-contiguous, aligned array"
        )
