"""Arrays: what to do with values that are none, and with element types that convpp does not compute in.

In: what the user passed, the array that NumPy made of it, the argument's name.   Out: the end of the message, with
expressions that can be pasted: they keep the values, or say what they lose.
Next: ``../validation.py``, which refuses.
"""

from __future__ import annotations

import decimal
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import attribute, shown

Array = npt.NDArray[Any]

#: Elements that are looked at where each has to be.
_SAMPLE = 1000
#: Extents of the last axis of a picture: grey, RGB, RGBA.
PICTURE_CHANNELS = (1, 3, 4)
#: How a convolution depends on each argument: its parts can be computed apart, or it is only added.
_LINEAR = {
    "x": "the convolution of x is that of x.real plus 1j times that of x.imag (bias in one of them)",
    "w": "the convolution with w is that with w.real plus 1j times that with w.imag (bias in one of them)",
    "dy": "gradients are linear in dy: add those of dy.real and 1j times those of dy.imag",
    "bias": "add it to the result, along its axis of channels",
    "add": "add it to the result",
}


def of_value(value: Any, argument: str) -> str:
    """What stands where an array should, and what might be meant by it: all but the argument's name."""
    from convpp.prepared import PreparedWeights

    if value is None:
        return "None, expected an array"
    if isinstance(value, (str, bytes)):
        return f"the text {shown(value)}, expected an array: what is in a file is to be loaded first"
    said = f"a {type(value).__name__}, expected an array"
    if isinstance(value, PreparedWeights):
        if argument == "x":
            return f"{said}: it comes second, conv(x, prepared)"
        return f"{said}: only conv takes it (as w), here are needed the weights it was made of"
    if isinstance(attribute(value, "weight"), np.ndarray):
        return f"{said}: did you mean {argument}.weight?"
    if callable(attribute(value, "toarray")):  # a sparse matrix of SciPy
        return f"{said}: did you mean {argument}.toarray()?"
    if isinstance(value, Mapping):
        return f"{said}: did you mean one of its values?"
    if isinstance(value, (Iterator, set, frozenset, type({}.values()))):
        return f"{said}: did you mean np.array(list({argument}))?"
    return said


def of_dtype(value: Any, array: Array, argument: str, integers: bool = False) -> str:
    """The cast to make, or why there is none; with ``integers``, these are not refused."""
    kind = array.dtype.kind
    own = argument if isinstance(value, (np.ndarray, np.generic)) else f"np.array({argument})"
    if kind in "biu" and not integers:
        return _of_integers(value, array, argument)
    if kind == "f":  # long double
        return f": use {_cast(value, argument, 'float64')}, which rounds"
    if kind == "c":
        return _of_complex(value, array, argument)
    if kind == "O":
        return _of_objects(value, array, argument)
    if kind in "SUT":
        return _of_text(value, array, argument)
    if kind == "M":
        return f": moments are no numbers, spans are: ({own} - {own}.min()) / np.timedelta64(1, 's')"
    if kind == "m":
        return f": did you mean {own} / np.timedelta64(1, 's'), in seconds?"
    if names := array.dtype.names:
        return f": it has the fields {', '.join(names)}: did you mean {own}[{names[0]!r}]?"
    return f": use {_cast(value, argument, 'float32')}" if _casts(array, np.float32) else ""


def of_masked(value: Any, argument: str) -> str:
    """What to do with a masked array; its mask is in the way where it is in a list."""
    if not isinstance(value, np.ma.MaskedArray):
        return ""
    whole = "; convpp.convolve leaves out what is masked" if argument in ("x", "w") else ""
    return f": use {argument}.filled(0){whole}"


def looks_like_picture(shape: tuple[int, ...]) -> bool:
    """(H, W, C) or (N, H, W, C) of few channels."""
    return len(shape) in (3, 4) and shape[-1] in PICTURE_CHANNELS and min(shape[-3:-1]) > max(PICTURE_CHANNELS)


def _cast(value: Any, argument: str, dtype: str) -> str:
    """An expression that works on what the user has."""
    array = isinstance(value, (np.ndarray, np.generic))
    return f"{argument}.astype(np.{dtype})" if array else f"np.asarray({argument}, np.{dtype})"


def _casts(array: Array, dtype: npt.DTypeLike) -> bool:
    """Whether NumPy makes it that type, tried on some elements."""
    try:
        with np.errstate(all="ignore"):
            np.array(list(_some(array)), array.dtype).astype(dtype)
    except Exception:  # ValueError, TypeError, or what another library's type raises
        return False
    return True


def _some(array: Array) -> Iterable[Any]:
    return array.flat[:_SAMPLE]


def _of_integers(value: Any, array: Array, argument: str) -> str:
    if isinstance(value, bool):
        return ": expected an array" + (", or None for no bias" if argument == "bias" else "")
    if isinstance(value, tuple) and array.ndim == 1 and len(value) in (3, 4, 5) and argument != "bias":
        return ": a shape comes last, conv_input_grad(dy, w, x_shape) and conv_weight_grad(dy, x, w_shape)"
    small = array.dtype.itemsize <= 2
    cast = _cast(value, argument, "float32" if small else "float64")
    if not small and array.dtype.itemsize > 4:
        largest = max((abs(int(array.max())), abs(int(array.min()))), default=0) if array.size else 0
        exact = "which is exact" if largest <= 2**53 else "which rounds: some are beyond 2**53"
    else:
        exact = "which is exact"
    if argument == "x" and looks_like_picture(array.shape):
        form, axes = ("a picture (H, W, C)", (0, 1)) if array.ndim == 3 else ("pictures (N, H, W, C)", (1, 2))
        return (
            f': use {cast}, {exact}, and for {form} layout="channels_last"; with a kernel (R, S) for all channels: '
            f"convpp.convolve(x, kernel, axes={axes})"
        )
    return f": use {cast}, {exact}"


def _of_complex(value: Any, array: Array, argument: str) -> str:
    if not array.imag.any():  # as they are, no NaN is lost either
        real = f"{argument}.real" if isinstance(value, (np.ndarray, np.generic)) else f"np.real({argument})"
        return f": use {real}, the imaginary part is 0 everywhere"
    if argument not in _LINEAR:
        return ": real and imaginary parts are to be given apart"
    whole = "; convpp.convolve takes complex arrays as they are" if argument in ("x", "w") else ""
    return f": {_LINEAR[argument]}{whole}"


def _of_text(value: Any, array: Array, argument: str) -> str:
    if array.size and _casts(array, np.float64):
        return f": use {_cast(value, argument, 'float64')}, which reads the numbers"
    return f": {shown(array.flat[:1].tolist()[0])} is no number" if array.size else ""


def _of_objects(value: Any, array: Array, argument: str) -> str:
    elements = list(_some(array))
    others = [e for e in elements if not isinstance(e, (numbers.Real, decimal.Decimal))]
    if not others:
        return f": use {_cast(value, argument, 'float64')}, which rounds" if elements else ""
    first = others[0]
    if all(e is None for e in others):
        return f": it holds None, which {_cast(value, argument, 'float64')} makes NaN"
    if all(isinstance(e, numbers.Complex) for e in others):
        return f": it holds complex numbers: {_cast(value, argument, 'complex128')} is an array of them"
    if all(isinstance(e, np.ndarray) for e in elements):
        if len({e.shape for e in elements}) == 1 and array.ndim == 1:
            return f": it holds arrays of shape {first.shape}: did you mean np.stack({argument})?"
        return ": it holds arrays of several shapes, expected one array"
    return f": it holds a {type(first).__name__}, which is no number"
