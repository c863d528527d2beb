"""``convpp.jax.conv_general_dilated`` beside ``jax.lax``'s: the same results of whole numbers, exactly.

Random strides, paddings, dilations, groups, and orders of axes; gradients too; types; what is refused, and how.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import assert_exact, failures_name, integers, pick

jax = pytest.importorskip("jax")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # of a build without the handler
    import convpp.jax as cj

jnp = jax.numpy
lax = jax.lax


def drawn(rng: np.random.Generator, spread: bool) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of lhs as (N, C, ...) and of rhs as (O, I, ...), and arguments; ``spread``: with lhs_dilation."""
    rank = int(rng.integers(1, 4))
    groups = pick(rng, (1, 1, 2, 3))
    n, c, k = int(rng.integers(1, 4)), groups * int(rng.integers(1, 5)), groups * int(rng.integers(1, 5))
    spatial = tuple(int(v) for v in rng.integers(3, 8, rank))
    kernel = tuple(int(v) for v in rng.integers(1, 4, rank))
    arguments: dict[str, Any] = {
        "window_strides": (1,) * rank if spread else tuple(int(v) for v in rng.integers(1, 4, rank)),
        "rhs_dilation": tuple(int(v) for v in rng.integers(1, 3, rank)) if rng.random() < 0.5 else None,
        "feature_group_count": groups,
    }
    pairs = [(int(lo), int(hi)) for lo, hi in rng.integers(2, 6, (rank, 2))]  # no kernel is longer than 5
    if spread:
        arguments["lhs_dilation"] = tuple(int(v) for v in rng.integers(1, 4, rank))
        pairs = [(int(lo), int(hi)) for lo, hi in rng.integers(-1, 7, (rank, 2))]
    arguments["padding"] = pairs if spread else pick(rng, (pairs, "SAME", "SAME_LOWER", "same"))
    return (n, c, *spatial), (k, c // groups, *kernel), arguments


def orders(rng: np.random.Generator, rank: int) -> Any:
    """dimension_numbers in one of their forms."""
    axes = "DHW"[-rank:]
    first, last = "NC" + axes, "N" + axes + "C"
    form = pick(rng, ("none", "first", "last", "mixed", "any", "object"))
    if form == "none":
        return None
    if form in ("first", "last"):
        return (first, "OI" + axes, first) if form == "first" else (last, axes + "IO", last)
    if form == "mixed":
        return (pick(rng, (first, last)), pick(rng, ("OI" + axes, axes + "IO")), pick(rng, (first, last)))
    names = tuple("".join(rng.permutation(list(of))) for of in (first, "OI" + axes, first))
    if form == "any":
        return names
    lhs, rhs, out = (tuple(int(i) for i in rng.permutation(rank + 2)) for _ in range(3))
    return lax.ConvDimensionNumbers(lhs, rhs, out)


def placed(shape: tuple[int, ...], spec: tuple[int, ...]) -> tuple[int, ...]:
    """A shape in the order (batch, features, ...), in that of a specification."""
    result = [0] * len(shape)
    for extent, axis in zip(shape, spec, strict=True):
        result[axis] = extent
    return tuple(result)


@pytest.mark.parametrize("spread", [False, True], ids=["plain", "transposed"])
def test_results_are_those_of_lax(spread: bool, rng: np.random.Generator) -> None:
    tried = 0
    while tried < 15:
        lhs_shape, rhs_shape, arguments = drawn(rng, spread)
        numbers = orders(rng, len(lhs_shape) - 2)
        # (The strings of the numbers alone matter: any shapes do.)
        specs = lax.conv_dimension_numbers(lhs_shape, rhs_shape, numbers)
        lhs = integers(rng, placed(lhs_shape, specs.lhs_spec), "float32")
        rhs = integers(rng, placed(rhs_shape, specs.rhs_spec), "float32")
        arguments["dimension_numbers"] = numbers
        with failures_name(lhs_shape, rhs_shape, arguments), convpp.algorithm("direct"):
            want, back = jax.vjp(lambda a, b, k=arguments: lax.conv_general_dilated(a, b, **k), lhs, rhs)
            if 0 in want.shape:
                continue
            tried += 1
            got, own_back = jax.vjp(lambda a, b, k=arguments: cj.conv_general_dilated(a, b, **k), lhs, rhs)
            assert_exact(np.asarray(got), np.asarray(want))
            if tried % 4 == 0:
                dy = integers(rng, want.shape, "float32")
                for gradient, expected in zip(own_back(dy), back(dy), strict=True):
                    assert_exact(np.asarray(gradient), np.asarray(expected))


def test_nothing_is_copied_in_common_layouts() -> None:
    lhs, rhs = np.ones((2, 8, 9, 3), np.float32), np.ones((5, 3, 3, 3), np.float32)
    for numbers, x, w in (
        (("NHWC", "OIHW", "NHWC"), lhs, rhs),
        (("NCHW", "OIHW", "NCHW"), np.moveaxis(lhs, 3, 1), rhs),
        (("NHWC", "HWIO", "NHWC"), lhs, np.transpose(rhs, (2, 3, 1, 0))),
    ):
        text = str(
            jax.make_jaxpr(lambda x, w, n=numbers: cj.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=n))(
                x, w
            )
        )
        assert text.count("transpose[") == (numbers[1] == "HWIO")


