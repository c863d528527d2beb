"""NaN and Inf go where the plain sum takes them, and nowhere else; padding never makes a NaN.

The oracle leaves padding out of its sums.  The finite data are integers, so finite results are exact.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import convpp
from convpp.testing import reference_conv, reference_input_grad, reference_weight_grad
from geometry import (
    DTYPES,
    LAYOUTS,
    Array,
    Geometry,
    assert_exact,
    check_passes,
    draw_geometry,
    failures_name,
    in_layout,
    integers,
    make_case,
    nan_out,
)

FIELDS = [
    Geometry(2, 9, 17, (12, 13), (3, 3), padding=1),
    Geometry(2, 33, 5, (11, 10), (3, 3), stride=2, padding=1),
    Geometry(1, 3, 8, (21, 19), (5, 5), stride=3, padding=2, dilation=2),
    Geometry(2, 3, 8, (23, 22), (7, 7), stride=2, padding=3),  # residue classes in one product: 4 and 3 taps an axis
    Geometry(2, 1, 9, (120,), (7,), stride=5),
    Geometry(1, 2, 5, (13, 15), (3, 5), stride=(2, 3), dilation=(3, 2), padding=(1, 2), flip=True),
    Geometry(1, 2, 4, (7, 9, 8), (3, 2, 3), stride=2, padding=1),
    Geometry(2, 12, 12, (15, 14), (3, 3), padding=1, groups=12),
    Geometry(3, 8, 12, (9, 10), (3, 3), padding=((0, 2), (3, 1)), groups=4),
    Geometry(2, 17, 33, (13, 12), (1, 1)),
    Geometry(2, 7, 5, (9, 9), (1, 1), stride=2, padding=1),
    Geometry(1, 1, 1, (40, 41), (11, 11), padding="full"),
    Geometry(1, 2, 3, (300,), (33,), padding="same"),
    Geometry(1, 5, 6, (7, 8, 9), (3, 3, 3), padding=1),
    Geometry(2, 4, 4, (12, 12), (3, 3), padding=(-2, -1)),
    Geometry(2, 4, 5, (3, 4, 5), (3, 1, 1), padding=(1, 0, 0)),  # planes that could be rows, padded along the depth
    # More weights than results, which are looked at instead.
    Geometry(1, 21, 34, (3, 4), (3, 3), padding=1),
    Geometry(2, 20, 18, (5, 4), (3, 3), stride=2, padding=1, flip=True),
    Geometry(3, 60, 25, (1, 1), (1, 1)),
]


def sprinkled(rng: np.random.Generator, array: Array, count: int) -> Array:
    """Integers with a few NaN and infinities of both signs."""
    flat = array.reshape(-1)
    places = rng.choice(flat.size, min(count, flat.size), replace=False)
    flat[places] = rng.choice([np.nan, np.inf, -np.inf], places.size)
    return array


def check(g: Geometry, layout: str, x: Array, w: Array, bias: Array | None, dy: Array) -> None:
    keywords = g.keywords(layout)
    with np.errstate(invalid="ignore"):
        want_y = reference_conv(x, w, bias, **g.keywords())
        want_dx = reference_input_grad(dy, w, x.shape, **g.keywords())
        want_dw = reference_weight_grad(dy, x, w.shape, **g.keywords())
    x, dy = in_layout(x, layout, g.rank), in_layout(dy, layout, g.rank)
    # 12345 is no result: unwritten places show, as a NaN here would not.
    with failures_name(g, layout):
        y = convpp.conv(x, w, bias, **keywords, out=np.full(g.y_shape(layout), 12345, g.dtype), threads=2)
        assert_exact(y, in_layout(want_y.astype(g.dtype), layout, g.rank))
        out = np.full(x.shape, 12345, g.dtype)
        dx = convpp.conv_input_grad(dy, w, x.shape, **keywords, out=out, threads=2)
        assert_exact(dx, in_layout(want_dx.astype(g.dtype), layout, g.rank))
        out = np.full(w.shape, 12345, g.dtype)
        dw = convpp.conv_weight_grad(dy, x, w.shape, **keywords, out=out, threads=2)
        assert_exact(dw, want_dw.astype(g.dtype))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", range(len(FIELDS)))
def test_fields(number: int, dtype: str, layout: str) -> None:
    rng = np.random.default_rng((40, number))
    g = Geometry(**{**FIELDS[number].__dict__, "dtype": dtype})
    finite = {
        name: integers(rng, shape, dtype)
        for name, shape in (("x", g.x_shape()), ("w", g.w_shape), ("bias", (g.k,)), ("dy", g.y_shape()))
    }
    for name in finite:  # each operand alone, then all of them
        check(g, layout, **{**finite, name: sprinkled(rng, finite[name].copy(), 3)})
    check(g, layout, **{name: sprinkled(rng, array.copy(), 2) for name, array in finite.items()})


@pytest.mark.parametrize("batch", range(10))
def test_random_geometries(batch: int) -> None:
    rng = np.random.default_rng((41, batch))
    for _ in range(25):
        g = draw_geometry(rng, max_macs=50_000)
        shapes = (("x", g.x_shape()), ("w", g.w_shape), ("bias", (g.k,)), ("dy", g.y_shape()))
        operands = {name: sprinkled(rng, integers(rng, shape, g.dtype), 2) for name, shape in shapes}
        for layout in LAYOUTS:
            check(g, layout, **operands)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_padding_makes_no_nan(layout: str, value: float) -> None:
    """Taps that only ever meet padding may be anything."""
    g = Geometry(2, 3, 9, (1, 1), (5, 5), padding=2)
    w = np.full(g.w_shape, value)
    w[:, :, 2, 2] = 1
    x = np.ones(g.x_shape(layout))
    dy = np.full(g.y_shape(layout), 2.0)
    y = convpp.conv(x, w, **g.keywords(layout), out=nan_out(dy.shape, "float64"))
    assert_exact(y, np.full(dy.shape, 3.0))
    dx = convpp.conv_input_grad(dy, w, x.shape, **g.keywords(layout), out=nan_out(x.shape, "float64"))
    assert_exact(dx, np.full(x.shape, 18.0))

    # Outputs over padding alone are bias, and their gradients reach neither x nor w.
    g = Geometry(1, 2, 3, (4,), (1,), padding=3)
    x, w = np.ones(g.x_shape(layout)), np.full(g.w_shape, value)
    over_padding = np.array([True] * 3 + [False] * 4 + [True] * 3)
    dy = in_layout(np.where(over_padding, value, np.ones((1, 3, 10))), layout, 1)
    bias = np.arange(3.0)
    y = convpp.conv(x, w, bias, **g.keywords(layout))
    y = y[0].T if layout == "channels_first" else y[0]  # (out, K)
    assert_exact(y[over_padding], np.tile(bias, (6, 1)))
    ones = np.ones(g.w_shape)
    assert_exact(convpp.conv_input_grad(dy, ones, x.shape, **g.keywords(layout)), np.full(x.shape, 3.0))
    assert_exact(convpp.conv_weight_grad(dy, x, w.shape, **g.keywords(layout)), np.full(w.shape, 4.0))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_input_that_no_output_reads(layout: str) -> None:
    """Its gradient is 0 beside infinite weights, and its own NaN is seen by nobody."""
    g = Geometry(1, 2, 3, (11, 11), (2, 2), stride=4)
    unread = np.ones((11, 11), bool)
    unread[np.ix_([0, 1, 4, 5, 8, 9], [0, 1, 4, 5, 8, 9])] = False
    x = np.where(unread, np.nan, 1.0) + np.zeros(g.x_shape())
    w, dy = np.full(g.w_shape, np.inf), np.ones(g.y_shape())
    want_dx = np.where(unread, 0.0, np.inf) + np.zeros(g.x_shape())
    x, dy, want_dx = (in_layout(a, layout, 2) for a in (x, dy, want_dx))
    assert_exact(convpp.conv(x, np.ones(g.w_shape), **g.keywords(layout)), np.full(dy.shape, 8.0))
    assert_exact(convpp.conv_weight_grad(dy, x, w.shape, **g.keywords(layout)), np.full(w.shape, 9.0))
    assert_exact(convpp.conv_input_grad(dy, w, x.shape, **g.keywords(layout)), want_dx)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_transposed_fields(layout: str, rng: np.random.Generator) -> None:
    for g in FIELDS:
        x, w = (sprinkled(rng, integers(rng, shape, "float32"), 3) for shape in (g.y_shape(), g.w_shape))
        with np.errstate(invalid="ignore"):
            want = reference_input_grad(x, w, g.x_shape(), **g.keywords())
        out = np.full(g.x_shape(layout), 12345, "float32")
        y = convpp.conv_transpose(in_layout(x, layout, g.rank), w, **g.transposed_keywords(layout), out=out)
        with failures_name(g, layout):
            assert_exact(y, in_layout(want.astype("float32"), layout, g.rank))


def test_nothing_is_left_for_the_next_call(rng: np.random.Generator) -> None:
    """Buffers are used again; where they hold padding or a tile's rest, an old NaN must not stay."""
    for g in FIELDS:
        for layout in LAYOUTS:
            x, dy = np.full(g.x_shape(layout), np.nan, g.dtype), np.full(g.y_shape(layout), np.nan, g.dtype)
            w = np.full(g.w_shape, np.nan, g.dtype)
            convpp.conv_backward(dy, x, w, **g.keywords(layout), threads=2)
            convpp.conv(x, w, **g.keywords(layout), threads=2)
            case = make_case(replace(g, spatial=tuple(max(extent - 1, 1) for extent in g.spatial)), rng)
            check_passes(case, layout, threads=2)
