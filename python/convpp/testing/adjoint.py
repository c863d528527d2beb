"""Whether one linear map is the transpose of another, with no oracle and no step size.

In: two functions and two arrays.   Out: ``True``, or an ``AssertionError`` that says by how much they disagree.
Public as ``convpp.testing.adjoint_test``.   Next: ``gradcheck.py``, for functions that are not linear.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from convpp._call.validation import FLOAT64, as_array, check_real


def adjoint_test(
    forward: Callable[[Any], Any],
    adjoint: Callable[[Any], Any],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    rtol: float | None = None,
) -> Literal[True]:
    """Check that ``adjoint`` is the transpose of the linear map ``forward``.

    ``<forward(x), y> == <x, adjoint(y)>`` within ``rtol * (|forward(x)| |y| + |x| |adjoint(y)|)``, with
    Euclidean norms.  For a convolution, ``forward`` maps ``x`` (or ``w``) to the output and ``adjoint`` is
    the input (or weight) gradient.  No oracle is needed and no step size.

    Parameters
    ----------
    forward : maps an array like ``x`` to one like ``y``; linear (no bias)
    adjoint : maps an array like ``y`` to one like ``x``
    x, y : random arrays; ``y`` has the shape of ``forward(x)``
    rtol : by default 64 times the machine epsilon of the least precise of the four arrays

    Returns
    -------
    True.

    Raises
    ------
    AssertionError : the two sides differ, or the shapes do not fit.
    DTypeError : something is no array of real numbers, or a masked one.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.testing import adjoint_test
    >>> a = np.arange(6.0).reshape(2, 3)
    >>> adjoint_test(lambda x: a @ x, lambda y: a.T @ y, np.ones(3), np.ones(2))
    True
    """
    x, y = _real(x, "x"), _real(y, "y")
    ax, aty = _real(forward(x), "forward(x)"), _real(adjoint(y), "adjoint(y)")
    if ax.shape != y.shape or aty.shape != x.shape:
        raise AssertionError(
            f"forward maps shape {x.shape} to {ax.shape}, adjoint maps {y.shape} to {aty.shape}: "
            "each must return the shape that the other takes"
        )
    if rtol is None:
        floats = [a.dtype for a in (x, y, ax, aty) if np.issubdtype(a.dtype, np.floating)]
        rtol = 64 * max(float(np.finfo(d).eps) for d in (np.dtype(np.float64), *floats))
    left, right = _dot(ax, y), _dot(x, aty)
    bound = rtol * (math.sqrt(_dot(ax, ax) * _dot(y, y)) + math.sqrt(_dot(x, x) * _dot(aty, aty)))
    if not abs(left - right) <= bound:  # written so that NaN fails
        raise AssertionError(
            f"<forward(x), y> = {left!r}, but <x, adjoint(y)> = {right!r}: "
            f"they differ by {abs(left - right):.3g}, allowed {bound:.3g}"
        )
    return True


def _real(value: Any, name: str) -> npt.NDArray[Any]:
    array = as_array(value, name)
    check_real(array, FLOAT64, name)
    return array


def _dot(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    return float(np.sum(a.astype(np.float64) * b.astype(np.float64)))
