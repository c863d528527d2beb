"""Convolutions as SciPy's linear operators: adjoints, several vectors, solvers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp

linalg = pytest.importorskip("scipy.sparse.linalg")
operators = pytest.importorskip("convpp.operators")

BOUNDARIES = ("zeros", "reflect", "symmetric", "replicate", "circular")
PLAIN: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((31,), (4,), {"mode": "full"}),
    ((31,), (5,), {"mode": "valid", "stride": 2}),
    ((9, 12), (3, 4), {"origin": (1, 0), "flip": False}),
    ((9, 12), (3, 4), {"mode": "causal", "boundary": "replicate"}),
    ((9, 12, 3), (3, 4), {"axes": (0, 1), "dilation": 2}),
    ((9, 12, 3), (3, 4), {"axes": (-2, -3), "boundary": ("reflect", "circular")}),
    ((4, 9, 7), (4, 3, 1), {"axes": (1, 2)}),  # a kernel for each element of a batch
    ((5, 6, 7), (2, 3, 2), {"boundary": 0.0}),
    ((4, 3, 4, 5), (2, 2, 2, 2), {"mode": "full"}),
    ((40, 41), (9, 9), {"method": "fft"}),
    *(((10, 11), (5, 4), {"boundary": boundary}) for boundary in BOUNDARIES),
]
LAYERS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 4, 9, 10), (6, 2, 3, 3), {"groups": 2, "padding": ((1, 2), (0, 1)), "stride": (2, 1)}),
    ((4, 9, 10), (6, 4, 3, 3), {"padding": "same", "padding_mode": "reflect"}),
    ((3, 20, 5), (4, 5, 3), {"layout": "channels_last", "dilation": 2, "flip": True}),
    ((2, 3, 5, 6, 7), (4, 3, 2, 3, 2), {"padding": 1, "padding_mode": "circular"}),
]


def vectors(rng: np.random.Generator, size: int, dtype: str, count: int | None = None) -> Any:
    shape = (size,) if count is None else (size, count)
    values = rng.standard_normal(shape)
    return (values + 1j * rng.standard_normal(shape) if dtype.startswith("complex") else values).astype(dtype)


def check(op: Any, dtype: str, like: Any, rng: np.random.Generator) -> None:
    """``like``: the function itself.  The dot test, the matrix, the adjoint's, and several vectors at once."""
    eps = np.finfo(dtype).eps
    x, y = vectors(rng, op.shape[1], dtype), vectors(rng, op.shape[0], dtype)
    ax, ay = op @ x, op.H @ y
    assert ax.dtype == ay.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(ax, like(x.reshape(op.input_shape)).ravel())
    np.testing.assert_array_equal(op(x.reshape(op.input_shape)).ravel(), ax)
    np.testing.assert_array_equal(op.adjoint_of(y.reshape(op.output_shape)).ravel(), ay)
    bound = 100 * eps * np.linalg.norm(ax) * np.linalg.norm(y)
    assert abs(np.vdot(y, ax) - np.vdot(ay, x)) <= bound
    many, back = vectors(rng, op.shape[1], dtype, 3), vectors(rng, op.shape[0], dtype, 3)
    size = 100 * eps * max(np.abs(ax).max(), np.abs(ay).max())
    np.testing.assert_allclose(op @ many, np.stack([op @ v for v in many.T], axis=1), atol=size)
    np.testing.assert_allclose(op.H @ back, np.stack([op.H @ v for v in back.T], axis=1), atol=size)


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize(("shape", "kernel", "options"), PLAIN)
def test_plain(shape: Any, kernel: Any, options: dict[str, Any], dtype: str, rng: np.random.Generator) -> None:
    w = vectors(rng, int(np.prod(kernel)), dtype).reshape(kernel)
    op = operators.Convolution(shape, w, **options)
    assert op.dtype == np.dtype(dtype)
    given = {"mode": "same", **options}
    function = convpp.convolve if given.pop("flip", True) else convpp.correlate
    check(op, dtype, lambda a: function(a, w, **given), rng)
    w[...] = 7  # was copied
    x = vectors(rng, op.shape[1], dtype)
    assert not np.array_equal(op @ x, function(x.reshape(shape), w, **given).ravel())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "kernel", "options"), LAYERS)
def test_layers(shape: Any, kernel: Any, options: dict[str, Any], dtype: str, rng: np.random.Generator) -> None:
    w = rng.standard_normal(kernel).astype(dtype)
    op = operators.Conv(shape, w, **options, algorithm="direct")
    check(op, dtype, lambda a: convpp.conv(a, w, **options, algorithm="direct"), rng)


