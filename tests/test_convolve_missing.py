"""NaN, masks and masked arrays: sums over what is there, divided by its weight."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from convpp.plain import blocks
from plain_reference import Array, draw_case, laid_out, reference, whole


@pytest.mark.parametrize("block_bytes", [300, 6 << 20])
@pytest.mark.parametrize("kind", ["nan", "mask", "both", "complex"])
@pytest.mark.parametrize("seed", range(25))
def test_quotients(seed: int, kind: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numerators and weights are whole numbers, so that the quotient is rounded once."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng([seed, len(kind), 2])
    case = draw_case(rng)
    a = whole(rng, case.shape) + (1j * whole(rng, case.shape) if kind == "complex" else 0)
    gone = rng.random(case.shape) < 0.3
    kernel = np.abs(whole(rng, case.kernel, 4)) + 1
    number = case.options["boundary"] == 7
    there = reference(
        (~gone).astype(float), kernel, case.axes, case.flip, **case.options | ({"boundary": 1} if number else {})
    )
    if case.options["boundary"] == "zeros":  # what lies beyond is there, and is 0
        there = reference((~gone).astype(float), kernel, case.axes, case.flip, **case.options | {"boundary": 1})
    total = reference(np.where(gone, 0, a), kernel, case.axes, case.flip, **case.options)
    least = 0.4
    seen = (there > 0) & (there >= least * kernel.sum())
    want = np.where(seen, total / np.where(there == 0, 1, there), -5)
    masked = gone & (rng.random(case.shape) < 0.5) if kind == "both" else gone
    given = np.where(gone & ~masked if kind == "both" else gone & (kind != "mask"), np.nan, a)
    keywords: dict[str, Any] = {"mask": masked} if kind in ("mask", "both") else {}
    if kind != "mask":
        keywords["nan"] = "ignore"
    function = convpp.convolve if case.flip else convpp.correlate
    got = function(laid_out(rng, given), kernel, min_weight=least, fill_value=-5, **keywords, **case.keywords())
    np.testing.assert_allclose(got, want, rtol=4e-16, atol=0, err_msg=str(case))


def test_masked_arrays_come_back_masked(rng: np.random.Generator) -> None:
    a = np.ma.masked_less(rng.standard_normal((9, 9)), -0.5)
    a[3:6, 3:6] = np.ma.masked
    y = convpp.convolve(a, np.ones((3, 3)), mode="same")
    assert isinstance(y, np.ma.MaskedArray)
    assert y.mask[4, 4]
    plain = convpp.convolve(a.data, np.ones((3, 3)), mode="same", mask=a.mask)
    np.testing.assert_array_equal(np.isnan(plain), y.mask)
    np.testing.assert_array_equal(y.compressed(), plain[~y.mask])
    whole_numbers = np.ma.array([1, 2, 3], mask=[0, 1, 0])
    y = convpp.convolve(whole_numbers, [1, 1, 1], mode="valid")
    assert y.dtype == np.float64
    np.testing.assert_array_equal(y, [2.0])
    assert not np.ma.getmaskarray(convpp.convolve(np.ma.ones(5), [1.0])).any()


def test_a_boundary_may_be_missing() -> None:
    a = np.full((5, 5), 2.0)
    y = convpp.convolve(a, np.ones((3, 3)), mode="same", nan="ignore", boundary=np.nan)
    np.testing.assert_array_equal(y, a)  # the mean of what is there
    y = convpp.convolve(a, np.ones((3, 3)), mode="same", nan="ignore", boundary=np.nan, min_weight=1.0)
    np.testing.assert_array_equal(np.isnan(y), np.pad(np.zeros((3, 3), bool), 1, constant_values=True))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_that_is_seen_is_seen_whole(dtype: Any, rng: np.random.Generator) -> None:
    """min_weight=1 keeps results whose weights are all there, whatever the rounding of their sum."""
    for kernel in convpp.gaussian(3.0, ndim=2), rng.random((9, 9)) - 0.2:
        y = convpp.convolve(np.ones((40, 40), dtype), kernel.astype(dtype), mode="same", nan="ignore", min_weight=1.0)
        assert not np.isnan(y).any()


@pytest.mark.parametrize("method", ["direct", "fft", "separable", "auto"])
def test_nothing_is_made_of_nothing(method: Any, rng: np.random.Generator) -> None:
    """Also where transforms leave rounding errors in the place of a 0."""
    a = rng.standard_normal((90, 90)).astype(np.float32)
    a[30:60, 30:60] = np.nan
    kernel = convpp.box(9, ndim=2).astype(np.float32)
    y: Array = convpp.convolve(a, kernel, mode="same", nan="ignore", method=method)
    np.testing.assert_array_equal(
        np.isnan(y), np.isin(np.arange(90), np.arange(34, 56))[:, None] & np.isin(np.arange(90), np.arange(34, 56))
    )


def test_several_kernels_each_with_its_weight(rng: np.random.Generator) -> None:
    a = np.where(rng.random((9, 9)) < 0.3, np.nan, whole(rng, (9, 9)))
    kernels = rng.random((4, 3, 3)) + np.arange(4)[:, None, None]
    got = convpp.convolve(a, kernels=kernels, nan="ignore", min_weight=0.5, method="direct")
    want = [convpp.convolve(a, k, nan="ignore", min_weight=0.5, method="direct") for k in kernels]
    np.testing.assert_array_equal(got, want)
