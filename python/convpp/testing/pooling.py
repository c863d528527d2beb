"""Pooling by its definition, in plain NumPy: slow, readable, and what the library is held to.

In: arrays of real numbers.   Out: float64.   Tap by tap, in the order of a window's elements, what the windows took so
far is compared with what they read there, or added up.
Next: ``reference.py`` (convolutions), ``convpp.max_pool``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convpp._call import arguments as given
from convpp._call.validation import as_real
from convpp.errors import ShapeError
from convpp.testing.reference import Layout, Padding, PerAxis, pads_of, per_axis_of

Array = npt.NDArray[np.float64]
Index = tuple[Any, ...]


def reference_max_pool(
    x: npt.ArrayLike,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    layout: Layout = "channels_first",
) -> tuple[Array, npt.NDArray[np.int64]]:
    """The largest element of each window and its place in the plane, as ``convpp.max_pool`` with ``return_indices``.

    ``y[n, c, p] = max over r of x[n, c, p*stride - lo + r*dilation]``

    Parameters
    ----------
    x, kernel_size, stride, padding, dilation, ceil_mode, layout
        As in ``convpp.max_pool``.

    Returns
    -------
    y, indices : float64 and int64
        -Inf and -1 where a window has no element of x.

    Raises
    ------
    ShapeError, DTypeError, ValueError : as in ``convpp.max_pool``.

    Examples
    --------
    >>> from convpp.testing import reference_max_pool
    >>> reference_max_pool([[[3, 1, 4, 1]]], 2)
    (array([[[3., 4.]]]), array([[[0, 2]]]))
    """
    x = as_real(x, "x")
    windows = _Windows(x.shape, kernel_size, stride, padding, dilation, ceil_mode, layout)
    planes = windows.channels_first(x)
    places = np.arange(math.prod(windows.spatial)).reshape(windows.spatial)
    y = np.full((*planes.shape[: -windows.rank], *windows.out), -np.inf)
    indices = np.full(y.shape, -1)
    for outputs, inputs in windows.taps():
        value, best, at = planes[inputs], y[outputs], indices[outputs]
        # The first element that a window has is taken even if it is -Inf; then what is larger, or NaN.
        takes = (value > best) | np.isnan(value) | (at < 0)
        y[outputs] = np.where(takes, value, best)
        indices[outputs] = np.where(takes, places[inputs[-windows.rank :]], at)
    return windows.in_layout(y), windows.in_layout(indices)


def reference_max_pool_input_grad(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    layout: Layout = "channels_first",
) -> Array:
    """The gradient of ``sum(dy * max_pool(x))`` with respect to x.

    ``dx[n, c, h] = sum of dy[n, c, p] over the windows p that took x[n, c, h]``

    Parameters
    ----------
    dy : of the shape of ``reference_max_pool``'s y
    x, kernel_size, stride, padding, dilation, ceil_mode, layout
        As in ``convpp.max_pool``.

    Returns
    -------
    dx : float64, of the shape of x

    Raises
    ------
    ShapeError, DTypeError, ValueError : as in ``convpp.max_pool``.

    Examples
    --------
    >>> from convpp.testing import reference_max_pool_input_grad
    >>> reference_max_pool_input_grad([[[10, 20]]], [[[3, 1, 4, 4]]], 2).tolist()
    [[[10.0, 0.0, 20.0, 0.0]]]
    """
    dy, x = as_real(dy, "dy"), as_real(x, "x")
    how: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "ceil_mode": ceil_mode}
    _, taken = reference_max_pool(x, kernel_size, **how, layout=layout)
    if dy.shape != taken.shape:
        raise ShapeError(f"dy has shape {dy.shape}, expected {taken.shape}")
    windows = _Windows(x.shape, kernel_size, stride, padding, dilation, ceil_mode, layout)
    planes = windows.channels_first(np.zeros(x.shape))
    size = math.prod(windows.spatial)
    dx = np.zeros((math.prod(planes.shape[: -windows.rank]), size + 1))  # the last one belongs to windows without x
    at = windows.channels_first(taken).reshape(len(dx), math.prod(windows.out))
    np.add.at(dx, (np.arange(len(dx))[:, None], at), windows.channels_first(dy).reshape(at.shape))
    return windows.in_layout(dx[:, :size].reshape(planes.shape))


def reference_avg_pool(
    x: npt.ArrayLike,
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    layout: Layout = "channels_first",
) -> Array:
    """The mean of each window.

    ``y[n, c, p] = sum over r of x[n, c, p*stride - lo + r] / count[p]``

    Parameters
    ----------
    x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, layout
        As in ``convpp.avg_pool``.

    Returns
    -------
    y : float64

    Raises
    ------
    ShapeError, DTypeError, ValueError : as in ``convpp.avg_pool``.

    Examples
    --------
    >>> from convpp.testing import reference_avg_pool
    >>> reference_avg_pool([[[3, 1, 4, 2]]], 2).tolist()
    [[[2.0, 3.0]]]
    """
    x = as_real(x, "x")
    windows = _Windows(x.shape, kernel_size, stride, padding, 1, ceil_mode, layout)
    planes = windows.channels_first(x)
    y = np.zeros((*planes.shape[: -windows.rank], *windows.out))
    with np.errstate(over="ignore", invalid="ignore"):  # Inf and NaN are values like others here
        for outputs, inputs in windows.taps():
            y[outputs] += planes[inputs]
        return windows.in_layout(y / windows.counts(count_include_pad, divisor_override))


def reference_avg_pool_input_grad(
    dy: npt.ArrayLike,
    x_shape: Sequence[int],
    kernel_size: PerAxis,
    *,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    layout: Layout = "channels_first",
) -> Array:
    """The gradient of ``sum(dy * avg_pool(x))`` with respect to x.

    ``dx[n, c, h] = sum of dy[n, c, p] / count[p] over the windows p that read x[n, c, h]``

    Parameters
    ----------
    dy : of the shape of ``reference_avg_pool``'s result
    x_shape : the shape of x
    kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, layout
        As in ``convpp.avg_pool``.

    Returns
    -------
    dx : float64, of shape ``x_shape``

    Raises
    ------
    ShapeError, DTypeError, ValueError : as in ``convpp.avg_pool``.

    Examples
    --------
    >>> from convpp.testing import reference_avg_pool_input_grad
    >>> reference_avg_pool_input_grad([[[10, 20]]], (1, 1, 5), 2).tolist()
    [[[5.0, 5.0, 10.0, 10.0, 0.0]]]
    """
    dy = as_real(dy, "dy")
    windows = _Windows(tuple(x_shape), kernel_size, stride, padding, 1, ceil_mode, layout)
    if dy.shape != windows.y_shape:
        raise ShapeError(f"dy has shape {dy.shape}, expected {windows.y_shape}")
    shares = windows.channels_first(dy) / windows.counts(count_include_pad, divisor_override)
    dx = windows.channels_first(np.zeros(tuple(x_shape))).copy()
    for outputs, inputs in windows.taps():
        dx[inputs] += shares[outputs]
    return windows.in_layout(dx)


class _Windows:
    """The windows of one pooling: which outputs read which inputs at each tap, and what they are divided by."""

    def __init__(
        self,
        x_shape: tuple[int, ...],
        kernel_size: PerAxis,
        stride: PerAxis | None,
        padding: Padding,
        dilation: PerAxis,
        ceil_mode: bool,
        layout: Layout,
    ) -> None:
        size = given.per_axis(kernel_size, "kernel_size")
        self.rank = rank = len(x_shape) - 2 if isinstance(size, int) else len(size)
        self.last = given.choice(layout, "layout", given.LAYOUTS) == "channels_last"
        if rank not in (1, 2, 3) or len(x_shape) not in (rank + 1, rank + 2):
            raise ShapeError(f"x has shape {x_shape}, expected 1 to 3 spatial axes, as kernel_size={size} says")
        self.spatial = x_shape[-rank - 1 : -1] if self.last else x_shape[-rank:]
        self.kernel = per_axis_of(size, rank, "kernel_size")
        self.strides = self.kernel if stride is None else per_axis_of(stride, rank, "stride")
        self.dilations = per_axis_of(dilation, rank, "dilation")
        self.pads = pads_of(padding, self.spatial, self.kernel, self.strides, self.dilations)
        self.out = []
        for n, k, s, d, (lo, hi) in zip(
            self.spatial, self.kernel, self.strides, self.dilations, self.pads, strict=True
        ):
            if not 0 <= min(lo, hi) <= max(lo, hi) <= k // 2:
                raise ValueError(f"padding is {padding}, expected 0 to half of kernel_size, which is {size}")
            steps = (n + lo + hi - d * (k - 1) - 1) / s  # of the last window
            out = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
            if ceil_mode and (out - 1) * s >= n + lo:  # it would begin behind x
                out -= 1
            if n < 1 or out < 1:
                raise ShapeError(f"x has shape {x_shape}: no pixels come out of kernel_size={size}")
            self.out.append(out)
        batch = x_shape[: len(x_shape) - rank - 1]
        channels = x_shape[-1 if self.last else -rank - 1]
        self.y_shape = (*batch, *self.out, channels) if self.last else (*batch, channels, *self.out)

    def taps(self) -> Iterator[tuple[Index, Index]]:
        """For each tap, in the order of the elements: the outputs that read inside x, and the inputs they read."""
        for taps in itertools.product(*map(range, self.kernel)):
            outputs, inputs = [], []
            for axis, tap in enumerate(taps):
                at = np.arange(self.out[axis]) * self.strides[axis] - self.pads[axis][0] + tap * self.dilations[axis]
                inside = np.flatnonzero((at >= 0) & (at < self.spatial[axis]))
                shape = [-1 if other == axis else 1 for other in range(self.rank)]
                outputs.append(inside.reshape(shape))
                inputs.append(at[inside].reshape(shape))
            yield (..., *outputs), (..., *inputs)

    def counts(self, count_include_pad: bool, divisor_override: int | None) -> Array:
        """The divisor of each output."""
        if divisor_override is not None:
            return np.full(self.out, float(divisor_override))
        counts = np.ones(self.out)
        for axis, (lo, hi) in enumerate(self.pads):
            first = np.arange(self.out[axis]) * self.strides[axis] - lo
            begin, end = (-lo, self.spatial[axis] + hi) if count_include_pad else (0, self.spatial[axis])
            elements = np.minimum(first + self.kernel[axis], end) - np.maximum(first, begin)
            counts *= elements.reshape([-1 if other == axis else 1 for other in range(self.rank)])
        return counts

    def channels_first(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(..., C, \\*spatial)."""
        return np.moveaxis(array, -1, -self.rank - 1) if self.last else array

    def in_layout(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Back to the layout of x."""
        return np.ascontiguousarray(np.moveaxis(array, -self.rank - 1, -1)) if self.last else array
