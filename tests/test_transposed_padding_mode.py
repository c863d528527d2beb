"""Transposed convolutions with a ``padding_mode``: what padding crops is folded onto the rest, exactly.

The oracle is the reference's input gradient with the same mode, whose padding at the high side is less by
``output_padding``; that of the gradients is its forward pass and its weight gradient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from convpp.testing import gradcheck, reference_conv, reference_input_grad, reference_weight_grad
from geometry import LAYOUTS, Array, assert_exact, assert_same_bits, in_layout, integers, normal

MODES = ("reflect", "replicate", "circular", "symmetric", ("reflect", "circular"))
EXACT = {"algorithm": "direct"}

#: x, w, options of ``conv_transpose``.
CASES: tuple[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 4, 5, 6), (4, 3, 3, 3), {"padding": 1}),
    ((2, 4, 5, 6), (4, 3, 4, 4), {"padding": 1, "stride": 2}),
    ((1, 6, 4, 3), (6, 2, 3, 5), {"padding": ((1, 2), (2, 1)), "stride": (2, 3), "groups": 2, "output_padding": 1}),
    ((3, 2, 4, 4), (2, 5, 2, 3), {"padding": (1, 2), "dilation": 2, "flip": True, "output_padding": (0, 1)}),
    ((2, 3, 7, 5), (3, 2, 5, 5), {"padding": "same", "stride": 2}),
    ((2, 16, 9, 17), (16, 16, 3, 3), {"padding": 1, "stride": 2, "output_size": (18, 34)}),
    ((2, 16, 7, 6), (16, 1, 3, 3), {"padding": 1, "groups": 16}),
)  # fmt: skip


def of_conv(x: Array, w: Array, how: dict[str, Any], mode: Any) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The result's shape, and the geometry of the convolution that has this as its input gradient."""
    shape = convpp.conv_transpose_output_shape(x.shape, w.shape, **how)
    rank = w.ndim - 2
    options = {name: how[name] for name in ("stride", "dilation", "groups", "flip") if name in how}
    stride, dilation = (np.broadcast_to(options.get(name, 1), rank) for name in ("stride", "dilation"))
    pads = []
    for axis in range(rank):
        padding = how["padding"]
        full = stride[axis] * (x.shape[2 + axis] - 1) + dilation[axis] * (w.shape[2 + axis] - 1) + 1
        if padding == "same":
            lo = (full - stride[axis] * x.shape[2 + axis]) // 2
        else:
            entry = padding if isinstance(padding, int) else padding[axis]
            lo = entry if isinstance(entry, int) else entry[0]
        pads.append((int(lo), int(full - lo - shape[2 + axis])))
    return shape, {**options, "padding": tuple(pads), "padding_mode": mode}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", MODES)
def test_all_passes_equal_the_adjoint(mode: Any, layout: str) -> None:
    rng = np.random.default_rng(1)
    for x_shape, w_shape, how in CASES:
        x, w = integers(rng, x_shape), integers(rng, w_shape)
        shape, conv = of_conv(x, w, how, mode)
        options = {**how, "padding_mode": mode, "layout": layout, **EXACT}
        laid = in_layout(x, layout, 2)
        y = reference_input_grad(x, w, shape, **conv)
        assert_exact(convpp.conv_transpose(laid, w, **options), in_layout(y, layout, 2))
        laid_shape = convpp.conv_transpose_output_shape(laid.shape, w.shape, **how, layout=layout)
        assert laid_shape == in_layout(y, layout, 2).shape
        dy = integers(rng, shape)
        dy_laid = in_layout(dy, layout, 2)
        dx, dw, db = convpp.conv_transpose_backward(dy_laid, laid, w, **options)
        assert_exact(dx, in_layout(reference_conv(dy, w, **conv), layout, 2))
        assert_exact(dw, reference_weight_grad(x, dy, w.shape, **conv))
        assert_exact(db, dy.sum((0, 2, 3)))
        assert_exact(convpp.conv_transpose_input_grad(dy_laid, w, laid.shape, **options), dx)
        assert_exact(convpp.conv_transpose_weight_grad(dy_laid, laid, w.shape, **options), dw)
        bias, add = integers(rng, (shape[1],)), integers(rng, shape)
        want = np.maximum(y + bias[:, None, None] + add, 0)
        got = convpp.conv_transpose(laid, w, bias, activation="relu", add=in_layout(add, layout, 2), **options)
        assert_exact(got, in_layout(want, layout, 2))
        tangents = (integers(rng, laid.shape), integers(rng, w.shape), None)
        _, y_dot = convpp.conv_transpose_jvp((laid, w, None), tangents, **options)
        first = convpp.conv_transpose(tangents[0], w, **options)
        assert_exact(y_dot, first + convpp.conv_transpose(laid, tangents[1], **options))


