"""``convpp.jax``: the values of convpp's own functions, and derivatives and batches of any order by JAX's rules.

Whole numbers are compared exactly; derivatives by ``check_grads``, in float64, which compares them with differences.
Everything runs by the compiled handler where it was built; a part of it by callbacks too.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import LAYOUTS, Geometry, assert_exact, draw_geometry, failures_name, integers, with_modes

jax = pytest.importorskip("jax")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # of a build without the handler
    import convpp.jax as cj
    from convpp.jax import lowering

jnp = jax.numpy
check_grads = pytest.importorskip("jax.test_util").check_grads


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)  # of all threads: callbacks run in threads of XLA's
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(params=["ffi", "callback"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """How the core is reached."""
    if request.param == "ffi" and not cj.has_ffi():
        pytest.skip("built without XLA's headers")
    monkeypatch.setattr(lowering, "_registered", request.param == "ffi")
    jax.clear_caches()
    yield request.param
    jax.clear_caches()


def drawn(rng: np.random.Generator, count: int, most: int = 3_000) -> list[Geometry]:
    """Small ones: with samples, or one without N; every third with padding modes."""
    found: list[Geometry] = []
    while len(found) < count:
        g = draw_geometry(rng, max_macs=most)
        if 0 in (*g.spatial, g.c, g.k, g.n):  # nothing to differentiate
            continue
        g = replace(g, stride=tuple(map(int, g.strides)), dilation=tuple(map(int, g.dilations)), dtype="float64")
        found.append(with_modes(rng, g) if len(found) % 3 == 2 else g)
    return found


def operands(g: Geometry, layout: str, rng: np.random.Generator, dtype: str = "float64") -> tuple[Any, Any, Any]:
    return tuple(integers(rng, shape, dtype) for shape in (g.x_shape(layout), g.w_shape, (g.k,)))  # type: ignore[return-value]


def transposed_operands(g: Geometry, layout: str, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    return tuple(integers(rng, shape) for shape in (g.y_shape(layout), g.w_shape, (g.c,)))  # type: ignore[return-value]


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_are_those_of_convpp(way: str, layout: str, rng: np.random.Generator) -> None:
    del way
    for g in drawn(rng, 4, 30_000):
        x, w, bias = operands(g, layout, rng)
        keywords = g.exact_keywords(layout)
        with failures_name(g):
            for b in (None, bias):
                assert_exact(np.asarray(cj.conv(x, w, b, **keywords)), convpp.conv(x, w, b, **keywords))
    for g in drawn(rng, 4, 30_000):
        keywords = g.transposed_keywords(layout) | {"algorithm": "direct"}
        x, w, bias = transposed_operands(g, layout, rng)
        with failures_name(g):
            for b in (None, bias):
                want = convpp.conv_transpose(x, w, b, **keywords)
                assert_exact(np.asarray(cj.conv_transpose(x, w, b, **keywords)), want)
                assert_exact(np.asarray(jax.jit(lambda *a, k=keywords: cj.conv_transpose(*a, **k))(x, w, b)), want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_gradients_are_those_of_convpp(way: str, layout: str, rng: np.random.Generator) -> None:
    del way
    for g in drawn(rng, 3, 30_000):
        keywords = g.exact_keywords(layout)
        x, w, bias = operands(g, layout, rng)
        y, back = jax.vjp(lambda x, w, b, k=keywords: cj.conv(x, w, b, **k), x, w, bias)
        dy = integers(rng, y.shape)
        with failures_name(g):
            for got, want in zip(back(dy), convpp.conv_backward(dy, x, w, **keywords), strict=True):
                assert_exact(np.asarray(got), want)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_types(way: str, dtype: str, rng: np.random.Generator) -> None:
    del way
    to = jnp.dtype(dtype)
    x, w, bias = (integers(rng, s).astype(to) for s in ((2, 3, 9, 8), (5, 3, 3, 3), (5,)))
    keywords: dict[str, Any] = {"padding": 1, "algorithm": "direct"}
    y, back = jax.vjp(lambda *a: cj.conv(*a, **keywords), x, w, bias)
    assert y.dtype == to
    assert_exact(np.asarray(y), convpp.conv(x, w, bias, **keywords))
    dy = integers(rng, y.shape).astype(to)
    dx, dw, db = back(dy)
    assert dx.dtype == dw.dtype == db.dtype == to
    assert_exact(np.asarray(dx), convpp.conv_input_grad(dy, w, x.shape, **keywords))
    assert_exact(np.asarray(dw), convpp.conv_weight_grad(dy, x, w.shape, **keywords))
    if dtype in ("bfloat16", "float16"):  # a wider bias is not rounded
        wide = cj.conv(x, w, bias.astype("float32") + np.float32(1 / 1024), **keywords)
        assert_exact(np.asarray(wide), convpp.conv(x, w, bias.astype("float32") + np.float32(1 / 1024), **keywords))
    mixed = cj.conv(x, w.astype("float32"), **keywords)
    assert mixed.dtype == ("float64" if dtype == "float64" else "float32")


def test_algorithms_and_threads(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((2, 3, 20, 20)), rng.standard_normal((4, 3, 3, 3))
    before = convpp.get_num_threads()
    try:
        for algorithm in ("direct", "winograd", "fft", "reference", "stream"):
            want = convpp.conv(x, w, algorithm=algorithm, threads=1)
            for threads in (1, 2, 3):
                convpp.set_num_threads(threads)
                assert_exact(np.asarray(cj.conv(x, w, algorithm=algorithm)), want)
    finally:
        convpp.set_num_threads(before)
    with convpp.algorithm("reference"):  # the default in force where the call is traced
        assert_exact(np.asarray(cj.conv(x, w)), convpp.conv(x, w))


def test_without_jit() -> None:
    x, w = np.ones((1, 2, 5)), np.ones((3, 2, 2))
    with jax.disable_jit():
        assert_exact(np.asarray(cj.conv(x, w)), convpp.conv(x, w))
        assert_exact(np.asarray(jax.grad(lambda w: cj.conv(x, w).sum())(w)), np.full(w.shape, 4.0))


def test_empty(way: str) -> None:
    del way
    assert cj.conv(np.zeros((0, 3, 5)), np.ones((4, 3, 2))).shape == (0, 4, 4)
    assert_exact(np.asarray(cj.conv(np.zeros((2, 0, 5)), np.ones((4, 0, 2)), np.arange(4.0)))[1, :, 2], np.arange(4.0))
    dw = jax.grad(lambda w: cj.conv(np.zeros((0, 3, 5)), w).sum())(np.ones((4, 3, 2)))
    assert_exact(np.asarray(dw), np.zeros((4, 3, 2)))


# ---------------------------------------------------------------- derivatives


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("seed", range(3))
def test_derivatives(seed: int, layout: str, rng: np.random.Generator) -> None:
    del seed
    for g in drawn(rng, 1, 1_500):
        keywords = g.keywords(layout)
        x, w, b = (rng.standard_normal(shape) for shape in (g.x_shape(layout), g.w_shape, (g.k,)))
        with failures_name(g):
            check_grads(lambda x, w, b, k=keywords: cj.conv(x, w, b, **k), (x, w, b), order=2, modes=("fwd", "rev"))
    for g in drawn(rng, 1, 1_500):
        keywords = g.transposed_keywords(layout)
        x, w, b = (rng.standard_normal(shape) for shape in (g.y_shape(layout), g.w_shape, (g.c,)))
        with failures_name(g):
            check_grads(
                lambda x, w, b, k=keywords: cj.conv_transpose(x, w, b, **k), (x, w, b), order=2, modes=("fwd", "rev")
            )


def test_derivatives_by_callbacks(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    monkeypatch.setattr(lowering, "_registered", False)
    jax.clear_caches()
    x, w, b = rng.standard_normal((2, 4, 7, 6)), rng.standard_normal((6, 2, 3, 2)), rng.standard_normal(6)
    check_grads(lambda *a: cj.conv(*a, stride=2, padding=1, groups=2), (x, w, b), order=2, modes=("fwd", "rev"))
    jax.clear_caches()


def test_third_derivatives(rng: np.random.Generator) -> None:
    """Of a sum of cubes of y: with ``t`` along w, 6 * the sum of conv(x, t)**3."""
    x, w = rng.standard_normal((2, 2, 5)), rng.standard_normal((3, 2, 2))
    along = lambda f: lambda w: jax.jvp(f, (w,), (t,))[1]  # noqa: E731
    t = rng.standard_normal(w.shape)
    third = jax.jit(along(along(lambda w: (jax.grad(lambda w: (cj.conv(x, w) ** 3).sum())(w) * t).sum())))(w)
    np.testing.assert_allclose(third, 6 * (convpp.conv(x, t) ** 3).sum(), rtol=1e-10)


def test_per_sample_weights(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((3, 4, 6, 5)), rng.standard_normal((3, 2, 2, 3, 3))
    keywords: dict[str, Any] = {"groups": 2, "padding": 1, "per_sample": True}
    want = np.stack([convpp.conv(x[n], w[n], groups=2, padding=1) for n in range(3)])
    np.testing.assert_allclose(cj.conv(x, w, **keywords), want, atol=1e-12)
    check_grads(lambda *a: cj.conv(*a, **keywords), (x, w), order=2, modes=("fwd", "rev"))


def test_jacobians_and_hessian_agree(rng: np.random.Generator) -> None:
    x, w = rng.standard_normal((2, 2, 5, 4)), rng.standard_normal((3, 2, 2, 2))

    def f(x: Any, w: Any) -> Any:
        return cj.conv(x, w, stride=2, padding=1)

    def like(x: Any, w: Any) -> Any:
        return jax.lax.conv_general_dilated(x, w, (2, 2), [(1, 1), (1, 1)])

    for transform, argument in ((jax.jacfwd, 0), (jax.jacrev, 1), (lambda f, a: jax.jit(jax.jacfwd(f, a)), 1)):
        got, want = transform(f, argument)(x, w), jax.jit(jax.jacrev(like, argument))(x, w)
        np.testing.assert_allclose(got, want, atol=1e-12)
    hessian = jax.jit(jax.hessian(lambda x, w: (f(x, w) ** 3).sum(), (0, 1)))(x, w)
    expected = jax.jit(jax.hessian(lambda x, w: (like(x, w) ** 3).sum(), (0, 1)))(x, w)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10), hessian, expected)
    y, along = jax.linearize(f, x, w)
    np.testing.assert_allclose(along(x, 0 * w), y, atol=1e-12)


def test_residual_memory_and_zero_tangents(rng: np.random.Generator) -> None:
    x, w, b = rng.standard_normal((2, 2, 5)), rng.standard_normal((3, 2, 2)), rng.standard_normal(3)
    y, dot = jax.jvp(lambda b: cj.conv(x, w, b), (b,), (np.ones(3),))
    assert y.shape == dot.shape
    assert_exact(np.asarray(dot), np.ones(y.shape))
    _, dot = jax.jvp(lambda w: cj.conv(x, w, b), (w,), (w,))
    np.testing.assert_allclose(dot, convpp.conv(x, w), atol=1e-12)
    remat = jax.grad(lambda w: jax.checkpoint(lambda w: jnp.sin(cj.conv(x, w, b)))(w).sum())(w)
    np.testing.assert_allclose(remat, jax.grad(lambda w: jnp.sin(cj.conv(x, w, b)).sum())(w), atol=1e-12)


# ---------------------------------------------------------------- vmap


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vmap(layout: str, rng: np.random.Generator) -> None:
    """Of the function and of its gradients, over any of the operands, at any axis: as calls of each."""
    for g in drawn(rng, 3):
        keywords = g.exact_keywords(layout)
        shapes = (g.x_shape(layout), g.w_shape, (g.k,))
        dy = integers(rng, g.y_shape(layout))

        def all_of(x: Any, w: Any, b: Any, k: Any = keywords, dy: Any = dy) -> Any:
            y, back = jax.vjp(lambda x, w, b: cj.conv(x, w, b, **k), x, w, b)
            return (y, *back(dy.astype(y.dtype)))

        for mapped in itertools.product((True, False), repeat=3):
            if not any(mapped):
                continue
            axes = tuple(int(rng.integers(len(s) + 1)) if m else None for s, m in zip(shapes, mapped, strict=True))
            arrays = [integers(rng, s if a is None else (*s[:a], 3, *s[a:])) for s, a in zip(shapes, axes, strict=True)]
            with failures_name(g, axes):
                check_vmap(jax.jit(all_of), arrays, axes)


def check_vmap(function: Any, arrays: list[Any], axes: tuple[int | None, ...]) -> None:
    got = jax.vmap(function, axes)(*arrays)
    each = [
        function(*(a if axis is None else np.take(a, i, axis) for a, axis in zip(arrays, axes, strict=True)))
        for i in range(3)
    ]
    for result, *parts in zip(got, *each, strict=True):
        assert_exact(np.asarray(result), np.stack(parts))


def test_vmap_of_vmap_and_transposed(rng: np.random.Generator) -> None:
    """Batches of batches become samples with weights of their own, of several groups."""
    x, w = integers(rng, (2, 3, 2, 4, 6)), integers(rng, (2, 3, 4, 3, 2))

    def f(x: Any, w: Any) -> Any:
        return cj.conv_transpose(x, w, stride=2, groups=2, algorithm="direct")

    got = jax.jit(jax.vmap(jax.vmap(f)))(x, w)
    assert_exact(np.asarray(got), np.stack([[f(x[i, j], w[i, j]) for j in range(3)] for i in range(2)]))
    got = jax.vmap(jax.vmap(f, (None, 0)), (0, None))(x[0], w[0])
    assert_exact(np.asarray(got), np.stack([[f(x[0, i], w[0, j]) for j in range(3)] for i in range(3)]))


def test_gradients_of_each_sample(rng: np.random.Generator) -> None:
    """What differential privacy wants: one call, without a loop."""
    x, w, dy = integers(rng, (5, 4, 7, 6)), integers(rng, (6, 2, 3, 3)), integers(rng, (5, 6, 5, 4))
    keywords: dict[str, Any] = {"groups": 2, "algorithm": "direct"}

    def loss(w: Any, x: Any, dy: Any) -> Any:
        return (cj.conv(x, w, **keywords) * dy).sum()

    got = jax.vmap(jax.grad(loss), (None, 0, 0))(w, x, dy)
    assert_exact(np.asarray(got), convpp.conv_weight_grad(dy, x, w.shape, per_sample=True, **keywords))
    assert "while" not in str(jax.make_jaxpr(jax.vmap(jax.grad(loss), (None, 0, 0)))(w, x, dy))


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: cj.conv(np.ones((1, 3, 8)), np.ones((4, 2, 3))), convpp.ShapeError, "x must have C = 2"),
        (lambda: cj.conv(np.ones((1, 3, 8)), np.ones((4, 3, 9))), convpp.ShapeError, "longer than the padded"),
        (lambda: cj.conv(np.ones((1, 3, 8)), np.ones((4, 3, 3)), np.ones(3)), convpp.ShapeError, "bias has shape"),
        (lambda: cj.conv(np.ones((1, 3, 8)), np.ones((4, 3, 3)), stride=0), ValueError, "stride is 0"),
        (lambda: cj.conv(np.ones((1, 3, 8)), np.ones((4, 3, 3)), layout="NCHW"), ValueError, "layout is 'NCHW'"),
        (lambda: cj.conv(np.ones((1, 3, 8), int), np.ones((4, 3, 3))), convpp.DTypeError, "x has dtype int64"),
        (lambda: cj.conv(np.ones((1, 3, 8)), "w"), convpp.DTypeError, "w is not an array"),
        (lambda: cj.conv_transpose(np.ones((1, 3, 8)), np.ones((4, 3, 3))), convpp.ShapeError, "must have 4 channels"),
        (
            lambda: jax.jit(lambda s: cj.conv(np.ones((1, 3, 8)), np.ones((4, 3, 3)), stride=s))(2),
            ValueError,
            "expected an integer",
        ),
        (
            lambda: cj.conv(np.ones((1, 3, 8)), np.ones((4, 3, 3)), stride=2, algorithm="winograd"),
            ValueError,
            "winograd",
        ),
    ],
)
def test_errors(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


def test_errors_are_raised_where_a_call_is_traced() -> None:
    with pytest.raises(convpp.ShapeError, match="x must have C = 2"):
        jax.eval_shape(lambda x: cj.conv(x, np.ones((4, 2, 3))), jax.ShapeDtypeStruct((1, 3, 8), "float32"))
