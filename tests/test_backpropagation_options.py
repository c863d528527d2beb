"""The claims of docs/backpropagation_more.md on padding, stride, groups, transposed convolution and second derivatives.

On whole numbers and without any tolerance, as in test_backpropagation.py.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import convpp
from whole_layers import GEOMETRIES, integers, layer

# ---------------------------------------------------------------- padding and dilation


@pytest.mark.parametrize("dilation", [1, 2, (3, 1)])
@pytest.mark.parametrize("pads", [((0, 0), (0, 0)), ((1, 2), (0, 1)), ((5, 7), (4, 3)), ((-1, 0), (2, -2))])
def test_padding_of_the_gradient_is_the_reach_less_the_padding(
    rng: np.random.Generator, pads: tuple[tuple[int, int], ...], dilation: int | tuple[int, int]
) -> None:
    geometry: dict[str, Any] = {"padding": pads, "dilation": dilation}
    x, w, dy = layer(rng, (2, 3, 11, 10), (5, 3, 3, 2), **geometry)
    per_axis = (dilation, dilation) if isinstance(dilation, int) else dilation
    reach = [d * (extent - 1) for d, extent in zip(per_axis, w.shape[2:], strict=True)]
    back = [(far - lo, far - hi) for far, (lo, hi) in zip(reach, pads, strict=True)]
    assert np.array_equal(
        convpp.conv_input_grad(dy, w, x.shape, **geometry),
        convpp.conv(dy, convpp.adjoint_kernel(w), padding=back, dilation=dilation),
    )


@pytest.mark.parametrize(
    ("extent", "padding", "back"),
    [(3, "same", "same"), (5, "same_lower", "same"), (2, "same", "same_lower"), (4, "same_lower", "same")],
)
def test_same_padding_has_a_same_gradient(rng: np.random.Generator, extent: int, padding: str, back: str) -> None:
    x, w, dy = layer(rng, (3, 9, 9), (5, 3, extent, extent), padding=padding)
    assert dy.shape == (5, 9, 9)
    assert np.array_equal(
        convpp.conv_input_grad(dy, w, x.shape, padding=padding),
        convpp.conv(dy, convpp.adjoint_kernel(w), padding=back),
    )


# ---------------------------------------------------------------- stride


@pytest.mark.parametrize("stride", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("lo", [0, 1, 2])
def test_strided_input_grad_by_inserted_zeros_and_by_residue_classes(
    rng: np.random.Generator, stride: int, dilation: int, lo: int
) -> None:
    geometry: dict[str, Any] = {"stride": stride, "dilation": dilation, "padding": [(lo, 1)]}
    x, w, dy = layer(rng, (2, 3, 17), (4, 3, 4), **geometry)
    dx = convpp.conv_input_grad(dy, w, x.shape, **geometry)
    H, R, P = x.shape[2], w.shape[2], dy.shape[2]
    reach = dilation * (R - 1)

    spread = np.zeros((2, 4, stride * (P - 1) + 1), np.float32)
    spread[:, :, ::stride] = dy
    back = [(reach - lo, H + lo - (spread.shape[2] + reach) + reach)]  # behind: also the pixels no output reads
    assert np.array_equal(dx, convpp.conv(spread, convpp.adjoint_kernel(w), dilation=dilation, padding=back))

    for i in range(H):
        expected = np.zeros((2, 3), np.float32)
        for r in range(R):  # equation (7): i = stride * p + dilation * r - lo
            p, rest = divmod(i + lo - dilation * r, stride)
            if rest == 0 and 0 <= p < P:
                expected += dy[:, :, p] @ w[:, :, r]
        assert np.array_equal(dx[:, :, i], expected)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_each_residue_class_is_an_input_grad_of_stride_1(rng: np.random.Generator, stride: int) -> None:
    x, w, dy = layer(rng, (2, 3, 12, 10), (4, 3, 3, 3), stride=stride)
    dx = np.full_like(x, np.nan)
    convpp.conv_input_grad(dy, w, x.shape, stride=stride, out=dx)
    P, Q = dy.shape[2:]
    taps_used = 0
    for i, j in itertools.product(range(stride), repeat=2):
        pixels, taps = dx[:, :, i::stride, j::stride], w[:, :, i::stride, j::stride]
        R, S = taps.shape[2:]
        taps_used += R * S
        if R * S == 0:
            assert not pixels.any()
            continue
        read = convpp.conv_input_grad(dy, taps, (2, 3, P + R - 1, Q + S - 1))
        assert np.array_equal(pixels[:, :, : P + R - 1, : Q + S - 1], read)
        assert not pixels[:, :, P + R - 1 :].any()
        assert not pixels[:, :, :, Q + S - 1 :].any()
    assert taps_used == 9  # every tap of w in one class, none twice


def test_the_numbers_of_the_stride_figure() -> None:
    assert convpp.conv_output_shape((1, 7, 7), (1, 1, 3, 3), stride=2) == (1, 3, 3)
    pixels = {(i, j): len(range(i, 7, 2)) * len(range(j, 7, 2)) for i in (0, 1) for j in (0, 1)}
    taps = {(i, j): len(range(i, 3, 2)) * len(range(j, 3, 2)) for i in (0, 1) for j in (0, 1)}
    assert [pixels[c] * taps[c] for c in sorted(taps)] == [16 * 4, 12 * 2, 12 * 2, 9 * 1]
    assert sum(pixels[c] * taps[c] for c in taps) == 121
    assert 7 * 7 * 9 == 441


def test_input_that_no_output_reads_has_gradient_zero(rng: np.random.Generator) -> None:
    x, w, dy = layer(rng, (1, 2, 12), (3, 2, 3), stride=4)  # p = 0, 1, 2 read 0..2, 4..6 and 8..10
    dx = np.full_like(x, np.nan)
    convpp.conv_input_grad(dy, np.ones_like(w), x.shape, stride=4, out=dx)
    assert not dx[:, :, [3, 7, 11]].any()
    x, w, dy = layer(rng, (2, 3, 12, 10), (4, 3, 3, 3), stride=2, dilation=2)
    dx = convpp.conv_input_grad(dy, w, x.shape, stride=2, dilation=2)
    assert not dx[:, :, 1::2].any()
    assert not dx[:, :, :, 1::2].any()


def test_infinite_weights_meet_no_inserted_zeros() -> None:
    w = np.full((1, 1, 3), np.inf, np.float32)
    dy = np.ones((1, 1, 2), np.float32)
    assert convpp.conv_input_grad(dy, w, (1, 1, 7), stride=4).tolist() == [[[np.inf] * 3 + [0.0] + [np.inf] * 3]]


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 3), (2, 3), (3, 2)])
def test_weight_grad_trades_stride_for_dilation(rng: np.random.Generator, stride: int, dilation: int) -> None:
    x, w, dy = layer(rng, (2, 3, 12, 10), (4, 3, 3, 2), stride=stride, dilation=dilation)
    dw = convpp.conv_weight_grad(dy, x, w.shape, stride=stride, dilation=dilation)
    roles = convpp.conv(x.swapaxes(0, 1), dy.swapaxes(0, 1), stride=dilation, dilation=stride).swapaxes(0, 1)
    assert np.array_equal(dw, roles[:, :, :3, :2])


# ---------------------------------------------------------------- groups and samples


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_groups_are_layers_of_their_own(rng: np.random.Generator, groups: int) -> None:
    x, w, dy = layer(rng, (2, 6, 8, 8), (12, 6 // groups, 3, 3), groups=groups)
    adjoint = convpp.adjoint_kernel(w, groups)
    assert adjoint.shape == (6, 12 // groups, 3, 3)
    dx, dw, _ = convpp.conv_backward(dy, x, w, groups=groups)
    assert np.array_equal(dx, convpp.conv(dy, adjoint, groups=groups, padding="full"))
    parts = [
        convpp.conv_backward(dy_g, x_g, w_g)
        for dy_g, x_g, w_g in zip(np.split(dy, groups, 1), np.split(x, groups, 1), np.split(w, groups, 0), strict=True)
    ]
    assert np.array_equal(dx, np.concatenate([part[0] for part in parts], axis=1))
    assert np.array_equal(dw, np.concatenate([part[1] for part in parts], axis=0))


def test_samples_are_independent_in_dx_and_added_up_in_dw_and_db(rng: np.random.Generator) -> None:
    x, w, dy = layer(rng, (4, 3, 20, 20), (5, 3, 3, 3))
    dx, dw, db = convpp.conv_backward(dy, x, w)
    singles = [convpp.conv_backward(dy[n], x[n], w) for n in range(4)]
    assert np.array_equal(dx, np.stack([single[0] for single in singles]))
    assert np.array_equal(dw, sum(single[1] for single in singles))
    assert np.array_equal(db, sum(single[2] for single in singles))


# ---------------------------------------------------------------- transposed and true convolution


@pytest.mark.parametrize(
    "geometry",
    [{}, {"stride": 2}, {"stride": 3, "padding": 1, "output_padding": 2}, {"groups": 2, "dilation": 2}],
)
def test_transposed_convolution_is_the_input_grad(rng: np.random.Generator, geometry: dict[str, Any]) -> None:
    x, w = integers(rng, (2, 4, 6, 5)), integers(rng, (4, 3, 3, 3))
    y = convpp.conv_transpose(x, w, **geometry)
    conv_geometry = {name: value for name, value in geometry.items() if name != "output_padding"}
    assert y.shape == convpp.conv_transpose_output_shape(x.shape, w.shape, **geometry)
    assert np.array_equal(y, convpp.conv_input_grad(x, w, y.shape, **conv_geometry))

    dy = integers(rng, y.shape)
    dx, dw, db = convpp.conv_transpose_backward(dy, x, w, **geometry)
    assert np.array_equal(dx, convpp.conv(dy, w, **conv_geometry))
    assert np.array_equal(dw, convpp.conv_weight_grad(x, dy, w.shape, **conv_geometry))
    assert np.array_equal(db, dy.sum(axis=(0, 2, 3)))


def test_at_stride_t_several_inputs_have_one_output_extent() -> None:
    outputs = [convpp.conv_output_shape((1, n), (1, 1, 3), stride=2) for n in (5, 6, 7)]
    assert outputs == [(1, 2), (1, 2), (1, 3)]
    for extra, n in ((0, 5), (1, 6)):
        shape = convpp.conv_transpose_output_shape((1, 2), (1, 1, 3), stride=2, output_padding=extra)
        assert shape == (1, n)


def test_true_convolution_rotates_forward_and_not_backward(rng: np.random.Generator) -> None:
    x, w, dy = layer(rng, (3, 20, 20), (5, 3, 3, 3))
    rotated = w[:, :, ::-1, ::-1]
    assert np.array_equal(convpp.conv(x, w, flip=True), convpp.conv(x, rotated))
    dx = convpp.conv_input_grad(dy, w, x.shape, flip=True)
    assert np.array_equal(dx, convpp.conv(dy, w.swapaxes(0, 1), padding="full"))
    dw = convpp.conv_weight_grad(dy, x, w.shape, flip=True)
    assert np.array_equal(dw, convpp.conv_weight_grad(dy, x, w.shape)[:, :, ::-1, ::-1])


# ---------------------------------------------------------------- derivatives of the gradients


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_second_derivatives_are_convolutions(rng: np.random.Generator, geometry: dict[str, Any]) -> None:
    x, w, dy = layer(rng, (2, 4, 11, 12), (8, 4 // geometry.get("groups", 1), 3, 2), **geometry)
    b = integers(rng, (8,))
    x_dot, w_dot, b_dot = integers(rng, x.shape), integers(rng, w.shape), integers(rng, b.shape)
    y, y_dot = convpp.conv_jvp((x, w, b), (x_dot, w_dot, b_dot), **geometry)
    assert np.array_equal(y, convpp.conv(x, w, b, **geometry))
    assert np.array_equal(y_dot, convpp.conv(x_dot, w, b_dot, **geometry) + convpp.conv(x, w_dot, **geometry))
    ddy, dx, dw = convpp.conv_double_backward(x_dot, w_dot, b_dot, dy, x, w, **geometry)
    assert np.array_equal(ddy, y_dot)
    assert np.array_equal(dx, convpp.conv_input_grad(dy, w_dot, x.shape, **geometry))
    assert np.array_equal(dw, convpp.conv_weight_grad(dy, x_dot, w.shape, **geometry))
