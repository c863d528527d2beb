"""What must hold between convpp's own functions, whatever their values; exact, since the data are integers and the
algorithm is the direct one (test_winograd.py: the other one).

Adjointness (one inner product for all three passes), linearity, groups, flip, layouts, transposed
convolution, the backward pass as a whole, mixed floats, accumulation, and where the project starts from:
``conv(dy, adjoint_kernel(w), padding="full")`` is the input gradient.
"""

from __future__ import annotations

import numpy as np
import pytest

import convpp
from geometry import (
    LAYOUTS,
    Array,
    Case,
    Geometry,
    all_axes_but_channels,
    assert_exact,
    assert_needed,
    check_accumulation,
    draw_geometry,
    failures_name,
    in_layout,
    integers,
    make_case,
    nan_out,
)

SEEDS = range(20)


@pytest.fixture(params=SEEDS)
def case(request: pytest.FixtureRequest) -> Case:
    rng = np.random.default_rng((10, request.param))
    return make_case(draw_geometry(rng), rng)


def inner(a: Array, b: Array) -> float:
    return float(np.sum(a.astype("float64") * b.astype("float64")))


def test_adjointness(case: Case) -> None:
    g, keywords = case.geometry, case.geometry.exact_keywords()
    y = convpp.conv(case.x, case.w, **keywords, out=nan_out(g.y_shape(), g.dtype))
    dx = convpp.conv_input_grad(case.dy, case.w, g.x_shape(), **keywords, out=nan_out(g.x_shape(), g.dtype))
    dw = convpp.conv_weight_grad(case.dy, case.x, g.w_shape, **keywords, out=nan_out(g.w_shape, g.dtype))
    with failures_name(g):
        assert inner(y, case.dy) == inner(case.x, dx) == inner(case.w, dw)


def test_linearity(case: Case, rng: np.random.Generator) -> None:
    g, keywords = case.geometry, case.geometry.exact_keywords()
    other_x, other_w = integers(rng, g.x_shape(), g.dtype), integers(rng, g.w_shape, g.dtype)
    y = convpp.conv(case.x, case.w, **keywords)
    with failures_name(g):
        in_x = convpp.conv(2 * case.x - other_x, case.w, **keywords)
        assert_exact(in_x, 2 * y - convpp.conv(other_x, case.w, **keywords))
        in_w = convpp.conv(case.x, other_w - 3 * case.w, **keywords)
        assert_exact(in_w, convpp.conv(case.x, other_w, **keywords) - 3 * y)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("groups", [2, 3, 8])
def test_groups_are_single_convolutions_side_by_side(groups: int, layout: str, rng: np.random.Generator) -> None:
    g = Geometry(2, 5 * groups, 3 * groups, (9, 8), (3, 2), stride=(1, 2), padding=1, groups=groups)
    axis = 1 if layout == "channels_first" else -1
    x, dy = integers(rng, g.x_shape(layout)), integers(rng, g.y_shape(layout))
    w, bias = integers(rng, g.w_shape), integers(rng, (g.k,))
    keywords = g.exact_keywords(layout)
    single = {**keywords, "groups": 1}
    parts = list(
        zip(
            *(np.split(a, groups, axis=at) for a, at in ((x, axis), (dy, axis), (w, 0), (bias, 0))),
            strict=True,
        )
    )
    y = np.concatenate([convpp.conv(xg, wg, bg, **single) for xg, _, wg, bg in parts], axis)
    dx = np.concatenate([convpp.conv_input_grad(dyg, wg, xg.shape, **single) for xg, dyg, wg, _ in parts], axis)
    dw = np.concatenate([convpp.conv_weight_grad(dyg, xg, wg.shape, **single) for xg, dyg, wg, _ in parts])
    assert_exact(convpp.conv(x, w, bias, **keywords), y)
    assert_exact(convpp.conv_input_grad(dy, w, x.shape, **keywords), dx)
    assert_exact(convpp.conv_weight_grad(dy, x, w.shape, **keywords), dw)


def test_flip_rotates_the_kernel(case: Case) -> None:
    g, keywords = case.geometry, case.geometry.exact_keywords()
    spatial = tuple(range(2, case.w.ndim))
    other = {**keywords, "flip": not g.flip}
    rotated = np.flip(case.w, spatial)
    with failures_name(g):
        assert_exact(convpp.conv(case.x, rotated, case.bias, **other), case.y)
        assert_exact(convpp.conv_input_grad(case.dy, rotated, g.x_shape(), **other), case.dx)
        dw = convpp.conv_weight_grad(case.dy, case.x, g.w_shape, **other)
        assert_exact(np.flip(dw, spatial), case.dw)


def test_true_convolution_is_numpys() -> None:
    signal, kernel = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 0.0, -1.0, 5.0])
    for name in ("full", "same", "valid"):
        y = convpp.conv(signal[None], kernel[None, None], flip=True, padding="same_lower" if name == "same" else name)
        assert_exact(y[0], np.convolve(signal, kernel, name))


