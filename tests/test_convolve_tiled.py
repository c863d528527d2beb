"""``convolve_tiled``: the values of ``convolve``, and the same bits for any chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convpp
from convpp.tiling.start import SAMPLED_LINES
from geometry import Array, assert_exact, failures_name, pick
from signatures import keywords_of
from test_tiled import Sliced
from tilings import cut

BOUNDARIES = ("zeros", "reflect", "symmetric", "replicate", "circular", 3)


def draw(rng: np.random.Generator, whole: bool) -> tuple[Array, dict[str, Any]]:
    """An array, and the arguments of a call."""
    ndim = int(rng.integers(1, 4))
    shape = tuple(int(n) for n in rng.integers(1, 14, ndim))
    count = int(rng.integers(1, ndim + 1))
    axes = sorted(int(axis) for axis in rng.choice(ndim, count, replace=False))
    taps = [int(rng.integers(1, 6)) for _ in axes]
    mode = pick(rng, ("full", "same", "valid", "causal"))
    if mode == "valid":
        taps = [min(extent, shape[axis]) for extent, axis in zip(taps, axes, strict=True)]
    options: dict[str, Any] = {
        "axes": tuple(axes),
        "mode": mode,
        "boundary": pick(rng, BOUNDARIES),
        "stride": int(rng.integers(1, 4)),
        "dilation": 1 if mode == "valid" else int(rng.integers(1, 3)),
    }
    kind = pick(rng, ("one", "several", "own"))
    kernel_shape = tuple(taps)
    if kind == "several":
        kernel_shape = (int(rng.integers(1, 4)), *taps)
    elif kind == "own":
        kernel_shape = tuple(
            taps[axes.index(i)] if i in axes else shape[i] if rng.random() < 0.6 else 1 for i in range(ndim)
        )
    dtype = pick(rng, (np.int32, np.uint8, bool) if whole else (np.float32, np.float64, np.complex64))
    a = rng.integers(0, 5, shape).astype(dtype) if whole else rng.standard_normal(shape).astype(dtype)
    kernel = rng.integers(-4, 5, kernel_shape) if whole else rng.standard_normal(kernel_shape).astype(np.float32)
    options["kernels" if kind == "several" else "kernel"] = kernel
    return a, options


@pytest.mark.parametrize("batch", range(5))
def test_whole_numbers_are_exact(batch: int) -> None:
    rng = np.random.default_rng((60, batch))
    for _ in range(40):
        a, options = draw(rng, whole=True)
        want = convpp.convolve(a, **options)
        chunks = tuple(cut(rng, extent) for extent in want.shape)
        with failures_name(a.shape, a.dtype, options, chunks):
            assert_exact(convpp.convolve_tiled(Sliced(a), **options, chunks=chunks), want)


@pytest.mark.parametrize("batch", range(5))
def test_floats_have_the_same_bits_for_any_chunks(batch: int) -> None:
    rng = np.random.default_rng((61, batch))
    for _ in range(40):
        a, options = draw(rng, whole=False)
        want = convpp.convolve_tiled(a, **options, chunks="1 GiB")
        chunks = tuple(cut(rng, extent) for extent in want.shape)
        with failures_name(a.shape, a.dtype, options, chunks):
            assert_exact(convpp.convolve_tiled(Sliced(a), **options, chunks=chunks), want)
            assert np.allclose(convpp.convolve(a, **options, method="direct"), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("boundary", ["zeros", "reflect", np.nan, 2.0])
def test_missing_values_and_masks(boundary: Any) -> None:
    rng = np.random.default_rng(62)
    a = rng.integers(0, 9, (30, 20)).astype(np.float64)
    a[rng.random(a.shape) < 0.2] = np.nan
    mask = rng.random(a.shape) < 0.2
    kernel = np.array([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    options: dict[str, Any] = {"mode": "same", "boundary": boundary, "nan": "ignore", "min_weight": 0.5}
    for given in (None, mask, mask[0]):
        want = convpp.convolve(a, kernel, mask=given, **options)
        sliced = Sliced(given) if given is mask else given
        got = convpp.convolve_tiled(Sliced(a), kernel, mask=sliced, **options, chunks=(7, 9))
        assert np.allclose(got, want, rtol=1e-14, equal_nan=True)
        assert np.isnan(got).any()


def test_whole_numbers_with_a_mask_give_floats() -> None:
    a, mask = np.arange(20), np.arange(20) % 3 == 0
    want = convpp.convolve(a, [1, 2, 1], mode="same", mask=mask)
    assert_exact(convpp.convolve_tiled(a, [1, 2, 1], mode="same", mask=mask, chunks=(6,)), want)
    assert want.dtype == np.float64


@pytest.mark.parametrize("method", ["fft", "separable", "direct"])
def test_methods(method: str) -> None:
    rng = np.random.default_rng(63)
    a, line = rng.standard_normal((60, 50)), rng.standard_normal(9)
    kernel: Any = [line, line[:5]] if method == "separable" else np.outer(line, line[:5])
    got = convpp.convolve_tiled(a, kernel, mode="same", method=method, chunks=(20, 20))
    assert np.allclose(got, convpp.convolve(a, kernel, mode="same", method=method), rtol=1e-12, atol=1e-12)


def test_files_and_resume(tmp_path: Path) -> None:
    a = np.arange(10_000).reshape(100, 100)
    kernel = np.array([[1, -2], [3, 1]])
    want = convpp.convolve(a, kernel)
    how: dict[str, Any] = {"chunks": (30, -1), "out": tmp_path / "y.npy"}
    convpp.convolve_tiled(a, kernel, **how)
    assert_exact(np.load(tmp_path / "y.npy"), want)
    again = Sliced(a)
    convpp.convolve_tiled(again, kernel, **how, resume=True)
    assert len(again.read) <= SAMPLED_LINES  # which tell it from another a
    with pytest.raises(ValueError, match="mode was full, now same"):
        convpp.convolve_tiled(a, kernel, **how, resume=True, mode="same")


def test_memory_says_how_a_result_is_cut() -> None:
    a = Sliced(np.ones((300, 200, 3), np.float32))
    got = convpp.convolve_tiled(a, np.ones((5, 5), np.float32), axes=(0, 1), mode="same", chunks="300 KiB")
    assert_exact(got, convpp.convolve(np.ones((300, 200, 3), np.float32), np.ones((5, 5), np.float32), axes=(0, 1),
                                      mode="same"))  # fmt: skip
    assert len(a.read) == 5
    assert all(place[1:] == (slice(0, 200), slice(0, 3)) for place in a.read)
    assert all((2 * (place[0].stop - place[0].start) - 4) * 2400 <= 300 << 10 for place in a.read)


def test_options_are_those_of_convolve() -> None:
    assert keywords_of("convolve_tiled") == (keywords_of("convolve") - {"state"}) | {"chunks", "resume", "progress"}


@pytest.mark.parametrize(
    ("error", "message", "changed"),
    [
        (ValueError, "kernel and kernels are not given", {"kernel": None}),
        (ValueError, "mode is 'wrong'", {"mode": "wrong"}),
        (ValueError, "method is 'wrong'", {"method": "wrong"}),
        (ValueError, "min_weight is 0.5, expected it with nan='ignore'", {"min_weight": 0.5}),
        (convpp.DTypeError, "a is a masked array", {"a": np.ma.masked_array(np.ones(9))}),
        (convpp.DTypeError, "mask has dtype", {"mask": np.ones(9)}),
        (convpp.ShapeError, "mask has shape", {"mask": np.ones(7, bool)}),
        (convpp.DTypeError, "boundary is -1, expected a number", {"a": np.ones(9, np.uint64), "boundary": -1}),
        (ValueError, "chunks is 3 bytes, expected", {"chunks": 3}),
        (convpp.DTypeError, "a has dtype object", {"a": np.array([None] * 9)}),
    ],
)  # fmt: skip
def test_errors(error: type[Exception], message: str, changed: dict[str, Any]) -> None:
    call: dict[str, Any] = {"a": np.ones(9), "kernel": np.ones(3), "mode": "same"} | changed
    with pytest.raises(error, match=message):
        convpp.convolve_tiled(**call)


@pytest.mark.parametrize("options", [{"boundary": 2.5, "nan": "ignore"}, {"boundary": np.nan, "nan": "ignore"}])
def test_numbers_beyond_the_ends_that_the_type_of_a_does_not_hold(options: dict[str, Any]) -> None:
    a, kernel = np.arange(12, dtype=np.int8).reshape(3, 4), np.ones((3, 3), int)
    want = convpp.convolve(a, kernel, mode="same", **options)
    np.testing.assert_array_equal(convpp.convolve_tiled(a, kernel, mode="same", chunks=(2, 2), **options), want)
    want = convpp.convolve(a, kernel, mode="same", boundary=2.5, dtype=float)
    got = convpp.convolve_tiled(a, kernel, mode="same", boundary=2.5, dtype=float, chunks=(2, 2))
    np.testing.assert_array_equal(got, want)
    a, kernel = a.astype(np.float32), kernel.astype(np.float64) / 3
    want = convpp.convolve(a, kernel, mode="same", boundary=0.1)
    np.testing.assert_array_equal(convpp.convolve_tiled(a, kernel, mode="same", boundary=0.1, chunks=(2, 2)), want)
    a, kernel = a.astype(np.int8), np.ones((3, 3), int)
    for boundary in (2.5, 1 + 2j):
        with pytest.raises(convpp.DTypeError, match="boundary is"):
            convpp.convolve_tiled(a, kernel, mode="same", boundary=boundary, chunks=(2, 2))
