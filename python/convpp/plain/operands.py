"""Arrays that ``convolve`` takes, and the types it computes and returns.

In: anything array-like, masked arrays and ``dtype=`` included.   Out: arrays (not copied), their mask, and ``Types``.
Next: ``axes.py``; ``whole.py`` and ``fields.py``, which tell each kind of numbers in real ones.

=========================================  ==================================  =======================
a and kernel                               result                              computed in
=========================================  ==================================  =======================
float32, float64, float16, bfloat16        ``np.result_type``; a half with     that; halves sum in
                                           another type counts as float32      float32
complex64 or complex128, with any above    ``np.result_type``                  float32 or float64
integers or bool, both                     int64, exactly                      float32 or float64, where
                                                                               sums are exact; in parts
                                                                               where they are not
integers or bool, with any float           as NumPy: ``np.result_type``        that
=========================================  ==================================  =======================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp._call.arguments import Shape, attribute, shown
from convpp._call.validation import FLOAT32, FLOAT64, HALVES, Array, as_array, common_dtype, is_masked
from convpp.errors import DTypeError, ShapeError

INT64 = np.dtype(np.int64)
_COMPLEX: dict[np.dtype[Any], np.dtype[Any]] = {FLOAT32: np.dtype(np.complex64), FLOAT64: np.dtype(np.complex128)}
_REAL: dict[np.dtype[Any], np.dtype[Any]] = dict(zip(_COMPLEX.values(), _COMPLEX, strict=True))


@dataclass(frozen=True)
class Types:
    """``real`` is what the engine computes in; ``result`` may be complex, or whole numbers (``whole``)."""

    result: np.dtype[Any]
    real: np.dtype[Any]
    whole: bool


def as_operand(value: Any, argument: str) -> Array:
    """``value`` as an array of numbers, in any byte order."""
    if value is None:
        raise DTypeError(f"{argument} is None, expected an array")
    if argument == "kernel" and isinstance(value, (list, tuple)):
        _check_no_lines(value)
    array = as_array(value, argument)
    check_numbers(array.dtype, argument)
    return array


def _check_no_lines(kernel: Sequence[Any]) -> None:
    """That a list is no list of 1-D arrays, which may be meant in two ways."""
    lines = [line for line in kernel if isinstance(line, np.ndarray) and line.ndim == 1]
    if lines:
        raise ShapeError(
            f"kernel is a {type(kernel).__name__} of 1-D arrays ({', '.join(str(line.size) for line in lines)} "
            "elements), expected an array: for a kernel along each axis use method='separable', for one kernel whose "
            "rows they are np.stack(kernel)"
        )


def as_source(value: Any, mask: Any) -> tuple[Array, Array | None, bool]:
    """a, its mask (True is left out), and whether it came as a masked array."""
    masked = is_masked(value)
    own = None
    if masked:
        own = None if value.mask is np.ma.nomask else np.asarray(value.mask)
        value = value.data
    a = as_operand(value, "a")
    if mask is not None:
        given = as_array(mask, "mask")
        if given.dtype != np.bool_:
            raise DTypeError(f"mask has dtype {given.dtype}, expected bool: True where a is left out, as in np.ma")
        try:
            given = np.broadcast_to(given, a.shape)
        except ValueError:
            raise ShapeError(f"mask has shape {given.shape}, expected that of a, {a.shape}") from None
        own = given if own is None else own | given
    return a, own, masked


def check_numbers(dtype: np.dtype[Any], argument: str) -> None:
    """That this is a type of numbers that are computed with, or an error with the right advice."""
    if is_float(dtype) or dtype.kind in "biu" or dtype in _COMPLEX.values() or dtype.newbyteorder("=") in _KNOWN:
        return
    expected = "expected floats, complex numbers, integers or bool"
    if dtype.kind in "fc":  # longdouble
        to = "np.complex128" if dtype.kind == "c" else "np.float64"
        raise DTypeError(f"{argument} has dtype {dtype}, {expected}: {argument}.astype({to}) rounds it to 53 bits")
    advice = {
        "O": f"for whole numbers or floats use {argument}.astype(np.float64), which rounds decimals and long integers; "
        "decimals stay exact as integers of their smallest unit",
        "S": "these are strings",
        "U": "these are strings",
        "M": "dates cannot be summed: convert to a difference, then to integers",
        "m": f"use {argument}.astype(np.int64) and give the result its unit again",
        "V": f"use one field of it, {argument}['name']",
    }
    hint = f": {advice[dtype.kind]}" if dtype.kind in advice else ""
    raise DTypeError(f"{argument} has dtype {dtype}, {expected}{hint}")


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether this is one of the engine's four types, in any byte order."""
    return dtype.newbyteorder("=") in (FLOAT32, FLOAT64) or (dtype.name in HALVES and dtype.itemsize == 2)


_KNOWN = (FLOAT32, FLOAT64, *_COMPLEX.values())


def types_of(a: np.dtype[Any], kernel: np.dtype[Any], dtype: Any, normalised: bool) -> Types:
    """The types of a call; ``normalised`` results are quotients, and never whole."""
    both_whole = a.kind in "biu" and kernel.kind in "biu"
    own = FLOAT64 if both_whole else common(a, kernel)
    whole = both_whole and not normalised
    if dtype is None:
        return Types(INT64 if whole else own, real_of(own), whole)
    try:
        wanted = np.dtype(dtype)
    except Exception:  # TypeError, or whatever the dtype of another library raises
        raise DTypeError(f"dtype is {shown(dtype)}, expected a type of numbers") from None
    try:
        check_numbers(wanted, "dtype")
    except DTypeError:
        raise DTypeError(f"dtype is {wanted}, expected a type of floats, complex numbers or integers") from None
    if wanted.kind in "biu":
        if not whole:
            why = "a quotient" if normalised else f"of {a} and {kernel}"
            raise DTypeError(f"dtype is {wanted}, expected a float type: the result is {why}; round it afterwards")
        return Types(wanted, FLOAT64, True)
    if own.kind == "c" and wanted.kind != "c":
        raise DTypeError(f"dtype is {wanted}, expected a complex type: a has dtype {a}, kernel {kernel}")
    return Types(wanted.newbyteorder("="), real_of(wanted), False)


def common(*dtypes: np.dtype[Any]) -> np.dtype[Any]:
    """``np.result_type`` of native types; where a half meets another type, it counts as float32."""
    natives = [dtype.newbyteorder("=") if dtype.name not in HALVES else dtype for dtype in dtypes]
    found = common_dtype(*natives)
    return found if found.kind != "f" or found.itemsize <= 8 else FLOAT64


def real_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type of the parts of a complex one."""
    native = dtype.newbyteorder("=") if dtype.name not in HALVES else dtype
    return _REAL.get(native, native)


def shape_of(value: Any) -> Shape:
    """The shape that something array-like says it has."""
    given = attribute(value, "shape")
    return given if isinstance(given, tuple) else np.shape(value)