def test_vectors_of_another_type(rng: np.random.Generator) -> None:
    """The result's type holds the vector's numbers: SciPy's solvers mix them."""
    w = rng.standard_normal((3, 3))
    for op in (operators.Convolution((8, 9), w), operators.Conv((1, 8, 9), w[None, None], padding=1)):
        x = rng.standard_normal(op.shape[1]) + 1j * rng.standard_normal(op.shape[1])
        for function in (lambda v, op=op: op @ v, lambda v, op=op: op.H @ v):
            got = function(x)
            assert got.dtype == np.complex128
            np.testing.assert_allclose(got, function(x.real) + 1j * function(x.imag), atol=1e-13)
        assert (op @ np.arange(op.shape[1])).dtype == np.float64
        assert (op @ x.real.astype(np.float32)).dtype == np.float64
    assert operators.Convolution((8, 9), [[1, 2], [3, 4]]).dtype == np.float64


def test_nothing_to_convolve() -> None:
    """No samples, no vectors."""
    for op in (operators.Conv((0, 3, 8, 8), np.ones((5, 3, 3, 3))), operators.Convolution((0, 8), np.ones(3))):
        assert op.shape == (0, 0)
        assert op(np.ones(op.input_shape)).shape == op.output_shape
        assert op.adjoint_of(np.ones(op.output_shape)).shape == op.input_shape
        assert (op @ np.ones(0)).shape == (op.H @ np.ones(0)).shape == (0,)
        assert (op @ np.ones((0, 2))).shape == (op.H @ np.ones((0, 2))).shape == (0, 2)
    full = operators.Convolution((4, 8), np.ones(3))
    assert (full @ np.ones((32, 0))).shape == (full.H @ np.ones((32, 0))).shape == (32, 0)


def test_solvers(rng: np.random.Generator) -> None:
    """A blurred picture is sharpened again by each of them."""
    picture = rng.random((24, 25))
    blur = operators.Convolution(picture.shape, convpp.gaussian(0.6, ndim=2), boundary="symmetric")
    blurred = blur(picture).ravel()
    by_lsqr = linalg.lsqr(blur, blurred, atol=1e-13, btol=1e-13, iter_lim=500)[0]
    by_lsmr = linalg.lsmr(blur, blurred, atol=1e-13, btol=1e-13, maxiter=500)[0]
    by_cg, status = linalg.cg(blur.H @ blur, blur.H @ blurred, rtol=1e-13, maxiter=500)
    assert status == 0
    for found in (by_lsqr, by_lsmr, by_cg):
        np.testing.assert_allclose(found.reshape(picture.shape), picture, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: operators.Convolution((8,), np.ones(3), boundary=2.0), ValueError, "not linear"),
        (lambda: operators.Convolution((8,), np.ones(3), boundary=("zeros", 1)), ValueError, "not linear"),
        (lambda: operators.Convolution((8,), np.ones(3), boundary="wrap"), ValueError, "did you mean 'circular'"),
        (lambda: operators.Convolution(8.5, np.ones(3)), ValueError, "shape is 8.5"),
        (lambda: operators.Convolution((8,), np.ones((3, 3))), convpp.ShapeError, "at most as many axes"),
        (lambda: operators.Convolution((8,), np.ones(3), dtype="int64"), convpp.DTypeError, "dtype is 'int64'"),
        (lambda: operators.Convolution((8,), np.ones(3), dtype="no"), convpp.DTypeError, "dtype is 'no'"),
        (lambda: operators.Convolution((8,), [1j], dtype="float64"), convpp.DTypeError, "expected a complex type"),
        (lambda: operators.Convolution((8,), ["a"]), convpp.DTypeError, "kernel has dtype"),
        (lambda: operators.Convolution((8,), np.ones(3), flip="no"), ValueError, "flip is 'no'"),
        (lambda: operators.Convolution((8,), np.ones(3), threads=0), ValueError, "threads is 0"),
        (lambda: operators.Convolution((8,), np.ones(3))(np.ones(16)), convpp.ShapeError, "a has shape"),
        (lambda: operators.Convolution((8,), np.ones(3)).adjoint_of(np.ones((1, 8))), convpp.ShapeError, "y has shape"),
        (lambda: operators.Convolution((8,), np.ones(3)) @ np.array(["a"] * 8), convpp.DTypeError, "the vector has"),
        (lambda: operators.Conv((1, 8), np.ones((1, 1, 3)), algorithm="fast"), ValueError, "algorithm is 'fast'"),
        (lambda: operators.Conv((1, 8), np.ones((1, 1, 3)), threads=0), ValueError, "threads is 0"),
        (lambda: operators.Conv((1, 8), np.ones((1, 1, 3), int)), convpp.DTypeError, "w has dtype int64"),
        (lambda: operators.Conv((1, 8), np.ones((1, 1, 3), "f2")), convpp.DTypeError, "expected float32 or float64"),
        (lambda: operators.Conv((2, 1, 8), np.ones((2, 1, 1, 3)), per_sample=True), ValueError, "per_sample is True"),
        (lambda: operators.Conv((2, 8), np.ones((1, 1, 3))), convpp.ShapeError, "C = 2"),
    ],
)
def test_errors(make: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make()
