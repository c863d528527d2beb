"""The references against sums done by hand and by NumPy; `adjoint_test` against right and wrong adjoints."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from convpp import ShapeError
from convpp.testing import (
    adjoint_test,
    reference_conv,
    reference_input_grad,
    reference_weight_grad,
)

ROW = np.array([[[1.0, 2.0, 3.0, 4.0]]])  # x: one sample, one channel, four numbers


# --------------------------------------------------------------------------------- by hand, 1-D


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, [1 - 3, 2 - 4]),
        ({"flip": True}, [3 - 1, 4 - 2]),
        ({"stride": 2}, [1 - 3]),
        ({"padding": 1}, [0 - 2, 1 - 3, 2 - 4, 3 - 0]),
        ({"padding": [(2, 0)]}, [0 - 1, 0 - 2, 1 - 3, 2 - 4]),
        ({"padding": "causal"}, [0 - 1, 0 - 2, 1 - 3, 2 - 4]),
        ({"padding": "full"}, [0 - 1, 0 - 2, 1 - 3, 2 - 4, 3 - 0, 4 - 0]),
        ({"padding": "valid"}, [1 - 3, 2 - 4]),
        ({"padding": "same"}, [0 - 2, 1 - 3, 2 - 4, 3 - 0]),
        ({"padding": "same", "stride": 2}, [1 - 3, 3 - 0]),  # one zero, behind
        ({"padding": "same_lower", "stride": 2}, [0 - 2, 2 - 4]),  # one zero, in front
        ({"padding": [(-1, 1)]}, [2 - 4, 3 - 0]),
        ({"padding": 2, "dilation": 2}, [0 - 3, 0 - 4, 1 - 0, 2 - 0]),
        ({"padding": 3, "stride": 3}, [0 - 0, 1 - 3, 4 - 0]),
    ],
    ids=str,
)
def test_one_row_by_hand(arguments: dict[str, Any], expected: list[float]) -> None:
    w = [[[1.0, 0.0, -1.0]]]
    np.testing.assert_array_equal(reference_conv(ROW, w, **arguments), [[expected]])


def test_gradients_by_hand() -> None:
    dy, w = [[[1.0, 10.0]]], [[[1.0, 2.0, 3.0]]]
    dx = reference_input_grad(dy, w, ROW.shape)
    np.testing.assert_array_equal(dx, [[[1, 2 + 10, 3 + 20, 30]]])
    dw = reference_weight_grad(dy, ROW, (1, 1, 3))
    np.testing.assert_array_equal(dw, [[[1 + 20, 2 + 30, 3 + 40]]])
    np.testing.assert_array_equal(reference_weight_grad(dy, ROW, (1, 1, 3), flip=True), dw[..., ::-1])


def test_input_that_no_output_reads_has_gradient_zero() -> None:
    dx = reference_input_grad([[[5.0, 7.0]]], [[[1.0]]], (1, 1, 6), stride=3)
    np.testing.assert_array_equal(dx, [[[5, 0, 0, 7, 0, 0]]])


def test_channels_groups_and_bias_by_hand() -> None:
    x = np.array([[[1.0], [2.0], [3.0], [4.0]]])  # four channels of one pixel
    w = np.array([[1.0, 10.0], [1.0, 1.0], [2.0, 0.0], [0.0, 5.0]])[:, :, None]
    y = reference_conv(x, w, [100.0, 0.0, 0.0, 1.0], groups=2)
    np.testing.assert_array_equal(y[0, :, 0], [100 + 1 + 20, 1 + 2, 2 * 3, 1 + 5 * 4])


# ------------------------------------------------------------------------ against NumPy, and loops


def test_matches_numpys_correlate_and_convolve(rng: np.random.Generator) -> None:
    for n, k in ((9, 4), (4, 4), (7, 1), (12, 5)):
        a, v = rng.integers(-9, 10, n).astype(float), rng.integers(-9, 10, k).astype(float)
        x, w = a[None, None], v[None, None]
        for padding in ("valid", "full"):
            y = reference_conv(x, w, padding=padding)[0, 0]
            np.testing.assert_array_equal(y, np.correlate(a, v, padding))  # type: ignore[arg-type]
            y = reference_conv(x, w, padding=padding, flip=True)[0, 0]
            np.testing.assert_array_equal(y, np.convolve(a, v, padding))  # type: ignore[arg-type]


def plain_loops(x: Any, w: Any, stride: Any, pads: Any, dilation: Any, groups: int) -> Any:
    """A two-dimensional convolution with nothing but scalar loops over an array padded with zeros."""
    (n, _, *_), (k, cg, r, s) = x.shape, w.shape
    padded = np.pad(x, ((0, 0), (0, 0), *pads))
    out = [
        (e - d * (t - 1) - 1) // st + 1 for e, t, st, d in zip(padded.shape[2:], (r, s), stride, dilation, strict=True)
    ]
    y = np.zeros((n, k, *out))
    for i, f, p, q, c, a, b in itertools.product(*map(range, (n, k, *out, cg, r, s))):
        channel = f // (k // groups) * cg + c
        y[i, f, p, q] += (
            w[f, c, a, b] * padded[i, channel, p * stride[0] + a * dilation[0], q * stride[1] + b * dilation[1]]
        )
    return y


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize(
    ("stride", "pads", "dilation", "groups"),
    [
        ((1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((2, 1), ((1, 2), (0, 3)), (1, 2), 1),
        ((3, 2), ((4, 0), (2, 2)), (2, 1), 2),
    ],
)
def test_matches_plain_loops(
    rng: np.random.Generator, layout: str, stride: Any, pads: Any, dilation: Any, groups: int
) -> None:
    x = rng.integers(-4, 5, (2, 2 * groups, 6, 5)).astype(float)
    w = rng.integers(-4, 5, (2 * groups, 2, 3, 2)).astype(float)
    expected = plain_loops(x, w, stride, pads, dilation, groups)
    if layout == "channels_last":
        x, expected = np.moveaxis(x, 1, -1), np.moveaxis(expected, 1, -1)
    options: Any = {
        "stride": stride,
        "padding": pads,
        "dilation": dilation,
        "groups": groups,
        "layout": layout,
    }
    y = reference_conv(x, w, **options)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(reference_conv(x[0], w, **options), expected[0])


def random_geometry(rng: np.random.Generator) -> tuple[Any, Any, dict[str, Any]]:
    rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    x_shape = (int(rng.integers(0, 3)), 2 * groups, *rng.integers(4, 8, rank).tolist())
    w_shape = (3 * groups, 2, *rng.integers(1, 4, rank).tolist())
    options = {
        "stride": rng.integers(1, 4, rank).tolist(),
        "padding": rng.integers(-1, 4, (rank, 2)).tolist(),
        "dilation": rng.integers(1, 3, rank).tolist(),
        "groups": groups,
        "flip": bool(rng.integers(2)),
    }
    if rng.integers(2):
        options["layout"] = "channels_last"
        x_shape = (x_shape[0], *x_shape[2:], x_shape[1])
    return x_shape, w_shape, options


def test_the_three_passes_are_one_trilinear_form(rng: np.random.Generator) -> None:
    """``sum(dy * conv(x, w)) == sum(dx * x) == sum(dw * w)``, exactly, for integers."""
    checked = 0
    while checked < 200:
        x_shape, w_shape, options = random_geometry(rng)
        x, w = rng.integers(-4, 5, x_shape), rng.integers(-4, 5, w_shape)
        try:
            y = reference_conv(x, w, **options)
        except ShapeError:
            continue
        dy = rng.integers(-4, 5, y.shape)
        dx = reference_input_grad(dy, w, x_shape, **options)
        dw = reference_weight_grad(dy, x, w_shape, **options)
        assert y.dtype == dx.dtype == dw.dtype == np.float64
        assert (dx.shape, dw.shape) == (x_shape, w_shape)
        assert np.sum(dy * y) == np.sum(dx * x) == np.sum(dw * w)
        checked += 1


# ----------------------------------------------------------------------------------- edges, errors


def test_padding_makes_no_nan() -> None:
    x = np.ones((1, 1, 3))
    w = [[[np.inf, 1.0, np.nan]]]
    np.testing.assert_array_equal(reference_conv(x, w, padding=1), [[[np.nan, np.nan, np.inf]]])
    np.testing.assert_array_equal(reference_conv(x, w, padding=[(0, 2)])[..., -1], [[np.inf]])
    dw = reference_weight_grad([[[np.nan, 1.0, 1.0]]], x, (1, 1, 3), padding=1)
    np.testing.assert_array_equal(dw, [[[2.0, np.nan, np.nan]]])
    dx = reference_input_grad([[[1.0, np.inf, 1.0]]], [[[1.0, 1.0, 1.0]]], (1, 1, 3), padding=[(2, 0)])
    np.testing.assert_array_equal(dx, [[[np.inf, np.inf, 1.0]]])


def test_empty_arrays() -> None:
    w = np.ones((4, 2, 3))
    assert reference_conv(np.ones((0, 2, 5)), w).shape == (0, 4, 3)
    np.testing.assert_array_equal(reference_weight_grad(np.ones((0, 4, 3)), np.ones((0, 2, 5)), w.shape), 0 * w)
    y = reference_conv(np.ones((2, 0, 5)), np.ones((4, 0, 3)), [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(y, np.broadcast_to(np.arange(1.0, 5.0)[:, None], (2, 4, 3)))
    assert reference_conv(np.ones((2, 2, 5)), np.ones((0, 2, 3))).shape == (2, 0, 3)
    assert not reference_input_grad(np.ones((2, 0, 3)), np.ones((0, 2, 3)), (2, 2, 5)).any()


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "error", "message"),
    [
        ((1, 1, 3), (1, 1, 5), {}, ShapeError, "longer than the padded input"),
        ((1, 1, 9), (1, 1, 0), {}, ShapeError, "kernel extent"),
        ((1, 3, 9), (1, 2, 3), {}, ShapeError, "3 channels"),
        ((1, 4, 9), (3, 2, 3), {"groups": 2}, ShapeError, "groups=2"),
        ((9,), (1, 1, 3), {}, ShapeError, "x must have 3 axes"),
        ((9, 9), (1, 1), {}, ShapeError, "w must have"),
        ((1, 1, 9), (1, 1, 3), {"padding": (1, 2)}, ShapeError, "padding"),
        ((1, 1, 9), (1, 1, 3), {"stride": (1, 2)}, ShapeError, "stride"),
        ((1, 1, 9), (1, 1, 3), {"stride": 0}, ValueError, "stride"),
        ((1, 1, 9), (1, 1, 3), {"padding": "some"}, ValueError, "'some'"),
        ((1, 1, 9), (1, 1, 3), {"layout": "NCHW"}, ValueError, "'NCHW'"),
        ((1, 1, 9), (1, 1, 3), {"padding_mode": "mirror"}, ValueError, "'mirror'"),
    ],
)
def test_reference_errors(
    x_shape: Any, w_shape: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        reference_conv(np.ones(x_shape), np.ones(w_shape), **options)


def test_reference_wants_dy_and_bias_of_the_right_shape() -> None:
    w = np.ones((2, 1, 3))
    for dy in (np.ones((1, 2, 3)), np.ones((2, 2)), np.ones((1, 1, 2))):
        with pytest.raises(ShapeError, match=r"dy .*expected \(1, 2, 2\)"):
            reference_input_grad(dy, w, (1, 1, 4))
        with pytest.raises(ShapeError, match=r"dy .*expected \(1, 2, 2\)"):
            reference_weight_grad(dy, ROW, w.shape)
    with pytest.raises(ShapeError, match="bias"):
        reference_conv(ROW, w, [1.0])


def test_the_references_do_not_need_the_compiled_core() -> None:
    program = (
        "import sys, types, importlib.util, pathlib\n"
        "spec = importlib.util.find_spec('convpp')\n"
        "package = types.ModuleType('convpp')\n"  # the package without running its __init__
        "package.__path__ = list(spec.submodule_search_locations)\n"
        "sys.modules['convpp'] = package\n"
        "import convpp.testing\n"
        "assert convpp.testing.reference_conv([[[1.0, 2.0]]], [[[3.0]]]).tolist() == [[[3.0, 6.0]]]\n"
        "assert 'convpp._core' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# ------------------------------------------------------------------------------------ adjoint_test


def test_adjoint_test(rng: np.random.Generator) -> None:
    a, x, y = rng.standard_normal((3, 4)), rng.standard_normal(4), rng.standard_normal(3)
    assert adjoint_test(lambda v: a @ v, lambda v: a.T @ v, x, y) is True
    almost = a.T.copy()
    almost[1, 1] += 1e-9
    with pytest.raises(AssertionError, match="differ by"):
        adjoint_test(lambda v: a @ v, lambda v: almost @ v, x, y)
    assert adjoint_test(lambda v: a @ v, lambda v: almost @ v, x, y, rtol=1e-6)
    with pytest.raises(AssertionError, match="shape"):
        adjoint_test(lambda v: a @ v, lambda v: np.ones(3), x, y)
    with pytest.raises(AssertionError, match="nan"):
        adjoint_test(lambda v: a @ v * np.nan, lambda v: a.T @ v, x, y)


def test_adjoint_test_of_the_references(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((2, 3, 7)), rng.standard_normal((4, 3, 3))
    dy = rng.standard_normal((2, 4, 4))
    options: Any = {"stride": 2, "padding": 1}
    adjoint_test(
        lambda v: reference_conv(v, w, **options),
        lambda v: reference_input_grad(v, w, x.shape, **options),
        x,
        dy,
    )
    adjoint_test(
        lambda v: reference_conv(x, v, **options),
        lambda v: reference_weight_grad(v, x, w.shape, **options),
        w,
        dy,
    )
    with pytest.raises(AssertionError):  # another stride has another adjoint
        adjoint_test(
            lambda v: reference_conv(v, w, padding=1),
            lambda v: reference_input_grad(v, w, x.shape, padding=[(0, 2)]),
            x,
            rng.standard_normal((2, 4, 7)),
        )
