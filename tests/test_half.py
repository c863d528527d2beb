"""float16 and bfloat16: exact on integers, computed in float32 and rounded once, in every function.

bfloat16 needs the package ml_dtypes; without it, its tests are skipped.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import convpp
from convpp.testing import reference_conv
from geometry import (
    LAYOUTS,
    Array,
    assert_exact,
    assert_same_bits,
    check_passes,
    draw_geometry,
    in_layout,
    integers,
    make_case,
    normal,
)
from layer_kinds import draw_layer

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

BFLOAT16 = pytest.param(
    "bfloat16", marks=pytest.mark.skipif(ml_dtypes is None, reason="bfloat16 is defined by ml_dtypes")
)
both_halves = pytest.mark.parametrize("half", ["float16", BFLOAT16])
both_layouts = pytest.mark.parametrize("layout", LAYOUTS)


# ---------------------------------------------------------------- the passes


@both_halves
@pytest.mark.parametrize("batch", range(8))
def test_passes_of_integers(half: str, batch: int) -> None:
    rng = np.random.default_rng((80, batch))
    for index in range(20):
        drawn = draw_layer(rng) if index % 3 == 0 else draw_geometry(rng, max_macs=100_000)
        case = make_case(replace(drawn, dtype=half), rng)  # results are whole numbers in float32, rounded once
        for layout in LAYOUTS:
            check_passes(case, layout, threads=int(rng.integers(1, 4)))
            check_passes(case, layout, algorithm="reference")


@both_halves
@pytest.mark.parametrize("batch", range(4))
def test_gradients_accumulate(half: str, batch: int) -> None:
    rng = np.random.default_rng((81, batch))
    for _ in range(15):
        case = make_case(replace(draw_geometry(rng, max_macs=30_000), dtype="float64"), rng)
        g = case.geometry
        for layout, out_type in itertools.product(LAYOUTS, (half, "float32")):
            x, dy = (in_layout(a, layout, g.rank).astype(half) for a in (case.x, case.dy))
            w, keywords = case.w.astype(half), g.exact_keywords(layout)
            calls: list[tuple[Any, Array, tuple[Any, ...], dict[str, Any]]] = [
                (convpp.conv_input_grad, in_layout(case.dx, layout, g.rank), (dy, w, x.shape), keywords),
                (convpp.conv_weight_grad, case.dw, (dy, x, w.shape), keywords),
                (convpp.conv_bias_grad, case.db, (dy,), {"layout": layout, "batched": g.n is not None}),
            ]
            for function, added, arguments, how in calls:
                before = integers(rng, added.shape)
                out = before.astype(out_type)
                assert function(*arguments, **how, out=out, accumulate=True) is out
                assert_exact(out, (before + added).astype(out_type))


@both_halves
@both_layouts
@pytest.mark.parametrize("algorithm", ["direct", "auto"])
def test_results_are_those_of_float32_rounded_once(half: str, layout: str, algorithm: str) -> None:
    rng = np.random.default_rng(82)
    for _ in range(10):
        g = draw_geometry(rng, min_macs=20_000, max_macs=1_000_000)
        how = {**g.keywords(layout), "algorithm": algorithm}
        x, w, dy = (normal(rng, s, half) for s in (g.x_shape(layout), g.w_shape, g.y_shape(layout)))
        bias = normal(rng, (g.k,), half)
        wide = [a.astype("float32") for a in (x, w, dy, bias)]
        assert_same_bits(convpp.conv(x, w, bias, **how), convpp.conv(*wide[:2], wide[3], **how).astype(half))
        dx = convpp.conv_input_grad(dy, w, x.shape, **how)
        assert_same_bits(dx, convpp.conv_input_grad(wide[2], wide[1], x.shape, **how).astype(half))
        whole = np.empty(g.w_shape, "float32")
        convpp.conv_weight_grad(dy, x, w.shape, **how, out=whole)
        assert_same_bits(convpp.conv_weight_grad(dy, x, w.shape, **how), whole.astype(half))


@both_halves
@both_layouts
def test_the_same_bits_for_every_number_of_threads_and_batch(half: str, layout: str) -> None:
    rng = np.random.default_rng(83)
    x, w = normal(rng, (4, 24, 20, 19), half), normal(rng, (40, 24, 3, 3), half)
    x = in_layout(x, layout, 2)
    how: dict[str, Any] = {"padding": 1, "layout": layout}
    y = convpp.conv(x, w, **how, threads=1)
    dw = convpp.conv_weight_grad(y, x, w.shape, **how, threads=1)
    for threads in (2, 3, 4):
        assert_same_bits(convpp.conv(x, w, **how, threads=threads), y)
        assert_same_bits(convpp.conv_weight_grad(y, x, w.shape, **how, threads=threads), dw)
    for n in range(4):
        assert_same_bits(convpp.conv(x[n], w, **how), y[n])


@both_halves
def test_transposed_layers_and_what_is_built_on_passes(half: str) -> None:
    rng = np.random.default_rng(84)
    x, w = integers(rng, (2, 3, 9, 8), half), integers(rng, (4, 3, 3, 3), half)
    y = convpp.conv(x, w, stride=2)
    back = convpp.conv_transpose(y, w, stride=2, output_size=(9, 8))
    assert_exact(back, convpp.conv_input_grad(y, w, x.shape, stride=2))
    gradients = convpp.conv_transpose_backward(x, y, w, stride=2, output_padding=(0, 1))
    assert [str(g.dtype) for g in gradients if g is not None] == [half] * 3
    each = np.empty((2, *w.shape), "float32")
    convpp.conv_weight_grad(y, x, w.shape, stride=2, per_sample=True, out=each)
    both = each.sum(axis=0)
    assert_exact(convpp.conv_weight_grad(y, x, w.shape, stride=2), both.astype(half))
    assert_exact(convpp.conv(x, np.stack([w, w]), stride=2, per_sample=True), y)
    prepared = convpp.prepare_weights(w, x.shape, stride=2)
    assert_exact(convpp.conv(x, prepared), y)
    ddy, _, _ = convpp.conv_double_backward(x, w, None, y, x, w, stride=2)
    assert_exact(ddy, (2 * reference_conv(x, w, stride=2)).astype(half))
    _, y_dot = convpp.conv_jvp((x, w, None), (x, w, None), stride=2)
    assert_exact(y_dot, ddy)


@both_halves
@pytest.mark.parametrize("activation", ["relu", "silu", "gelu", ("clip", -1, 2), ("leaky_relu", 0.5)])
def test_epilogues_are_applied_before_rounding(half: str, activation: Any) -> None:
    rng = np.random.default_rng(85)
    x, w, residual = (normal(rng, s, half) for s in ((2, 5, 9, 20), (7, 5, 3, 3), (2, 7, 7, 18)))
    fused = convpp.conv(x, w, activation=activation, add=residual)
    wide = [a.astype("float32") for a in (x, w, residual)]
    whole = convpp.conv(*wide[:2], activation=activation, add=wide[2])
    assert_same_bits(fused, whole.astype(half))
    z = normal(rng, (3, 301), half)
    assert_same_bits(convpp.activate(z, activation), convpp.activate(z.astype("float32"), activation).astype(half))
    slope = convpp.activation_grad(z, activation, z=z)
    wide_z = z.astype("float32")
    assert_same_bits(slope, convpp.activation_grad(wide_z, activation, z=wide_z).astype(half))


@both_halves
@both_layouts
def test_strategies_that_read_halves_in_place_are_those_of_float32(half: str, layout: str) -> None:
    last = layout == "channels_last"
    for c, k, kernel, groups in ((128, 512, (1, 1), 1), (64, 64, (3, 3), 64)):
        size = (1, 1) if kernel == (1, 1) else (14, 14)
        x_shape = (2, *size, c) if last else (2, c, *size)
        how: dict[str, Any] = {"layout": layout, "groups": groups, "padding": kernel[0] // 2}
        of_half, of_float = (
            convpp.explain(x_shape, (k, c // groups, *kernel), dtype=dtype, **how) for dtype in (half, "float32")
        )
        assert of_half.strategy == of_float.strategy == ("dots" if groups == 1 else "channels" if last else "sliding")


# ---------------------------------------------------------------- types


@both_halves
def test_halves_among_other_types(half: str) -> None:
    x, w = np.ones((1, 2, 5), half), np.ones((3, 2, 2), half)
    assert str(convpp.conv(x, w).dtype) == half
    for other in ("float32", "float64"):
        assert convpp.conv(x, w.astype(other)).dtype == other
        assert convpp.conv(x.astype(other), w).dtype == other
        assert convpp.conv(x, w, np.ones(3, other)).dtype == other
    if ml_dtypes is not None:
        assert convpp.conv(x.astype("float16"), w.astype(ml_dtypes.bfloat16)).dtype == "float32"


@both_halves
def test_any_strides_and_alignment(half: str) -> None:
    rng = np.random.default_rng(86)
    x, w = integers(rng, (2, 3, 11, 12), half), integers(rng, (4, 3, 3, 3), half)
    want = convpp.conv(x, w)
    assert_exact(convpp.conv(np.asfortranarray(x), w[::-1][::-1]), want)
    memory = np.empty(x.nbytes + 1, np.uint8)
    unaligned = memory[1:].view(x.dtype).reshape(x.shape)
    unaligned[...] = x
    assert_exact(convpp.conv(unaligned, w), want)


@both_halves
def test_out_of_another_type_is_refused(half: str) -> None:
    x, w = np.ones((1, 2, 5), half), np.ones((3, 2, 2), half)
    out = np.zeros((1, 3, 4))
    with pytest.raises(convpp.DTypeError, match=f"out has dtype float64, expected {half} or float32"):
        convpp.conv(x, w, out=out)
    assert not out.any()
    single = convpp.conv(x.astype("float32"), w.astype("float32"), out=np.empty((1, 3, 4), "float32"))
    with pytest.raises(convpp.DTypeError, match=f"out has dtype {half}, expected float32"):
        convpp.conv(x.astype("float32"), w.astype("float32"), out=np.empty((1, 3, 4), half))
    assert_exact(convpp.conv(x, w, out=np.empty((1, 3, 4), "float32")), single)


def test_foreign_byte_order() -> None:
    x, w = normal(np.random.default_rng(5), (1, 2, 5), "float16"), np.ones((3, 2, 2), np.float16)
    foreign = x.astype(x.dtype.newbyteorder())
    y = convpp.conv(foreign, w)
    assert y.dtype == np.float16
    assert y.dtype.isnative
    assert_exact(y, convpp.conv(x, w))


@both_halves
def test_layers(half: str) -> None:
    rng = np.random.default_rng(87)
    layer = convpp.Conv2d(3, 4, 3, padding=1, dtype=half, rng=0)
    y = layer(normal(rng, (2, 3, 6, 7), half))
    dx = layer.backward(y)
    assert {str(a.dtype) for a in (y, dx, *layer.parameters(), *layer.gradients())} == {half}
    once = layer.weight_grad.copy()
    layer.backward(y)
    np.testing.assert_allclose(layer.weight_grad.astype(float), 2 * once.astype(float), rtol=0.02)
    wide = convpp.Conv2d(3, 4, 3, padding=1, rng=0)
    wide.load_state_dict(layer.state_dict())
    layer.load_state_dict(wide.state_dict())
    assert_exact(layer.weight.astype("float32"), wide.weight)


def test_explain_needs_no_package() -> None:
    code = """
