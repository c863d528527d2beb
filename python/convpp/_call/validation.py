"""Arrays: what users pass becomes contiguous arrays of one of four types, or an error that names the argument.

In: anything array-like, and ``out``.   Out: C-contiguous, aligned arrays of one type; the array to write into.
Next: ``geometry.py``.

The fast path (plain, contiguous arrays of one type) copies nothing and costs a fraction of a microsecond; strided,
transposed, unaligned or mixed arrays are copied once.

The types are float32 and float64, and two that are stored in half and computed with in float32: float16, and bfloat16,
which NumPy does not know.  The package ``ml_dtypes`` defines it; it is recognised by its name, and never imported but
where a bfloat16 array is asked for by name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Shape, attribute, shown
from convpp._call.foreign import from_other_library
from convpp.errors import DTypeError, ShapeError

Array = npt.NDArray[Any]

FLOAT32 = np.dtype(np.float32)
FLOAT64 = np.dtype(np.float64)
HALVES = ("float16", "bfloat16")
NAMES = ("float32", "float64", *HALVES)
#: bfloat16 joins them when it is first met.
_NAMES: dict[np.dtype[Any], str] = {FLOAT32: "float32", FLOAT64: "float64", np.dtype(np.float16): "float16"}
_DTYPES: dict[str, np.dtype[Any]] = {name: dtype for dtype, name in _NAMES.items()}

_EXPECTED = "float32, float64, float16 or bfloat16"

#: Bits of ``ndarray.flags.num``: C-contiguous and aligned.
_PLAIN = 0x0001 | 0x0100


def operands(first: Any, second: Any, bias: Any, names: tuple[str, str]) -> tuple[Array, Array, Array | None, str]:
    """The arrays of one call in their common type, plain, and the type's name."""
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
    a, b = as_float(first, names[0]), as_float(second, names[1])
    c = None if bias is None else as_float(bias, "bias")
    dtype = common_dtype(*(array.dtype for array in (a, b, c) if array is not None))
    return plain(a, dtype), plain(b, dtype), None if c is None else plain(c, dtype), dtype.name


def as_array(value: Any, argument: str) -> Array:
    """``value`` as an array of any type: the door by which everything that users pass comes in.

    A masked array is refused, whose mask would be lost without a word, and so is what NumPy makes an object of: None,
    a generator, prepared weights.  What cannot be converted is an error that names the argument, whatever the
    conversion raised.
    """
    if type(value) is np.ndarray:
        return value
    value = from_other_library(value, argument)
    try:
        array = np.asanyarray(value)
    except MemoryError:
        raise
    except Exception as error:
        hint = ""
        if attribute(value, "requires_grad") is True:
            hint = f" (convpp.torch has functions with gradients; without, use {argument}.detach())"
        if "BFloat16" in str(error):  # of PyTorch, which has no NumPy array of it
            hint = f" (use {argument}.float())"
        raise DTypeError(f"{argument} is not an array: {error}{hint}") from error
    if is_masked(array) or is_masked(value, array.ndim):
        from convpp._call.guesses import arrays

        raise DTypeError(f"{argument} is a masked array, expected a plain one{arrays.of_masked(value, argument)}")
    if array.ndim == 0 and array.dtype.kind in "OUS":
        from convpp._call.guesses import arrays

        raise DTypeError(f"{argument} is {arrays.of_value(value, argument)}")
    return np.asarray(array)


def is_masked(value: Any, depth: int = 0) -> bool:
    """Whether it is a masked array, or a list of them, up to so many levels deep."""
    module = sys.modules.get("numpy.ma")  # imported by whoever made a masked array
    if module is None:
        return False
    return isinstance(value, module.MaskedArray) or (
        depth > 0 and isinstance(value, (list, tuple)) and any(is_masked(entry, depth - 1) for entry in value)
    )


def as_real(value: Any, argument: str) -> npt.NDArray[np.float64]:
    """``value`` in float64: real numbers of any type, never strings, objects, or the real parts of complex ones."""
    array = as_array(value, argument)
    check_real(array, FLOAT64, argument, value)
    return array.astype(np.float64, copy=False)


def check_real(array: Array, to: np.dtype[Any], argument: str, value: Any = None) -> None:
    """That the numbers of an array, made of ``value``, are of a kind that ``to`` can hold, if need be rounded."""
    # (Which casts bfloat16 has, NumPy does not say in every version.)
    given, real = (FLOAT32 if dtype.name in HALVES else dtype for dtype in (array.dtype, to))
    if given.kind not in "biuf" or not np.can_cast(given, real, "same_kind"):
        from convpp._call.guesses import arrays

        advice = arrays.of_dtype(array if value is None else value, array, argument, integers=True)
        raise DTypeError(f"{argument} has dtype {array.dtype}, expected real numbers{advice}")


def as_float(value: Any, argument: str) -> Array:
    """``value`` as an array of one of the four types (no cast: the caller decides what to round).

    Numbers in the byte order of another machine are copied into ours, which is exact: so are FITS files.
    """
    array = as_array(value, argument)
    dtype = array.dtype
    native = dtype if dtype.isnative else dtype.newbyteorder("=")
    if native not in _NAMES and not _learned(native):
        from convpp._call.guesses import arrays

        advice = arrays.of_dtype(value, array, argument)
        raise DTypeError(f"{argument} has dtype {dtype}, expected {_EXPECTED}{advice}")
    return array if native is dtype else array.astype(native)


