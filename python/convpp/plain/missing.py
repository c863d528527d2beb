"""What is missing: sums over the elements that are there, divided by the weight that they have.

In: a with NaN or a mask, the weights.   Out: an ``Arithmetic``: the planes are a with 0 where it is missing, and m,
which is 1 where it is there::

    y[p] = sum over r of w[r] m[p + r] x[p + r]  /  sum over r of w[r] m[p + r]

Next: ``fields.py``, which says what an ``Arithmetic`` is.

References: Knutsson and Westin, Normalized and differential convolution, CVPR 1993.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp._call.validation import FLOAT64, Array
from convpp.errors import DTypeError
from convpp.plain.fields import Get, Matrix

#: Of the whole weight: what Fourier transforms may leave where nothing is.
TRANSFORMED = 64.0


@dataclass(frozen=True)
class Missing:
    """What users say of missing elements; ``mask`` is a view in canonical order, True where a is left out."""

    mask: Array | None
    skip_nan: bool
    min_weight: float
    fill_value: Any


class Normalised:
    """Planes: a times m (two if a is complex), m, and m once more where its size needs
    a sum of its own: where weights are negative, or belong to a batch."""

    def __init__(
        self,
        a: Array,
        weights: Array,
        own_kernels: bool,
        kernel_axes: int,
        constant: Any,
        missing: Missing,
        real: np.dtype[Any],
        exact: bool,
    ) -> None:
        if weights.dtype.kind == "c":
            raise DTypeError(
                f"kernel has dtype {weights.dtype}, expected a real one: the results are divided by its weight "
                "(nan='ignore' or a mask)"
            )
        axes = tuple(range(weights.ndim - kernel_axes, weights.ndim))
        wide = weights.astype(FLOAT64)
        size = np.abs(wide).sum(axes)
        taps = math.prod(weights.shape[i] for i in axes)
        eps = float(np.finfo(real).eps)
        if (np.abs(wide.sum(axes)) <= taps * eps * size).any():
            raise ValueError(
                "kernel sums to 0, expected a weight to divide by: nan='ignore' and masks normalise (use "
                "nan='propagate', or fill what is missing)"
            )
        self._a, self._constant, self._missing = a, constant, missing
        self._parts = 2 if a.dtype.kind == "c" else 1
        self.matrix: Matrix = [[[weights]]] * (self._parts + 1)
        least = max(missing.min_weight - taps * eps, 0.0 if exact else TRANSFORMED * eps)
        self._apart = own_kernels or bool((weights < 0).any())
        if self._apart:  # as a part of the whole, so that one bound serves a batch of kernels
            self.matrix = [*self.matrix, [[np.abs(wide) / np.expand_dims(size, axes)]]]
        self._least = np.full(1 if own_kernels else len(size), least) if self._apart else least * size

    def fill(self, planes: Sequence[Array], get: Get) -> None:
        """What is there, and where."""
        constant = complex(self._constant)
        there = planes[self._parts]
        if self._parts == 2:
            get(self._a.real, planes[0], constant.real)
            get(self._a.imag, planes[1], constant.imag)
        else:
            get(self._a, planes[0], constant.real)
        gone = np.zeros(there.shape, bool)
        if self._missing.mask is not None:
            get(self._missing.mask, gone, False)
        if self._missing.skip_nan:
            for part in planes[: self._parts]:
                gone |= np.isnan(part)
        there[...] = ~gone
        for part in planes[: self._parts]:
            part[gone] = 0
        if self._apart:
            planes[-1][...] = there

    def store(self, sums: Sequence[Array], target: Array, hidden: Array | None) -> None:
        """Quotients; ``fill_value`` where too little was seen."""
        count = len(target)
        with np.errstate(all="ignore"):
            for kernel in range(count):
                weight, unseen = self._weight(sums, kernel, count)
                values = target[kernel]
                if self._parts == 2:
                    values.real = sums[kernel] / weight
                    values.imag = sums[count + kernel] / weight
                else:
                    values[...] = sums[kernel] / weight
                values[unseen] = self._missing.fill_value
                if hidden is not None:
                    hidden[kernel] = unseen

    def plain(self) -> bool:
        """They are divided."""
        return False

    def looks_back(self) -> bool:
        """By what was seen, where it is."""
        return True

    def start(self, dy: Array, sums: Sequence[Array], gradients: Sequence[Array]) -> None:
        """Of a quotient u/v: dy/v, and -dy u/v^2; where too little was seen, 0."""
        count = len(dy)
        with np.errstate(all="ignore"):
            for kernel in range(count):
                weight, unseen = self._weight(sums, kernel, count)
                parts = [dy[kernel].real, dy[kernel].imag] if self._parts == 2 else [dy[kernel]]
                of_weight = gradients[self._parts * count + kernel]
                of_weight[...] = 0
                for part, given in enumerate(parts):
                    quotient = np.where(unseen, 0, given / weight)
                    gradients[part * count + kernel][...] = quotient
                    of_weight -= np.where(unseen, 0, quotient * (sums[part * count + kernel] / weight))
                if self._apart:
                    gradients[(self._parts + 1) * count + kernel][...] = 0

    def of_source(self, gradients: Sequence[Array], planes: Sequence[Array]) -> Array | tuple[Array, Array]:
        """Only what is there has a gradient."""
        there = planes[self._parts]
        for part in gradients[: self._parts]:
            part *= there
        return (gradients[0], gradients[1]) if self._parts == 2 else gradients[0]

    def of_kernel(self, gradients: Matrix) -> Array:
        """Of both sums."""
        total = gradients[0][0][0]
        for group in gradients[1 : self._parts + 1]:
            total = total + group[0][0]
        return total

    def _weight(self, sums: Sequence[Array], kernel: int, kernels: int) -> tuple[Array, Array]:
        """The weight of what was seen, and where that was too little."""
        weight = sums[self._parts * kernels + kernel]
        size = sums[(self._parts + 1) * kernels + kernel] if self._apart else weight
        return weight, (size <= 0) | (size < self._least[kernel])
