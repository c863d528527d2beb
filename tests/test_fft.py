"""The FFT: geometries against the float64 oracle within a stated bound, in all passes; and what `auto` makes of it.

Errors: an element of a result is wrong by about eps times the root mean square of what its sum could be, for each of the
log2(n) halvings of a transform of n elements, added as a random walk; and so is the sum over source channels, parts of
the kernel and tiles.  So the L2 error is held to

    BOUND * eps * sqrt(log2(n) + terms / 8) * |expected size|,      expected size = sqrt(sum of all x^2 w^2),

with eps of the type that is computed with.  (Measured: 0.35 to 0.6 of eps * sqrt(...).)  Halves are rounded once more.
Read next: test_fft_bits.py, test_fft_values.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convpp
from convpp import runtime
from convpp.testing import adjoint_test
from geometry import DTYPES, FUNCTIONS, LAYOUTS, MODES, Array, Geometry, failures_name, in_layout, nan_out, normal
from rounding import PASSES, oracle, relative_error

BOUND = 2.0
HALVES = {"float16": 2.0**-11, "bfloat16": 2.0**-8}

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

both_layouts = pytest.mark.parametrize("layout", LAYOUTS)
every_pass = pytest.mark.parametrize("op", PASSES)


@pytest.fixture(params=convpp.runtime_info()["isas_available"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    before = convpp.runtime_info()["isa"]
    runtime._select_isa(request.param)
    yield request.param
    runtime._select_isa(before)


# ---------------------------------------------------------------- the bound


def numbers(pattern: str, text: str) -> int:
    """The product of the numbers ("64x96") that a text has where the pattern has a group; 1 without any."""
    found = re.search(pattern, text)
    return math.prod(map(int, found[1].split("x"))) if found else 1


def allowed(g: Geometry, layout: str, op: str, wide: str, **options: Any) -> float:
    """The error that is allowed, relative to the expected size."""
    e = convpp.explain(g.x_shape(layout), g.w_shape, op=op, dtype=g.dtype, **g.keywords(layout), algorithm="fft")
    elems = numbers(r"transforms of ([0-9x]+);", e.blocking)
    tiles = numbers(r"results, ([0-9]+) of each channel", e.blocking)
    terms = numbers(r"kernels in ([0-9x]+) parts", e.blocking) * numbers(r"([0-9]+) phases", e.blocking)
    channels = {"forward": g.c, "input_grad": g.k, "weight_grad": 1}[op] // g.groups if op != "weight_grad" else tiles
    return BOUND * float(np.finfo(wide).eps) * math.sqrt(math.log2(max(elems, 2)) + terms * channels / 8)


def operands_of(g: Geometry, rng: np.random.Generator, per_sample: bool = False) -> dict[str, Array]:
    w_shape = (g.n, *g.w_shape) if per_sample else g.w_shape
    arrays = {"x": g.x_shape(), "w": w_shape, "dy": g.y_shape()}
    if g.bias:
        arrays["bias"] = (g.k,)
    return {name: normal(rng, shape, g.dtype) for name, shape in arrays.items()}


def sums_of(op: str, g: Geometry, arrays: dict[str, Array], per_sample: bool) -> Array:
    """A pass in float64, channels first."""
    x, w, dy = (arrays[name].astype("float64") for name in ("x", "w", "dy"))
    bias = arrays["bias"].astype("float64") if "bias" in arrays else None
    if not per_sample:
        return oracle(op, x, w, bias, dy, **g.keywords())
    each = [oracle(op, x[n : n + 1], w[n], bias, dy[n : n + 1], **g.keywords()) for n in range(len(w))]
    return np.stack(each) if op == "weight_grad" else np.concatenate(each)


def check(
    g: Geometry,
    layout: str,
    op: str,
    rng: np.random.Generator,
    *,
    per_sample: bool = False,
    accumulate: bool = False,
    algorithm: str = "fft",
    **options: Any,
) -> None:
    """A pass on normal numbers against the oracle, within the bound."""
    arrays = operands_of(g, rng, per_sample)
    want = sums_of(op, g, arrays, per_sample)
    size = sums_of(op, g, {name: np.square(a.astype("float64")) for name, a in arrays.items()}, per_sample)
    before = normal(rng, want.shape, g.dtype) if accumulate else np.zeros(want.shape, g.dtype)
    want, size = want + before, size + np.square(before.astype("float64"))
    arrays |= {name: in_layout(arrays[name], layout, g.rank) for name in ("x", "dy")}
    x, w, dy = arrays["x"], arrays["w"], arrays["dy"]
    arguments: tuple[Any, ...] = (dy, x, w.shape)
    if op != "weight_grad":
        want, before = (in_layout(a, layout, g.rank) for a in (want, before))
        arguments = (x, w, arrays.get("bias")) if op == "forward" else (dy, w, x.shape)
    out = before if accumulate else nan_out(want.shape, g.dtype)
    more: dict[str, Any] = {"accumulate": True} if accumulate else {}
    how = {**g.keywords(layout), "per_sample": per_sample, "algorithm": algorithm, **options, **more}
    with failures_name(op, layout, how, g):
        assert FUNCTIONS[op](*arguments, **how, out=out) is out
        wide = "float32" if g.dtype in HALVES else g.dtype
        bound = allowed(g, layout, op, wide) + HALVES.get(g.dtype, 0)
        expected = math.sqrt(float(np.sum(size)))
        error = float(np.linalg.norm(out.astype("float64") - want))
        print("RATIO", op, g.dtype, error / (bound * expected + 1e-300))
        assert error <= bound * expected, f"error {error:.3g}, allowed {bound:.3g} of {expected:.3g}"


# ---------------------------------------------------------------- geometries


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    def pick(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    rank, groups = pick(1, 2, 2, 3), pick(1, 1, 1, 2, 3)
    c, k = (draw(st.integers(1, 20)) for _ in range(2))
    kind = pick("dense", "dense", "one", "depthwise", "depthwise")
    if kind == "one":
        c, k, groups = pick(1, 1, 3), pick(1, 1, 3), 1
    elif kind == "depthwise":
        groups, c, k = draw(st.integers(2, 40)), 1, pick(1, 1, 2)
    longest = (70, 17, 6)[rank - 1]
    kernel = [draw(st.integers(1, longest)) for _ in range(rank)]
    stride = [pick(1, 1, 1, 1, 2, 3, 5) for _ in range(rank)]
    dilation = [pick(1, 1, 1, 2, 3) for _ in range(rank)]
    padding = [(pick(0, 1, 2, 5, -1), pick(1, 0, 3, 5, -2)) for _ in range(rank)]
    most = (300, 30, 12)[rank - 1]
    spatial = []
    for r, d, (lo, hi) in zip(kernel, dilation, padding, strict=True):
        least = max(d * (r - 1) + 1 - lo - hi, 1 - min(lo, 0) - min(hi, 0), 1)
        spatial.append(draw(st.integers(least, max(least, most))))
    halves = ("float16",) if ml_dtypes is None else ("float16", "bfloat16")
    return Geometry(
        n=pick(None, 1, 2, 3),
        c=c * groups,
        k=k * groups,
        spatial=tuple(spatial),
        kernel=tuple(kernel),
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=tuple(dilation),
        groups=groups,
        flip=draw(st.booleans()),
        bias=draw(st.booleans()),
        dtype=pick(*DTYPES, *DTYPES, *halves),
        padding_mode=tuple(pick("zeros", "zeros", "zeros", *MODES) for _ in range(rank)),
    )


@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(g=geometries(), layout=st.sampled_from(LAYOUTS), each=st.integers(0, 7), threads=st.integers(1, 3))
def test_random_geometries(isa: str, g: Geometry, layout: str, each: int, threads: int) -> None:
    per_sample = each == 0 and g.n is not None
    for op in PASSES:
        rng = np.random.default_rng(100)
        check(g, layout, op, rng, per_sample=per_sample, threads=threads)
        if op != "forward":
            check(g, layout, op, rng, per_sample=per_sample, threads=threads, accumulate=True)