def test_layouts_are_transposed(case: Case) -> None:
    g = case.geometry
    last = g.exact_keywords("channels_last")
    x, dy = in_layout(case.x, "channels_last", g.rank), in_layout(case.dy, "channels_last", g.rank)
    with failures_name(g):
        assert_exact(convpp.conv(x, case.w, case.bias, **last), in_layout(case.y, "channels_last", g.rank))
        dx = convpp.conv_input_grad(dy, case.w, x.shape, **last)
        assert_exact(dx, in_layout(case.dx, "channels_last", g.rank))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bias_grad_is_the_sum(case: Case, layout: str) -> None:
    dy = in_layout(case.dy, layout, case.geometry.rank)
    out = nan_out(case.db.shape, case.db.dtype)
    batched = case.geometry.n is not None
    got = convpp.conv_bias_grad(dy, layout=layout, batched=batched, out=out)
    assert got is out
    assert_exact(got, case.dy.sum(axis=all_axes_but_channels(case.dy.ndim, case.geometry.rank)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("needs", [("x", "w", "bias"), ("x",), ("w",), ("bias",), ("bias", "x"), ()])
def test_backward_gives_what_is_needed(needs: tuple[str, ...], layout: str, rng: np.random.Generator) -> None:
    for g in (draw_geometry(rng) for _ in range(5)):
        case = make_case(g, rng)
        x, dy = in_layout(case.x, layout, g.rank), in_layout(case.dy, layout, g.rank)
        want = (in_layout(case.dx, layout, g.rank), case.dw, case.db)
        got = convpp.conv_backward(dy, x, case.w, **g.exact_keywords(layout), needs=needs, threads=2)
        with failures_name(g, layout):
            assert_needed(needs, got, want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_transposed_convolution_is_the_input_gradient(case: Case, layout: str) -> None:
    g = case.geometry
    dy = in_layout(case.dy, layout, g.rank)
    with failures_name(g, layout):
        dx = convpp.conv_transpose(dy, case.w, **g.transposed_keywords(layout), algorithm="direct")
        assert_exact(dx, convpp.conv_input_grad(dy, case.w, g.x_shape(layout), **g.exact_keywords(layout)))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_adjoint_kernel_turns_the_input_gradient_into_a_convolution(
    rank: int, groups: int, rng: np.random.Generator
) -> None:
    for dilation in (1, 2):
        g = Geometry(2, 3 * groups, 5 * groups, (9, 8, 7)[:rank], (3, 2, 3)[:rank], dilation=dilation, groups=groups)
        case = make_case(g, rng)
        adjoint = convpp.adjoint_kernel(case.w, groups=groups)
        assert adjoint.shape == (g.c, g.k // groups, *g.kernel)
        dx = convpp.conv(case.dy, adjoint, padding="full", dilation=dilation, groups=groups)
        assert_exact(dx, case.dx)
        assert_exact(convpp.adjoint_kernel(adjoint, groups=groups), case.w)


def test_the_worked_example(rng: np.random.Generator) -> None:
    """X 3x20x20, five 3x3x3 filters, O 5x18x18: dX is a full convolution with the adjoint kernel."""
    g = Geometry(None, 3, 5, (20, 20), (3, 3))
    case = make_case(g, rng)
    assert case.y.shape == (5, 18, 18)
    assert_exact(convpp.conv(case.x, case.w), case.y)
    assert_exact(convpp.conv_input_grad(case.dy, case.w, (3, 20, 20)), case.dx)
    assert_exact(convpp.conv(case.dy, convpp.adjoint_kernel(case.w), padding="full"), case.dx)
    assert_exact(convpp.conv_weight_grad(case.dy, case.x, (5, 3, 3, 3)), case.dw)


@pytest.mark.parametrize("first", ["float32", "float64"])
@pytest.mark.parametrize("second", ["float32", "float64"])
def test_mixed_floats_follow_result_type(first: str, second: str, rng: np.random.Generator) -> None:
    case = make_case(Geometry(2, 5, 7, (9, 8), (3, 3), padding=1, bias=True), rng)
    want = np.result_type(first, second)
    a, b = (lambda array: array.astype(first)), (lambda array: array.astype(second))
    assert_exact(convpp.conv(a(case.x), b(case.w), padding=1), convpp.conv(case.x, case.w, padding=1).astype(want))
    assert_exact(convpp.conv(a(case.x), a(case.w), b(case.bias), padding=1), case.y.astype(want))
    dx = convpp.conv_input_grad(a(case.dy), b(case.w), case.x.shape, padding=1)
    assert_exact(dx, case.dx.astype(want))
    dw = convpp.conv_weight_grad(a(case.dy), b(case.x), case.w.shape, padding=1)
    assert_exact(dw, case.dw.astype(want))
    assert_exact(convpp.conv_transpose(a(case.dy), b(case.w), padding=1), case.dx.astype(want))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_accumulate_adds(case: Case, layout: str, rng: np.random.Generator) -> None:
    check_accumulation(case, layout, rng)


def test_accumulate_adds_over_several_blocks(rng: np.random.Generator) -> None:
    for g in (
        Geometry(3, 129, 70, (21, 20), (3, 3), padding=1),
        Geometry(2, 20, 30, (41, 40), (3, 3), stride=2),
    ):
        case = make_case(g, rng)
        dx, dw = np.full_like(case.dx, 2), np.full_like(case.dw, -3)
        convpp.conv_input_grad(case.dy, case.w, dx.shape, **g.exact_keywords(), out=dx, accumulate=True, threads=2)
        convpp.conv_weight_grad(case.dy, case.x, dw.shape, **g.exact_keywords(), out=dw, accumulate=True, threads=2)
        assert_exact(dx, case.dx + 2)
        assert_exact(dw, case.dw - 3)


def test_backward_promotes_each_gradient_by_itself() -> None:
    dy, x, w = np.ones((1, 3, 3, 3), "f4"), np.ones((1, 2, 5, 5), "f8"), np.ones((3, 2, 3, 3), "f4")
    dx, dw, db = convpp.conv_backward(dy, x, w)
    assert [g.dtype.name for g in (dx, dw, db) if g is not None] == ["float32", "float64", "float32"]
