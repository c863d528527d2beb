"""Whole numbers, summed exactly by floats.

In: integers or bool.   Out: an ``Arithmetic``: digits of a (channels, each a group) and of the weights (filters).
Next: ``fields.py``, which says what an ``Arithmetic`` is.

Where max|a| * sum|w| is at most 2^24 or 2^53, every partial sum is a whole number that float32 or float64 holds: the
direct sum is exact in any order.  Longer numbers are cut into digits whose sums are, and put together in integers of 64
bits, which is exact wherever the result fits; where it might not, that is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp._call.validation import FLOAT32, FLOAT64, Array
from convpp.plain.fields import Get, Matrix

_BITS = {FLOAT32: 24, FLOAT64: 53}
_WORD = 64


@dataclass(frozen=True)
class Digits:
    """How numbers are cut: ``number`` digits of ``bits`` bits, the last one signed."""

    number: int
    bits: int

    def of(self, values: Array) -> list[Array]:
        """The digits of numbers, the lowest first."""
        digits = []
        for _ in range(self.number - 1):
            digits.append(values & ((1 << self.bits) - 1))
            values = values >> self.bits
        return [*digits, values]


class Whole:
    """Planes are digits."""

    def __init__(self, a: Array, weights: Array, own_kernels: bool, kernel_axes: int, constant: int) -> None:
        most_a = max(largest(a), abs(constant))
        axes = tuple(range(weights.ndim - kernel_axes, weights.ndim))
        most_w = largest(weights)
        #: No sum is larger, in size.
        self.bound: int = most_a * largest_sum(weights, axes)
        taps = int(np.prod([weights.shape[i] for i in axes]))
        self._a, self._constant = a, constant
        #: What holds all elements.
        self._integers: np.dtype[Any] = np.dtype(np.uint64 if a.dtype == np.uint64 else np.int64)
        self.real: np.dtype[Any] = FLOAT32 if self.bound <= 1 << _BITS[FLOAT32] else FLOAT64
        if self.bound <= 1 << _BITS[FLOAT64]:
            self._of_a, self._of_w = Digits(1, _WORD), Digits(1, _WORD)
        else:
            self._of_a, self._of_w = cut(most_a, most_w, taps)
            low, high = limits(self._integers)
            if not low <= constant <= high:
                raise ValueError(
                    f"boundary is {constant}, expected {low} to {high}, the numbers of {self._integers}: a has dtype "
                    f"{a.dtype}"
                )
        parts = self._of_w.of(_wide(weights)) if self._of_w.number > 1 else [weights]
        self.matrix: Matrix = [[[part] for part in parts]] * self._of_a.number

    def fill(self, planes: Sequence[Array], get: Get) -> None:
        """Digits of what is brought."""
        if len(planes) == 1:
            get(self._a, planes[0], self._constant)
            return
        values = np.empty(planes[0].shape, self._integers)
        get(self._a, values, self._constant)
        for plane, digit in zip(planes, self._of_a.of(values), strict=True):
            plane[...] = digit

    def store(self, sums: Sequence[Array], target: Array, hidden: Array | None) -> None:
        """Sums of digits are put together, and what does not fit is an error."""
        count, filters = len(target), self._of_w.number
        for kernel in range(count):
            terms = [
                (sums[(i * count + kernel) * filters + j], i * self._of_a.bits + j * self._of_w.bits)
                for i in range(self._of_a.number)
                for j in range(filters)
            ]
            values = terms[0][0] if len(terms) == 1 else self._together(terms)
            self._check(values, target.dtype)
            target[kernel] = values

    def plain(self) -> bool:
        """They become integers."""
        return False

    def looks_back(self) -> bool:
        """They have no gradient."""
        return False

    def start(self, dy: Array, sums: Sequence[Array], gradients: Sequence[Array]) -> None:
        """Whole numbers have no gradient: ``backward.py`` takes them as floats."""
        raise NotImplementedError

    def of_source(self, gradients: Sequence[Array], planes: Sequence[Array]) -> Array | tuple[Array, Array]:
        """As above."""
        raise NotImplementedError

    def of_kernel(self, gradients: Matrix) -> Array:
        """As above."""
        raise NotImplementedError

    def _together(self, terms: list[tuple[Array, int]]) -> Array:
        """The sum of terms times powers of 2."""
        total = np.zeros(terms[0][0].shape, np.uint64)
        for values, shift in terms:
            if shift < _WORD:
                total += values.astype(np.int64).view(np.uint64) << np.uint64(shift)
        result = total.view(np.int64)
        if self.bound >= 1 << (_WORD - 1):
            about = sum(np.ldexp(values, shift) for values, shift in terms)
            error = sum(np.ldexp(np.abs(values), shift - 48) for values, shift in terms)
            doubtful = np.abs(about) + error >= 2.0 ** (_WORD - 1)
            for place in np.argwhere(doubtful):
                at = tuple(place)
                exact = sum(int(values[at]) << shift for values, shift in terms)
                if not -(1 << (_WORD - 1)) <= exact < 1 << (_WORD - 1):
                    raise _too_large(exact, np.dtype(np.int64))
        return result

    def fits(self, dtype: np.dtype[Any]) -> bool:
        """Whether a type holds all results, whatever the elements are."""
        low, high = limits(dtype)
        return self.bound <= min(high, -low)

    def _check(self, values: Array, dtype: np.dtype[Any]) -> None:
        """That the results fit into a type."""
        if self.fits(dtype) or not values.size:
            return
        low, high = limits(dtype)
        least, most = int(values.min()), int(values.max())
        if least < low or most > high:
            raise _too_large(least if least < low else most, dtype)


def _too_large(value: int, dtype: np.dtype[Any]) -> ValueError:
    return ValueError(
        f"a sum is {value}, which {dtype} does not hold: use dtype=np.float64, which rounds, or a wider type"
    )


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The least and the greatest number of a type of integers, or bool."""
    if dtype.kind == "b":
        return 0, 1
    info = np.iinfo(dtype)
    return int(info.min), int(info.max)


def largest(values: Array) -> int:
    """max|values|, of narrow types their limit: they need not be looked at."""
    if values.dtype.itemsize <= 2:
        low, high = limits(values.dtype)
        return max(-low, high)
    return max(-int(values.min()), int(values.max())) if values.size else 0


def largest_sum(weights: Array, axes: tuple[int, ...]) -> int:
    """max over kernels of sum|w|, which may be longer than 64 bits."""
    size = np.abs(_wide(weights)).astype(np.uint64)  # of the least integer, too, whose size has no sign
    high, low = (size >> np.uint64(32)).sum(axes), (size & np.uint64(0xFFFFFFFF)).sum(axes)
    return max(((int(h) << 32) + int(lo) for h, lo in zip(np.ravel(high), np.ravel(low), strict=True)), default=0)


def cut(most_a: int, most_w: int, taps: int) -> tuple[Digits, Digits]:
    """The fewest digits of numbers of these sizes whose sums are exact."""
    room = _BITS[FLOAT64] - max(taps - 1, 1).bit_length()
    found: tuple[Digits, Digits] | None = None
    for bits in range(1, room):
        of_a = Digits(-(-(most_a.bit_length() + 1) // bits), bits)
        of_w = Digits(-(-(most_w.bit_length() + 1) // (room - bits)), room - bits)
        if found is None or of_a.number * of_w.number < found[0].number * found[1].number:
            found = (of_a, of_w)
    assert found is not None  # the engine has at most 2^24 taps
    return found


def _wide(values: Array) -> Array:
    """In 64 bits."""
    return values if values.dtype == np.uint64 else values.astype(np.int64, copy=False)
