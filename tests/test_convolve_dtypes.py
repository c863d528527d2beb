"""Types of convolve: the table of plain/operands.py; whole numbers are exact, and never overflow in silence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from convpp.plain import blocks
from plain_reference import whole

ml_dtypes = pytest.importorskip("ml_dtypes")
BF16 = np.dtype(ml_dtypes.bfloat16)

TABLE: list[tuple[Any, Any, Any]] = [
    (np.float32, np.float32, np.float32),
    (np.float32, np.float64, np.float64),
    (np.float16, np.float16, np.float16),
    (np.float16, np.float32, np.float32),
    (BF16, BF16, BF16),
    (BF16, np.float16, np.float32),
    (np.complex64, np.float32, np.complex64),
    (np.float32, np.complex64, np.complex64),
    (np.complex64, np.float64, np.complex128),
    (np.complex64, np.float16, np.complex64),
    (np.complex128, np.complex64, np.complex128),
    (np.uint8, np.uint8, np.int64),
    (np.bool_, np.bool_, np.int64),
    (np.int64, np.uint64, np.int64),
    (np.uint8, np.float32, np.float32),
    (np.int32, np.float32, np.float64),
    (np.uint8, np.float16, np.float32),
    (np.int16, np.complex64, np.complex64),
]


@pytest.mark.parametrize(("of_a", "of_kernel", "result"), TABLE)
def test_the_table(of_a: Any, of_kernel: Any, result: Any, rng: np.random.Generator) -> None:
    a, kernel = np.abs(whole(rng, (6, 7), 3)), np.abs(whole(rng, (2, 3), 1))
    if np.dtype(of_a) == np.bool_:
        a = a > 1
    for first, second in (of_a, of_kernel), (of_kernel, of_a):
        given = a.astype(first), kernel.astype(second)
        y = convpp.convolve(*given, method="direct")
        assert y.dtype == result
        want = convpp.convolve(*(x.astype(np.float64 if x.dtype == BF16 else x.dtype).astype(complex) for x in given))
        np.testing.assert_array_equal(y.astype(complex), want)


def test_other_byte_orders_are_read(rng: np.random.Generator) -> None:
    """FITS files."""
    a, kernel = whole(rng, (6, 7)), whole(rng, (2, 3))
    want = convpp.convolve(a, kernel, method="direct")
    for code in ">f4", ">f8", ">i2", ">c8", ">i8":
        np.testing.assert_array_equal(convpp.convolve(a.astype(code), kernel.astype(code), method="direct"), want)


def test_asked_for_types(rng: np.random.Generator) -> None:
    a, kernel = whole(rng, (6, 7)), whole(rng, (2, 3))
    want = convpp.convolve(a, kernel, method="direct")
    for dtype in np.float32, np.float16, np.complex64, np.complex128:
        y = convpp.convolve(a, kernel, dtype=dtype, method="direct")
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, want)
    for dtype in np.int16, np.int32, np.float64:
        y = convpp.convolve(a.astype(int), kernel.astype(int), dtype=dtype)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("block_bytes", [200, 6 << 20])
@pytest.mark.parametrize("seed", range(150))
def test_long_integers_are_exact_or_refused(seed: int, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against Python's integers, up to the last bit that int64 holds."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng(seed)
    of_a, of_kernel = (int(rng.integers(1, 63)) for _ in range(2))
    if seed % 3 == 0:
        of_kernel = max(63 - of_a, 1)  # near the limit
    a = rng.integers(-(2**of_a), 2**of_a, 20)
    kernel = rng.integers(-(2**of_kernel), 2**of_kernel, int(rng.integers(1, 5)))
    exact = np.convolve(a.astype(object), kernel.astype(object))
    if max(exact) >= 2**63 or min(exact) < -(2**63):
        with pytest.raises(ValueError, match="which int64 does not hold"):
            convpp.convolve(a, kernel)
        y = convpp.convolve(a, kernel, dtype=np.float64, method="direct")
        size = np.convolve(np.abs(a.astype(float)), np.abs(kernel.astype(float)))
        assert np.all(np.abs(y - exact.astype(float)) <= 1e-15 * (len(kernel) + 2) * size)
    else:
        np.testing.assert_array_equal(convpp.convolve(a, kernel), exact.astype(np.int64))


def test_the_ends_of_the_range() -> None:
    low, high = -(2**63), 2**63 - 1
    ends = np.array([low, high, 0, 1])
    np.testing.assert_array_equal(convpp.convolve(ends, [1]), ends)
    np.testing.assert_array_equal(convpp.convolve(ends, [1, 0, 0, 0, 0])[:4], ends)
    with pytest.raises(ValueError, match=f"a sum is {2**63}, which int64"):
        convpp.convolve(ends, [-1])
    with pytest.raises(ValueError, match=f"a sum is {2**64 - 1}, which int64"):
        convpp.convolve(np.array([2**64 - 1], np.uint64), [1])
    np.testing.assert_array_equal(convpp.convolve(np.array([high, 5], np.uint64), [1]), [high, 5])
    pictures = np.full((4, 4), 255, np.uint8)
    assert convpp.convolve(pictures, np.ones((3, 3), np.uint8)).max() == 9 * 255
    with pytest.raises(ValueError, match="a sum is 2295, which uint8 does not hold"):
        convpp.convolve(pictures, np.ones((3, 3), np.uint8), dtype=np.uint8)
    with pytest.raises(ValueError, match="a sum is -255, which uint16"):
        convpp.convolve(pictures, [[-1]], dtype=np.uint16)


def test_out_is_untouched_by_a_sum_that_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 64)
    out = np.full(100, 7, np.uint8)
    a = np.zeros(100, np.uint8)
    a[-1] = 200
    with pytest.raises(ValueError, match="a sum is 400, which uint8"):
        convpp.convolve(a, [1, 2, 0], mode="same", dtype=np.uint8, out=out)
    np.testing.assert_array_equal(out, 7)
    assert convpp.convolve(a, [0, 1, 0], mode="same", dtype=np.uint8, out=out) is out
    np.testing.assert_array_equal(out, a)


def test_sums_just_beyond_float32_are_exact() -> None:
    """2^24 + 1 has no float32."""
    a = np.full(3, 2**24 // 3 + 1, np.int32)
    assert convpp.convolve(a, [1, 1, 1], mode="valid")[0] == 3 * (2**24 // 3 + 1)
    a = np.full(3, 2**53 // 3 + 1)
    assert convpp.convolve(a, [1, 1, 1], mode="valid")[0] == 3 * (2**53 // 3 + 1)


def test_whole_numbers_and_their_boundaries() -> None:
    a = np.arange(5)
    np.testing.assert_array_equal(convpp.convolve(a, [1, 1, 1], mode="same", boundary=-7), [-6, 3, 6, 9, 0])
    np.testing.assert_array_equal(convpp.convolve(a, [1, 1, 1], mode="same", boundary="symmetric"), [1, 3, 6, 9, 11])
    with pytest.raises(convpp.DTypeError, match=r"boundary is 0.5, expected a whole number"):
        convpp.convolve(a, [1, 1], boundary=0.5)
    with pytest.raises(ValueError, match="transforms round"):
        convpp.convolve(a, [1, 1], method="fft")


@pytest.mark.parametrize(
    ("dtype", "boundary"),
    [(np.int64, 2**53 + 1), (np.int64, 2**63 - 1), (np.int64, -(2**63)), (np.uint64, 2**62 + 1), (np.int8, 2**53 + 1)],
)
def test_a_whole_number_beyond_the_ends_is_exact(dtype: Any, boundary: int) -> None:
    a = np.zeros(2, dtype)
    for number in (boundary, np.int64(boundary), np.array(boundary)):
        got = convpp.correlate(a, [1, 0, 0], mode="same", boundary=number)
        assert got.tolist() == [boundary, 0]
    wide = np.zeros(2, np.result_type(dtype, np.int64) if dtype is not np.uint64 else dtype)
    assert convpp.convolve_tiled(wide, [0, 0, 1], mode="same", boundary=boundary).tolist() == [boundary, 0]


def test_a_number_beyond_the_ends_that_does_not_fit() -> None:
    for dtype, boundary in ((np.int64, 2**63), (np.int64, 2**70), (np.uint64, -(2**63)), (np.int8, 2**64)):
        with pytest.raises(ValueError, match=rf"boundary is {boundary}, expected -?\d+ to \d+, the numbers of u?int64"):
            convpp.correlate(np.zeros(2, dtype), [1, 0, 0], mode="same", boundary=boundary)
    for kind, number in (("float32", 1e39), ("float16", 1e5)):
        with pytest.raises(ValueError, match=f"expected a number that {kind} holds"):
            convpp.convolve(np.zeros(2, kind), np.ones(3, kind), mode="same", boundary=number)
