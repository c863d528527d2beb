"""Names and numbers that ``convolve`` takes, or an error that says what was probably meant.

In: ``mode="same"``, ``boundary="reflect"``, ``stride=2`` ...   Out: the same in one form.
Next: ``axes.py``, which makes extents and padding of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex, TypedDict

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Name, as_int, attribute, entries, shown

Mode = Literal["full", "same", "valid", "causal"]
BoundaryName = Literal["zeros", "reflect", "symmetric", "replicate", "circular"]
#: A name, or the number that lies beyond the ends.
Boundary = BoundaryName | float | complex
Method = Literal["auto", "direct", "fft", "winograd", "separable"]
Nan = Literal["propagate", "ignore"]
PerAxis = SupportsIndex | Sequence[SupportsIndex]
Axes = SupportsIndex | Sequence[SupportsIndex]

MODES: tuple[Mode, ...] = ("full", "same", "valid", "causal")
BOUNDARIES: tuple[BoundaryName, ...] = ("zeros", "reflect", "symmetric", "replicate", "circular")
METHODS: tuple[Method, ...] = ("auto", "direct", "fft", "winograd", "separable")
NANS: tuple[Nan, ...] = ("propagate", "ignore")


class ConvolveHow(TypedDict, total=False):
    """Of ``convolve`` and its gradients, but for arrays: for overloads, as in ``_call/keywords.py``."""

    axes: Axes | None
    mode: Mode
    boundary: Boundary | Sequence[Boundary]
    origin: PerAxis
    stride: PerAxis
    dilation: PerAxis
    method: Method
    nan: Nan
    mask: npt.ArrayLike | None
    min_weight: float
    fill_value: complex
    threads: int | None


#: What other libraries call it, where the name is no name here.
_MEANT = {
    "boundary": {
        "constant": "zeros (or a number)",
        "fill": "zeros (or a number)",
        "pad": "zeros (or a number)",
        "zero": "zeros",
        "grid-constant": "zeros (or a number)",
        "edge": "replicate",
        "nearest": "replicate",
        "extend": "replicate",
        "wrap": "circular",
        "grid-wrap": "circular",
        "periodic": "circular",
        "mirror": "reflect",
        "symm": "symmetric",
        "grid-mirror": "symmetric",
        "full": "mode='full'",
        "same": "mode='same'",
        "valid": "mode='valid'",
    },
    "mode": {name: f"boundary={name!r} with mode='same'" for name in BOUNDARIES}
    | {
        "reflect": "mode='same' with boundary='symmetric', scipy.ndimage's 'reflect', or with 'reflect', np.pad's",
        "constant": "boundary='zeros' with mode='same'",
        "nearest": "boundary='replicate' with mode='same'",
        "edge": "boundary='replicate' with mode='same'",
        "wrap": "boundary='circular' with mode='same'",
        "mirror": "boundary='reflect' with mode='same'",
    },
    "method": {
        "fftconvolve": "fft",
        "oa": "fft",
        "overlap-add": "fft",
        "reference": "direct",
        "svd": "separable",
    },
    "nan": {
        "interpolate": "ignore",
        "omit": "ignore",
        "fill": "ignore with fill_value",
        "raise": "propagate",
    },
}


def name_of(value: Any, argument: str, names: tuple[Name, ...]) -> Name:
    """One of some names; of another, what it is called here."""
    if isinstance(value, str):
        if value in names:
            return names[names.index(value)]
        lower = value.strip().lower()
        meant = _MEANT[argument].get(lower, lower if lower in names else None)
        if meant is not None:
            meant = repr(meant) if meant in names else meant
            raise ValueError(f"{argument} is {shown(value)}, expected one of {', '.join(names)}: did you mean {meant}?")
    also = " or a number" if argument == "boundary" else ""
    raise ValueError(f"{argument} is {shown(value)}, expected one of {', '.join(names)}{also}")


def one_for_each(value: Any, argument: str, axes: int, lowest: int | None) -> tuple[int, ...]:
    """An integer for each convolved axis."""
    listed = entries(value, argument)
    given = (value,) * axes if listed is None else listed
    if len(given) != axes:
        raise ValueError(f"{argument} is {shown(value)}, expected an integer or {axes}, one for each convolved axis")
    numbers = tuple(as_int(v, argument) for v in given)
    if lowest is not None and any(v < lowest for v in numbers):
        raise ValueError(f"{argument} is {shown(value)}, expected {lowest} or more")
    return numbers


def boundaries_of(value: Any, axes: int) -> tuple[tuple[str, ...], complex]:
    """The name of each axis's boundary, and the number beyond those called "constant" (0 if there is none).

    A whole number stays one (an int), which floats may not hold.
    """
    listed = entries(value, "boundary")
    given = (value,) * axes if listed is None else listed
    if len(given) != axes:
        raise ValueError(
            f"boundary is {shown(value)}, expected a name, a number, or one for each of the {axes} convolved axes"
        )
    names: list[str] = []
    numbers: set[complex | str] = set()
    for entry in given:
        if is_number(entry):
            names.append("constant")
            number = exact_number(entry, "boundary")
        else:
            names.append(name_of(entry, "boundary", BOUNDARIES))
            number = 0
        if names[-1] in ("zeros", "constant"):
            numbers.add(number if number == number else "NaN")
    if len(numbers) > 1:
        raise ValueError(f"boundary is {shown(value)}, expected one number for all axes: corners lie beyond several")
    constant = next((exact_number(entry, "boundary") for entry in given if is_number(entry)), 0)
    if constant == 0:
        names = ["zeros" if name == "constant" else name for name in names]
    return tuple(names), constant


def is_number(value: Any) -> bool:
    """Whether it is one number, of Python's or NumPy's, and no bool."""
    if isinstance(value, (bool, np.bool_, str, bytes)):
        return False
    if isinstance(value, (int, float, complex, np.number)):
        return True
    return isinstance(value, np.ndarray) and attribute(value, "ndim") == 0 and value.dtype.kind in "iufc"


def exact_number(value: Any, argument: str) -> complex:
    """An int of up to 64 bits, or what floats hold of another number."""
    whole = isinstance(value, (int, np.integer)) or (isinstance(value, np.ndarray) and value.dtype.kind in "iu")
    if whole and -(1 << 63) <= int(value) < 1 << 64:
        return int(value)
    try:
        return complex(value)
    except OverflowError:
        raise ValueError(f"{argument} is {shown(value)}, expected a number that float64 holds") from None


def number_of(value: Any, argument: str) -> float:
    """A real number."""
    if not is_number(value) or isinstance(value, (complex, np.complexfloating)):
        raise ValueError(f"{argument} is {shown(value)}, expected a number")
    return exact_number(value, argument).real


def fraction(value: Any, argument: str) -> float:
    """A number from 0 to 1."""
    number = number_of(value, argument)
    if math.isnan(number) or not 0 <= number <= 1:
        raise ValueError(f"{argument} is {shown(value)}, expected a number from 0 to 1: a part of the kernel's weight")
    return number
