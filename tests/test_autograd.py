"""Convolutions for HIPS autograd: its own checks of all derivatives, and convpp's gradients, bit by bit."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import MODES, Geometry, draw_geometry, normal, pick

autograd = pytest.importorskip("autograd")

import autograd.numpy as anp  # noqa: E402
from autograd.test_util import check_grads  # noqa: E402

from convpp import autograd as ag  # noqa: E402

BOTH = ["fwd", "rev"]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """autograd's checks draw from NumPy's global generator."""
    np.random.seed(7)  # noqa: NPY002


def check(function: Any, order: int, *arrays: Any) -> None:
    """By all arrays, which autograd leaves to whoever calls: its check is by the first one."""
    check_grads(function, tuple(range(len(arrays))), BOTH, order)(*arrays)


def small(rng: np.random.Generator) -> Geometry:
    return draw_geometry(rng, min_macs=20, max_macs=3000)


def options_of(geometry: Geometry, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation,
        "groups": geometry.groups, "flip": geometry.flip, "padding_mode": pick(rng, ("zeros", "zeros", *MODES)),
        "layout": pick(rng, ("channels_first", "channels_last")),
    }  # fmt: skip


def layer_arrays(geometry: Geometry, options: dict[str, Any], rng: np.random.Generator) -> tuple[Any, Any]:
    lead = () if geometry.n is None else (geometry.n,)
    last = options["layout"] == "channels_last"
    sample = (*geometry.spatial, geometry.c) if last else (geometry.c, *geometry.spatial)
    w = normal(rng, (geometry.k, geometry.c // geometry.groups, *geometry.kernel))
    return normal(rng, (*lead, *sample)), w


def names_of(function: Any) -> list[tuple[str, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [
        (p.name, p.default) for p in parameters if p.name != "state"
    ]  # chunks: autograd.numpy.concatenate joins them


@pytest.mark.parametrize("name", ag.__all__)
def test_signatures_are_those_of_the_package(name: str) -> None:
    assert repr(names_of(getattr(ag, name))) == repr(names_of(getattr(convpp, name)))


@pytest.mark.parametrize("seed", range(30))
def test_conv(seed: int) -> None:
    """Of x, w, bias and what is added, mixed, twice, in both modes."""
    rng = np.random.default_rng(seed)
    geometry = small(rng)
    options = options_of(geometry, rng)
    x, w = layer_arrays(geometry, options, rng)
    try:
        y = convpp.conv(x, w, **options)
    except convpp.ShapeError:  # nothing to pad with
        options["padding_mode"] = "zeros"
        y = convpp.conv(x, w, **options)
    bias, add = normal(rng, (geometry.k,)), normal(rng, y.shape)
    check(lambda *arrays: ag.conv(*arrays, **options), 2, x, w)
    check(lambda x, w, b, r: ag.conv(x, w, b, add=r, **options) ** 2, 1, x, w, bias, add)


@pytest.mark.parametrize("seed", range(20))
def test_conv_transpose(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    geometry = small(rng)
    options = options_of(geometry, rng)
    options["padding"], options["padding_mode"] = pick(rng, (0, 1, "same")), "zeros"
    _, w = layer_arrays(geometry, options, rng)
    w = np.ascontiguousarray(w)
    channels, spatial = geometry.k, tuple(int(rng.integers(3, 6)) for _ in geometry.kernel)
    sample = (*spatial, channels) if options["layout"] == "channels_last" else (channels, *spatial)
    x = normal(rng, (2, *sample))
    options["output_padding"] = int(np.max(geometry.stride) > 1 and rng.integers(2))
    try:
        y = convpp.conv_transpose(x, w, **options)
    except ValueError:
        options |= {"output_padding": 0, "padding": 0}
        y = convpp.conv_transpose(x, w, **options)
    bias = normal(rng, (y.shape[-1 if options["layout"] == "channels_last" else 1],))
    check(lambda *arrays: ag.conv_transpose(*arrays, **options), 2, x, w)
    check(lambda *arrays: ag.conv_transpose(*arrays, **options) ** 2, 1, x, w, bias)


@pytest.mark.parametrize("transposed", [False, True])
def test_per_sample(transposed: bool, rng: np.random.Generator) -> None:
    function = ag.conv_transpose if transposed else ag.conv
    x, w, bias = normal(rng, (3, 4, 6)), normal(rng, (3, 4, 4, 3)), normal(rng, (4,))
    check(lambda *arrays: function(*arrays, per_sample=True, padding=1), 2, x, w, bias)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", ("leaky_relu", -0.5), "silu", "gelu", ("clip", -1, 1)])
def test_activations(activation: Any, rng: np.random.Generator) -> None:
    x, w = normal(rng, (2, 2, 5)), normal(rng, (3, 2, 3))
    check(lambda *arrays: ag.conv(*arrays, activation=activation), 2, x, w)
    want = convpp.conv(x, w, activation=activation)
    got = autograd.make_vjp(lambda x: ag.conv(x, w, activation=activation), 0)(x)[1]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transposed", [False, True])
def test_gradients_are_those_of_the_package(dtype: str, transposed: bool, rng: np.random.Generator) -> None:
    """Bit by bit, in the type of each operand, and so are the derivatives of the gradients."""
    x, w, bias = (normal(rng, s, dtype) for s in ((2, 4, 7, 8), (4, 4, 3, 3), (4,)))
    options = {"stride": 2, "padding": 1}
    function = ag.conv_transpose if transposed else ag.conv
    backward = convpp.conv_transpose_backward if transposed else convpp.conv_backward
    vjp, y = autograd.make_vjp(lambda args: function(*args, **options), 0)((x, w, bias))
    dy = normal(rng, y.shape, dtype)
    for got, want in zip(vjp(dy), backward(dy, x, w, **options), strict=True):
        np.testing.assert_array_equal(got, want, strict=True)
    jvp = convpp.conv_transpose_jvp if transposed else convpp.conv_jvp
    tangents = tuple(normal(rng, a.shape, dtype) for a in (x, w, bias))
    _, y_dot = autograd.make_jvp(lambda args: function(*args, **options), 0)((x, w, bias))(tangents)
    want = jvp((x, w, bias), tangents, **options)[1]
    assert y_dot.dtype == np.dtype(dtype)
    np.testing.assert_allclose(y_dot, want, atol=1e3 * np.finfo(dtype).eps)


def test_mixed_types_keep_theirs(rng: np.random.Generator) -> None:
    x, w = normal(rng, (1, 2, 8), "float32"), normal(rng, (3, 2, 3))
    dx, dw = autograd.grad(lambda args: anp.sum(ag.conv(*args)))((x, w))
    assert (dx.dtype, dw.dtype) == (np.float32, np.float64)


def test_third_order(rng: np.random.Generator) -> None:
    """sum(conv(x, w)**3): by x, three times, along one direction."""
    x, w, v = normal(rng, (1, 1, 6)), normal(rng, (1, 1, 3)), normal(rng, (1, 1, 6))

    def along(t: Any) -> Any:
        return anp.sum(ag.conv(x + t * v, w) ** 3)

    third = autograd.grad(autograd.grad(autograd.grad(along)))(0.3)
    np.testing.assert_allclose(third, 6 * np.sum(convpp.conv(v, w) ** 3))


def test_hessian_of_least_squares(rng: np.random.Generator) -> None:
    """|conv(x, w) - y|^2 / 2 has the Hessian A^T A in w."""
    x, w = normal(rng, (2, 2, 9)), normal(rng, (1, 2, 3))
    hessian = autograd.hessian(lambda w: anp.sum((ag.conv(x, w) - 1.0) ** 2) / 2)(w).reshape(6, 6)
    a = np.stack([convpp.conv(x, e.reshape(w.shape)).ravel() for e in np.eye(6)], axis=1)
    np.testing.assert_allclose(hessian, a.T @ a)


PLAIN: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((9,), (3,), {}),
    ((9,), (4,), {"mode": "same", "boundary": 2.5}),
    ((9,), (4,), {"mode": "valid", "stride": 2}),
    ((9,), (4,), {"mode": "causal", "boundary": 1.5, "dilation": 2}),
    ((6, 7), (2, 3), {"mode": "same", "boundary": ("reflect", "circular"), "origin": (0, 1)}),
    ((6, 7, 2), (2, 3), {"axes": (0, 1), "dilation": 2}),
    ((2, 6, 7), (2, 3, 1), {"axes": (1, 2), "boundary": "symmetric", "mode": "same"}),
    ((6, 7), (9, 7), {"mode": "same", "boundary": "replicate", "method": "fft"}),
    ((1, 6), (3, 2), {"axes": 1}),
    ((3, 6), (1, 2), {"axes": 1}),
    ((3, 4, 3, 4), (2, 2, 2, 2), {"mode": "full"}),
]


@pytest.mark.parametrize("function", [ag.convolve, ag.correlate])
@pytest.mark.parametrize("kinds", ["rr", "cr", "rc", "cc"])
@pytest.mark.parametrize(("shape", "kernel", "options"), PLAIN)
def test_plain(
    function: Any, kinds: str, shape: Any, kernel: Any, options: dict[str, Any], rng: np.random.Generator
) -> None:
    a, k = (
        normal(rng, s) + (1j * normal(rng, s) if kind == "c" else 0)
        for s, kind in zip((shape, kernel), kinds, strict=True)
    )
    original = getattr(convpp, function.__name__)
    value = autograd.make_vjp(lambda a: function(a, k, **options), 0)(a)[1]
    np.testing.assert_array_equal(value, original(a, k, **options), strict=True)
    check(lambda *arrays: function(*arrays, **options), 2, a, k)
    check(lambda k: function(a.real, k, **options) ** 2, 1, k)


@pytest.mark.parametrize("function", [ag.convolve, ag.correlate])
def test_several_kernels_and_a_type(function: Any, rng: np.random.Generator) -> None:
    a, kernels = normal(rng, (4, 7)), normal(rng, (3, 3))
    check(lambda a, k: function(a, kernels=k, mode="same"), 2, a, kernels)
    single = a.astype(np.float32)
    vjp, y = autograd.make_vjp(lambda a: function(a, kernels=kernels.astype(np.float32), dtype=np.float64), 0)(single)
    assert y.dtype == np.float64
    assert vjp(y).dtype == np.float32


def test_separable(rng: np.random.Generator) -> None:
    """A list of lines is differentiated by each, and so is a kernel that is their product."""
    a, lines = normal(rng, (7, 8)), (normal(rng, (3,)), normal(rng, (4,)))
    check(lambda a, *k: ag.convolve(a, list(k), method="separable"), 2, a, *lines)
    dy = normal(rng, (9, 11))
    got = autograd.make_vjp(lambda k: ag.convolve(a, k, method="separable"), 0)(lines)[0](dy)
    want = convpp.convolve_backward(dy, a, list(lines), method="separable", needs="kernel")[1]
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs)
    outer = lines[0][:, None] * lines[1]
    check(lambda a: ag.convolve(a, outer, method="separable"), 2, a)
    dk = autograd.make_vjp(lambda k: ag.convolve(a, k, method="separable"), 0)(outer)[0](dy)
    np.testing.assert_allclose(dk, convpp.convolve_backward(dy, a, outer, needs="kernel")[1])
    other = normal(rng, (3, 4))  # a direction that is no such product
    y_dot = autograd.make_jvp(lambda k: ag.convolve(a, k, method="separable"), 0)(outer)(other)[1]
    np.testing.assert_allclose(y_dot, convpp.convolve(a, other), atol=1e-12)


MISSING: list[dict[str, Any]] = [
    {"mode": "same", "boundary": "zeros"},
    {"mode": "same", "boundary": np.nan},
    {"mode": "same", "boundary": 1.5, "min_weight": 0.5, "fill_value": 0.0},
    {"mode": "full", "boundary": ("reflect", "circular")},
    {"mode": "valid", "min_weight": 0.7, "fill_value": 2.0, "stride": 2},
]


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("function", [ag.convolve, ag.correlate])
@pytest.mark.parametrize("options", MISSING)
def test_missing(function: Any, options: dict[str, Any], signs: bool, rng: np.random.Generator) -> None:
    a, k = normal(rng, (6, 7)), rng.random((3, 3)) + 0.2
    if signs:
        k[1, 2] *= -0.3
    mask = rng.random(a.shape) < 0.2
    mask[:3, :3] = True  # nothing is seen there
    holes = a.copy()
    holes[4, 3:5] = np.nan
    original = getattr(convpp, function.__name__)
    for given in ({"mask": mask, "nan": "ignore"}, {"nan": "ignore"}):
        call = {**options, **given}
        want = original(holes, k, **call)
        y = autograd.make_vjp(lambda k, call=call: function(holes, k, **call), 0)(k)[1]
        np.testing.assert_allclose(y, want, rtol=1e-12, strict=True)
        seen = ~np.isnan(want)

        def there(a: Any, k: Any, call: Any = call, seen: Any = seen) -> Any:
            return function(anp.where(np.isnan(holes), np.nan, a), k, **call)[seen]

        check(there, 2, a, k)
        dy = np.where(seen, normal(rng, want.shape), 0)
        da, dk = autograd.make_vjp(lambda args, call=call: function(*args, **call), 0)((holes, k))[0](dy)
        flip = function is ag.convolve
        want_a, want_k = convpp.convolve_backward(dy, holes, k, flip=flip, **call)
        np.testing.assert_allclose(da, want_a, atol=1e-12)
        np.testing.assert_allclose(dk, want_k, atol=1e-12)


def test_what_is_not_traced_is_computed_as_ever(rng: np.random.Generator) -> None:
    x, w, out = normal(rng, (1, 2, 8)), normal(rng, (3, 2, 3)), np.empty((1, 3, 6))
    assert ag.conv(x, convpp.prepare_weights(w, x.shape), out=out) is out
    masked = np.ma.masked_greater(x[0], 0.5)
    assert isinstance(ag.convolve(masked, [1.0, 1.0]), np.ma.MaskedArray)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda x, w: ag.conv(x, w, out=np.ones((1, 3, 6))), ValueError, "out is given"),
        (lambda x, w: ag.conv(x, convpp.prepare_weights(np.ones((3, 2, 3)), (1, 2, 8))), TypeError, "PreparedWeights"),
        (lambda x, w: ag.conv(x, w, stride=0), ValueError, "stride is 0"),
        (lambda x, w: ag.conv(x, w, threads=0), ValueError, "threads is 0"),
        (lambda x, w: ag.conv(x, w, activation="swish"), ValueError, "silu"),
        (lambda x, w: ag.conv(x, [[[1, 2]]]), convpp.DTypeError, "w has dtype int"),
        (lambda x, w: ag.conv(x, w[:, :1]), convpp.ShapeError, "C = 2"),
        (lambda x, w: ag.conv_transpose(x, w), convpp.ShapeError, "3 channels"),
        (lambda x, w: ag.convolve(x), ValueError, "not given"),
        (lambda x, w: ag.convolve(x, w, kernels=w), ValueError, "both given"),
        (lambda x, w: ag.convolve(x, w, out=np.ones(3)), ValueError, "out is given"),
        (lambda x, w: ag.convolve(np.ma.masked_equal([1.0, 2.0], 1.0), w[0, 0]), convpp.DTypeError, "a.data"),
        (lambda x, w: ag.convolve(x, [w, w], method="separable"), convpp.ShapeError, "1-D"),
        (lambda x, w: ag.convolve(x, [1.0, -1.0] * w[0, 0, 0], nan="ignore"), ValueError, "sums to 0"),
        (lambda x, w: ag.convolve(x, w, mode="some"), ValueError, "mode is 'some'"),
    ],
)
def test_errors(call: Any, error: type[Exception], said: str, rng: np.random.Generator) -> None:
    x, w = normal(rng, (1, 2, 8)), normal(rng, (3, 2, 3))
    with pytest.raises(error, match=said):
        autograd.grad(lambda args: anp.sum(call(*args)))((x, w))