def common_dtype(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """``np.result_type``; where a half meets another type, it counts as float32."""
    first = dtypes[0]
    if all(dtype == first for dtype in dtypes):
        return first
    return np.result_type(*(FLOAT32 if dtype.name in HALVES else dtype for dtype in dtypes))


def _learned(dtype: np.dtype[Any]) -> bool:
    """Whether this is bfloat16, which is then known."""
    if dtype.name != "bfloat16" or dtype.itemsize != 2:
        return False
    _DTYPES["bfloat16"] = dtype
    _NAMES[dtype] = "bfloat16"  # last: what is found there is found in both
    return True


def dtype_from(name: str) -> np.dtype[Any]:
    """The type of arrays of this name, one of the four."""
    if name not in _DTYPES:
        try:
            bfloat16 = importlib.import_module("ml_dtypes").bfloat16
        except ImportError:
            raise DTypeError(
                "dtype is bfloat16, which NumPy has from the package ml_dtypes: pip install ml_dtypes"
            ) from None
        _learned(np.dtype(bfloat16))
    return _DTYPES[name]


def plain(array: Array, dtype: np.dtype[Any]) -> Array:
    """C-contiguous and aligned, in this type; copied only if it has to be."""
    return np.require(array, dtype=dtype, requirements=("C_CONTIGUOUS", "ALIGNED"))


def dtype_name(dtype: npt.DTypeLike) -> str:
    """The name of one of the four types, from whatever NumPy takes as a type."""
    try:
        name = np.dtype(dtype).name
    except Exception:  # TypeError, or whatever the dtype of another library raises
        name = dtype if isinstance(dtype, str) and len(dtype) < 100 else shown(dtype)
    if name not in NAMES:
        from convpp._call.guesses import words

        raise DTypeError(f"dtype is {name}, expected {_EXPECTED}{words.of_name(name, 'dtype', NAMES)}")
    return name


def generator(rng: Any) -> np.random.Generator:
    """A generator of random numbers from what NumPy takes for one."""
    try:
        return np.random.default_rng(rng)
    except Exception as error:
        raise ValueError(f"rng is {shown(rng)}, expected None, a seed or a Generator: {error}") from error


def with_residual(
    first: Array, second: Array, bias: Array | None, add: Any, dtype: str
) -> tuple[Array, Array, Array | None, Array, str]:
    """The operands of one call and what is added to its results, in their common type."""
    add = as_float(add, "add")
    common = common_dtype(dtype_from(dtype), add.dtype)
    if common.name != dtype:
        first, second = plain(first, common), plain(second, common)
        bias = None if bias is None else plain(bias, common)
    return first, second, bias, plain(add, common), common.name


def result(
    out: Any, shape: Shape, dtype: np.dtype[Any], accumulate: bool, inputs: Iterable[Any]
) -> tuple[Array, Array | None]:
    """The array to compute into, and ``out`` if the result has to be copied there afterwards (overlap)."""
    if out is None:
        if accumulate:
            raise ValueError("out is None, expected an array to add to: accumulate is True")
        return np.empty(shape, dtype), None
    check_out(out, shape, dtype)
    # Both sides are contiguous here, so that comparing their bounds is exact.
    for a in inputs:
        if isinstance(a, np.ndarray) and np.may_share_memory(out, a):
            return (out.copy() if accumulate else np.empty(shape, out.dtype)), out
    return out, None


def delivered(target: Array, copy_to: Array | None) -> Array:
    """The result, after what ``result`` said: where it was computed, or in ``out``, into which it is copied."""
    if copy_to is None:
        return target
    copy_to[...] = target
    return copy_to


def check_out(out: Any, shape: Shape, dtype: np.dtype[Any], argument: str = "out") -> None:
    """``out`` must be able to hold the result as it is; that of halves may also be float32, and is then not rounded."""
    if not isinstance(out, np.ndarray):
        raise DTypeError(f"{argument} is a {type(out).__name__}, expected a NumPy array of shape {shape}")
    if type(out) is not np.ndarray and is_masked(out):
        raise DTypeError(f"{argument} is a masked array, expected a plain one: use {argument}.data")
    half = dtype.itemsize < FLOAT32.itemsize
    if out.dtype != dtype and not (half and out.dtype == FLOAT32):
        given = out.dtype.name if out.dtype.isnative else f"{out.dtype.str} (foreign byte order)"
        raise DTypeError(f"{argument} has dtype {given}, expected {dtype.name}{' or float32' if half else ''}")
    if out.shape != shape:
        raise ShapeError(f"{argument} has shape {out.shape}, expected {shape}")
    if not out.flags.writeable:
        raise ValueError(f"{argument} is read-only, expected a writable array")
    if not out.flags.c_contiguous or not out.flags.aligned:
        raise ValueError(
            f"{argument} has strides {out.strides} for shape {shape}, expected a C-contiguous, aligned array"
        )
