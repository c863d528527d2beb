"""One convolved axis: its extents, where it begins to read, and what lies beyond its ends.

In: extents, ``mode``, ``origin``, ``boundary``.   Out: an ``Axis``, which knows the source element of every position.
Next: ``problem.py``.

All is told as a correlation, y[p] = sum over r of w[r] * x[p*stride - lo + r*dilation]: ``convolve`` turns its kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Shape
from convpp.errors import ShapeError

Indices = npt.NDArray[np.intp]
#: What no element of the source is read for.
OUTSIDE = -1


@dataclass(frozen=True)
class Axis:
    """``boundary`` is a name of BOUNDARIES, or "constant"."""

    extent: int
    kernel: int
    stride: int
    dilation: int
    lo: int
    hi: int
    boundary: str

    @property
    def reach(self) -> int:
        """From the first to the last tap."""
        return self.dilation * (self.kernel - 1)

    @property
    def count(self) -> int:
        """Results along this axis."""
        return (self.extent + self.lo + self.hi - self.reach - 1) // self.stride + 1

    def read(self, start: int, stop: int) -> tuple[int, int]:
        """The range of the source, which may go beyond its ends, that results start to stop read."""
        first = start * self.stride - self.lo
        return first, first + (stop - start - 1) * self.stride + self.reach + 1

    def sources(self, first: int, end: int) -> Indices:
        """The element of the source at each position from first to end; OUTSIDE where there is none."""
        at = np.arange(first, end, dtype=np.intp)
        n = self.extent
        if self.boundary == "replicate":
            return at.clip(0, n - 1)
        if self.boundary == "circular":
            return at % n
        if self.boundary == "symmetric":
            at %= 2 * n
            return np.where(at < n, at, 2 * n - 1 - at)
        if self.boundary == "reflect":
            if n == 1:
                return np.zeros_like(at)
            at %= 2 * n - 2
            return np.where(at < n, at, 2 * n - 2 - at)
        return np.where((at >= 0) & (at < n), at, OUTSIDE)


def make_axis(
    extent: int, kernel: int, stride: int, dilation: int, mode: str, origin: int, boundary: str, turned: bool
) -> Axis:
    """An axis from what users write; ``turned`` says that the kernel is (``convolve``)."""
    reach = dilation * (kernel - 1)
    if mode == "full":
        lo = hi = reach
    elif mode == "valid":
        lo = hi = 0
    elif mode == "causal":
        lo, hi = reach, 0
    else:  # the centre of "full": its results from reach // 2 on
        lo = reach - reach // 2 + (-origin if turned else origin)
        hi = reach - lo
        if not 0 <= lo <= reach:
            least, most = (reach // 2 - reach, reach // 2) if not turned else (-(reach // 2), reach - reach // 2)
            raise ValueError(f"origin is {origin}, expected {least} to {most}: the kernel would not touch its result")
    if mode != "same" and origin:
        raise ValueError(f"origin is {origin} and mode is {mode!r}, expected origin only with mode='same'")
    return Axis(extent, kernel, stride, dilation, lo, hi, boundary)


def check_axes(axes: tuple[Axis, ...], a: Shape, kernel: Shape, numbers: tuple[int, ...]) -> None:
    """That there is something to sum along each axis; ``numbers`` are the axes of a."""
    for axis, number in zip(axes, numbers, strict=True):
        if axis.extent < 1:
            raise ShapeError(f"a has shape {a}, expected 1 or more elements along axis {number}, which is convolved")
        span = axis.extent + axis.lo + axis.hi
        if axis.reach + 1 > span:
            raise ShapeError(
                f"the kernel of shape {kernel} is longer than a of shape {a} along axis {number} "
                f"({axis.reach + 1} and {axis.extent}), expected at most as long with mode='valid'"
                f"{_advice(axes, a, numbers)}"
            )


def _advice(axes: tuple[Axis, ...], a: Shape, numbers: tuple[int, ...]) -> str:
    """What was probably meant by a kernel that is too long."""
    if all(axis.extent <= axis.reach + 1 for axis in axes):
        return ": exchange a and kernel?"
    if len(a) > len(axes) and numbers == tuple(range(len(a) - len(axes), len(a))) and a[-1] <= 4:
        return f": axis {len(a) - 1} looks like channels; to leave it out, axes={tuple(range(len(axes)))}?"
    return ""
