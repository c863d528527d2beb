"""Kinds of numbers, told in real ones that the engine sums: floats and complex numbers.

In: a, the weights, their types.   Out: an ``Arithmetic``: planes of real numbers to sum, and what the sums mean.
Next: ``missing.py`` and ``whole.py``, two more kinds; ``blocks.py``, which uses them all.

A complex sum is one of two channels with two filters, y = (re, im)::

    [y.re]   [w.re  -w.im]   [x.re]
    [y.im] = [w.im   w.re] * [x.im]

These are four real products in one call of the engine, which reads x once; two where a or the kernel is real.  Three
would do (Gauss), but subtract sums that are larger than their difference: of the rounding, eps (|x| + |y|)(|w| + |v|),
nothing is seen here, where each part has the error of a real sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from convpp._call.validation import Array

#: Brings a view of the source, in canonical order, into an array: get(view, target, what lies beyond the ends).
Get = Callable[[Array, Array, Any], None]
#: Weights by group, filter and channel; each (kernels, \*kernel), or (\*batch, \*kernel).
Matrix = list[list[list[Array]]]


class Arithmetic(Protocol):
    """One way to tell numbers in real ones.

    Planes of the source are by group and channel, those of sums by group, kernel and filter; all in canonical order.
    """

    matrix: Matrix

    def fill(self, planes: Sequence[Array], get: Get) -> None:
        """Brings a block of the source."""

    def store(self, sums: Sequence[Array], target: Array, hidden: Array | None) -> None:
        """Turns sums into results (kernels, \\*batch, \\*results, \\*trailing)."""

    def plain(self) -> bool:
        """Whether the sums are the results."""

    def looks_back(self) -> bool:
        """Whether gradients depend on the sums, and on what the source holds, as those of quotients do."""

    def start(self, dy: Array, sums: Sequence[Array], gradients: Sequence[Array]) -> None:
        """The gradients of the sums, from that of the results."""

    def of_source(self, gradients: Sequence[Array], planes: Sequence[Array]) -> Array | tuple[Array, Array]:
        """The gradient of a block of the source from those of its planes; of a complex one (re, im)."""

    def of_kernel(self, gradients: Matrix) -> Array:
        """The gradient of the weights from those of ``matrix``."""


class Real:
    """The sums are the results."""

    def __init__(self, a: Array, weights: Array, constant: Any) -> None:
        self.matrix: Matrix = [[[weights]]]
        self._a, self._constant = a, constant

    def fill(self, planes: Sequence[Array], get: Get) -> None:
        """As they are."""
        get(self._a, planes[0], self._constant)

    def store(self, sums: Sequence[Array], target: Array, hidden: Array | None) -> None:
        """As they are."""
        for kernel, values in enumerate(sums):
            target[kernel] = values

    def plain(self) -> bool:
        """They are."""
        return True

    def looks_back(self) -> bool:
        """They are linear."""
        return False

    def start(self, dy: Array, sums: Sequence[Array], gradients: Sequence[Array]) -> None:
        """As it is."""
        for kernel, gradient in enumerate(gradients):
            gradient[...] = dy[kernel]

    def of_source(self, gradients: Sequence[Array], planes: Sequence[Array]) -> Array | tuple[Array, Array]:
        """As it is."""
        return gradients[0]

    def of_kernel(self, gradients: Matrix) -> Array:
        """As it is."""
        return gradients[0][0][0]


class Complex:
    """Two channels where a is complex, two filters where the kernel is; two groups where only a is."""

    def __init__(self, a: Array, weights: Array, constant: Any) -> None:
        self._a, self._constant = a, complex(constant)
        self._complex_a, self._complex_kernel = a.dtype.kind == "c", weights.dtype.kind == "c"
        re, im = weights.real, weights.imag
        if not self._complex_kernel:
            self.matrix: Matrix = [[[re]], [[re]]]
        elif self._complex_a:
            self.matrix = [[[re, -im], [im, re]]]
        else:
            self.matrix = [[[re], [im]]]

    def fill(self, planes: Sequence[Array], get: Get) -> None:
        """Real and imaginary parts."""
        get(self._a.real, planes[0], self._constant.real)
        if self._complex_a:
            get(self._a.imag, planes[1], self._constant.imag)

    def store(self, sums: Sequence[Array], target: Array, hidden: Array | None) -> None:
        """Parts become numbers."""
        for kernel in range(len(target)):
            re, im = self._of(sums, kernel, len(target))
            target[kernel].real = re
            target[kernel].imag = im

    def plain(self) -> bool:
        """They are parts."""
        return False

    def looks_back(self) -> bool:
        """They are linear."""
        return False

    def start(self, dy: Array, sums: Sequence[Array], gradients: Sequence[Array]) -> None:
        """The gradient of a real loss is dL/dre + i dL/dim."""
        for kernel in range(len(dy)):
            re, im = self._of(gradients, kernel, len(dy))
            re[...] = dy[kernel].real
            im[...] = dy[kernel].imag

    def of_source(self, gradients: Sequence[Array], planes: Sequence[Array]) -> Array | tuple[Array, Array]:
        """Of a real source the real part."""
        return (gradients[0], gradients[1]) if self._complex_a else gradients[0]

    def of_kernel(self, gradients: Matrix) -> Array:
        """Each part of the weights stands at two places, or at one."""
        if not self._complex_kernel:
            return gradients[0][0][0] + gradients[1][0][0]
        first, second = gradients[0]
        if not self._complex_a:
            return first[0] + 1j * second[0]
        return (first[0] + second[1]) + 1j * (second[0] - first[1])

    def _of(self, planes: Sequence[Array], kernel: int, kernels: int) -> tuple[Array, Array]:
        """Real and imaginary part of one kernel's sums."""
        if self._complex_kernel:
            return planes[2 * kernel], planes[2 * kernel + 1]
        return planes[kernel], planes[kernels + kernel]
