"""gaussian, box, sobel and laplace."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp


def test_gaussian() -> None:
    kernel = convpp.gaussian(2.0)
    at = np.arange(-8, 9)
    want = np.exp(-(at**2) / 8.0)
    np.testing.assert_allclose(kernel, want / want.sum(), rtol=1e-15)
    assert convpp.gaussian(2.0, truncate=2.0).shape == (9,)
    np.testing.assert_array_equal(convpp.gaussian((2.0, 0.5)), np.multiply.outer(kernel, convpp.gaussian(0.5)))
    np.testing.assert_array_equal(convpp.gaussian(2.0, ndim=2), np.multiply.outer(kernel, kernel))
    np.testing.assert_array_equal(convpp.gaussian(0), [1.0])
    assert convpp.gaussian(1.0, ndim=3).sum() == pytest.approx(1, abs=1e-15)


def test_box() -> None:
    np.testing.assert_array_equal(convpp.box(4), [0.25] * 4)
    np.testing.assert_array_equal(convpp.box((2, 4)), np.full((2, 4), 0.125))
    np.testing.assert_array_equal(convpp.box(2, ndim=3), np.full((2, 2, 2), 0.125))


def test_derivatives() -> None:
    """Of a slope and of a parabola, where the array rises."""
    y, x = np.mgrid[:6, :7].astype(float)
    np.testing.assert_array_equal(convpp.correlate(y, convpp.sobel(0), mode="valid"), 8)
    np.testing.assert_array_equal(convpp.correlate(x, convpp.sobel(1), mode="valid"), 8)
    np.testing.assert_array_equal(convpp.correlate(x, convpp.sobel(-2), mode="valid"), 0)
    np.testing.assert_array_equal(convpp.correlate(x * x + y * y, convpp.laplace(), mode="valid"), 4)
    np.testing.assert_array_equal(convpp.sobel(0, ndim=1), [-1, 0, 1])
    assert convpp.laplace(3)[1, 1, 1] == -6
    assert convpp.laplace(3).sum() == 0


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("gaussian", {"sigma": -1}, "sigma is -1, expected a number, 0 or more"),
    ("gaussian", {"sigma": np.nan}, "sigma is nan"),
    ("gaussian", {"sigma": "1"}, "sigma is '1'"),
    ("gaussian", {"sigma": (1, 2), "ndim": 3}, "sigma is .1, 2., expected a number or 3"),
    ("gaussian", {"sigma": 1, "truncate": -1}, "truncate is -1"),
    ("gaussian", {"sigma": []}, "sigma is .., expected a number or 1, one for each axis"),
    ("box", {"size": 0}, "size is 0, expected 1 or more"),
    ("box", {"size": (2, 3), "ndim": 3}, "one for each convolved axis"),
    ("sobel", {"axis": 2}, "axis is 2, expected -2 to 1"),
    ("laplace", {"ndim": 0}, "ndim is 0, expected 1 to 32"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), WRONG)
def test_errors(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(convpp, name)(**arguments)
