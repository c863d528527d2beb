"""bfloat16, two channels at once, where the CPU can: exact on integers, the same bits for every batch and layout.

In C++, cpp/tests/test_bf16_pairs.cpp compares more geometries, and with dot products forbidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import convpp
from convpp import _core
from convpp._call import planning
from convpp.testing import reference_conv
from geometry import LAYOUTS, Array, assert_same_bits

ml_dtypes = pytest.importorskip("ml_dtypes")

AT_ONCE = "two channels at once"
SHAPES = {"channels_first": (3, 32, 14, 14), "channels_last": (3, 14, 14, 32)}


def blocking(layout: str = "channels_first", dtype: str = "bfloat16", algorithm: str = "direct") -> str:
    return str(
        convpp.explain(
            SHAPES[layout], (48, 32, 3, 3), padding=1, layout=layout, dtype=dtype, algorithm=algorithm
        ).blocking
    )


if AT_ONCE not in blocking():
    pytest.skip("this CPU, or CONVPP_MAX_ISA, has no dot products of bfloat16", allow_module_level=True)


@pytest.fixture(params=[True, False], ids=["bf16 pairs", "no bf16 pairs"])
def allowed(request: pytest.FixtureRequest) -> Iterator[bool]:
    _core.allow_bf16_pairs(request.param)
    planning.forget_plans()
    yield request.param
    _core.allow_bf16_pairs(True)
    planning.forget_plans()


def operands(layout: str, seed: int = 0, whole: bool = True) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal(SHAPES[layout]), rng.standard_normal((48, 32, 3, 3))
    if whole:
        x, w = np.rint(x), np.rint(w)
    return x.astype(ml_dtypes.bfloat16), w.astype(ml_dtypes.bfloat16)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_explain_says_so(layout: str, allowed: bool) -> None:
    assert (AT_ONCE in blocking(layout)) == allowed
    assert AT_ONCE not in blocking(layout, "float32")
    assert AT_ONCE not in blocking(layout, "float16")


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_exact_on_integers(layout: str, stride: int, allowed: bool) -> None:
    x, w = operands(layout)
    kwargs: dict[str, Any] = {"stride": stride, "padding": 1, "layout": layout}
    y = convpp.conv(x, w, algorithm="direct", **kwargs)
    expected = reference_conv(x.astype(np.float64), w.astype(np.float64), **kwargs)
    assert_same_bits(y, expected.astype(ml_dtypes.bfloat16))
    dx = convpp.conv_input_grad(y, w, x.shape, algorithm="direct", **kwargs)
    plain = convpp.conv_input_grad(y.astype(np.float64), w.astype(np.float64), x.shape, algorithm="direct", **kwargs)
    got = convpp.conv_input_grad(y, w, x.shape, algorithm="direct", out=np.empty(x.shape, np.float32), **kwargs)
    assert np.array_equal(got, plain.astype(np.float32))
    assert_same_bits(dx, plain.astype(ml_dtypes.bfloat16))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_close_to_float64(layout: str) -> None:
    x, w = operands(layout, whole=False)
    y = np.empty((3, 48, 14, 14) if layout == "channels_first" else (3, 14, 14, 48), np.float32)
    convpp.conv(x, w, padding=1, layout=layout, algorithm="direct", out=y)
    wide = [a.astype(np.float64) for a in (x, w)]
    expected = convpp.conv(*wide, padding=1, layout=layout)
    terms = convpp.conv(*map(np.abs, wide), padding=1, layout=layout)
    assert np.all(np.abs(y - expected) <= 32 * 9 * 2.0**-24 * terms)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bits(layout: str) -> None:
    x, w = operands(layout, whole=False)
    kwargs: dict[str, Any] = {"padding": 1, "layout": layout, "algorithm": "direct"}
    y = convpp.conv(x, w, **kwargs)
    for n in range(3):
        assert_same_bits(convpp.conv(x[n : n + 1], w, **kwargs)[0], y[n])
    for threads in (1, 2, 5):
        assert_same_bits(convpp.conv(x, w, threads=threads, **kwargs), y)
    other = "channels_last" if layout == "channels_first" else "channels_first"
    axes = (0, 2, 3, 1) if other == "channels_last" else (0, 3, 1, 2)
    turned = convpp.conv(np.ascontiguousarray(x.transpose(axes)), w, **{**kwargs, "layout": other})
    assert_same_bits(np.ascontiguousarray(y.transpose(axes)), turned)
    prepared = convpp.prepare_weights(w, x.shape, **kwargs)
    assert_same_bits(convpp.conv(x, prepared), y)


def test_not_finite(allowed: bool) -> None:
    """A NaN or Inf spoils what reads it, and nothing else; subnormal numbers are 0, or what they are."""
    x, w = operands("channels_first")
    x[0, 3, 5, 5], x[1, 4, 7, 7] = np.nan, np.inf
    y = convpp.conv(x, w, padding=1, algorithm="direct").astype(np.float32)
    expected = convpp.conv(x.astype(np.float32), w.astype(np.float32), padding=1, algorithm="direct")
    assert np.array_equal(np.isnan(y), np.isnan(expected))
    assert np.array_equal(np.isinf(y), np.isinf(expected))
    assert np.array_equal(y[2], expected[2])


def test_subnormal(allowed: bool) -> None:
    x, w = (np.zeros_like(a) for a in operands("channels_first"))
    x[0, 0, 5, 5], w[0, 0, 1, 1] = 2.0**-130, 2.0**20
    y = convpp.conv(x, w, padding=1, algorithm="direct")
    assert float(y[0, 0, 5, 5]) == (0.0 if allowed else 2.0**-110)
