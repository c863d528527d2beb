"""Derivatives beyond the three passes: second derivatives, directional derivatives, per-sample weights.

All are multilinear, so differences with a step of 1 on integers are exact: no step to choose, no tolerance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
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


def check_by_differences(
    double: Callable[..., Any],
    backward: Callable[..., Any],
    weights: tuple[Array, ...],
    operands: tuple[Array, ...],
    keywords: dict[str, Any],
) -> None:
    """Gradients of ``L(dy, x, w) = <ddx, dx> + <ddw, dw> + <ddb, db>``, linear in each; weights are ddx, ddw, ddb."""

    def loss(*arrays: Array) -> float:
        gradients = backward(*arrays, **keywords)
        return float(sum(np.sum(a * b) for a, b in zip(weights, gradients, strict=True)))

    for number, gradient in enumerate(double(*weights, *operands, **keywords)):
        arrays = [array.copy() for array in operands]
        base = loss(*arrays)
        numeric = np.empty_like(gradient)
        for index in np.ndindex(gradient.shape):
            arrays[number][index] += 1
            numeric[index] = loss(*arrays) - base
            arrays[number][index] -= 1
        with failures_name(("ddy", "dx", "dw")[number]):
            assert_exact(gradient, numeric)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_double_backward_by_differences(layout: str, rng: np.random.Generator) -> None:
    g = Geometry(2, 4, 6, (5, 4), (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2, dtype="float64")
    keywords = g.keywords(layout)
    x, w, _, dy = operands(g, layout, rng)
    ddx, ddw, ddb, _ = operands(g, layout, rng)

    check_by_differences(convpp.conv_double_backward, convpp.conv_backward, (ddx, ddw, ddb), (dy, x, w), keywords)


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


# ---------------------------------------------------------------- both, of transposed convolutions and with options


def output_of(transposed: bool, x: Array, w: Array, **geometry: Any) -> tuple[int, ...]:
    return (convpp.conv_transpose_output_shape if transposed else convpp.conv_output_shape)(
        x.shape, w.shape, **geometry
    )


#: The shape of x, the kernel, and the geometry; 6 channels of y.
CASES: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((2, 4, 9), (3,), {"stride": 2, "padding": "causal", "groups": 2}),
    ((2, 4, 6, 5), (3, 2), {"stride": (2, 1), "padding": ((1, 0), (0, 1)), "dilation": (1, 2), "groups": 2}),
    ((1, 2, 4, 5, 4), (2, 3, 2), {"stride": (1, 2, 1), "padding": "same_lower", "flip": True}),
    ((3, 4, 7), (3,), {"padding": "same", "groups": 2, "per_sample": True}),
    ((4, 7, 6), (3, 3), {"padding": -1}),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("transposed", [False, True], ids=["conv", "transposed"])
@pytest.mark.parametrize("case", CASES, ids=["1d", "2d", "3d", "per sample", "one sample"])
def test_all_derivatives_by_differences(
    case: tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]],
    transposed: bool,
    layout: str,
    rng: np.random.Generator,
) -> None:
    """Derivatives of ``<ddx, dx> + <ddw, dw> + <ddb, db>``, and of y, element by element, in float64."""
    x_shape, kernel, geometry = case
    rank, groups = len(kernel), geometry.get("groups", 1)
    channels = x_shape[-rank - 1]
    w_shape = (channels, 6 // groups, *kernel) if transposed else (6, channels // groups, *kernel)
    if geometry.get("per_sample"):
        w_shape = (x_shape[0], *w_shape)
    backward = convpp.conv_transpose_backward if transposed else convpp.conv_backward
    double = convpp.conv_transpose_double_backward if transposed else convpp.conv_double_backward
    x, w = integers(rng, x_shape, "float64"), integers(rng, w_shape, "float64")
    if layout == "channels_last":
        x = in_layout(x, layout, rank)
    keywords = {**geometry, "layout": layout}
    dy = integers(rng, output_of(transposed, x, w, **keywords), "float64")
    ddx, ddw, ddb = (integers(rng, shape, "float64") for shape in (x.shape, w.shape, (6,)))

    check_by_differences(double, backward, (ddx, ddw, ddb), (dy, x, w), keywords)

    forward = convpp.conv_transpose if transposed else convpp.conv
    jvp = convpp.conv_transpose_jvp if transposed else convpp.conv_jvp
    y, y_dot = jvp((x, w, ddb), (ddx, ddw, ddb), **keywords)
    assert_exact(y, forward(x, w, ddb, **keywords))
    ahead, behind = (forward(x + s * ddx, w + s * ddw, ddb + s * ddb, **keywords) for s in (1, -1))
    assert_exact(y_dot, (ahead - behind) / 2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(3))
def test_one_trilinear_form_is_behind_all(seed: int, layout: str, rng: np.random.Generator) -> None:
    """``T(dy, x, w) = <dy, conv(x, w)>``: second derivatives are its values, seen from each side.

    So are those of the transposed convolution, whose x is this one's dy.
    """
    for g in drawn(seed):
        keywords = g.keywords(layout)
        x, w, _, dy = operands(g, layout, rng)
        ddx, ddw, _, ddy_of = operands(g, layout, rng)

        def form(dy: Array, x: Array, w: Array, keywords: Any = keywords) -> float:
            return float(np.sum(dy.astype(np.float64) * convpp.conv(x, w, **keywords)))

        ddy, dx, dw = convpp.conv_double_backward(ddx, ddw, None, dy, x, w, **keywords)
        with failures_name(g, layout):
            assert np.sum(ddy.astype(np.float64) * ddy_of) == form(ddy_of, ddx, w) + form(ddy_of, x, ddw)
            assert np.sum(dx.astype(np.float64) * ddx) == form(dy, ddx, ddw)
            assert np.sum(dw.astype(np.float64) * ddw) == form(dy, ddx, ddw)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_double_backward_of_the_adjoint_changes_places(layout: str, rng: np.random.Generator) -> None:
    g = Geometry(2, 4, 6, (7, 6), (3, 2), stride=(2, 1), padding=((1, 0), (1, 1)), groups=2, dtype="float64")
    keywords = g.keywords(layout)
    x, w, _, dy = operands(g, layout, rng)
    _, ddw, _, ddy = operands(g, layout, rng)
    # For the transposed convolution that takes dy to x: its x is dy, its dy is x.
    size = x.shape[1:-1] if layout == "channels_last" else x.shape[2:]
    of_x, of_dy, of_w = convpp.conv_transpose_double_backward(ddy, ddw, None, x, dy, w, **keywords, output_size=size)
    assert_exact(
        of_x, convpp.conv_input_grad(ddy, w, x.shape, **keywords) + convpp.conv_input_grad(dy, ddw, x.shape, **keywords)
    )
    assert_exact(of_dy, convpp.conv(x, ddw, **keywords))
    assert_exact(of_w, convpp.conv_weight_grad(ddy, x, w.shape, **keywords))


def test_derivatives_follow_numpys_types() -> None:
    x, w, dy = np.ones((1, 2, 5, 5), np.float32), np.ones((3, 2, 3, 3), np.float32), np.ones((1, 3, 3, 3), np.float32)
    for wide in range(3):
        shapes = enumerate((x.shape, w.shape, (3,)))
        second = [np.ones(shape, np.float64 if i == wide else np.float32) for i, shape in shapes]
        for given in itertools.product((True, False), repeat=3):
            chosen = [a if use else None for a, use in zip(second, given, strict=True)]
            want = np.float64 if given[wide] else np.float32
            assert {a.dtype for a in convpp.conv_double_backward(*chosen, dy, x, w)} == {np.dtype(want)}
            assert convpp.conv_jvp((x, w, None), tuple(chosen))[1].dtype == want


def test_jvp_takes_three_and_three() -> None:
    x, w = np.ones((1, 1, 3)), np.ones((1, 1, 2))
    with pytest.raises(ValueError, match="primals"):
        convpp.conv_jvp((x, w), (None, None, None))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tangents"):
        convpp.conv_jvp((x, w, None), (None, w))  # type: ignore[arg-type]
    with pytest.raises(convpp.ShapeError, match="w_dot"):
        convpp.conv_jvp((x, w, None), (None, x, None))


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


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("samples", [1, 3, 8, 17])
@pytest.mark.parametrize("groups", [1, 16])
def test_samples_shared_by_threads(samples: int, groups: int, threads: int, rng: np.random.Generator) -> None:
    """Enough work for several threads, which take whole samples or share one after the other."""
    g = Geometry(samples, 16, 32, (30, 31), (3, 3), padding=1, groups=groups)
    x, _, bias, dy = operands(g, "channels_first", rng)
    w = integers(rng, (samples, *g.w_shape), g.dtype)
    how: dict[str, Any] = {"padding": 1, "groups": groups, "algorithm": "direct"}
    y = convpp.conv(x, w, bias, **how, per_sample=True, threads=threads)
    dx = convpp.conv_input_grad(dy, w, x.shape, **how, per_sample=True, threads=threads)
    out = np.ones_like(w)
    convpp.conv_weight_grad(dy, x, g.w_shape, **how, per_sample=True, threads=threads, out=out, accumulate=True)
    for n in range(samples):
        assert_exact(y[n], convpp.conv(x[n], w[n], bias, **how))
        assert_exact(dx[n], convpp.conv_input_grad(dy[n], w[n], x[n].shape, **how))
        assert_exact(out[n], convpp.conv_weight_grad(dy[n], x[n], g.w_shape, **how) + 1)


def test_per_sample_has_the_bits_of_single_calls(rng: np.random.Generator) -> None:
    """y and dx, by Winograd's algorithm too."""
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((5, 32, 28, 28), (5, 32, 32, 3, 3)))
    for algorithm in ("auto", "direct"):
        how: dict[str, Any] = {"padding": 1, "algorithm": algorithm}
        y = convpp.conv(x, w, **how, per_sample=True, activation="relu", add=x)
        dx = convpp.conv_input_grad(x, w, x.shape, **how, per_sample=True)
        for n in range(5):
            np.testing.assert_array_equal(y[n], convpp.conv(x[n], w[n], **how, activation="relu", add=x[n]))
            np.testing.assert_array_equal(dx[n], convpp.conv_input_grad(x[n], w[n], x[n].shape, **how))


def test_a_sample_that_is_not_finite_spoils_no_other(rng: np.random.Generator) -> None:
    x, w = (rng.standard_normal(s).astype(np.float32) for s in ((4, 32, 28, 28), (4, 32, 32, 3, 3)))
    w[2, 3, 4, 1, 1] = np.inf
    x[1, 5, 0, 0] = np.nan
    y = convpp.conv(x, w, padding=1, per_sample=True)
    dw = convpp.conv_weight_grad(x, x, w.shape[1:], padding=1, per_sample=True)
    for n in range(4):
        np.testing.assert_array_equal(y[n], convpp.conv(x[n], w[n], padding=1))
        assert bool(np.isfinite(dw[n]).all()) == (n != 1)


def test_memory_of_per_sample_calls_does_not_grow_with_the_batch() -> None:
    def workspace(samples: int, op: str) -> int:
        x_shape, w_shape = (samples, 512, 14, 14), (samples, 512, 512, 3, 3)
        return convpp.explain(x_shape, w_shape, op=op, padding=1, per_sample=True, threads=2).workspace_bytes

    for op in ("forward", "input_grad", "weight_grad"):
        assert workspace(256, op) <= 2 * workspace(4, op)
        assert workspace(256, op) < 100 << 20


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
