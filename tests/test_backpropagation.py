"""Every claim of docs/backpropagation.md, section by section, on whole numbers and without any tolerance.

In: nothing but convpp and plain loops that repeat the page's equations.  The page's own blocks of code are
run by test_docs.py; here the same claims are tried on further ranks, dtypes, batches and geometries.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convpp

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

DTYPES = ("float32", "float64")
#: x shape, w shape: the worked example, a batch of it, and each rank with extents that differ by axis.
LAYERS = [
    ((3, 20, 20), (5, 3, 3, 3)),
    ((2, 3, 20, 20), (5, 3, 3, 3)),
    ((2, 4, 17), (6, 4, 5)),
    ((2, 2, 9, 12), (3, 2, 2, 5)),
    ((1, 2, 5, 6, 7), (3, 2, 3, 1, 2)),
]


def integers(rng: np.random.Generator, shape: Sequence[int], dtype: str = "float32") -> Array:
    """Whole numbers so small that every sum below is exact in float32."""
    return rng.integers(-4, 5, tuple(shape)).astype(dtype)


def layer(
    rng: np.random.Generator, x_shape: Shape, w_shape: Shape, dtype: str = "float32", **geometry: Any
) -> tuple[Array, Array, Array]:
    """x, w and a dy of the right shape."""
    y_shape = convpp.conv_output_shape(x_shape, w_shape, **geometry)
    return (
        integers(rng, x_shape, dtype),
        integers(rng, w_shape, dtype),
        integers(rng, y_shape, dtype),
    )


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


GEOMETRIES: list[dict[str, Any]] = [
    {},
    {"padding": "same"},
    {"stride": 2, "padding": [(0, 2), (3, -1)]},
    {"stride": (1, 3), "dilation": (2, 1), "padding": 1},
    {"stride": 2, "dilation": 2, "flip": True},
    {"groups": 2, "stride": (2, 1)},
    {"groups": 4, "padding": "causal"},
]


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