def test_preferred_element_type(rng: np.random.Generator) -> None:
    lhs, rhs = integers(rng, (2, 4, 9, 9), "float32"), integers(rng, (3, 4, 3, 3), "float32")
    exact = lax.conv_general_dilated(lhs * 63, rhs * 63, (1, 1), "SAME")
    for dtype in (jnp.bfloat16, jnp.float16):
        a, b = jnp.asarray(lhs * 63, dtype), jnp.asarray(rhs * 63, dtype)
        assert cj.conv_general_dilated(a, b, (1, 1), "SAME").dtype == dtype
        wide, back = jax.vjp(
            lambda a, b: cj.conv_general_dilated(a, b, (1, 1), "SAME", preferred_element_type=jnp.float32), a, b
        )
        assert_exact(np.asarray(wide), np.asarray(exact))  # not rounded
        assert [g.dtype for g in back(wide)] == [dtype, dtype]
    narrow = cj.conv_general_dilated(lhs, rhs, (1, 1), "SAME", preferred_element_type="bfloat16")
    assert narrow.dtype == jnp.bfloat16
    mixed = cj.conv_general_dilated(a, rhs, (1, 1), "SAME")
    assert mixed.dtype == jnp.float32
    with jax.enable_x64(True):
        double = cj.conv_general_dilated(lhs, rhs, (1, 1), "SAME", preferred_element_type=np.float64)
        assert double.dtype == np.float64
        gradient = jax.grad(
            lambda b: cj.conv_general_dilated(lhs, b, (1, 1), "SAME", preferred_element_type="float64").sum()
        )
        assert gradient(rhs).dtype == np.float32


@pytest.mark.parametrize("precision", [None, "highest", "fastest", lax.Precision.HIGH, ("default", None)])
def test_all_precisions_are_met(precision: Any) -> None:
    lhs, rhs = np.ones((1, 2, 5), np.float32), np.ones((3, 2, 2), np.float32)
    assert cj.conv_general_dilated(lhs, rhs, (1,), "VALID", precision=precision)[0, 0, 0] == 4


def test_positional_arguments_under_transformations(rng: np.random.Generator) -> None:
    """As the layers of neural-network libraries call it."""
    lhs, rhs = integers(rng, (3, 2, 7, 6, 4), "float32"), integers(rng, (3, 3, 3, 4, 5), "float32")
    numbers = lax.conv_dimension_numbers((2, 7, 6, 4), (3, 3, 4, 5), ("NHWC", "HWIO", "NHWC"))
    with convpp.algorithm("direct"):

        def layer(f: Any) -> Any:
            return lambda a, b: f(a, b, (2, 1), [(1, 1), (0, 2)], (1, 1), (1, 1), numbers, 1)

        want = jax.vmap(layer(lax.conv_general_dilated))(lhs, rhs)
        assert_exact(np.asarray(jax.jit(jax.vmap(layer(cj.conv_general_dilated)))(lhs, rhs)), np.asarray(want))


LHS, RHS = np.ones((2, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"batch_group_count": 2}, ValueError, "batch_group_count is 2, expected 1: a batch group is"),
        ({"lhs_dilation": (2, 2), "window_strides": (2, 1)}, ValueError, "expected strides of 1 with it: take every"),
        ({"lhs_dilation": (2, 2), "padding": "SAME"}, ValueError, "padding is 'SAME' and lhs_dilation"),
        ({"lhs_dilation": (2, 2), "feature_group_count": 3}, ValueError, "feature_group_count is 3"),
        ({"padding": "FULL"}, ValueError, "padding is 'FULL', expected SAME, SAME_LOWER, VALID"),
        ({"padding": 1.5}, ValueError, "padding is 1.5"),
        ({"window_strides": (1, 2, 3)}, ValueError, "window_strides is"),
        ({"window_strides": (0, 1)}, ValueError, "window_strides is"),
        ({"rhs_dilation": (0, 1)}, ValueError, "rhs_dilation is"),
        ({"feature_group_count": 2}, convpp.ShapeError, "x is lhs"),
        ({"rhs_dilation": (4, 1)}, convpp.ShapeError, "longer than the padded input"),
        ({"out_sharding": "d"}, ValueError, "out_sharding is 'd', expected None"),
        ({"precision": "best"}, ValueError, "precision is 'best'"),
        ({"preferred_element_type": "int8"}, convpp.DTypeError, "dtype is int8"),
        ({"lhs": LHS.astype(int)}, convpp.DTypeError, "lhs has dtype int32"),
        ({"lhs": LHS[0]}, convpp.ShapeError, "as many axes of both"),
        ({"lhs": LHS[:, :, 0, 0], "rhs": RHS[:, :, 0, 0]}, convpp.ShapeError, "1, 2 or 3 spatial axes"),
    ],
)
def test_errors(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    given = {"lhs": LHS, "rhs": RHS, "window_strides": (1, 1), "padding": [(0, 0), (0, 0)]} | arguments
    for function in (cj.conv_general_dilated, lambda **k: jax.eval_shape(lambda: cj.conv_general_dilated(**k))):
        with pytest.raises(error, match=words):
            function(**given)
