"""Activations and residuals: fused into a pass they are what they are afterwards, bit for bit; derivatives.

A fused pass must equal ``activate(pass + add)`` for every way of computing it, so the sums are checked elsewhere and
the activations here, on whole arrays, against their equations in float64 or exact values.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import convpp
from convpp.errors import DTypeError, ShapeError
from geometry import (
    LAYOUTS,
    Array,
    Geometry,
    assert_exact,
    assert_same_bits,
    draw_geometry,
    failures_name,
    in_layout,
    nan_out,
    normal,
)
from layer_kinds import draw_layer

ACTIVATIONS = ("relu", "leaky_relu", ("leaky_relu", -0.5), "silu", "gelu", ("clip", -0.5, 1.0), None)
DTYPES = ("float32", "float64")

erf = np.vectorize(math.erf, otypes=["float64"])


def oracle(z: Array, activation: Any) -> Array:
    """The equations, in float64."""
    z = z.astype("float64")
    name, *numbers = (activation,) if isinstance(activation, str) else activation or (None,)
    with np.errstate(over="ignore"):
        return {
            None: lambda: z,
            "relu": lambda: np.maximum(z, 0),
            "leaky_relu": lambda: np.where(z >= 0, z, z * (numbers or [0.01])[0]),
            "clip": lambda: np.clip(z, *numbers),
            "silu": lambda: z / (1 + np.exp(-z)),
            "gelu": lambda: z * np.vectorize(math.erfc)(-z / math.sqrt(2)) / 2,
        }[name]()


def derivative(z: Array, activation: Any) -> Array:
    z = z.astype("float64")
    name, *numbers = (activation,) if isinstance(activation, str) else activation or (None,)
    with np.errstate(over="ignore"):
        sigmoid = 1 / (1 + np.exp(-z))
    return {
        None: lambda: np.ones_like(z),
        "relu": lambda: np.where(z > 0, 1.0, 0.0),
        "leaky_relu": lambda: np.where(z > 0, 1.0, (numbers or [0.01])[0]),
        "clip": lambda: np.where((z > numbers[0]) & (z < numbers[1]), 1.0, 0.0) if numbers else z,
        "silu": lambda: sigmoid * (1 + z * (1 - sigmoid)),
        "gelu": lambda: (1 + erf(z / math.sqrt(2))) / 2 + z * np.exp(-z * z / 2) / math.sqrt(2 * math.pi),
    }[name]()


# ---------------------------------------------------------------- whole arrays


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_activate_is_its_equation(activation: Any, dtype: str) -> None:
    rng = np.random.default_rng(1)
    scales = np.exp(rng.uniform(-12, 5, 20_000))
    z = np.concatenate([rng.standard_normal(20_000) * scales, np.linspace(-45, 45, 9001), [0.0, -0.0]]).astype(dtype)
    got, want = convpp.activate(z, activation), oracle(z, activation)
    assert got.dtype == z.dtype
    if activation in ("silu", "gelu"):
        eps = float(np.finfo(dtype).eps)
        tiny = float(np.finfo(dtype).tiny)
        # The second term is the oracle's own: in gelu's tail the rounding of z / sqrt(2) is magnified by z^2.
        bound = np.abs(want) * (6 * eps + np.finfo("float64").eps * z.astype("float64") ** 2) + 4 * tiny
        assert np.all(np.abs(got - want) <= bound), float(np.max(np.abs(got - want) / bound))
    elif isinstance(activation, tuple) or activation == "leaky_relu":
        assert_exact(got, want.astype(dtype)) if activation != "leaky_relu" else np.testing.assert_allclose(
            got, want, rtol=2 * np.finfo(dtype).eps
        )
    else:
        assert_exact(got, want.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_ends(dtype: str) -> None:
    huge = np.finfo(dtype).max
    z = np.array([-np.inf, -huge, -1e4, 1e4, huge, np.inf, np.nan], dtype)
    for activation, want in (
        ("relu", [0, 0, 0, 1e4, huge, np.inf, np.nan]),
        (("clip", -1, 2), [-1, -1, -1, 2, 2, 2, np.nan]),
        ("silu", [0, 0, 0, 1e4, huge, np.inf, np.nan]),
        ("gelu", [0, 0, 0, 1e4, huge, np.inf, np.nan]),
    ):
        assert_exact(convpp.activate(z, activation), np.array(want, dtype))
    ones = np.ones(6, dtype)
    for name in ("silu", "gelu"):
        assert_exact(convpp.activation_grad(ones, name, z=z[:6]), np.array([0, 0, 0, 1, 1, 1], dtype))
        assert np.isnan(convpp.activation_grad(ones[:1], name, z=z[6:]))[0]
    infinite = np.array([np.inf, np.inf], dtype)
    assert_exact(convpp.activation_grad(infinite, "relu", y=np.array([0, 1], dtype)), np.array([0, np.inf], dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
def test_derivatives(activation: Any, dtype: str) -> None:
    rng = np.random.default_rng(2)
    z = np.concatenate([rng.standard_normal(5000) * 3, np.linspace(-9, 9, 1801), [0.0, -0.5, 1.0]]).astype(dtype)
    dy = rng.standard_normal(z.size).astype(dtype)
    got = convpp.activation_grad(dy, activation, z=z)
    want = dy * derivative(z, activation)
    np.testing.assert_allclose(got, want, rtol=0, atol=12 * np.finfo(dtype).eps * np.abs(dy).max())
    if activation not in ("silu", "gelu", ("leaky_relu", -0.5)):
        assert_same_bits(convpp.activation_grad(dy, activation, y=convpp.activate(z, activation)), got)
    else:
        with pytest.raises(ValueError, match=r"z is None, expected what the activation was applied to"):
            convpp.activation_grad(dy, activation, y=z)


def test_every_count_and_thread_has_the_same_bits() -> None:
    rng = np.random.default_rng(3)
    z = rng.standard_normal(300_000).astype("float32")
    for activation in ACTIVATIONS:
        whole = convpp.activate(z, activation)
        assert_same_bits(convpp.activate(z, activation, threads=1), whole)
        for count in range(1, 70):
            assert_same_bits(convpp.activate(z[:count], activation), whole[:count])


def test_out_may_be_the_input() -> None:
    z = np.random.default_rng(4).standard_normal((3, 50))
    want = convpp.activate(z, "gelu")
    out = z.copy()
    assert convpp.activate(out, "gelu", out=out) is out
    assert_same_bits(out, want)
    buffer = np.zeros(200)
    buffer[:150] = z.ravel()
    convpp.activate(buffer[:150], "gelu", out=buffer[7:157])  # overlaps
    assert_same_bits(buffer[7:157], want.ravel())
    dy = np.ones((3, 50))
    slope = convpp.activation_grad(dy, "relu", y=want)
    assert convpp.activation_grad(dy, "relu", y=want, out=dy) is dy
    assert_same_bits(dy, slope)


# ---------------------------------------------------------------- fused


def check_fused(g: Geometry, layout: str, rng: np.random.Generator, algorithm: str = "auto") -> None:
    """Forward, and the transposed convolution, with an activation and a residual or one of both."""
    activation = ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]
    keywords = {**g.keywords(layout), "algorithm": algorithm, "threads": int(rng.integers(1, 4))}
    x, w, bias, y = (normal(rng, shape, g.dtype) for shape in (g.x_shape(), g.w_shape, (g.k,), g.y_shape()))
    x, y = in_layout(x, layout, g.rank), in_layout(y, layout, g.rank)
    bias_or_none = bias if g.bias else None

    def check(function: Any, shape: tuple[int, ...], *arguments: Any, **more: Any) -> None:
        add = normal(rng, shape, g.dtype) if activation is None or rng.random() < 0.5 else None
        plain = function(*arguments, **more)
        want = convpp.activate(plain if add is None else plain + add, activation)
        out = nan_out(shape, g.dtype)
        with failures_name(f"{function.__name__}, {activation}, add {add is not None}", more, g):
            assert function(*arguments, activation=activation, add=add, out=out, **more) is out
            assert_same_bits(out, want)

    check(convpp.conv, y.shape, x, w, bias_or_none, **keywords)
    if isinstance(keywords["padding"], str) or algorithm == "winograd":
        return
    # The convolution that takes x to y is the transposed one from y to x, where it reads all of x.
    spatial = x.shape[-g.rank - 1 : -1] if layout == "channels_last" else x.shape[-g.rank :]
    try:
        transposed = convpp.conv_transpose(y, w, output_size=spatial, **keywords)
    except (ValueError, ShapeError):
        return
    check(convpp.conv_transpose, transposed.shape, y, w, normal(rng, (g.c,), g.dtype), output_size=spatial, **keywords)


@pytest.mark.parametrize("batch", range(10))
def test_small_geometries(batch: int) -> None:
    rng = np.random.default_rng((5, batch))
    for _ in range(40):
        g = draw_geometry(rng)
        for layout in LAYOUTS:
            check_fused(g, layout, rng, "reference" if rng.random() < 0.1 else "direct")


@pytest.mark.parametrize("batch", range(15))
def test_layers(batch: int) -> None:
    rng = np.random.default_rng((6, batch))
    for _ in range(20):
        g = draw_layer(rng)
        for layout in LAYOUTS:
            check_fused(g, layout, rng)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "g",
    [
        Geometry(2, 32, 40, (14, 17), (3, 3), padding=1, bias=True),
        Geometry(1, 16, 33, (30, 9), (3, 3), padding=((0, 2), (1, 0)), groups=1, dtype="float64"),
        Geometry(2, 64, 64, (57,), (3,), padding=1, bias=True),
        Geometry(1, 16, 32, (4, 9, 9), (3, 3, 3), padding=1),
        Geometry(2, 32, 32, (12, 12), (5, 5), padding=2, bias=True),
    ],
    ids=str,
)
def test_winograd(g: Geometry, layout: str) -> None:
    rng = np.random.default_rng(7)
    for _ in range(8):
        check_fused(g, layout, rng, "winograd")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_beyond_the_kernel_leave_gaps_that_are_finished_too(layout: str) -> None:
    rng = np.random.default_rng(8)
    for c, k, stride in ((70, 65, 2), (3, 4, 3), (1, 1, 5), (128, 64, (2, 1))):
        for kernel in ((1, 1), (2, 1)):
            check_fused(Geometry(2, c, k, (12, 11), kernel, stride=stride, bias=True), layout, rng)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sums_without_terms_are_finished(layout: str) -> None:
    bias = np.array([-1.0, 2.0], "float32")
    x_shape = (3, 0, 5, 5) if layout == "channels_first" else (3, 5, 5, 0)
    y_shape = (3, 2, 3, 3) if layout == "channels_first" else (3, 3, 3, 2)
    add = np.random.default_rng(9).standard_normal(y_shape).astype("float32")
    x, w = np.zeros(x_shape, "float32"), np.zeros((2, 0, 3, 3), "float32")
    plain = convpp.conv(x, w, bias, layout=layout)
    got = convpp.conv(x, w, bias, layout=layout, activation="silu", add=add)
    assert_same_bits(got, convpp.activate(plain + add, "silu"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_repaired_results_are_finished(layout: str, algorithm: str) -> None:
    rng = np.random.default_rng(10)
    g = Geometry(2, 16, 16, (9, 9), (3, 3), padding=1, bias=True)
    x, w, bias = (normal(rng, shape, "float32") for shape in (g.x_shape(), g.w_shape, (16,)))
    w[3, 2, 0, 1] = np.inf
    w[5, 2, 2, 2] = np.nan
    x = in_layout(x, layout, 2)
    keywords = {**g.keywords(layout), "algorithm": algorithm}
    plain = convpp.conv(x, w, bias, **keywords)
    add = normal(rng, plain.shape, "float32")
    for activation in ACTIVATIONS:
        with np.errstate(invalid="ignore"):
            want = convpp.activate(plain + add, activation)
        assert_exact(convpp.conv(x, w, bias, activation=activation, add=add, **keywords), want)


def test_per_sample_and_prepared_weights() -> None:
    rng = np.random.default_rng(11)
    x, w = rng.standard_normal((3, 8, 9, 9)), rng.standard_normal((3, 6, 8, 3, 3))
    add, bias = rng.standard_normal((3, 6, 9, 9)), rng.standard_normal(6)
    want = convpp.activate(convpp.conv(x, w, bias, padding=1, per_sample=True) + add, "relu")
    got = convpp.conv(x, w, bias, padding=1, per_sample=True, activation="relu", add=add)
    assert_same_bits(got, want)
    for algorithm in ("direct", "auto", "winograd", "reference"):
        prepared = convpp.prepare_weights(w[0], x.shape, padding=1, algorithm=algorithm)
        want = convpp.activate(convpp.conv(x, prepared, bias) + add, "gelu")
        assert_same_bits(convpp.conv(x, prepared, bias, activation="gelu", add=add), want)


def test_out_may_overlap_the_residual() -> None:
    rng = np.random.default_rng(12)
    x, w, add = rng.standard_normal((2, 3, 6, 6)), rng.standard_normal((3, 3, 3, 3)), rng.standard_normal((2, 3, 6, 6))
    want = convpp.conv(x, w, padding=1, activation="relu", add=add)
    assert convpp.conv(x, w, padding=1, activation="relu", add=add, out=add) is add
    assert_same_bits(add, want)


def test_types_follow_the_residual_too() -> None:
    x, w = np.ones((1, 1, 3), "float32"), np.ones((1, 1, 2), "float32")
    y = convpp.conv(x, w, np.ones(1, "float32"), add=np.full((1, 1, 2), 0.5))
    assert y.dtype == np.float64
    assert y.tolist() == [[[3.5, 3.5]]]
    strided = np.full((1, 1, 4), 0.5, "float32")[:, :, ::2]
    assert convpp.conv(x, w, add=strided).tolist() == [[[2.5, 2.5]]]


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("kind", ["Conv1d", "Conv2d", "ConvTranspose2d"])
def test_layers_with_activations(kind: str, activation: Any) -> None:
    rng = np.random.default_rng(13)
    rank = int(kind[-2])
    arguments: dict[str, Any] = {"stride": 2, "padding": 1, "dtype": np.float64, "rng": 1}
    layer = getattr(convpp, kind)(3, 4, 3, activation=activation, **arguments)
    plain = getattr(convpp, kind)(3, 4, 3, **arguments)
    x = rng.standard_normal((2, 3, *(7,) * rank))
    z = plain(x)
    add, dy = rng.standard_normal(z.shape), rng.standard_normal(z.shape)
    assert_same_bits(layer(x, add=add), convpp.activate(z + add, activation))
    dx = layer.backward(dy)
    dz = convpp.activation_grad(dy, activation, z=z + add)
    assert_same_bits(dx, plain.backward(dz))
    assert_same_bits(layer.weight_grad, plain.weight_grad)
    assert_same_bits(layer.bias_grad, plain.bias_grad)
    assert_same_bits(layer.add_grad, dz)
    layer(x)
    dx, gradients = layer.backward_per_sample(dy)
    want, each = plain.backward_per_sample(convpp.activation_grad(dy, activation, z=z))
    assert_same_bits(dx, want)
    for got, one in zip(gradients, each, strict=True):
        assert_same_bits(got, one)
    layer.backward(dy)
    assert layer.add_grad is None
    assert ("activation=" in repr(layer)) == (activation is not None)
    if activation in ("silu", "gelu"):
        convpp.testing.gradcheck(layer, x)


def test_layers_refuse_unknown_activations() -> None:
    with pytest.raises(ValueError, match="activation is 'swish'"):
        convpp.Conv2d(3, 4, 3, activation="swish")


@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("swish", r"activation is 'swish', expected None, 'relu'"),
        (("clip", 3, 1), r"expected \('clip', lo, hi\) with lo <= hi"),
        (("clip", 1), r"activation is \('clip', 1\), expected None"),
        (("clip", np.nan, 1), r"lo <= hi"),
        (("leaky_relu", np.nan), r"activation is \('leaky_relu', nan\), expected None"),
        (("leaky_relu", "x"), r"expected None"),
        (7, r"activation is 7, expected None"),
    ],
)
def test_wrong_activations(activation: Any, message: str) -> None:
    x, w = np.ones((1, 1, 3)), np.ones((1, 1, 2))
    out = np.full((1, 1, 2), 7.0)
    for function in (
        lambda: convpp.conv(x, w, activation=activation, out=out),
        lambda: convpp.conv_transpose(x, w, activation=activation),
        lambda: convpp.activate(x, activation),
        lambda: convpp.activation_grad(x, activation, z=x),
    ):
        with pytest.raises(ValueError, match=message):
            function()
    assert (out == 7).all()


def test_wrong_residuals_and_values() -> None:
    x, w = np.ones((1, 1, 3)), np.ones((1, 1, 2))
    with pytest.raises(ShapeError, match=r"add has shape \(1, 1, 3\), expected \(1, 1, 2\)"):
        convpp.conv(x, w, add=x)
    with pytest.raises(DTypeError, match=r"add has dtype int64, expected float32, float64"):
        convpp.conv(x, w, add=np.ones((1, 1, 2), int))
    with pytest.raises(ShapeError, match=r"y has shape \(1, 1, 2\), expected \(1, 1, 3\)"):
        convpp.activation_grad(x, "relu", y=w)
    with pytest.raises(ValueError, match=r"y and z are not given, expected one of them"):
        convpp.activation_grad(x, "relu")
    with pytest.raises(ValueError, match=r"y and z are both given, expected one of them"):
        convpp.activation_grad(x, "relu", y=x, z=x)
