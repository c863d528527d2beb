"""Convolutions for PyTensor: its own checks of gradients, gradients of gradients, shapes that are known in part."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import MODES, Array, draw_geometry, normal, pick

pytensor = pytest.importorskip("pytensor")

import pytensor.tensor as pt  # noqa: E402
from pytensor.gradient import verify_grad  # noqa: E402

from convpp import pytensor as cpt  # noqa: E402

PLAINLY = pytensor.compile.mode.Mode(linker="py", optimizer="fast_compile")
INFERRING = pytensor.compile.mode.Mode(linker="py", optimizer="fast_run")
WITHOUT_VALUES = {"out", "nan", "mask", "min_weight", "fill_value", "dtype", "state"}


def verify(function: Any, arrays: Any, rng: np.random.Generator) -> None:
    """The gradient, by PyTensor's check of every element; and along one direction, that of a gradient."""
    if sum(a.size for a in arrays) <= 80:
        verify_grad(function, list(arrays), rng=rng, mode=PLAINLY)
    variables = [pt.tensor(f"v{i}", dtype="float64", shape=a.shape) for i, a in enumerate(arrays)]
    dy = rng.standard_normal(tuple(function(*variables).type.shape))
    weights, ways = ([rng.standard_normal(a.shape) for a in arrays] for _ in range(2))
    y = function(*variables)
    gradients = pytensor.grad((y * dy).sum() + (y**2).sum(), variables)
    slope = sum(((g * weight).sum() for g, weight in zip(gradients, weights, strict=True)), start=pt.zeros(()))
    run = pytensor.function(variables, [y.sum(), slope], mode=PLAINLY)
    exact = pytensor.function(
        variables,
        [
            sum((g * way).sum() for g, way in zip(pytensor.grad(value, variables), ways, strict=True))
            for value in (y.sum(), slope)
        ],
        mode=PLAINLY,
    )
    step = 1e-5
    ahead, back = (run(*(a + sign * step * way for a, way in zip(arrays, ways, strict=True))) for sign in (1, -1))
    for want, high, low in zip(exact(*arrays), ahead, back, strict=True):
        np.testing.assert_allclose((high - low) / (2 * step), want, rtol=1e-6, atol=1e-5)


def computed(variables: Any, values: dict[Any, Array]) -> Any:
    return pytensor.function(list(values), variables, mode=PLAINLY, on_unused_input="ignore")(*values.values())


@pytest.mark.parametrize("name", ["conv", "conv_transpose", "convolve", "correlate"])
def test_arguments_are_those_of_the_package(name: str) -> None:
    def names(function: Any) -> list[Any]:
        parameters = inspect.signature(function).parameters.values()
        return [(p.name, p.default) for p in parameters if p.name not in WITHOUT_VALUES]

    assert names(getattr(cpt, name)) == names(getattr(convpp, name))


