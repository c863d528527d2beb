"""Every claim of docs/backpropagation.md and its second page, on whole numbers and without any tolerance.

Here: stride 1 and the page's equations, against plain loops that repeat them.  Options, groups and derivatives of
gradients: test_backpropagation_options.py.  The page's own blocks of code are run by test_docs.py; here the same claims
are tried on further ranks, dtypes, batches and geometries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import Array, Shape
from whole_layers import GEOMETRIES, integers, layer

DTYPES = ("float32", "float64")
#: x shape, w shape: the worked example, a batch of it, and each rank with extents that differ by axis.
LAYERS = [
    ((3, 20, 20), (5, 3, 3, 3)),
    ((2, 3, 20, 20), (5, 3, 3, 3)),
    ((2, 4, 17), (6, 4, 5)),
    ((2, 2, 9, 12), (3, 2, 2, 5)),
    ((1, 2, 5, 6, 7), (3, 2, 3, 1, 2)),
]


def unit(shape: Sequence[int], place: Sequence[int], dtype: str = "float32") -> Array:
    """1 at `place`, else 0."""
    out = np.zeros(shape, dtype)
    out[tuple(place)] = 1
    return out


# ---------------------------------------------------------------- the question


def test_the_worked_example_has_the_stated_shapes(rng: np.random.Generator) -> None:
    x, w, b = integers(rng, (3, 20, 20)), integers(rng, (5, 3, 3, 3)), integers(rng, (5,))
    y = convpp.conv(x, w, b)
    dx, dw, db = convpp.conv_backward(y, x, w)
    assert dx is not None
    assert dw is not None
    assert db is not None
    assert (y.shape, dx.shape, dw.shape, db.shape) == ((5, 18, 18), x.shape, w.shape, b.shape)
    assert convpp.adjoint_kernel(w).shape == (3, 5, 3, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("x_shape", "w_shape"), LAYERS)
def test_input_grad_is_the_full_convolution_with_the_adjoint_kernel(
    rng: np.random.Generator, x_shape: Shape, w_shape: Shape, dtype: str
) -> None:
    x, w, dy = layer(rng, x_shape, w_shape, dtype)
    swapped = w.swapaxes(0, 1)
    rotated = np.flip(swapped, tuple(range(2, w.ndim)))
    assert np.array_equal(convpp.adjoint_kernel(w), rotated)
    dx = np.full_like(x, np.nan)
    convpp.conv_input_grad(dy, w, x.shape, out=dx)
    assert dx.dtype == dtype
    assert np.array_equal(dx, convpp.conv(dy, rotated, padding="full"))
    # Both changes are needed: the swap alone has the right shape and the wrong values.
    assert not np.array_equal(dx, convpp.conv(dy, swapped, padding="full"))


def test_the_adjoint_of_the_adjoint_is_the_kernel(rng: np.random.Generator) -> None:
    w = integers(rng, (6, 4, 3, 2))
    for groups in (1, 2, 3, 6):
        back = convpp.adjoint_kernel(convpp.adjoint_kernel(w, groups), groups)
        assert np.array_equal(back, w)


# ---------------------------------------------------------------- the chain rule, index by index


def test_forward_is_equation_1(rng: np.random.Generator) -> None:
    x, w, b = integers(rng, (2, 2, 5, 4)), integers(rng, (3, 2, 2, 3)), integers(rng, (3,))
    (N, C, H, W), (K, _, R, S) = x.shape, w.shape
    P, Q = H - R + 1, W - S + 1
    y = np.empty((N, K, P, Q), np.float32)
    for n, k, p, q in np.ndindex(y.shape):
        terms = (w[k, c, r, s] * x[n, c, p + r, q + s] for c, r, s in np.ndindex(C, R, S))
        y[n, k, p, q] = b[k] + sum(terms)
    assert np.array_equal(convpp.conv(x, w, b), y)


def test_gradients_are_equations_3_4_5_and_6(rng: np.random.Generator) -> None:
    x, w, dy = layer(rng, (2, 2, 5, 4), (3, 2, 2, 3))
    N, (K, C, R, S), (P, Q) = x.shape[0], w.shape, dy.shape[2:]

    db = np.array([sum(dy[n, k, p, q] for n, p, q in np.ndindex(N, P, Q)) for k in range(K)])

    dw = np.zeros_like(w)
    for k, c, r, s in np.ndindex(K, C, R, S):
        dw[k, c, r, s] = sum(dy[n, k, p, q] * x[n, c, p + r, q + s] for n, p, q in np.ndindex(N, P, Q))

    dx_5, dx_6 = np.zeros_like(x), np.zeros_like(x)
    padded = np.pad(dy, [(0, 0), (0, 0), (R - 1, R - 1), (S - 1, S - 1)])
    for n, c, i, j in np.ndindex(x.shape):
        for k, r, s in np.ndindex(K, R, S):
            if 0 <= i - r < P and 0 <= j - s < Q:
                dx_5[n, c, i, j] += w[k, c, r, s] * dy[n, k, i - r, j - s]
            dx_6[n, c, i, j] += w[k, c, R - 1 - r, S - 1 - s] * padded[n, k, i + r, j + s]

    assert np.array_equal(convpp.conv_bias_grad(dy), db)
    assert np.array_equal(convpp.conv_weight_grad(dy, x, w.shape), dw)
    assert np.array_equal(convpp.conv_input_grad(dy, w, x.shape), dx_5)
    assert np.array_equal(dx_6, dx_5)


def test_one_output_pixel_stamps_its_filter_into_dx(rng: np.random.Generator) -> None:
    w = integers(rng, (5, 3, 3, 3))
    for k, p, q in [(0, 0, 0), (2, 7, 11), (4, 17, 17)]:
        stamp = np.zeros((3, 20, 20), np.float32)
        stamp[:, p : p + 3, q : q + 3] = w[k]
        assert np.array_equal(convpp.conv_input_grad(unit((5, 18, 18), (k, p, q)), w, stamp.shape), stamp)


def test_dx_is_the_sum_of_what_each_filter_gives_alone(rng: np.random.Generator) -> None:
    x, w, dy = layer(rng, (3, 20, 20), (5, 3, 3, 3))
    alone = [convpp.conv_input_grad(dy[k : k + 1], w[k : k + 1], x.shape) for k in range(5)]
    assert np.array_equal(sum(alone), convpp.conv_input_grad(dy, w, x.shape))


def test_each_kernel_of_dw_needs_one_map_and_one_channel(rng: np.random.Generator) -> None:
    x, w, dy = layer(rng, (3, 20, 20), (5, 3, 3, 3))
    dw = convpp.conv_weight_grad(dy, x, w.shape)
    for k, c in np.ndindex(5, 3):
        slides = convpp.conv(x[c : c + 1], dy[k].reshape(1, 1, 18, 18))  # an 18x18 kernel over a 20x20 image
        assert np.array_equal(slides, dw[k, c].reshape(1, 3, 3))


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_example_by_hand(dtype: str) -> None:
    x = np.array([[[1, 2, 0], [0, 1, 2], [3, 0, 1]], [[0, 1, 1], [2, 0, 1], [1, 1, 0]]], dtype)
    w = np.array([[[[1, 2], [0, -1]], [[0, 1], [1, 0]]], [[[-1, 1], [2, 0]], [[1, 0], [-2, 1]]]], dtype)
    b, dy = np.array([-2, 2], dtype), np.array([[[1, 0], [1, -2]], [[0, -1], [2, 0]]], dtype)
    assert convpp.conv(x, w, b).tolist() == [[[5, -1], [1, 4]], [[-1, 4], [10, 1]]]
    dx, dw, db = convpp.conv_backward(dy, x, w)
    assert dx.tolist() == [[[1, 3, -1], [-1, -1, -4], [4, -1, 2]], [[0, 0, 0], [3, 3, -3], [-3, 0, 0]]]
    assert dw[0].tolist() == [[[-1, -1], [3, -1]], [[2, -1], [1, 1]]]
    assert dw[1].tolist() == [[[-2, 2], [5, -2]], [[3, -1], [2, 1]]]
    assert db.tolist() == [0, 1]
    assert convpp.adjoint_kernel(w)[0].tolist() == [[[-1, 0], [2, 1]], [[0, 2], [1, -1]]]
    of_each_map = [convpp.conv_input_grad(dy[k : k + 1], w[k : k + 1], x.shape).tolist() for k in (0, 1)]
    assert of_each_map[0] == [[[1, 2, 0], [1, -1, -4], [0, -1, 2]], [[0, 1, 0], [1, 1, -2], [1, -2, 0]]]
    assert of_each_map[1] == [[[0, 1, -1], [-2, 0, 0], [4, 0, 0]], [[0, -1, 0], [2, 2, -1], [-4, 2, 0]]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_example_of_one_channel(dtype: str) -> None:
    x = np.arange(1, 10, dtype=dtype).reshape(1, 3, 3)
    w = np.array([[[[1, 2], [3, 4]]]], dtype)
    dy = np.array([[[1, 0], [-1, 2]]], dtype)
    assert convpp.conv(x, w).tolist() == [[[37, 47], [67, 77]]]
    assert convpp.adjoint_kernel(w).tolist() == [[[[4, 3], [2, 1]]]]
    assert convpp.conv_input_grad(dy, w, x.shape).tolist() == [[[1, 2, 0], [2, 4, 4], [-3, 2, 8]]]
    assert convpp.conv_weight_grad(dy, x, w.shape).tolist() == [[[[7, 9], [13, 15]]]]
    assert convpp.conv_bias_grad(dy, batched=False).tolist() == [2]


def test_1x1_kernels_multiply_by_a_matrix_and_its_transpose(rng: np.random.Generator) -> None:
    x, w, dy = layer(rng, (4, 6, 7), (9, 4, 1, 1))
    matrix = w[:, :, 0, 0]
    assert np.array_equal(convpp.conv(x, w).reshape(9, 42), matrix @ x.reshape(4, 42))
    assert np.array_equal(convpp.conv_input_grad(dy, w, x.shape).reshape(4, 42), matrix.T @ dy.reshape(9, 42))
    assert np.array_equal(convpp.conv_weight_grad(dy, x, w.shape)[:, :, 0, 0], dy.reshape(9, 42) @ x.reshape(4, 42).T)


# ---------------------------------------------------------------- the adjoint


def test_input_grad_is_the_transpose_of_the_matrix_of_conv(rng: np.random.Generator) -> None:
    x, w, dy = layer(rng, (3, 20, 20), (5, 3, 3, 3))
    pixels = np.eye(1200, dtype=np.float32).reshape(1200, 3, 20, 20)
    matrix = convpp.conv(pixels, w).reshape(1200, 1620).T
    assert np.array_equal(matrix @ x.ravel(), convpp.conv(x, w).ravel())
    assert np.array_equal(matrix.T @ dy.ravel(), convpp.conv_input_grad(dy, w, x.shape).ravel())
    # Block (k, c) of the matrix holds kernel (k, c) and nothing else: its first row is the nine taps.
    blocks = matrix.reshape(5, 324, 3, 400)
    first = blocks[:, 0].reshape(5, 3, 20, 20)
    assert np.array_equal(first[:, :, :3, :3], w)
    assert not first[:, :, 3:].any()
    assert not first[:, :, :, 3:].any()


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_adjointness_in_x_and_in_w(rng: np.random.Generator, geometry: dict[str, Any]) -> None:
    x, w, dy = layer(rng, (2, 4, 11, 12), (8, 4 // geometry.get("groups", 1), 3, 2), "float64", **geometry)
    y = convpp.conv(x, w, **geometry)
    dx = convpp.conv_input_grad(dy, w, x.shape, **geometry)
    dw = convpp.conv_weight_grad(dy, x, w.shape, **geometry)
    assert np.vdot(y, dy) == np.vdot(x, dx) == np.vdot(w, dw)


@pytest.mark.parametrize("step", [1.0, -8.0, 0.25])
def test_difference_quotients_are_exact_for_any_step(rng: np.random.Generator, step: float) -> None:
    geometry: dict[str, Any] = {"stride": 2, "padding": 1}
    x, w, dy = layer(rng, (2, 3, 5, 4), (4, 3, 3, 2), "float64", **geometry)
    b = integers(rng, (4,), "float64")

    def loss(x: Array, w: Array, b: Array) -> float:
        return float(np.vdot(convpp.conv(x, w, b, **geometry), dy))

    gradients = convpp.conv_backward(dy, x, w, **geometry)
    values = (x, w, b)
    for index, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
        quotient = np.empty_like(value)
        for place in np.ndindex(value.shape):
            moved = list(values)
            moved[index] = value + step * unit(value.shape, place, "float64")
            quotient[place] = (loss(*moved) - loss(*values)) / step
        assert np.array_equal(quotient, gradient)


# ---------------------------------------------------------------- three passes, one product


def test_all_three_passes_perform_the_same_products() -> None:
    x, w = np.ones((3, 20, 20), np.float32), np.ones((5, 3, 3, 3), np.float32)
    y = convpp.conv(x, w)
    assert y.sum() == 5 * 3 * 9 * 324 == 43_740
    dy = np.ones_like(y)
    assert convpp.conv_input_grad(dy, w, x.shape).sum() == 43_740
    assert convpp.conv_weight_grad(dy, x, w.shape).sum() == 43_740


def test_each_pass_is_the_matrix_product_of_the_table(rng: np.random.Generator) -> None:
    x, w, dy = layer(rng, (3, 20, 20), (5, 3, 3, 3))

    def patches(image: Array) -> Array:
        """C·R·S taps by P·Q pixels."""
        windows = np.lib.stride_tricks.sliding_window_view(image, (3, 3), axis=(1, 2))
        return windows.transpose(0, 3, 4, 1, 2).reshape(9 * image.shape[0], -1)

    forward = w.reshape(5, 27) @ patches(x)
    assert np.array_equal(convpp.conv(x, w), forward.reshape(5, 18, 18))
    padded = np.pad(dy, [(0, 0), (2, 2), (2, 2)])
    input_grad = convpp.adjoint_kernel(w).reshape(3, 45) @ patches(padded)
    assert np.array_equal(convpp.conv_input_grad(dy, w, x.shape), input_grad.reshape(3, 20, 20))
    weight_grad = dy.reshape(5, 324) @ patches(x).T
    assert np.array_equal(convpp.conv_weight_grad(dy, x, w.shape), weight_grad.reshape(5, 3, 3, 3))