import sys
import numpy as np
import convpp
assert convpp.explain((1, 3, 9, 9), (4, 3, 3, 3), dtype="bfloat16").dtype == "bfloat16"
convpp.conv(np.ones((1, 3, 9), np.float16), np.ones((4, 3, 3), np.float16))
assert "ml_dtypes" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@both_halves
@both_layouts
def test_no_copy_of_a_batch_in_float32(half: str, layout: str) -> None:
    x = in_layout(np.ones((64, 32, 32, 32), half), layout, 2)  # 4 MiB
    w = np.ones((32, 32, 3, 3), half)
    how: dict[str, Any] = {"padding": 1, "layout": layout, "threads": 1}
    shapes = (x.shape, w.shape)
    for op in ("forward", "input_grad", "weight_grad"):
        for algorithm in ("direct", "winograd"):
            need = convpp.explain(*shapes, op=op, dtype=half, algorithm=algorithm, **how).workspace_bytes
            # An input gradient that is added to ``out`` is whole in float32 before it is rounded.
            assert need < x.nbytes + (2 * x.nbytes if op == "input_grad" else 0)
    tracemalloc.start()
    try:
        y = convpp.conv(x, w, **how)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * y.nbytes


@pytest.mark.parametrize("call", ["conv", "conv_input_grad", "max_pool", "activate", "convolve", "layer"])
def test_float16_may_spell_the_byte_order_of_this_machine(call: str) -> None:
    """As that of Zarr and h5py does: NumPy says that it is native, and equal."""
    spelled = np.dtype(np.float16).newbyteorder("<" if sys.byteorder == "little" else ">")
    assert spelled.isnative
    assert spelled == np.float16
    x, w = np.ones((1, 1, 6)), np.ones((1, 1, 2))

    def result(dtype: Any) -> Any:
        a, b = x.astype(dtype), w.astype(dtype)
        calls: dict[str, Callable[[], Any]] = {
            "conv": lambda: convpp.conv(a, b, b[0, 0, :1], add=a[..., 1:].copy(), out=np.empty((1, 1, 5), dtype)),
            "conv_input_grad": lambda: convpp.conv_input_grad(a, b, (1, 1, 7)),
            "max_pool": lambda: convpp.max_pool(a, 2),
            "activate": lambda: convpp.activate(a, "relu"),
            "convolve": lambda: convpp.convolve(a[0, 0], b[0, 0]),
            "layer": lambda: convpp.Conv1d(1, 1, 2, dtype=np.float16, rng=0)(a),
        }
        return calls[call]()

    np.testing.assert_array_equal(result(spelled), result(np.float16))
