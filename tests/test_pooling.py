"""Pooling: exact on random geometries, the same bits in every layout and on every thread; any arrays, empty ones too.

The oracle is `convpp.testing` (tests/pools.py), which is itself held to loops here and to PyTorch in
test_pooling_peers.py.  Errors: test_pooling_errors.py.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convpp
from convpp.testing import adjoint_test, reference_avg_pool, reference_max_pool, reference_max_pool_input_grad
from geometry import LAYOUTS, Array, assert_exact, assert_same_bits, failures_name, in_layout, normal
from pools import check_pool, draw_pool

try:
    import ml_dtypes

    HALVES: list[Any] = [np.float16, ml_dtypes.bfloat16]
except ImportError:
    HALVES = [np.float16]

DTYPES: list[Any] = [np.float32, np.float64, *HALVES]
#: Large enough for several boxes, threads and whole vectors: shape (channels first), keywords.
LARGE: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 64, 90, 71), {"kernel_size": 2}),
    ((3, 48, 65, 66), {"kernel_size": 3, "stride": 2, "padding": 1}),
    ((1, 3, 300, 211), {"kernel_size": (13, 5), "stride": 1, "padding": (6, 2)}),
    ((2, 40, 9, 30, 31), {"kernel_size": (2, 3, 2), "stride": (1, 2, 3), "padding": (1, 1, 0)}),
    ((1, 2, 60_003), {"kernel_size": 5, "stride": 3, "padding": 2}),
    ((1, 1, 3, 40_000), {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}),
    ((2, 700, 7, 7), {"kernel_size": 7}),
    ((1, 4, 96, 97), {"kernel_size": 2, "stride": (50, 70)}),
]
PADDED = {"kernel_size": 3, "stride": 2, "padding": 1}


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("batch", range(5))
def test_random_geometries(batch: int, dtype: Any) -> None:
    rng = np.random.default_rng((170, batch))
    for _ in range(40):
        check_pool(draw_pool(rng), rng, dtype, int(rng.integers(1, 4)))


@given(st.integers(0, 2**32), st.sampled_from(DTYPES))
def test_drawn_geometries(seed: int, dtype: Any) -> None:
    rng = np.random.default_rng(seed)
    check_pool(draw_pool(rng), rng, dtype, 1)


@pytest.mark.parametrize("number", range(len(LARGE)))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_large_ones(number: int, layout: str, rng: np.random.Generator) -> None:
    shape, keywords = LARGE[number]
    x = in_layout(rng.integers(-9, 10, shape).astype("float32"), layout, len(shape) - 2)
    keywords = {**keywords, "layout": layout}
    want, places = reference_max_pool(x, **keywords)
    y, indices = convpp.max_pool(x, **keywords, threads=3, return_indices=True)
    assert_exact(y, want.astype("float32"))
    assert_exact(indices, places)
    dy = rng.integers(-3, 4, y.shape).astype("float32")
    dx = reference_max_pool_input_grad(dy, x, **keywords)
    assert_exact(convpp.max_pool_input_grad(dy, x, **keywords, threads=3), dx.astype("float32"))
    assert_exact(convpp.avg_pool(x, **keywords, threads=3), reference_avg_pool(x, **keywords).astype("float32"))


def passes(x: Array, dy: Array, keywords: dict[str, Any], **how: Any) -> dict[str, Array]:
    return {
        "max": convpp.max_pool(x, **keywords, **how),
        "max grad": convpp.max_pool_input_grad(dy, x, **keywords, **how),
        "avg": convpp.avg_pool(x, **keywords, **how),
        "avg grad": convpp.avg_pool_input_grad(dy, x.shape, **keywords, **how),
    }


@pytest.mark.parametrize("number", range(len(LARGE)))
def test_the_same_bits(number: int, rng: np.random.Generator) -> None:
    """Of numbers whose sums round: on any number of threads, in both layouts, alone and in a batch."""
    shape, keywords = LARGE[number]
    rank = len(shape) - 2
    x = normal(rng, shape, "float32")
    dy = normal(rng, convpp.pool_output_shape(shape, **keywords), "float32")
    want = passes(x, dy, keywords, threads=1)
    for threads in (2, 3):
        for name, got in passes(x, dy, keywords, threads=threads).items():
            with failures_name(name, threads):
                assert_same_bits(got, want[name])
    last = passes(in_layout(x, LAYOUTS[1], rank), in_layout(dy, LAYOUTS[1], rank), {**keywords, "layout": LAYOUTS[1]})
    for name, got in last.items():
        with failures_name(name):
            assert_same_bits(got, in_layout(want[name], LAYOUTS[1], rank))
    for name, got in passes(x[-1:], dy[-1:], keywords).items():
        with failures_name(name):
            assert_same_bits(got, want[name][-1:])


def test_every_instruction_set_has_the_same_bits(isa: str, rng: np.random.Generator) -> None:
    from convpp import runtime

    for _ in range(20):
        pool = draw_pool(rng)
        keywords = pool.shared()
        x = normal(rng, pool.x_shape, "float32")
        dy = normal(rng, convpp.pool_output_shape(pool.x_shape, **keywords), "float32")
        got = passes(x, dy, keywords)
        runtime._select_isa("scalar")
        want = passes(x, dy, keywords)
        runtime._select_isa(isa)
        for name in want:
            with failures_name(name, pool):
                assert_same_bits(got[name], want[name])


# ---------------------------------------------------------------- meaning


def test_the_reference_is_what_loops_say(rng: np.random.Generator) -> None:
    x = rng.integers(-3, 4, (2, 3, 7, 6)).astype(float)
    y, indices = reference_max_pool(x, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2), ceil_mode=True)
    assert y.shape == convpp.pool_output_shape(
        x.shape, (3, 2), stride=(2, 1), padding=1, dilation=(1, 2), ceil_mode=True
    )
    for n, c, p, q in np.ndindex(y.shape):
        best, at = -np.inf, -1
        for r, s in itertools.product(range(3), range(2)):
            h, w = 2 * p - 1 + r, q - 1 + 2 * s
            if 0 <= h < 7 and 0 <= w < 6 and (x[n, c, h, w] > best or at < 0):
                best, at = x[n, c, h, w], h * 6 + w
        assert (y[n, c, p, q], indices[n, c, p, q]) == (best, at)
    mean = reference_avg_pool(x, 3, stride=2, padding=1, count_include_pad=False)
    assert mean[1, 2, 0, 1] == x[1, 2, :2, 1:4].mean()
    assert mean[0, 0, 3, 1] == x[0, 0, 5:, 1:4].mean()


def test_nan_wins_ties_go_to_the_first_and_padding_is_never_taken() -> None:
    nan, inf = np.nan, np.inf
    x = np.array([[[nan, 1, nan, 2, -inf, -inf, -0.0, 0.0, 0.0, -0.0]]])
    y, indices = convpp.max_pool(x, 2, return_indices=True)
    np.testing.assert_array_equal(y, [[[nan, nan, -inf, 0, 0]]])
    np.testing.assert_array_equal(np.signbit(y[0, 0, 3:]), [True, False])
    np.testing.assert_array_equal(indices, [[[0, 2, 4, 6, 8]]])
    _, indices = convpp.max_pool(x, 3, padding=1, return_indices=True)
    np.testing.assert_array_equal(indices, [[[0, 2, 6, 8]]])  # of two NaN in a window, the last one
    dx = convpp.max_pool_input_grad(np.arange(1.0, 6).reshape(1, 1, 5), x, 2)
    np.testing.assert_array_equal(dx, [[[1, 0, 2, 0, 3, 0, 4, 0, 5, 0]]])


def test_a_window_that_lies_between_the_elements() -> None:
    """Only a dilated window can: -Inf, no place, and no gradient."""
    x = np.ones((1, 1, 2))
    y, indices = convpp.max_pool(x, 2, stride=1, padding=1, dilation=3, return_indices=True)
    assert (y.tolist(), indices.tolist()) == ([[[-np.inf]]], [[[-1]]])
    assert not convpp.max_pool_input_grad(np.ones((1, 1, 1)), x, 2, stride=1, padding=1, dilation=3).any()


def test_ceil_mode_leaves_out_windows_that_begin_behind_x() -> None:
    assert convpp.pool_output_shape((1, 1, 5), 2, stride=2, ceil_mode=True) == (1, 1, 3)
    assert convpp.pool_output_shape((1, 1, 4), 3, stride=2, ceil_mode=True) == (1, 1, 2)
    assert convpp.pool_output_shape((1, 1, 2), 1, stride=2, ceil_mode=True) == (1, 1, 1)
    assert convpp.pool_output_shape((1, 1, 4), 2, stride=3, padding=1, ceil_mode=True) == (1, 1, 2)
    mean = convpp.avg_pool(np.ones((1, 1, 5)), 2, padding=1, ceil_mode=True)
    np.testing.assert_array_equal(mean, [[[0.5, 1, 1]]])
    np.testing.assert_array_equal(convpp.avg_pool(np.ones((1, 1, 5)), 3, stride=3, ceil_mode=True), [[[1, 1]]])


def test_gradients_are_adjoint_to_the_mean(rng: np.random.Generator) -> None:
    x = normal(rng, (2, 3, 9, 8))
    keywords: dict[str, Any] = {"kernel_size": 3, "stride": 2, "padding": 1, "count_include_pad": False}
    y = normal(rng, convpp.avg_pool(x, **keywords).shape)
    assert adjoint_test(
        lambda x: convpp.avg_pool(x, **keywords), lambda dy: convpp.avg_pool_input_grad(dy, x.shape, **keywords), x, y
    )


# ---------------------------------------------------------------- arrays


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_array_and_any_out(layout: str, rng: np.random.Generator) -> None:
    keywords = {**PADDED, "layout": layout}
    whole = normal(rng, (4, 20, 22, 18), "float32")
    x = whole[::-2, 1:19, ::3, ::-1]
    plain = np.ascontiguousarray(x)
    dy = normal(rng, convpp.pool_output_shape(x.shape, **keywords), "float32")
    want = passes(plain, dy, keywords)
    for name, got in passes(x, dy[::-1][::-1], keywords).items():
        assert_same_bits(got, want[name])
    memory = plain.copy().reshape(-1)  # results lie over x and over dy
    y = memory[: want["max"].size].reshape(want["max"].shape)
    assert convpp.max_pool(memory.reshape(x.shape), **keywords, out=y) is y
    assert_same_bits(y, want["max"])
    both = plain.copy()
    assert convpp.max_pool_input_grad(dy, both, **keywords, out=both) is both
    assert_same_bits(both, want["max grad"])


@pytest.mark.parametrize("dtype", HALVES, ids=lambda dtype: np.dtype(dtype).name)
def test_halves_without_rounding(dtype: Any, rng: np.random.Generator) -> None:
    x = normal(rng, (2, 3, 8, 9), "float32").astype(dtype)
    wide = x.astype(np.float32)
    for name, got in {"max": convpp.max_pool, "avg": convpp.avg_pool}.items():
        out = np.full((2, 3, 4, 5), np.nan, np.float32)
        assert_same_bits(got(x, 3, stride=2, padding=1, out=out), got(wide, 3, stride=2, padding=1))
        assert_same_bits(got(x, **PADDED), out.astype(dtype)), name


def test_mixed_types() -> None:
    dy, x = np.ones((1, 1, 2), np.float32), np.arange(4.0).reshape(1, 1, 4)
    assert convpp.max_pool_input_grad(dy, x, 2).dtype == np.float64


@pytest.mark.parametrize("layout", LAYOUTS)
def test_empty_ones(layout: str) -> None:
    for shape in ((0, 3, 6, 4), (2, 0, 6, 4)):
        x = np.empty(shape if layout == "channels_first" else (shape[0], 6, 4, shape[1]))
        y_shape = convpp.pool_output_shape(x.shape, 2, layout=layout)
        dy = np.empty(y_shape)
        results = passes(x, dy, {"kernel_size": 2, "layout": layout})
        assert [got.shape for got in results.values()] == [y_shape, x.shape] * 2
        _, indices = convpp.max_pool(x, 2, layout=layout, return_indices=True)
        assert indices.shape == y_shape


@pytest.mark.parametrize("layout", LAYOUTS)
def test_steps_beyond_any_array(layout: str) -> None:
    """One window, whatever the stride; and a kernel of one element, whatever the dilation."""
    x = np.arange(2.0 * 3 * 40 * 50).reshape((2, 3, 40, 50) if layout == "channels_first" else (2, 40, 50, 3))
    near, far = ({"stride": stride, "layout": layout} for stride in (50, 2**59))
    dy = np.ones(convpp.pool_output_shape(x.shape, 3, **near))
    for name, got in passes(x, dy, {"kernel_size": 3, **far}, threads=2).items():
        assert_same_bits(got, passes(x, dy, {"kernel_size": 3, **near})[name])
    assert_same_bits(convpp.max_pool(x, 1, dilation=2**60, layout=layout), x)
    assert_same_bits(convpp.max_pool_input_grad(x, x, 1, dilation=2**60, layout=layout), x)


def test_one_sample(rng: np.random.Generator) -> None:
    x = normal(rng, (3, 8, 9), "float32")
    assert_same_bits(convpp.max_pool(x, (2, 2)), convpp.max_pool(x[None], 2)[0])
    assert convpp.max_pool(x, 2).shape == (3, 8, 4)  # an int is for all axes but two
    assert convpp.avg_pool(x, (8, 9)).shape == (3, 1, 1)
    np.testing.assert_allclose(convpp.avg_pool(x, x.shape[1:])[:, 0, 0], x.mean(axis=(1, 2)), atol=1e-6)
