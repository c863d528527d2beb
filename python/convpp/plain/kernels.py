"""Kernels that are in wide use, as plain arrays.

In: widths and axes.   Out: arrays of float64, for ``convolve`` and ``correlate``.
Next: ``forward.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, SupportsFloat

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import as_int, entries, shown
from convpp.plain.arguments import PerAxis, is_number, number_of, one_for_each
from convpp.plain.separable import outer

Kernel = npt.NDArray[np.float64]


def gaussian(sigma: SupportsFloat | Sequence[SupportsFloat], ndim: int = 1, truncate: float = 4.0) -> Kernel:
    """A sampled Gaussian that sums to 1: ``exp(-r^2 / (2 sigma^2))`` for \\|r\\| up to ``int(truncate * sigma + 0.5)``.

    It is the kernel that ``scipy.ndimage.gaussian_filter`` applies; the product of one for each axis.

    Parameters
    ----------
    sigma : number, or one for each axis
        Standard deviation in elements; 0 gives a single 1.
    ndim : int
        The number of axes; follows from sigma if that lists several.
    truncate : number
        How many standard deviations there are.

    Returns
    -------
    array of ``2*int(truncate*sigma + 0.5) + 1`` elements along each axis

    Raises
    ------
    ValueError : a negative number, or one that is not finite.

    Examples
    --------
    >>> import convpp
    >>> convpp.gaussian(0.5).round(4)
    array([3.000e-04, 1.065e-01, 7.866e-01, 1.065e-01, 3.000e-04])
    >>> convpp.gaussian(1.0, ndim=2).shape
    (9, 9)
    """
    listed = entries(sigma, "sigma")
    count = _axes(ndim)
    given: tuple[Any, ...] = (sigma,) * count if listed is None else listed
    if not given or (listed is not None and ndim not in (1, len(given))):
        raise ValueError(f"sigma is {shown(sigma)}, expected a number or {ndim}, one for each axis")
    widths = [_at_least_0(value, "sigma") for value in given]
    reach = _at_least_0(truncate, "truncate")
    return np.asarray(outer([_line(width, int(reach * width + 0.5)) for width in widths]))


def _line(sigma: float, radius: int) -> Kernel:
    at = np.arange(-radius, radius + 1)
    if sigma == 0:
        return np.ones(1)
    weights = np.exp(-0.5 / (sigma * sigma) * at**2)
    return np.asarray(weights / weights.sum())


def box(size: PerAxis, ndim: int = 1) -> Kernel:
    """A mean: ``1 / number of elements`` everywhere.

    The kernel of ``scipy.ndimage.uniform_filter``.

    Parameters
    ----------
    size : int, or one for each axis
    ndim : int
        The number of axes; follows from size if that lists several.

    Returns
    -------
    array of that many elements along each axis

    Raises
    ------
    ValueError : an extent below 1.

    Examples
    --------
    >>> import convpp
    >>> convpp.box(2, ndim=2)
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    listed = entries(size, "size")
    count = _axes(ndim) if listed is None or ndim != 1 else max(len(listed), 1)
    extents = one_for_each(size, "size", count, 1)
    return np.full(extents, 1 / math.prod(extents))


def sobel(axis: int, ndim: int = 2) -> Kernel:
    """Sobel's derivative along one axis: [-1, 0, 1] there, [1, 2, 1] along the others.

    As ``scipy.ndimage.sobel`` it is meant for ``correlate``, where it is positive where the array rises; ``convolve``
    turns it about.  Not divided by its weight: a slope of 1 along the axis gives ``2 * 4**(ndim-1)``.

    Parameters
    ----------
    axis : int
    ndim : int
        The number of axes.

    Returns
    -------
    array of 3 elements along each axis

    Raises
    ------
    ValueError : an axis that there is not.

    Examples
    --------
    >>> import convpp
    >>> convpp.sobel(1)
    array([[-1.,  0.,  1.],
           [-2.,  0.,  2.],
           [-1.,  0.,  1.]])
    """
    count = _axes(ndim)
    chosen = as_int(axis, "axis")
    if not -count <= chosen < count:
        raise ValueError(f"axis is {chosen}, expected {-count} to {count - 1}: ndim is {count}")
    lines = [np.array([1.0, 2.0, 1.0])] * count
    lines[chosen] = np.array([-1.0, 0.0, 1.0])
    return np.asarray(outer(lines))


def laplace(ndim: int = 2) -> Kernel:
    """The sum of second differences, [1, -2, 1] along each axis: the kernel of ``scipy.ndimage.laplace``.

    Parameters
    ----------
    ndim : int
        The number of axes.

    Returns
    -------
    array of 3 elements along each axis

    Raises
    ------
    ValueError : a number of axes below 1.

    Examples
    --------
    >>> import convpp
    >>> convpp.laplace()
    array([[ 0.,  1.,  0.],
           [ 1., -4.,  1.],
           [ 0.,  1.,  0.]])
    """
    count = _axes(ndim)
    kernel = np.zeros((3,) * count)
    for axis in range(count):
        line = [1] * count
        for position, weight in enumerate((1.0, -2.0, 1.0)):
            line[axis] = position
            kernel[tuple(line)] += weight
    return kernel


def _axes(ndim: Any) -> int:
    count = as_int(ndim, "ndim")
    if not 1 <= count <= 32:
        raise ValueError(f"ndim is {count}, expected 1 to 32")
    return count


def _at_least_0(value: Any, argument: str) -> float:
    number = number_of(value, argument) if is_number(value) else math.nan
    if not 0 <= number < math.inf:
        raise ValueError(f"{argument} is {shown(value)}, expected a number, 0 or more")
    return number
