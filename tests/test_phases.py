"""Rows that are split into phases: the bits of any other strategy, whatever row, layout, type and number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from convpp._call.validation import dtype_from
from convpp.testing import reference_conv


def strategy(x: Any, w: Any, dtype: str, **options: Any) -> str:
    return convpp.explain(x.shape, w.shape, dtype=dtype, algorithm="direct", **options).strategy


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("taps", [16, 65, 129, 300, 700, 8000])
@pytest.mark.parametrize("groups", [1, 3])
def test_the_bits_of_another_strategy(dtype: str, taps: int, groups: int) -> None:
    rng, of = np.random.default_rng(taps), dtype_from(dtype)
    phases = 0
    for length in (33, 64, 100, 257, 999, 5000):
        if taps * length > 4_000_000:
            continue
        for options in ({}, {"flip": True}, {"padding": "causal"}, {"padding": ((7, taps),)}, {"padding": ((-3, 0),)}):
            layout: Any = "channels_last" if length % 2 else "channels_first"
            extent = length + (0 if "padding" in options and options["padding"] != ((-3, 0),) else taps - 1 + 3)
            shape = (2, groups, extent) if layout == "channels_first" else (2, extent, groups)
            x = rng.standard_normal(shape).astype(of)
            w = rng.standard_normal((groups, 1, taps)).astype(of)
            bias = rng.standard_normal(groups).astype(of)
            two = np.stack([w, -w], axis=1).reshape(2 * groups, 1, taps)  # by another strategy
            how: dict[str, Any] = options | {"groups": groups, "layout": layout, "algorithm": "direct"}
            got = convpp.conv(x, w, bias, **how, threads=2)
            both = convpp.conv(x, two, np.repeat(bias, 2), **how)
            want = both[:, ::2] if layout == "channels_first" else both[..., ::2]
            assert got.tobytes() == np.ascontiguousarray(want).tobytes(), (length, options)
            said = {name: value for name, value in how.items() if name != "algorithm"}
            phases += strategy(x, w, dtype, **said) == "phases"
            assert strategy(x, two, dtype, **said) != "phases"
    assert phases > 5


@pytest.mark.parametrize("length", [*range(17, 80), 127, 128, 129, 1000, 4097, 9000])
def test_rows_of_every_length_are_exact(length: int) -> None:
    rng = np.random.default_rng(length)
    for dtype in ("float32", "float64"):
        x = rng.integers(-3, 4, (1, 2, length + 16)).astype(dtype)
        w = rng.integers(-3, 4, (2, 1, 17)).astype(dtype)
        out = np.full((1, 2, length), np.nan, dtype)
        convpp.conv(x, w, groups=2, algorithm="direct", out=out)
        assert np.array_equal(out, reference_conv(x, w, groups=2))


def test_rows_of_planes_and_of_volumes_are_exact() -> None:
    rng = np.random.default_rng(1)
    for shape, kernel, options in (
        ((3, 2, 5, 90), (2, 1, 1, 20), {"padding": ((1, 2), (3, 4)), "stride": (2, 1)}),
        ((2, 3, 4, 5, 60), (3, 1, 1, 1, 33), {"padding": ((0, 0), (1, 1), (16, 16))}),
        ((2, 1, 300), (1, 1, 16), {"activation": "relu"}),
    ):
        x, w = (rng.integers(-3, 4, s).astype(np.float32) for s in (shape, kernel))
        said = {name: value for name, value in options.items() if name != "activation"}
        groups = kernel[0]
        assert strategy(x, w, "float32", groups=groups, **said) == "phases"
        got = convpp.conv(x, w, groups=groups, algorithm="direct", **options)
        want = reference_conv(x, w, groups=groups, **said)
        assert np.array_equal(got, np.maximum(want, 0) if "activation" in options else want)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_reaches_the_results_that_read_it(value: float) -> None:
    x, w = np.ones((1, 1, 200), np.float32), np.ones((1, 1, 30), np.float32)
    x[..., 100] = value
    y = convpp.conv(x, w, padding="causal", algorithm="direct")
    assert np.isfinite(y).sum() == 170
    assert not np.isfinite(y[..., 100:130]).any()
    w[..., 3] = value  # padding makes no NaN
    x[...] = 1
    y = convpp.conv(x, w, padding="causal", algorithm="direct")
    assert np.array_equal(np.isfinite(y[0, 0]), np.arange(200) < 26)
