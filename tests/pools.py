"""Random poolings, and what the tests do with one: draw, fill, ask the oracle, compare.

In: a random generator.  Out: a `Pool` (its repr is enough to repeat a failure), arrays for it, and `check_pool`, which
holds all four functions to `convpp.testing`.  Exact: largest elements are elements, sums are of small whole numbers,
and a mean is one division.
Read next: test_pooling.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import convpp
from convpp.testing import (
    reference_avg_pool,
    reference_avg_pool_input_grad,
    reference_max_pool,
    reference_max_pool_input_grad,
)
from geometry import Array, Shape, assert_exact, failures_name, nan_out, pick

EXTENTS = {1: 70, 2: 20, 3: 9}
SPECIAL = (-np.inf, -3, -2, -1, -0.0, 0, 1, 2, 3, np.inf, np.nan)


@dataclass(frozen=True)
class Pool:
    """One pooling; the fields are what a user would pass, but for x, which is of shape ``x_shape``."""

    x_shape: Shape
    kernel_size: Shape
    stride: Shape | None
    padding: Any
    dilation: Shape
    ceil_mode: bool
    count_include_pad: bool
    divisor_override: int | None
    layout: str

    def shared(self) -> dict[str, Any]:
        names = ("kernel_size", "stride", "padding", "ceil_mode", "layout")
        return {name: getattr(self, name) for name in names}

    def of_max(self) -> dict[str, Any]:
        return {**self.shared(), "dilation": self.dilation}

    def of_avg(self) -> dict[str, Any]:
        return {
            **self.shared(),
            "count_include_pad": self.count_include_pad,
            "divisor_override": self.divisor_override,
        }

    def fits(self, keywords: dict[str, Any]) -> bool:
        names = ("count_include_pad", "divisor_override")
        try:
            convpp.pool_output_shape(self.x_shape, **{k: v for k, v in keywords.items() if k not in names})
        except ValueError:
            return False
        return True


def draw_pool(rng: np.random.Generator) -> Pool:
    """One that has pixels, for the largest element and for the mean."""
    while True:
        rank = pick(rng, (1, 2, 2, 3))
        kernel = tuple(int(k) for k in rng.integers(1, 7, rank))
        pads = tuple((int(rng.integers(k // 2 + 1)), int(rng.integers(k // 2 + 1))) for k in kernel)
        layout = pick(rng, ("channels_first", "channels_last"))
        spatial = tuple(int(n) for n in rng.integers(1, EXTENTS[rank], rank))
        channels = pick(rng, (0, 1, 1, 2, 3, 5, 8, 16, 17, 33))
        sample = (channels, *spatial) if layout == "channels_first" else (*spatial, channels)
        pool = Pool(
            x_shape=pick(rng, (sample, (0, *sample), (1, *sample), (2, *sample), (3, *sample))),
            kernel_size=kernel,
            stride=pick(rng, (None, (2,) * rank, tuple(int(s) for s in rng.integers(1, 6, rank)))),
            padding=pick(rng, (0, pads, pads, tuple(lo for lo, _ in pads), "same", "same_lower", "valid")),
            dilation=pick(rng, ((1,) * rank, (1,) * rank, tuple(int(d) for d in rng.integers(1, 4, rank)))),
            ceil_mode=bool(rng.random() < 0.5),
            count_include_pad=bool(rng.random() < 0.5),
            divisor_override=pick(rng, (None, None, 1, 3, -2)),
            layout=layout,
        )
        if pool.fits(pool.of_max()) and pool.fits(pool.of_avg()):
            return pool


def elements(rng: np.random.Generator, shape: Shape, dtype: Any) -> Array:
    """Whole numbers, many of them equal; in a third of the arrays NaN, infinities and both zeros."""
    kind = rng.random()
    if kind < 0.05:
        return np.full(shape, -np.inf).astype(dtype)
    return rng.choice(np.array(SPECIAL) if kind < 0.3 else np.arange(-3.0, 4), shape).astype(dtype)


def check_pool(pool: Pool, rng: np.random.Generator, dtype: Any, threads: int) -> None:
    """The four functions, ``return_indices`` and ``accumulate``."""
    x, how = elements(rng, pool.x_shape, dtype), {"threads": threads}
    with failures_name(pool, dtype):
        want, places = reference_max_pool(x, **pool.of_max())
        y = convpp.max_pool(x, **pool.of_max(), **how, out=nan_out(want.shape, dtype))
        assert_rounded(y, want, dtype)
        zeros = want == 0  # of equal elements it is the first one, whose sign may be another's
        assert (np.signbit(y[zeros].astype(float)) == np.signbit(want[zeros])).all()
        again, indices = convpp.max_pool(x, **pool.of_max(), **how, return_indices=True)
        assert again.tobytes() == y.tobytes()
        assert_exact(indices, places)
        dy = rng.integers(-3, 4, y.shape).astype(dtype)
        dx = reference_max_pool_input_grad(dy, x, **pool.of_max())
        check_gradient(convpp.max_pool_input_grad, (dy, x), dx, dtype, {**pool.of_max(), **how}, rng)

        mean = reference_avg_pool(x, **pool.of_avg())
        assert_rounded(convpp.avg_pool(x, **pool.of_avg(), **how, out=nan_out(mean.shape, dtype)), mean, dtype)
        dy = rng.integers(-3, 4, mean.shape).astype(dtype)
        exact = {**pool.of_avg(), "divisor_override": pick(rng, (1, 2, -4))}
        dx = reference_avg_pool_input_grad(dy, x.shape, **exact)
        check_gradient(convpp.avg_pool_input_grad, (dy, x.shape), dx, dtype, {**exact, **how}, rng)
        dx = reference_avg_pool_input_grad(dy.astype(float), x.shape, **pool.of_avg())
        got = convpp.avg_pool_input_grad(dy.astype(float), x.shape, **pool.of_avg(), **how)
        bound = np.prod(pool.kernel_size) * np.abs(dy.astype(float)).max(initial=0) * 2 * np.finfo(float).eps
        assert np.abs(got - dx).max(initial=0) <= bound * np.prod(pool.kernel_size)


def check_gradient(
    function: Any, arguments: tuple[Any, ...], want: Array, dtype: Any, how: dict[str, Any], rng: np.random.Generator
) -> None:
    """A gradient that is exact before it is rounded, written and added."""
    got = function(*arguments, **how, out=nan_out(want.shape, dtype))
    assert_rounded(got, want, dtype)
    before = rng.integers(-3, 4, want.shape).astype(dtype)
    out = before.copy()
    assert function(*arguments, **how, out=out, accumulate=True) is out
    assert_rounded(out, before.astype(float) + want, dtype)


def assert_rounded(got: Array, want: Array, dtype: Any) -> None:
    """What float64 holds, in this type.  (Of bfloat16, NumPy does not know that NaN equals NaN.)"""
    assert got.dtype == dtype
    assert_exact(got.astype(float), want.astype(dtype).astype(float))
