"""`convpp.dask.convolve` and `correlate`: what `convpp.convolve` and `convpp.correlate` give, however a is chunked.

Convolutions of arrays with channels: test_dask.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("dask.array")

import dask
import dask.array as da

import convpp
import convpp.dask
from dasks import randomly_chunked
from geometry import assert_exact, failures_name, pick
from tilings import cut

BOUNDARIES = ("zeros", "reflect", "symmetric", "replicate", "circular", 3.0)
BOTH = ((convpp.dask.convolve, convpp.convolve), (convpp.dask.correlate, convpp.correlate))


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    with dask.config.set(scheduler="synchronous"):
        yield


def draw(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of a and of a kernel, and options, where the result is not empty."""
    while True:
        rank = int(rng.integers(1, 4))
        count = int(rng.integers(1, rank + 1))
        shape = tuple(int(n) for n in rng.integers(1, 12, rank))
        kernel = tuple(int(n) for n in rng.integers(1, 6, count))
        options: dict[str, Any] = {
            "axes": tuple(int(axis) for axis in rng.permutation(rank)[:count]),
            "mode": pick(rng, ("full", "same", "valid", "causal")),
            "stride": tuple(int(s) for s in rng.integers(1, 4, count)),
            "dilation": tuple(int(d) for d in rng.integers(1, 3, count)),
        }
        named = tuple(pick(rng, BOUNDARIES[:-1]) for _ in range(count))
        options["boundary"] = pick(rng, (named, *BOUNDARIES))
        if options["mode"] != "valid" or all(
            d * (k - 1) < shape[axis] for k, d, axis in zip(kernel, options["dilation"], options["axes"], strict=True)
        ):
            return shape, kernel, options


@pytest.mark.parametrize("batch", range(6))
def test_whole_numbers_are_exact_in_any_chunks(batch: int) -> None:
    rng = np.random.default_rng((50, batch))
    for _ in range(25):
        shape, kernel, options = draw(rng)
        dtype = pick(rng, ("float32", "float64", "int16", "int64", "complex128", "bool"))
        a = rng.integers(-4, 5, shape).astype(dtype)
        several = rng.random() < 0.3
        w = rng.integers(-4, 5, (3, *kernel) if several else kernel).astype(pick(rng, ("float64", "int32")))
        given = {"kernels" if several else "kernel": w, **options}
        if a.dtype.kind in "bi" and w.dtype.kind == "i" and options["boundary"] == 3.0:
            given["boundary"] = 3
        for ours, theirs in BOTH:
            with failures_name(shape, kernel, given):
                want = theirs(a, **given)
                lazy = ours(randomly_chunked(rng, a), **given)
                assert (lazy.shape, lazy.dtype) == (want.shape, want.dtype)
                assert_exact(lazy.compute(), want)
                if rng.random() < 0.3:
                    other = ours(randomly_chunked(rng, a), **given, chunks=tuple(cut(rng, n) for n in want.shape))
                    assert_exact(other.compute(), want)


@pytest.mark.parametrize("boundary", ["zeros", "reflect", "circular", 1.0, np.nan])
def test_what_is_missing_is_left_out(boundary: Any) -> None:
    rng = np.random.default_rng(51)
    a = rng.integers(1, 5, (17, 23)).astype("f8")
    a[rng.random(a.shape) < 0.2] = np.nan
    mask = rng.random(a.shape) < 0.2
    kernel = np.array([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]])
    for options in (
        {"nan": "ignore"},
        {"nan": "ignore", "mask": mask},
        {"nan": "ignore", "min_weight": 0.6, "fill_value": -1.0},
    ):
        options |= {"mode": "same", "boundary": boundary}
        want = convpp.convolve(a, kernel, **options)
        lazy = randomly_chunked(rng, a)
        assert_exact(convpp.dask.convolve(lazy, kernel, **options).compute(), want)
        if "mask" in options:
            options["mask"] = randomly_chunked(rng, mask)
            assert_exact(convpp.dask.convolve(lazy, kernel, **options).compute(), want)
    whole = rng.integers(1, 5, (17, 23))
    for given in (mask, mask[3]):  # broadcast; and of whole numbers, beside a boundary that is none
        want = convpp.convolve(whole, kernel, mask=given, mode="same", boundary=boundary)
        got = convpp.dask.convolve(randomly_chunked(rng, whole), kernel, mask=given, mode="same", boundary=boundary)
        assert_exact(got.compute(), want)
    want = convpp.convolve(whole, kernel, nan="ignore", mode="same", boundary=boundary)
    got = convpp.dask.convolve(randomly_chunked(rng, whole), kernel, nan="ignore", mode="same", boundary=boundary)
    assert_exact(got.compute(), want)


