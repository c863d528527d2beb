"""Derivatives beyond the three passes: second derivatives, directional derivatives, per-sample weights.

All are multilinear, so differences with a step of 1 on integers are exact: no step to choose, no tolerance.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import (
    LAYOUTS,
    Array,
    Geometry,
    assert_exact,
    draw_geometry,
    failures_name,
    in_layout,
    integers,
    nan_out,
)


def drawn(seed: int, count: int = 10) -> list[Geometry]:
    rng = np.random.default_rng((50, seed))
    return [draw_geometry(rng, max_macs=20_000) for _ in range(count)]


def operands(g: Geometry, layout: str, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """x, w, bias, dy"""
    x, dy = integers(rng, g.x_shape(layout), g.dtype), integers(rng, g.y_shape(layout), g.dtype)
    return x, integers(rng, g.w_shape, g.dtype), integers(rng, (g.k,), g.dtype), dy


def per_channel(bias: Array, g: Geometry, layout: str) -> Array:
    return bias if layout == "channels_last" else bias.reshape(-1, *(1,) * g.rank)


# ---------------------------------------------------------------- second derivatives


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(3))
def test_double_backward_is_its_compositions(seed: int, layout: str, rng: np.random.Generator) -> None:
    for g in drawn(seed):
        keywords = g.keywords(layout)
        x, w, _, dy = operands(g, layout, rng)
        ddx, ddw, ddb, _ = operands(g, layout, rng)
        zero_x, zero_w, zero_b = np.zeros_like(ddx), np.zeros_like(ddw), np.zeros_like(ddb)
        for given in itertools.product((True, False), repeat=3):
            ax, aw, ab = (a if use else None for a, use in zip((ddx, ddw, ddb), given, strict=True))
            ddy, dx, dw = convpp.conv_double_backward(ax, aw, ab, dy, x, w, **keywords, threads=2)
            vx, vw, vb = (
                a if use else zero
                for a, use, zero in zip((ddx, ddw, ddb), given, (zero_x, zero_w, zero_b), strict=True)
            )
            with failures_name(g, layout, f"given ddx, ddw, ddb: {given}"):
                want = convpp.conv(vx, w, **keywords) + convpp.conv(x, vw, **keywords)
                assert_exact(ddy, want + per_channel(vb, g, layout))
                assert_exact(dx, convpp.conv_input_grad(dy, vw, x.shape, **keywords))
                assert_exact(dw, convpp.conv_weight_grad(dy, vx, w.shape, **keywords))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_double_backward_by_differences(layout: str, rng: np.random.Generator) -> None:
    """Gradients of ``L(dy, x, w) = <ddx, dx> + <ddw, dw> + <ddb, db>``, linear in each."""
    g = Geometry(2, 4, 6, (5, 4), (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, dtype="float64")
    keywords = g.keywords(layout)
    x, w, _, dy = operands(g, layout, rng)
    ddx, ddw, ddb, _ = operands(g, layout, rng)

    def loss(dy: Array, x: Array, w: Array) -> float:
        gradients = convpp.conv_backward(dy, x, w, **keywords)
        return float(sum(np.sum(a * b) for a, b in zip((ddx, ddw, ddb), gradients, strict=True)))

    analytic = convpp.conv_double_backward(ddx, ddw, ddb, dy, x, w, **keywords)
    for number, gradient in enumerate(analytic):
        arrays = [dy.copy(), x.copy(), w.copy()]
        base = loss(*arrays)
        numeric = np.empty_like(gradient)
        for index in np.ndindex(gradient.shape):
            arrays[number][index] += 1
            numeric[index] = loss(*arrays) - base
            arrays[number][index] -= 1
        with failures_name(("ddy", "dx", "dw")[number]):
            assert_exact(gradient, numeric)


# ---------------------------------------------------------------- directional derivatives


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(3))
def test_jvp_is_a_central_difference(seed: int, layout: str, rng: np.random.Generator) -> None:
    """``y(t)`` along a line is quadratic in t: ``(y(1) - y(-1)) / 2`` is its derivative at 0."""
    for g in drawn(seed):
        keywords = g.keywords(layout)
        x, w, bias, _ = operands(g, layout, rng)
        tangents = operands(g, layout, rng)[:3]
        for given in itertools.product((True, False), repeat=3):
            chosen = [t if use else None for t, use in zip(tangents, given, strict=True)]
            steps = [t if use else np.zeros_like(t) for t, use in zip(tangents, given, strict=True)]
            ahead, behind = (
                convpp.conv(x + sign * steps[0], w + sign * steps[1], bias + sign * steps[2], **keywords)
                for sign in (1, -1)
            )
            y, y_dot = convpp.conv_jvp((x, w, bias), tuple(chosen), **keywords, threads=2)
            with failures_name(g, layout, f"given x_dot, w_dot, bias_dot: {given}"):
                assert_exact(y, convpp.conv(x, w, bias, **keywords))
                assert_exact(y_dot, (ahead - behind) / np.asarray(2, g.dtype))


def test_jvp_without_bias(rng: np.random.Generator) -> None:
    g = Geometry(2, 3, 4, (6, 7), (3, 3), padding=1)
    x, w, _, _ = operands(g, "channels_first", rng)
    y, y_dot = convpp.conv_jvp((x, w, None), (x, None, None), padding=1)
    assert_exact(y, convpp.conv(x, w, padding=1))
    assert_exact(y_dot, y)


# ---------------------------------------------------------------- a kernel for each sample


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(5))
def test_per_sample_is_a_loop(seed: int, layout: str, rng: np.random.Generator) -> None:
    for g in drawn(seed):
        if g.n is not None:
            check_per_sample(g, layout, rng)


def check_per_sample(g: Geometry, layout: str, rng: np.random.Generator) -> None:
    keywords = g.keywords(layout)
    x, _, bias, dy = operands(g, layout, rng)
    w = integers(rng, (len(x), *g.w_shape), g.dtype)

    def check(function: Any, result_shape: tuple[int, ...], samples: list[tuple[Any, ...]], *whole: Any) -> None:
        want = np.empty((len(samples), *result_shape), g.dtype)
        for result, arguments in zip(want, samples, strict=True):
            result[...] = function(*arguments, **keywords)
        out = nan_out(want.shape, want.dtype)
        with failures_name(function.__name__, g, layout):
            assert_exact(function(*whole, **keywords, per_sample=True, threads=2, out=out), want)

    y_shape, x_shape = dy.shape[1:], x.shape[1:]
    check(convpp.conv, y_shape, [(a, b, bias) for a, b in zip(x, w, strict=True)], x, w, bias)
    samples = [(a, b, x_shape) for a, b in zip(dy, w, strict=True)]
    check(convpp.conv_input_grad, x_shape, samples, dy, w, x.shape)
    samples = [(a, b, g.w_shape) for a, b in zip(dy, x, strict=True)]
    check(convpp.conv_weight_grad, g.w_shape, samples, dy, x, g.w_shape)


def test_per_sample_weight_gradients_are_many(rng: np.random.Generator) -> None:
    """As differential privacy needs them: a gradient for each of 32 samples, their sum the usual one."""
    g = Geometry(32, 16, 24, (14, 13), (3, 3), padding=1)
    x, _, _, dy = operands(g, "channels_first", rng)
    each = convpp.conv_weight_grad(dy, x, g.w_shape, padding=1, per_sample=True)
    assert each.shape == (32, *g.w_shape)
    for sample in (0, 17, 31):
        assert_exact(each[sample], convpp.conv_weight_grad(dy[sample], x[sample], g.w_shape, padding=1))
    assert_exact(each.sum(axis=0), convpp.conv_weight_grad(dy, x, g.w_shape, padding=1))


def test_in_layout_agrees(rng: np.random.Generator) -> None:
    g = Geometry(3, 6, 4, (8, 7), (3, 3), groups=2)
    x, _, bias, _ = operands(g, "channels_first", rng)
    w = integers(rng, (3, *g.w_shape), g.dtype)
    first = convpp.conv(x, w, bias, groups=2, per_sample=True)
    last = in_layout(x, "channels_last", 2)
    got = convpp.conv(last, w, bias, groups=2, per_sample=True, layout="channels_last")
    assert_exact(got, in_layout(first, "channels_last", 2))
