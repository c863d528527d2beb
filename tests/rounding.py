"""What is not exact on integers, and by how much: algorithms other than the direct one, against the float64 oracle.

In: geometries.  Out: `check_auto`, the passes by the algorithm that "auto" takes, exact where that is the direct one;
`check_rounded`, one pass by any algorithm, on normal numbers; `assert_rounded`, the bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import convpp
from convpp.testing import reference_conv, reference_input_grad, reference_weight_grad
from geometry import FUNCTIONS, Array, Case, Geometry, Shape, check_passes, failures_name, in_layout, nan_out, normal

PASSES = tuple(FUNCTIONS)
#: An error (L2, relative) may be FACTOR times that of the direct algorithm, and ADDED more: a few rounding errors of
#: float32 in what transforms make of the operands.  (Of float64 too, and a margin for sums of few terms.)
FACTOR = 4
ADDED = {"float32": 5e-7, "float64": 1e-13}


def relative_error(got: Array, want: Array) -> float:
    """In the L2 norm; NaN where something is NaN."""
    size = float(np.linalg.norm(want))
    return float(np.linalg.norm(got.astype("float64") - want)) / (size if size > 0 else 1.0)


def assert_rounded(got: Array, direct: Array, want: Array) -> None:
    """``got`` is as near to the float64 result as the bound says, seen from what the direct algorithm gives."""
    assert got.dtype == direct.dtype
    assert got.shape == want.shape
    errors = relative_error(got, want), relative_error(direct, want)
    bound = FACTOR * errors[1] + ADDED[got.dtype.name]
    assert errors[0] <= bound, f"relative error {errors[0]:.3e} above {bound:.3e}, direct {errors[1]:.3e}"


def chosen_by_auto(g: Geometry, layout: str, op: str) -> str:
    shapes = g.x_shape(layout), g.w_shape
    return convpp.explain(*shapes, op=op, dtype=g.dtype, **g.keywords(layout)).algorithm


def check_auto(case: Case, layout: str, *, fill: bool = True, **options: Any) -> None:
    """The three passes as users call them."""
    g = case.geometry
    direct = [op for op in PASSES if chosen_by_auto(g, layout, op) == "direct"]
    check_passes(case, layout, passes=direct, fill=fill, algorithm="auto", **options)
    for op in PASSES:
        if op not in direct:
            check_rounded(g, layout, op, "auto", np.random.default_rng(90), **options)


def oracle(op: str, x: Array, w: Array, bias: Array | None, dy: Array, **keywords: Any) -> Array:
    """A pass, channels first."""
    if op == "forward":
        return reference_conv(x, w, bias, **keywords)
    if op == "input_grad":
        return reference_input_grad(dy, w, x.shape, **keywords)
    return reference_weight_grad(dy, x, w.shape, **keywords)


def arguments_of(
    g: Geometry, layout: str, op: str, rng: np.random.Generator, w_shape: Shape | None = None
) -> tuple[tuple[Any, ...], dict[str, Any], Array]:
    """Arguments and keywords of a pass on normal numbers, and its result in float64; w_shape: weights per sample."""
    x, w, dy = (normal(rng, shape, g.dtype) for shape in (g.x_shape(), w_shape or g.w_shape, g.y_shape()))
    bias = normal(rng, (g.k,), g.dtype) if g.bias else None
    if w_shape:
        parts = [oracle(op, x[n : n + 1], w[n], bias, dy[n : n + 1], **g.keywords()) for n in range(len(w))]
        want = np.stack(parts) if op == "weight_grad" else np.concatenate(parts)
    else:
        want = oracle(op, x, w, bias, dy, **g.keywords())
    keywords = {**g.keywords(layout), "per_sample": w_shape is not None}
    x, dy = in_layout(x, layout, g.rank), in_layout(dy, layout, g.rank)
    if op == "weight_grad":
        return (dy, x, w.shape), keywords, want
    want = in_layout(want, layout, g.rank)
    return ((x, w, bias) if op == "forward" else (dy, w, x.shape)), keywords, want


def check_rounded(
    g: Geometry,
    layout: str,
    op: str,
    algorithm: str,
    rng: np.random.Generator,
    *,
    accumulate: bool = False,
    w_shape: Shape | None = None,
    **options: Any,
) -> None:
    """A pass on normal numbers (``accumulate``: added to others) against the oracle and the direct algorithm."""
    arguments, keywords, want = arguments_of(g, layout, op, rng, w_shape)
    before = normal(rng, want.shape, g.dtype) if accumulate else nan_out(want.shape, g.dtype)
    more = {"accumulate": True} if accumulate else {}

    def run(name: str) -> Array:
        out = before.copy()
        assert FUNCTIONS[op](*arguments, **keywords, **options, **more, algorithm=name, out=out) is out
        return out

    with failures_name(f"{op} by {algorithm} {more}, {layout}", options, g):
        assert_rounded(run(algorithm), run("direct"), want + before if accumulate else want)