def test_direct_sums_have_the_same_bits_in_any_chunks() -> None:
    rng = np.random.default_rng(52)
    for shape, kernel, axes in (
        ((40, 50), (5, 7), (0, 1)),
        ((3, 400), (31,), (1,)),
        ((9, 10, 11, 2), (3, 3, 3), (0, 1, 2)),
    ):
        for dtype in ("float32", "float64", "complex64"):
            a = rng.standard_normal(shape).astype(dtype)
            w = rng.standard_normal(kernel).astype(np.float32)
            options: dict[str, Any] = {"axes": axes, "mode": "same", "boundary": "reflect", "method": "direct"}
            whole = convpp.dask.convolve(da.from_array(a, chunks=a.shape), w, **options).compute()
            for _ in range(4):
                assert (
                    convpp.dask.convolve(randomly_chunked(rng, a), w, **options).compute().tobytes() == whole.tobytes()
                )
            np.testing.assert_allclose(whole, convpp.convolve(a, w, **options), rtol=1e-4, atol=1e-4)


def test_kernels_for_each_element_of_a_batch() -> None:
    rng = np.random.default_rng(53)
    for a_batch, w_batch in ((4, 4), (1, 4), (4, 1)):
        a, w = rng.integers(-4, 5, (a_batch, 9, 8)), rng.integers(-4, 5, (w_batch, 3, 2))
        want = convpp.convolve(a, w, axes=(1, 2), mode="same")
        got = convpp.dask.convolve(da.from_array(a, chunks=(min(a_batch, 3), 4, 3)), w, axes=(1, 2), mode="same")
        assert_exact(got.compute(), want)


def test_kernels_that_are_products() -> None:
    rng = np.random.default_rng(54)
    a, lines = rng.integers(-4, 5, (30, 31)).astype("f8"), [np.array([1.0, 2, 1]), np.array([1.0, 0, -1, 2])]
    want = convpp.convolve(a, lines, method="separable", mode="same", boundary="symmetric")
    got = convpp.dask.convolve(randomly_chunked(rng, a), lines, method="separable", mode="same", boundary="symmetric")
    assert_exact(got.compute(), want)


def test_a_sum_that_does_not_fit_is_an_error_when_it_is_computed() -> None:
    a = da.from_array(np.full(9, 100, np.int8), chunks=4)
    lazy = convpp.dask.convolve(a, [1, 1], dtype=np.int8, mode="same")
    with pytest.raises(ValueError, match="a sum is 200, which int8 does not hold"):
        lazy.compute()


def test_errors_name_the_argument() -> None:
    a = da.ones((8, 9), chunks=4)
    for options, error, message in (
        ({"kernel": np.ones((3, 3)), "mode": "valids"}, ValueError, "mode is 'valids'"),
        ({"kernel": np.ones((3, 3)), "boundary": "mirror"}, ValueError, "did you mean 'reflect'"),
        ({}, ValueError, "kernel and kernels are not given"),
        (
            {"kernel": da.ones((3, 3))},
            TypeError,
            r"kernel is a dask array, expected one in memory: kernel\.compute\(\)",
        ),
        ({"kernel": np.ones((3, 3, 3))}, ValueError, r"kernel has shape \(3, 3, 3\)"),
        ({"kernel": np.ones(3), "mask": np.ones(9)}, TypeError, "mask has dtype float64"),
        ({"kernel": np.ones(3), "mask": np.ones(8, bool)}, ValueError, r"mask has shape \(8,\), expected that of a"),
        ({"kernel": np.ones(3), "min_weight": 0.5}, ValueError, "min_weight is 0.5"),
        ({"kernel": np.ones(3), "chunks": ((8,), (9, 1))}, ValueError, "chunks is"),
    ):
        with pytest.raises(error, match=message):
            convpp.dask.convolve(a, **options)  # type: ignore[arg-type]
    masked = da.ma.masked_greater(a, 2)
    with pytest.raises(TypeError, match=r"dask\.array\.ma\.getdata\(a\)"):
        convpp.dask.convolve(masked, np.ones(3))
