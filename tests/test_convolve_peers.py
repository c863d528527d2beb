"""convolve and correlate beside SciPy, astropy, scikit-image and OpenCV, where these are installed."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import convpp
from plain_reference import MODES, Array, whole

#: Extents of kernels: odd, even, of several kinds.
KERNELS = [(3, 3), (4, 4), (2, 5), (1, 4), (5, 1)]
NDIMAGE = {
    "reflect": "symmetric",
    "mirror": "reflect",
    "nearest": "replicate",
    "wrap": "circular",
    "constant": 2.0,
    "grid-mirror": "symmetric",
    "grid-wrap": "circular",
    "grid-constant": 2.0,
}


def direct(function: Any, *arrays: Any, **options: Any) -> Array:
    return function(*arrays, method="direct", **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(25))
def test_scipy_signal(seed: int, mode: Any) -> None:
    """In one to five dimensions; of complex numbers, too."""
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(seed)
    ndim = 1 + seed % 5
    a = whole(rng, rng.integers(4, 9 if ndim < 4 else 6, ndim))
    kernel = whole(rng, [int(rng.integers(1, 5)) for _ in range(ndim)])
    if seed % 2:
        a, kernel = a + 1j * whole(rng, a.shape), kernel + 1j * whole(rng, kernel.shape)
    np.testing.assert_array_equal(
        direct(convpp.convolve, a, kernel, mode=mode), signal.convolve(a, kernel, mode, method="direct")
    )
    np.testing.assert_array_equal(
        direct(convpp.correlate, a, kernel, mode=mode), signal.correlate(a, kernel, mode, method="direct")
    )


@pytest.mark.parametrize("kernel_shape", KERNELS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("boundary", "ours"), [("fill", 3), ("wrap", "circular"), ("symm", "symmetric")])
def test_scipy_convolve2d(kernel_shape: Any, mode: Any, boundary: str, ours: Any, rng: np.random.Generator) -> None:
    signal = pytest.importorskip("scipy.signal")
    a, kernel = whole(rng, (9, 11)), whole(rng, kernel_shape)
    for name in "convolve2d", "correlate2d":
        function = convpp.convolve if name == "convolve2d" else convpp.correlate
        want = getattr(signal, name)(a, kernel, mode, boundary, 3)
        if name == "correlate2d" and mode == "same" and any(k % 2 == 0 for k in kernel_shape):
            continue  # SciPy's own rounds the centre the other way
        np.testing.assert_array_equal(direct(function, a, kernel, mode=mode, boundary=ours), want)


def test_scipy_oaconvolve_fftconvolve_along_axes(rng: np.random.Generator) -> None:
    signal = pytest.importorskip("scipy.signal")
    a, kernel = rng.standard_normal((3, 200, 4)), rng.standard_normal((1, 30, 1))
    for name in "oaconvolve", "fftconvolve":
        for mode in MODES:
            want = getattr(signal, name)(a, kernel, mode, axes=1)
            got = convpp.convolve(a, kernel[0, :, 0], mode=mode, axes=1)
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_scipy_lfilter_and_upfirdn(rng: np.random.Generator) -> None:
    signal = pytest.importorskip("scipy.signal")
    a = whole(rng, (3, 40))
    for taps in 1, 4, 5:
        b = whole(rng, taps)
        got = direct(convpp.convolve, a, b, mode="same", origin=-((taps - 1) // 2))
        np.testing.assert_array_equal(got, signal.lfilter(b, 1.0, a, axis=-1))
        for down in 1, 2, 3:
            want = signal.upfirdn(b, a, up=1, down=down, axis=-1)
            np.testing.assert_array_equal(direct(convpp.convolve, a, b, stride=down), want)


@pytest.mark.parametrize("mode", NDIMAGE)
@pytest.mark.parametrize("kernel_shape", KERNELS)
def test_scipy_ndimage(kernel_shape: tuple[int, int], mode: str, rng: np.random.Generator) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    a, kernel = whole(rng, (9, 11)), whole(rng, kernel_shape)
    for origin in -1, 0, 1:
        origins = tuple(origin if k > 2 else 0 for k in kernel_shape)
        options: dict[str, Any] = {"mode": "same", "boundary": NDIMAGE[mode]}
        want = ndimage.correlate(a, kernel, mode=mode, cval=2.0, origin=origins)
        np.testing.assert_array_equal(direct(convpp.correlate, a, kernel, origin=origins, **options), want)
        # Its convolve puts the centre of even kernels one element further.
        moved = tuple(o + (k % 2 == 0) for o, k in zip(origins, kernel_shape, strict=True))
        want = ndimage.convolve(a, kernel, mode=mode, cval=2.0, origin=origins)
        np.testing.assert_array_equal(direct(convpp.convolve, a, kernel, origin=moved, **options), want)
    want = ndimage.convolve1d(a, kernel[0], axis=0, mode=mode, cval=2.0)
    moved_1d = int(kernel_shape[1] % 2 == 0)
    got = direct(convpp.convolve, a, kernel[0], axes=0, origin=moved_1d, mode="same", boundary=NDIMAGE[mode])
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("mode", NDIMAGE)
def test_scipy_filters(mode: str, rng: np.random.Generator) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    a = rng.standard_normal((40, 30))
    options: dict[str, Any] = {"mode": "same", "boundary": NDIMAGE[mode]}
    bound = {"rtol": 0, "atol": 1e-13}

    def beside(got: Array, want: Array) -> None:
        np.testing.assert_allclose(got, want, **bound)

    for sigma in 0.7, 2.0, (1.0, 2.5):
        kernel = convpp.gaussian(sigma, ndim=2)
        beside(convpp.convolve(a, kernel, **options), ndimage.gaussian_filter(a, sigma, mode=mode, cval=2.0))
    beside(convpp.convolve(a, convpp.box(5, ndim=2), **options), ndimage.uniform_filter(a, 5, mode=mode, cval=2.0))
    beside(convpp.correlate(a, convpp.laplace(), **options), ndimage.laplace(a, mode=mode, cval=2.0))
    for axis in 0, 1:
        if not mode.endswith("constant"):  # ndimage pads between the axes
            beside(convpp.correlate(a, convpp.sobel(axis), **options), ndimage.sobel(a, axis, mode=mode))


@pytest.mark.parametrize(("boundary", "ours"), [("fill", "zeros"), ("wrap", "circular"), ("extend", "replicate")])
def test_astropy(boundary: str, ours: Any, rng: np.random.Generator) -> None:
    astropy = pytest.importorskip("astropy.convolution")
    for shape, kernel_shape in ((20,), (5,)), ((12, 15), (3, 5)), ((6, 7, 8), (3, 1, 3)):
        a, kernel = rng.standard_normal(shape), rng.random(kernel_shape) + 0.1
        a[rng.random(shape) < 0.3] = np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NaN that stay
            want = astropy.convolve(a, kernel, boundary=boundary)
        got = convpp.convolve(a, kernel, mode="same", boundary=ours, nan="ignore")
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)
        want = astropy.convolve(np.nan_to_num(a), kernel, boundary=boundary)
        got = convpp.convolve(np.nan_to_num(a), kernel / kernel.sum(), mode="same", boundary=ours)
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_skimage(rng: np.random.Generator) -> None:
    filters = pytest.importorskip("skimage.filters")
    a = rng.random((30, 40, 3))
    for mode in "nearest", "reflect", "mirror", "wrap", "constant":
        want = filters.gaussian(a, 1.5, mode=mode, cval=2.0, channel_axis=-1)
        options: dict[str, Any] = {"axes": (0, 1), "mode": "same", "boundary": NDIMAGE[mode]}
        got = convpp.convolve(a, convpp.gaussian(1.5, ndim=2), **options)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


def test_opencv(rng: np.random.Generator) -> None:
    cv2: Any = pytest.importorskip("cv2")
    borders = {
        cv2.BORDER_REFLECT_101: "reflect",
        cv2.BORDER_REFLECT: "symmetric",
        cv2.BORDER_REPLICATE: "replicate",
        cv2.BORDER_CONSTANT: "zeros",
    }
    a, picture = whole(rng, (13, 17, 3)), rng.integers(0, 256, (13, 17, 3)).astype(np.uint8)
    for shape in KERNELS:
        kernel = whole(rng, shape)
        for border, ours in borders.items():
            options: dict[str, Any] = {"axes": (0, 1), "mode": "same", "boundary": ours}
            want = cv2.filter2D(a, cv2.CV_64F, kernel, borderType=border)
            np.testing.assert_array_equal(direct(convpp.correlate, a, kernel, **options), want)
            got = convpp.correlate(picture, kernel.astype(int), **options)
            want = cv2.filter2D(picture, cv2.CV_64F, kernel, borderType=border)
            np.testing.assert_array_equal(got, want)