def options_of(geometry: Any, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "stride": geometry.stride, "padding": geometry.padding, "dilation": geometry.dilation,
        "groups": geometry.groups, "flip": geometry.flip, "padding_mode": pick(rng, ("zeros", "zeros", *MODES)),
        "layout": pick(rng, ("channels_first", "channels_last")),
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_conv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    geometry = draw_geometry(rng, min_macs=20, max_macs=1000)
    options = options_of(geometry, rng)
    lead = () if geometry.n is None else (geometry.n,)
    last = options["layout"] == "channels_last"
    sample = (*geometry.spatial, geometry.c) if last else (geometry.c, *geometry.spatial)
    x, w = normal(rng, (*lead, *sample)), normal(rng, (geometry.k, geometry.c // geometry.groups, *geometry.kernel))
    bias = normal(rng, (geometry.k,))
    y = convpp.conv(x, w, bias, **options)
    add = normal(rng, y.shape)
    check_shapes(lambda x, w: cpt.conv(x, w, **options), (x, w), y.shape)
    got = cpt.conv(x, w, bias, add=add, **options).eval(mode=PLAINLY)
    np.testing.assert_allclose(got, convpp.conv(x, w, bias, add=add, **options), atol=1e-12)
    verify(lambda *arrays: cpt.conv(*arrays, **options), (x, w, bias), rng)


@pytest.mark.parametrize("seed", range(8))
def test_conv_transpose(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    rank, groups = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    options = {
        "stride": int(rng.integers(1, 3)), "dilation": int(rng.integers(1, 3)), "groups": groups,
        "padding": pick(rng, (0, 1, "same", "same_lower", "causal")), "flip": bool(rng.integers(2)),
        "layout": pick(rng, ("channels_first", "channels_last")),
    }  # fmt: skip
    options["output_padding"] = int(rng.integers(max(options["stride"], options["dilation"])))
    spatial = tuple(int(e) for e in rng.integers(2, 5, rank))
    last = options["layout"] == "channels_last"
    x = normal(rng, (2, *spatial, 2 * groups) if last else (2, 2 * groups, *spatial))
    w = normal(rng, (2 * groups, 1, *(3,) * rank))
    y = convpp.conv_transpose(x, w, **options)
    check_shapes(lambda x, w: cpt.conv_transpose(x, w, **options), (x, w), y.shape)
    if isinstance(options["padding"], int):
        sized = {name: value for name, value in options.items() if name != "output_padding"}
        sized["output_size"] = y.shape[1:-1] if last else y.shape[2:]
        check_shapes(lambda x, w: cpt.conv_transpose(x, w, **sized), (x, w), y.shape)
    verify(lambda *arrays: cpt.conv_transpose(*arrays, **options), (x, w, normal(rng, (groups,))), rng)


def check_shapes(function: Any, arrays: Any, shape: tuple[int, ...]) -> None:
    """With each extent known or not: what is known is right, what depends on known extents is known."""
    first, second = (a.shape for a in arrays)
    whole = [pt.tensor(f"v{i}", dtype="float64", shape=a.shape) for i, a in enumerate(arrays)]
    assert function(*whole).type.shape == shape
    for hidden in itertools.islice(itertools.product([False, True], repeat=len(first)), 1, None):
        known = tuple(None if h else n for h, n in zip(hidden, first, strict=True))
        x, w = pt.tensor("x", dtype="float64", shape=known), pt.tensor("w", dtype="float64", shape=second)
        y = function(x, w)
        assert sum(n is None for n in y.type.shape) <= sum(hidden)
        assert all(n in (None, want) for n, want in zip(y.type.shape, shape, strict=True))
    unknown = [pt.tensor(f"v{i}", dtype="float64", shape=(None,) * a.ndim) for i, a in enumerate(arrays)]
    y = function(*unknown)
    got = pytensor.function(unknown, y.shape, mode=INFERRING)
    assert not any(isinstance(node.op, cpt.Pass) for node in got.maker.fgraph.apply_nodes), "computed for its shape"
    np.testing.assert_array_equal(got(*arrays), shape)


@pytest.mark.parametrize("transposed", [False, True])
def test_per_sample(transposed: bool, rng: np.random.Generator) -> None:
    function = cpt.conv_transpose if transposed else cpt.conv
    x, w, bias = normal(rng, (3, 4, 6)), normal(rng, (3, 4, 4, 3)), normal(rng, (4,))
    verify(lambda *arrays: function(*arrays, per_sample=True, padding=1), (x, w, bias), rng)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", ("leaky_relu", -0.5), "silu", "gelu", ("clip", -1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations(activation: Any, dtype: str, rng: np.random.Generator) -> None:
    """Values, slopes (at the corners, too) and types are convpp's."""
    z = np.append(normal(rng, (9,)), [0, 1, -1, np.nan]).astype(dtype)[None, None]
    one = np.ones((1, 1, 1), dtype)
    x = pt.tensor("x", dtype=dtype, shape=z.shape)
    y = cpt.conv(x, one, activation=activation)
    got, slope = computed([y, pytensor.grad(y.sum(), x)], {x: z})
    assert got.dtype == np.dtype(dtype)
    tolerance = 50 * np.finfo(dtype).eps
    np.testing.assert_allclose(got, convpp.activate(z, activation), rtol=tolerance, atol=tolerance)
    want = convpp.activation_grad(np.ones_like(z), activation, z=z)
    there = ~np.isnan(z)
    np.testing.assert_allclose(slope[there], want[there], rtol=tolerance, atol=tolerance)
    if dtype == "float64":
        verify(lambda x: cpt.conv(x, one, activation=activation), [normal(rng, (1, 1, 9))], rng)


@pytest.mark.parametrize("linker", ["numba", "py", "cvm"])
def test_linkers(linker: str, rng: np.random.Generator) -> None:
    """Gradients have the bits of the package's; no warning is given (warnings are errors here)."""
    pytest.importorskip("numba" if linker == "numba" else "pytensor")
    x, w = normal(rng, (2, 4, 7, 8), "float32"), normal(rng, (4, 2, 3, 3), "float32")
    vx, vw = pt.tensor("x", dtype="float32", shape=(None,) * 4), pt.tensor("w", dtype="float32", shape=w.shape)
    options = {"stride": 2, "padding": 1, "groups": 2}
    y = cpt.conv(vx, vw, **options)
    dy = normal(rng, convpp.conv(x, w, **options).shape, "float32")
    mode = pytensor.compile.mode.Mode(linker=linker, optimizer="fast_run")
    run = pytensor.function([vx, vw], [y, *pytensor.grad((y * dy).sum(), [vx, vw])], mode=mode)
    want = (convpp.conv(x, w, **options), *convpp.conv_backward(dy, x, w, **options, needs=("x", "w"))[:2])
    for got, theirs in zip(run(x, w), want, strict=True):
        np.testing.assert_array_equal(got, theirs, strict=True)


@pytest.mark.parametrize("direct", [False, True])
def test_forward_mode(direct: bool, rng: np.random.Generator) -> None:
    """By ``pushforward`` of the Op, and by two pullbacks; of its gradients, too."""
    arrays, tangents = ([normal(rng, s) for s in ((2, 2, 7), (3, 2, 3))] for _ in range(2))
    variables, dots = (
        [pt.tensor(f"{n}{i}", dtype="float64", shape=a.shape) for i, a in enumerate(arrays)] for n in "vt"
    )
    y = cpt.conv(*variables, padding=1)
    values = dict(zip([*variables, *dots], [*arrays, *tangents], strict=True))
    y_dot = pytensor.gradient.pushforward(y, variables, dots, use_op_pushforward=direct)
    want = convpp.conv_jvp((*arrays, None), (*tangents, None), padding=1)[1]
    np.testing.assert_allclose(computed(y_dot, values), want, atol=1e-12)
    one = pytensor.gradient.pushforward(y, variables[:1], dots[:1], use_op_pushforward=direct)
    np.testing.assert_allclose(computed(one, values), convpp.conv(tangents[0], arrays[1], padding=1), atol=1e-12)
    dx = pytensor.grad((y**2).sum() / 2, variables[0])
    dx_dot = pytensor.gradient.pushforward(dx, variables, dots, use_op_pushforward=direct)
    out = convpp.conv(*arrays, padding=1)
    exact = convpp.conv_input_grad(want, arrays[1], (2, 2, 7), padding=1)
    exact += convpp.conv_input_grad(out, tangents[1], (2, 2, 7), padding=1)
    np.testing.assert_allclose(computed(dx_dot, values), exact, atol=1e-12)


def test_forward_mode_with_a_number_beyond_the_ends(rng: np.random.Generator) -> None:
    """Beyond those of a tangent of the array nothing lies; a tangent of the kernel meets it."""
    a, k, a_dot, k_dot = (normal(rng, s) for s in ((9,), (3,), (9,), (3,)))
    variables, dots = ([pt.vector(f"{n}{i}", shape=(size,)) for i, size in enumerate((9, 3))] for n in "vt")
    y = cpt.convolve(*variables, boundary=2.5)
    y_dot = pytensor.gradient.pushforward(y, variables, dots, use_op_pushforward=True)
    want = convpp.convolve(a_dot, k) + convpp.convolve(a, k_dot, boundary=2.5)
    values = dict(zip([*variables, *dots], [a, k, a_dot, k_dot], strict=True))
    np.testing.assert_allclose(computed(y_dot, values), want, atol=1e-12)


PLAIN: list[tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = [
    ((9,), (3,), {}),
    ((9,), (4,), {"mode": "same", "boundary": 2.5}),
    ((9,), (4,), {"mode": "valid", "stride": 2}),
    ((9,), (4,), {"mode": "causal", "boundary": 1.5, "dilation": 2}),
    ((6, 7), (2, 3), {"mode": "same", "boundary": ["reflect", "circular"], "origin": [0, 1]}),
    ((6, 7, 2), (2, 3), {"axes": (1, 0), "dilation": (2, 1), "stride": (1, 2)}),
    ((2, 6, 7), (2, 3, 1), {"axes": (1, 2), "boundary": "symmetric", "mode": "same"}),
    ((1, 6), (3, 2), {"axes": 1}),
    ((3, 6), (1, 2), {"axes": 1}),
    ((3, 4, 3, 4), (2, 2, 2, 2), {"mode": "full", "stride": 2}),
]


@pytest.mark.parametrize("function", [cpt.convolve, cpt.correlate])
@pytest.mark.parametrize(("shape", "kernel", "options"), PLAIN)
def test_plain(function: Any, shape: Any, kernel: Any, options: dict[str, Any], rng: np.random.Generator) -> None:
    a, k = normal(rng, shape), normal(rng, kernel)
    original = getattr(convpp, function.__name__)
    got = function(a, k, **options).eval(mode=PLAINLY)
    np.testing.assert_array_equal(got, original(a, k, **options), strict=True)
    check_shapes(lambda a, k: function(a, k, **options), (a, k), got.shape)
    verify(lambda *arrays: function(*arrays, **options), (a, k), rng)


def test_several_kernels(rng: np.random.Generator) -> None:
    a, kernels = normal(rng, (4, 7)), normal(rng, (3, 3))
    check_shapes(lambda a, k: cpt.convolve(a, kernels=k, mode="same"), (a, kernels), (3, 4, 7))
    verify(lambda a, k: cpt.convolve(a, kernels=k, mode="same"), (a, kernels), rng)


def test_separable_kernels(rng: np.random.Generator) -> None:
    """Of their tangents, which are not, the derivatives do not ask it."""
    outer = normal(rng, (3, 1)) * normal(rng, (1, 4))
    verify_grad(lambda a: cpt.convolve(a, outer, method="separable"), [normal(rng, (7, 8))], rng=rng, mode=PLAINLY)


def test_types(rng: np.random.Generator) -> None:
    """The result has the wider type, each gradient that of its operand."""
    x, w = pt.tensor("x", dtype="float32", shape=(1, 2, 8)), pt.tensor("w", dtype="float64", shape=(3, 2, 3))
    y = cpt.conv(x, w)
    assert y.dtype == "float64"
    assert [g.dtype for g in pytensor.grad(y.sum(), [x, w])] == ["float32", "float64"]
    values = {x: normal(rng, (1, 2, 8), "float32"), w: normal(rng, (3, 2, 3))}
    assert [g.dtype for g in computed(pytensor.grad(y.sum(), [x, w]), values)] == ["float32", "float64"]


def test_nothing_to_convolve() -> None:
    """No samples, no channels."""
    for shape, kernel in (((0, 2, 8), (3, 2, 3)), ((1, 0, 8), (3, 0, 3))):
        x, w = pt.tensor("x", dtype="float64", shape=shape), pt.tensor("w", dtype="float64", shape=kernel)
        y = cpt.conv(x, w)
        got = computed([y, *pytensor.grad(y.sum(), [x, w])], {x: np.ones(shape), w: np.ones(kernel)})
        assert [g.shape for g in got] == [(shape[0], 3, 6), shape, kernel]
        assert not any(g.any() for g in got)


def test_equal_nodes_are_merged() -> None:
    """The Op is told by its options."""
    assert cpt.Pass("y", cpt.layer(stride=2)) == cpt.Pass("y", cpt.layer(stride=2))
    assert hash(cpt.Pass("y", cpt.layer(stride=2))) == hash(cpt.Pass("y", cpt.layer(stride=2)))
    assert cpt.Pass("y", cpt.layer(stride=2)) != cpt.Pass("y", cpt.layer(stride=3))
    assert cpt.Pass("y", cpt.layer()) != cpt.Pass("y", cpt.transposed_layer())


def test_vectorized(rng: np.random.Generator) -> None:
    """More axes in front, by PyTensor's own means."""
    x, w = normal(rng, (5, 2, 2, 8)), normal(rng, (3, 2, 3))
    one, many = pt.tensor("one", dtype="float64", shape=(2, 2, 8)), pt.tensor("many", dtype="float64", shape=x.shape)
    y = pytensor.graph.replace.vectorize_graph(cpt.conv(one, w), {one: many})
    want = np.stack([convpp.conv(part, w) for part in x])
    np.testing.assert_array_equal(computed(y, {many: x}), want)


V, U = pt.tensor("v", dtype="float64", shape=(1, 2, 8)), pt.tensor("u", dtype="float64", shape=(3, 2, 3))


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: cpt.conv(V, U, stride=0), ValueError, "stride is 0"),
        (lambda: cpt.conv(V, U, threads=0), ValueError, "threads is 0"),
        (lambda: cpt.conv(V, U, groups=2), convpp.ShapeError, "groups is 2"),
        (lambda: cpt.conv(V, pt.itensor3("w")), convpp.DTypeError, "w has dtype int32"),
        (lambda: cpt.conv(V, pt.ztensor3("w")), convpp.DTypeError, "w has dtype complex128"),
        (lambda: cpt.conv(pt.dvector("x"), U), convpp.ShapeError, "x has 1 axes"),
        (lambda: cpt.conv(V, U, np.ones((3, 1))), convpp.ShapeError, "bias has 2 axes"),
        (lambda: cpt.conv(V, U, add=np.ones(3)), convpp.ShapeError, "add has 1 axes"),
        (lambda: cpt.conv(V, U, activation="swish"), ValueError, "silu"),
        (lambda: cpt.conv_transpose(V, U), convpp.ShapeError, "3 channels"),
        (lambda: cpt.convolve(V), ValueError, "not given"),
        (lambda: cpt.convolve(V, U, kernels=U), ValueError, "both given"),
        (lambda: cpt.convolve(V, U, mode="some"), ValueError, "mode is 'some'"),
        (lambda: cpt.convolve(V, U, threads=0), ValueError, "threads is 0"),
        (lambda: cpt.convolve(pt.dvector("a"), pt.dmatrix("k")), convpp.ShapeError, "at most as many axes"),
    ],
)
def test_errors(make: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        make()
