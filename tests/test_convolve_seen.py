"""Calls of convolve and correlate that were seen before: the same results, and the same errors, as the first time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from convpp.plain import seen

CALLS: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((50,), (5,), {}),
    ((50,), (5,), {"mode": "same", "boundary": "symmetric", "origin": 1}),
    ((9, 12), (3, 4), {"mode": "valid", "stride": (2, 1)}),
    ((9, 12, 3), (3, 4), {"axes": (0, 1), "mode": "same", "boundary": "circular"}),
    ((9, 12, 3), (3, 4), {"axes": (0, 1), "mode": "same", "boundary": "reflect"}),
    ((4, 9, 12), (2,), {"dilation": 3}),
    ((4, 9, 12), (2,), {"axes": 1, "method": "direct"}),
    ((5, 6, 7), (2, 3, 2), {"mode": "same"}),
    ((30, 31), (9, 9), {"mode": "same", "method": "fft"}),
    ((2, 30, 31), (8, 8), {}),  # may be a product of 1-D kernels: looked at each time
    ((9, 12), (4, 3), {"axes": (1, 0)}),
    ((3, 3, 4, 5), (2, 2, 2, 2), {}),
]


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "_SEEN", {})


@pytest.mark.parametrize("function", [convpp.convolve, convpp.correlate])
@pytest.mark.parametrize(("shape", "kernel", "options"), CALLS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_bits_again(
    function: Any, shape: Any, kernel: Any, options: dict[str, Any], dtype: str, rng: np.random.Generator
) -> None:
    calls = [(rng.standard_normal(shape).astype(dtype), rng.standard_normal(kernel).astype(dtype)) for _ in range(3)]
    calls.append((calls[0][0], np.ones(kernel, dtype)))  # a product of 1-D kernels
    calls.append((calls[0][0], np.asfortranarray(calls[1][1])[(slice(None, None, -1),) * len(kernel)]))
    first = []
    for a, w in calls:
        seen._SEEN.clear()
        first.append(function(a, w, **options))
    for threads in (None, 1, 2):
        for (a, w), want in zip(calls, first, strict=True):
            got = function(a, w, **options, threads=threads)
            assert got.dtype == want.dtype
            assert got.flags.c_contiguous
            np.testing.assert_array_equal(got, want, strict=True)


def test_small_sums_are_seen() -> None:
    a, w = np.ones((20, 20)), np.ones((3, 3))
    assert not seen._SEEN
    for count, function in enumerate((convpp.convolve, convpp.correlate), 1):
        for _ in range(2):
            function(a, w, mode="same", boundary="reflect")
            assert len(seen._SEEN) == count
    for other in (w.astype(np.float32), np.ones((7, 7)), [[1.0]]):  # mixed types, perhaps a product, no array
        convpp.convolve(a, other)
    convpp.convolve(a[:, ::2], w)
    convpp.convolve(a.astype(int), w.astype(int))
    convpp.convolve(a, w, boundary=2.0, mode="same")
    convpp.convolve(a, w, out=np.empty((22, 22)))
    assert len(seen._SEEN) == 2


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"stride": True}, ValueError),
        ({"stride": 1.0}, ValueError),
        ({"dilation": (1, 1.0)}, ValueError),
        ({"axes": (0, True)}, ValueError),
        ({"threads": 0}, ValueError),
        ({"threads": 1.5}, ValueError),
        ({"min_weight": 0.5}, ValueError),
        ({"mode": np.str_("samex")}, ValueError),
    ],
)
def test_what_equals_an_option_is_not_taken_for_it(wrong: dict[str, Any], error: type[Exception]) -> None:
    a, w = np.ones((20, 20)), np.ones((3, 3))
    right: dict[str, Any] = {"stride": 1, "dilation": (1, 1), "axes": (0, 1), "mode": "full"}

    def said() -> str:
        with pytest.raises(error) as caught:
            convpp.convolve(a, w, **{**right, **wrong})
        return str(caught.value)

    before = said()
    convpp.convolve(a, w, **right)
    assert seen._SEEN
    assert said() == before


def test_the_default_algorithm_counts(rng: np.random.Generator) -> None:
    a, w = rng.standard_normal(4000), rng.standard_normal(900)
    fast = convpp.convolve(a, w)
    with convpp.algorithm("direct"):
        direct = convpp.convolve(a, w)
        np.testing.assert_array_equal(direct, convpp.convolve(a, w, method="direct"))
    assert np.any(fast != direct)
    np.testing.assert_array_equal(convpp.convolve(a, w), fast)


def test_they_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "MOST_KEPT", 5)
    for n in range(1, 40):
        np.testing.assert_array_equal(convpp.convolve(np.ones(n), np.ones(1)), np.ones(n))
        assert len(seen._SEEN) <= 5
