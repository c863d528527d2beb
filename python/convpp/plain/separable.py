"""Kernels that are products of one kernel for each axis: found, and applied axis by axis within a block.

In: a kernel, or its factors.   Out: ``Factors``, which compute a block's sums.
Next: ``blocks.py``, which brings the block; what is between two axes stays in the cache.

The factors of a kernel are the lines through its largest element.  They are exact where the kernel is a product of
numbers whose quotients are (a box, a Sobel kernel), and no worse than those of a singular value decomposition by more
than the remainder, which must be a few units in the last place: max|kernel - product| <= 8 eps max|kernel|.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from convpp._call.arguments import Shape
from convpp._call.validation import FLOAT64, Array
from convpp.forward import conv
from convpp.plain.engine import Engine
from convpp.plain.problem import TRAILING_AXIS

#: Units in the last place of the kernel's type that the product may be off.
UNITS = 8
#: A kernel of fewer taps is as fast by one call; that of several axes spares time from about here on.
AUTO_TAPS = 48


#: Memory by name, shape and type.
Take = Callable[[str, Shape, np.dtype[Any]], Array]


@dataclass(frozen=True)
class Factors:
    """One kernel for each axis, turned as the whole one is, in the type that is computed in."""

    kernels: tuple[Array, ...]

    def apply(self, engine: Engine, x: Array, take: Take, out: Array | None = None) -> Array:
        """(N, planes, \\*results, trailing) from (N, planes, \\*positions, trailing), axis after axis.

        The first axes come first: they read more than they give, and spare the others that.
        """
        axes = len(self.kernels)
        shape = list(x.shape)
        taken = [i for i in range(axes) if engine.stride[i] > 1 or not np.array_equal(self.kernels[i], [1])] or [0]
        for number, i in enumerate(taken):
            kernel, stride, dilation = self.kernels[i], engine.stride[i], engine.dilation[i]
            count = (shape[2 + i] - dilation * (len(kernel) - 1) - 1) // stride + 1
            last = i == axes - 1 and stride == 1 and engine.trailing < TRAILING_AXIS
            before, behind = math.prod(shape[: 2 + i]), math.prod(shape[3 + i :])
            lines: Shape
            if last:  # along the rows, whose elements are ``trailing`` apart
                lines, w = (1, 1, before, shape[2 + i] * behind), kernel.reshape(1, 1, 1, -1)
                strides, dilations, results = (1, 1), (1, dilation * behind), (1, 1, before, count * behind)
            else:
                lines, w = (before, 1, shape[2 + i], behind), kernel.reshape(1, 1, -1, 1)
                strides, dilations, results = (stride, 1), (dilation, 1), (before, 1, count, behind)
            if out is not None and i == taken[-1]:
                target = out.reshape(results)
            else:
                target = take(f"between {number % 2}", results, x.dtype)
            x = conv(
                x.reshape(lines),
                w,
                stride=strides,
                dilation=dilations,
                algorithm=engine.algorithm,
                out=target,
                threads=engine.threads,
            )
            shape[2 + i] = count
        return x.reshape(shape)


def factors_of(kernel: Array) -> tuple[list[Array], float]:
    """Kernels for each axis, and how far their product is off, in units in the last place of the largest element."""
    wide = kernel.astype(FLOAT64)
    pivot = np.unravel_index(int(np.argmax(np.abs(wide))), wide.shape)
    largest = float(wide[pivot])
    if not np.isfinite(wide).all():
        return [], math.inf
    if largest == 0:
        return [np.zeros(n) for n in wide.shape], 0.0
    lines = []
    for axis in range(wide.ndim):
        at: list[Any] = list(pivot)
        at[axis] = slice(None)
        line = wide[tuple(at)]
        lines.append(line if axis == 0 else line / largest)
    eps = np.finfo(kernel.dtype if kernel.dtype.kind == "f" and kernel.dtype.itemsize > 2 else FLOAT64).eps
    return lines, float(np.abs(outer(lines) - wide).max() / (eps * abs(largest)))


def outer(lines: Sequence[Array]) -> Array:
    """The kernel that lines along each axis make."""
    return reduce(np.multiply.outer, lines)


def of_lines(gradient: Array, lines: Sequence[Array]) -> list[Array]:
    """The gradients of the lines, from that of their product."""
    found = []
    for axis in range(len(lines)):
        part = np.moveaxis(gradient, axis, 0)
        for other in (line for i, line in enumerate(lines) if i != axis):
            part = np.tensordot(part, np.conj(other), axes=(1, 0))
        found.append(part)
    return found
