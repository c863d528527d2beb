"""Convolutions as PyLops' operators: its own dot test, its solvers.

PyLops is installed by `nox -s pylops`; without it, this is skipped.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from test_operators import BOUNDARIES, LAYERS, PLAIN

pylops = pytest.importorskip("pylops")
operators = pytest.importorskip("convpp.operators")

MODES = ("full", "same", "valid", "causal")


def passes(op: Any, complex_vectors: bool = False) -> None:
    wrapped = pylops.LinearOperator(op)
    flags = 3 if complex_vectors else 0
    assert pylops.utils.dottest(wrapped, *op.shape, rtol=1e-10, complexflag=flags, raiseerror=True)
    sum_of = 2.0 * wrapped.H @ wrapped + pylops.Identity(op.shape[1])  # as PyLops' own operators do
    assert pylops.utils.dottest(sum_of, op.shape[1], op.shape[1], rtol=1e-10, complexflag=flags, raiseerror=True)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("shape", "kernel"), [((50,), (7,)), ((12, 15), (4, 3)), ((5, 6, 7), (3, 2, 3))])
def test_dot_test(boundary: str, mode: str, shape: tuple[int, ...], kernel: tuple[int, ...]) -> None:
    weights = np.random.default_rng(0).standard_normal(kernel)
    passes(operators.Convolution(shape, weights, mode=mode, boundary=boundary))
    passes(operators.Convolution(shape, weights + 1j * weights[::-1], mode=mode, boundary=boundary), True)


@pytest.mark.parametrize(("shape", "kernel", "options"), PLAIN)
def test_dot_test_of_options(shape: Any, kernel: Any, options: dict[str, Any]) -> None:
    passes(operators.Convolution(shape, np.random.default_rng(1).standard_normal(kernel), **options))


@pytest.mark.parametrize(("x_shape", "w_shape", "options"), LAYERS)
def test_dot_test_of_layers(x_shape: Any, w_shape: Any, options: dict[str, Any]) -> None:
    passes(operators.Conv(x_shape, np.random.default_rng(2).standard_normal(w_shape), **options))


def test_its_solver_deconvolves() -> None:
    rng = np.random.default_rng(3)
    blur = pylops.LinearOperator(operators.Convolution((20, 21), convpp.gaussian(0.7, ndim=2), boundary="symmetric"))
    picture = rng.random(blur.shape[1])
    found = pylops.optimization.basic.cgls(blur, blur @ picture, np.zeros(blur.shape[1]), niter=500, tol=1e-13)[0]
    np.testing.assert_allclose(found, picture, atol=1e-5)
