"""``padding_mode``: against ``np.pad``, SciPy's ndimage and the oracle; adjoints, bits, NaN, errors.

(The random geometries of test_random_geometries.py have modes too, with tolerance 0.)
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import convpp
from convpp.testing import reference_conv, reference_input_grad, reference_weight_grad
from geometry import (
    LAYOUTS,
    MODES,
    Geometry,
    assert_exact,
    assert_same_bits,
    check_accumulation,
    check_passes,
    in_layout,
    integers,
    make_case,
    normal,
)
from rounding import check_rounded

NUMPY = {"zeros": "constant", "reflect": "reflect", "symmetric": "symmetric", "replicate": "edge", "circular": "wrap"}
NDIMAGE = {"reflect": "mirror", "symmetric": "reflect", "replicate": "nearest", "circular": "wrap"}
EXACT: dict[str, Any] = {"algorithm": "direct"}


@pytest.mark.parametrize("mode", NUMPY)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_it_is_np_pad_and_a_plain_convolution(mode: str, rank: int) -> None:
    rng = np.random.default_rng((70, rank))
    spatial = (7, 6, 5)[:rank]
    x, w = integers(rng, (2, 4, *spatial)), integers(rng, (6, 2, *(3, 2, 3)[:rank]))
    geometry: dict[str, Any] = {"stride": (1, 2, 1)[:rank], "groups": 2, "flip": rank == 2}
    pads = ((1, 2), (3, 0), (2, 2))[:rank]
    padded = np.pad(x, ((0, 0), (0, 0), *pads), NUMPY[mode])  # type: ignore[call-overload]
    want = convpp.conv(padded, w, **geometry, **EXACT)
    assert_exact(convpp.conv(x, w, padding=pads, padding_mode=mode, **geometry, **EXACT), want)
    assert_exact(reference_conv(x, w, padding=pads, padding_mode=mode, **geometry), want)
    dy = integers(rng, want.shape)
    want = convpp.conv_weight_grad(dy, padded, w.shape, **geometry, **EXACT)
    assert_exact(convpp.conv_weight_grad(dy, x, w.shape, padding=pads, padding_mode=mode, **geometry, **EXACT), want)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("extent", [1, 2, 3, 5])
def test_padding_far_beyond_the_extent(mode: str, extent: int) -> None:
    """By position: the extended x goes on as its first elements begin, or turns at each end."""
    there = list(range(extent))
    cycle = {
        "reflect": there + there[-2:0:-1],
        "symmetric": there + there[::-1],
        "circular": there,
        "replicate": there,
    }[mode]
    lo, hi = 11, 13
    at = [min(max(i, 0), extent - 1) if mode == "replicate" else cycle[i % len(cycle)] for i in range(-lo, extent + hi)]
    x, one = np.arange(1.0, extent + 1).reshape(1, 1, extent), np.ones((1, 1, 1))
    y = convpp.conv(x, one, padding=((lo, hi),), padding_mode=mode)
    assert_exact(y, x[..., at])
    dy = integers(np.random.default_rng(71), y.shape)
    want = np.zeros(extent)
    np.add.at(want, at, dy[0, 0])
    dx = convpp.conv_input_grad(dy, one, x.shape, padding=((lo, hi),), padding_mode=mode)
    assert_exact(dx[0, 0], want)


@pytest.mark.parametrize("mode", MODES)
def test_what_lies_between_the_positions_that_are_read_takes_no_time(mode: str) -> None:
    """Strides and dilations of a million million elements, whose references are as fast as the other algorithms."""
    rng = np.random.default_rng(5)
    for stride, dilation, padding in ((10**12, 1, 3 * 10**12), (7, 10**12, 10**12), (10**12, 10**11, 10**12)):
        how: dict[str, Any] = {"stride": stride, "dilation": dilation, "padding": padding, "padding_mode": mode}
        x, w = (rng.integers(-4, 5, shape).astype(np.float64) for shape in ((2, 2, 5), (3, 2, 2)))
        if stride == 7:  # else there would be 10**11 results
            how["padding"] = ((padding // 2, padding - padding // 2),)
        y = convpp.conv(x, w, **how)
        dy = rng.integers(-4, 5, y.shape).astype(np.float64)
        for result, reference in (
            (y, convpp.conv(x, w, **how, algorithm="reference")),
            (
                convpp.conv_input_grad(dy, w, x.shape, **how),
                convpp.conv_input_grad(dy, w, x.shape, **how, algorithm="reference"),
            ),
            (
                convpp.conv_weight_grad(dy, x, w.shape, **how),
                convpp.conv_weight_grad(dy, x, w.shape, **how, algorithm="reference"),
            ),
        ):
            np.testing.assert_array_equal(result, reference)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shape", [(9, 8), (3, 4)])
def test_scipy_ndimage(mode: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(72)
    x, w = integers(rng, shape), integers(rng, (5, 3))
    want = ndimage.correlate(x, w, mode=NDIMAGE[mode])
    got = convpp.conv(x[None], w[None, None], padding=(2, 1), padding_mode=mode, **EXACT)[0]
    assert_exact(got, want)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("modes", list(itertools.product(("zeros", "reflect", "circular"), repeat=2)))
def test_a_mode_for_each_axis(layout: str, modes: tuple[str, str]) -> None:
    rng = np.random.default_rng(73)
    for g in (
        Geometry(2, 3, 4, (6, 9), (3, 3), padding=((1, 2), (4, 0)), bias=True),
        Geometry(None, 8, 8, (5, 33), (3, 3), padding=2, groups=8),
        Geometry(1, 20, 18, (7, 7), (3, 2), stride=2, padding=((-1, 9), (8, -2))),
    ):
        case = make_case(Geometry(**{**vars(g), "padding_mode": list(modes)}), rng)
        check_passes(case, layout, threads=2)
        check_accumulation(case, layout, rng, threads=2)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES)
def test_large_layers_and_winograd(mode: str, layout: str) -> None:
    g = Geometry(2, 32, 48, (23, 26), (3, 3), padding=((1, 2), (30, 1)), bias=True, padding_mode=mode)
    assert convpp.explain(g.x_shape(layout), g.w_shape, **g.keywords(layout)).algorithm == "winograd"
    rng = np.random.default_rng(74)
    check_passes(make_case(g, rng), layout, threads=2)
    for op in ("forward", "input_grad", "weight_grad"):
        for accumulate in (False, True):
            check_rounded(g, layout, op, "winograd", rng, threads=2, accumulate=accumulate and op != "forward")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_of_samples(layout: str) -> None:
    rng = np.random.default_rng(75)
    g = Geometry(3, 4, 6, (5, 6), (3, 3), padding=2, stride=(1, 2), groups=2, padding_mode=("symmetric", "circular"))
    x, dy = integers(rng, g.x_shape()), integers(rng, g.y_shape())
    w = integers(rng, (3, *g.w_shape))
    y, dx, dw = (np.zeros(shape) for shape in (g.y_shape(), x.shape, w.shape))
    for n in range(3):
        y[n] = reference_conv(x[n], w[n], **g.keywords())
        dx[n] = reference_input_grad(dy[n], w[n], x.shape[1:], **g.keywords())
        dw[n] = reference_weight_grad(dy[n], x[n], g.w_shape, **g.keywords())
    x, dy, y, dx = (in_layout(array, layout, 2) for array in (x, dy, y, dx))
    how: dict[str, Any] = {**g.exact_keywords(layout), "per_sample": True}
    assert_exact(convpp.conv(x, w, **how), y)
    assert_exact(convpp.conv_input_grad(dy, w, x.shape, **how), dx)
    assert_exact(convpp.conv_weight_grad(dy, x, w.shape, **how), dw)


@pytest.mark.parametrize("mode", MODES)
def test_adjoint_on_integers(mode: str) -> None:
    rng = np.random.default_rng(76)
    for spatial, kernel, padding, stride in (((5, 4), (3, 3), 6, 1), ((8,), (5,), 9, 3), ((2, 3, 4), (2, 2, 2), 3, 1)):
        x, w = integers(rng, (2, 3, *spatial)), integers(rng, (4, 3, *kernel))
        how: dict[str, Any] = {"padding": padding, "stride": stride, "padding_mode": mode, **EXACT}
        y = convpp.conv(x, w, **how)
        dy = integers(rng, y.shape)
        product = (y * dy).sum()
        assert (x * convpp.conv_input_grad(dy, w, x.shape, **how)).sum() == product
        assert (w * convpp.conv_weight_grad(dy, x, w.shape, **how)).sum() == product
        dx, dw, db = convpp.conv_backward(dy, x, w, **how)
        assert_exact(dx, convpp.conv_input_grad(dy, w, x.shape, **how))
        assert_exact(dw, convpp.conv_weight_grad(dy, x, w.shape, **how))
        assert_exact(db, convpp.conv_bias_grad(dy))


def test_second_derivatives_and_forward_mode() -> None:
    rng = np.random.default_rng(77)
    how: dict[str, Any] = {"padding": 2, "padding_mode": ("reflect", "circular")}
    x, w = integers(rng, (1, 2, 4, 5)), integers(rng, (3, 2, 3, 3))
    x_dot, w_dot = integers(rng, x.shape), integers(rng, w.shape)
    y, y_dot = convpp.conv_jvp((x, w, None), (x_dot, w_dot, None), **how)
    assert_exact(y, reference_conv(x, w, **how))
    assert_exact(y_dot, reference_conv(x_dot, w, **how) + reference_conv(x, w_dot, **how))
    dy = integers(rng, y.shape)
    ddy, dx, dw = convpp.conv_double_backward(x_dot, w_dot, None, dy, x, w, **how)
    assert_exact(ddy, y_dot)
    assert_exact(dx, reference_input_grad(dy, w_dot, x.shape, **how))
    assert_exact(dw, reference_weight_grad(dy, x_dot, w.shape, **how))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_bits_of_threads_and_batches(algorithm: str, layout: str) -> None:
    rng = np.random.default_rng(78)
    g = Geometry(6, 24, 20, (17, 14), (3, 3), padding=((2, 3), (1, 20)), padding_mode=("reflect", "circular"))
    x, dy = (in_layout(normal(rng, shape, "float32"), layout, 2) for shape in (g.x_shape(), g.y_shape()))
    w = normal(rng, g.w_shape, "float32")
    how: dict[str, Any] = {**g.keywords(layout), "algorithm": algorithm}
    y, dx = convpp.conv(x, w, **how, threads=1), convpp.conv_input_grad(dy, w, x.shape, **how, threads=1)
    dw = convpp.conv_weight_grad(dy, x, w.shape, **how, threads=1)
    for threads in (2, 3, 7):
        assert_same_bits(convpp.conv(x, w, **how, threads=threads), y)
        assert_same_bits(convpp.conv_input_grad(dy, w, x.shape, **how, threads=threads), dx)
        assert_same_bits(convpp.conv_weight_grad(dy, x, w.shape, **how, threads=threads), dw)
    for n in range(6):
        assert_same_bits(convpp.conv(x[n], w, **how), y[n])
        assert_same_bits(convpp.conv_input_grad(dy[n], w, x.shape[1:], **how), dx[n])
    assert_same_bits(convpp.conv(x, convpp.prepare_weights(w, x.shape, **how)), y)


def test_where_no_padding_is_read_a_mode_changes_nothing() -> None:
    rng = np.random.default_rng(79)
    x, w = normal(rng, (2, 32, 14, 14), "float32"), normal(rng, (32, 32, 3, 3), "float32")
    for padding in (0, -1):
        want = convpp.conv(x, w, padding=padding)
        assert_same_bits(convpp.conv(x, w, padding=padding, padding_mode="reflect"), want)
        plans = [
            str(convpp.explain(x.shape, w.shape, op=op, padding=padding, padding_mode=mode))
            for op in ("forward", "input_grad", "weight_grad")
            for mode in ("zeros", "circular")
        ]
        assert plans[::2] == plans[1::2]
    empty = convpp.conv(np.ones((0, 3, 5)), np.ones((2, 3, 3)), padding=4, padding_mode="symmetric")
    assert empty.shape == (0, 2, 11)
    nothing = convpp.conv_input_grad(
        np.ones((2, 4, 9)), np.ones((4, 0, 3)), (2, 0, 5), padding=3, padding_mode="reflect"
    )
    assert nothing.shape == (2, 0, 5)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nan_and_inf_are_terms_where_they_are_read(layout: str) -> None:
    """Zeros add nothing to an infinite weight; what a mode reads is multiplied."""
    rng = np.random.default_rng(80)
    g = Geometry(2, 3, 4, (5, 6), (3, 3), padding=2, padding_mode=("replicate", "zeros"), dtype="float64")
    for spoiled in range(3):
        x, w, dy = (integers(rng, shape) for shape in (g.x_shape(), g.w_shape, g.y_shape()))
        array = (x, w, dy)[spoiled]
        array.flat[1] = np.inf
        array.flat[-1] = np.nan
        keywords = g.keywords()
        want = (
            reference_conv(x, w, **keywords),
            reference_input_grad(dy, w, x.shape, **keywords),
            reference_weight_grad(dy, x, w.shape, **keywords),
        )
        x, dy = in_layout(x, layout, 2), in_layout(dy, layout, 2)
        how: dict[str, Any] = {**g.keywords(layout), "threads": 2}
        assert_exact(convpp.conv(x, w, **how), in_layout(want[0], layout, 2))
        assert_exact(convpp.conv_input_grad(dy, w, x.shape, **how), in_layout(want[1], layout, 2))
        assert_exact(convpp.conv_weight_grad(dy, x, w.shape, **how), want[2])


def test_errors_leave_out_untouched() -> None:
    x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2))
    out = np.full((1, 1, 4, 4), 7.0)
    for bad, message in (
        ("mirror", "'mirror', expected one of zeros, reflect, replicate, circular, symmetric"),
        (("reflect", 1), "padding_mode is 1"),
        (None, "padding_mode is None"),
        (("reflect",) * 3, "expected a name or 2 names"),
        ((), "expected a name or 2 names"),
    ):
        with pytest.raises(ValueError, match=message):
            convpp.conv(x, w, padding=1, padding_mode=bad, out=out)  # type: ignore[arg-type]
    with pytest.raises(convpp.ShapeError, match=r"\(1, 1, 0, 3\).*spatial axis 0.*'circular'"):
        convpp.conv(x[:, :, :0], w, padding=((2, 2), (1, 1)), padding_mode="circular", out=out)
    with pytest.raises(convpp.ShapeError, match="nothing to pad spatial axis 0"):
        reference_conv(x[:, :, :0], w, padding=((2, 2), (1, 1)), padding_mode="circular")
    assert (out == 7).all()


def test_workspace_of_a_large_frame_is_bounded() -> None:
    for shape, padding in (((4, 64, 9, 9), 80), ((1, 1, 300, 300), 700)):
        plan = convpp.explain(
            shape, (shape[1], shape[1], 3, 3), op="input_grad", padding=padding, padding_mode="reflect"
        )
        assert plan.workspace_bytes < 8 << 20


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["float16", "bfloat16"])
def test_half_types(name: str, layout: str) -> None:
    """Read as they are stored, summed in float32, rounded once: also where the halo is added."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    half = np.dtype(name if name == "float16" else ml_dtypes.bfloat16)
    rng = np.random.default_rng(81)
    for g in (
        Geometry(2, 3, 4, (5, 6), (3, 3), padding=((3, 1), (2, 7))),
        Geometry(1, 40, 24, (7, 9), (3, 3), padding=1, stride=2),
        Geometry(2, 16, 16, (6, 33), (3, 3), padding=2, groups=16),
    ):
        how: dict[str, Any] = {**g.exact_keywords(layout), "padding_mode": ("reflect", "circular"), "threads": 2}
        x, w, dy = (integers(rng, shape) for shape in (g.x_shape(), g.w_shape, g.y_shape()))
        x, dy = in_layout(x, layout, 2), in_layout(dy, layout, 2)
        halves = [array.astype(half) for array in (x, w, dy)]
        assert_exact(convpp.conv(halves[0], halves[1], **how), convpp.conv(x, w, **how).astype(half))
        dx = convpp.conv_input_grad(dy, w, x.shape, **how)
        assert_exact(convpp.conv_input_grad(halves[2], halves[1], x.shape, **how), dx.astype(half))
        out = np.ones(x.shape, half)
        convpp.conv_input_grad(halves[2], halves[1], x.shape, **how, out=out, accumulate=True)
        assert_exact(out, (dx + 1).astype(half))
        dw = convpp.conv_weight_grad(dy, x, w.shape, **how)
        assert_exact(convpp.conv_weight_grad(halves[2], halves[0], w.shape, **how), dw.astype(half))