def test_every_rank_and_sample() -> None:
    rng = np.random.default_rng(2)
    for rank in (1, 2, 3):
        x, w = integers(rng, (3, 2, *(4, 3, 5)[:rank])), integers(rng, (2, 3, *(3,) * rank))
        how: dict[str, Any] = {"padding": 1, "stride": 2, "padding_mode": "reflect", **EXACT}
        y = convpp.conv_transpose(x, w, **how)
        pads = ((1, 1),) * rank
        assert_exact(y, reference_input_grad(x, w, y.shape, stride=2, padding=pads, padding_mode="reflect"))
        assert_exact(convpp.conv_transpose(x[0], w, **how), y[0])
        own = np.stack([w, 2 * w, 3 * w])
        each = convpp.conv_transpose(x, own, per_sample=True, **how)
        assert_exact(each, y * np.array([1, 2, 3]).reshape(3, *(1,) * (rank + 1)))


def test_the_sum_is_kept() -> None:
    """Nothing is cropped away: the sum over the output is that over x times that over the filter."""
    rng = np.random.default_rng(3)
    x, w = integers(rng, (1, 1, 6, 7)), integers(rng, (1, 1, 5, 5))
    for mode in MODES:
        y = convpp.conv_transpose(x, w, padding=2, padding_mode=mode, **EXACT)
        assert y.shape == x.shape
        assert y.sum() == x.sum() * w.sum()
    assert convpp.conv_transpose(x, w, padding=2, **EXACT).sum() != x.sum() * w.sum()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_bits_of_threads_and_batches(dtype: str) -> None:
    rng = np.random.default_rng(4)
    x, w = normal(rng, (5, 24, 9, 8), "float32").astype(dtype), normal(rng, (24, 20, 4, 4), "float32").astype(dtype)
    how: dict[str, Any] = {"padding": 1, "stride": 2, "padding_mode": "circular"}
    y = convpp.conv_transpose(x, w, np.ones(20, dtype), activation="silu", **how, threads=1)
    for threads in (2, 3, 7):
        assert_same_bits(convpp.conv_transpose(x, w, np.ones(20, dtype), activation="silu", **how, threads=threads), y)
    for n in range(5):
        assert_same_bits(convpp.conv_transpose(x[n], w, np.ones(20, dtype), activation="silu", **how), y[n])


@pytest.mark.parametrize("name", ["ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"])
def test_layers(name: str) -> None:
    rank = int(name[-2])
    for mode in ("reflect", ("circular",) * rank):
        how: dict[str, Any] = {"stride": 2, "padding": 1, "padding_mode": mode}
        layer = getattr(convpp, name)(2, 3, 3, **how, output_padding=1, rng=0, dtype=np.float64)
        x = np.random.default_rng(5).standard_normal((2, 2, *(4,) * rank))
        y = layer(x)
        assert_same_bits(y, convpp.conv_transpose(x, layer.weight, layer.bias, output_padding=1, **how))
        assert "padding_mode" in repr(layer)
        gradcheck(layer, x)


def test_wrong_modes() -> None:
    x, w, out = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.full((1, 1, 4, 4), 7.0)
    with pytest.raises(ValueError, match="'mirror', expected one of zeros, reflect, replicate"):
        convpp.conv_transpose(x, w, padding_mode="mirror", out=out)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a name or 2 names"):
        convpp.conv_transpose(x, w, padding_mode=("reflect",) * 3, out=out)
    with pytest.raises(ValueError, match="expected a name or 2 names"):
        convpp.ConvTranspose2d(1, 1, 3, padding_mode=("reflect",) * 3)
    assert (out == 7).all()
