"""The FFT: geometries against the float64 oracle within a stated bound, in all passes; what `auto` makes of it.

A result is wrong by about eps times the root mean square of what its sum may be, for each of the log2(n) halvings of a
transform of n elements, added like a random walk; and for the sum over source channels, parts of the kernel and tiles
(`terms`).  So the L2 norm of the error is held to

    BOUND * eps * sqrt(log2(n) + terms / 8) * size,      size = sqrt(sum of the results of x^2 and w^2),

eps of the type that is computed with.  Halves are rounded once more.  (Measured: 0.4 of eps * sqrt(...) * size, and up
to 1.9 of it where there are few results.)
Read next: test_fft_bits.py; test_transformed_values.py (NaN, overflow, memory).
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import accuracy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convpp
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


# ---------------------------------------------------------------- the bound


def numbers(pattern: str, text: str) -> int:
    """The product of the numbers ("64x96") that a text has where the pattern has a group; 1 without any."""
    found = re.search(pattern, text)
    return math.prod(map(int, found[1].split("x"))) if found else 1


def explain(g: Geometry, layout: str, op: str, **options: Any) -> convpp.Explanation:
    how: dict[str, Any] = {**g.keywords(layout), "op": op, "dtype": g.dtype, "algorithm": "fft", **options}
    return convpp.explain(g.x_shape(layout), g.w_shape, **how)


def allowed(g: Geometry, layout: str, op: str) -> float:
    """The error that is allowed, relative to the expected size."""
    explained = explain(g, layout, op)
    blocking = explained.blocking
    elems = numbers(r"transforms of ([0-9x]+);", blocking)
    if op == "weight_grad":
        terms = numbers(r"results, ([0-9]+) of each channel", blocking)
    else:
        channels = (g.c if op == "forward" else g.k) // g.groups
        terms = channels * numbers(r"kernels in ([0-9x]+) parts", blocking) * numbers(r"([0-9]+) phases", blocking)
    # (Of float64, the oracle's plain sum is wrong, too.)
    plain = g.macs / math.prod(explained.output_shape) if g.dtype == "float64" else 0
    eps = float(np.finfo("float64" if g.dtype == "float64" else "float32").eps)
    return BOUND * eps * math.sqrt(math.log2(max(elems, 2)) + (terms + plain) / 8)


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
        expected = math.sqrt(float(np.sum(size)))
        most = allowed(g, layout, op) * expected + HALVES.get(g.dtype, 0) * float(np.linalg.norm(want))
        error = float(np.linalg.norm(out.astype("float64") - want))
        assert error <= most, f"error {error:.3g} of {expected:.3g}, allowed {most:.3g}"


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


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(g=geometries(), layout=st.sampled_from(LAYOUTS), each=st.integers(0, 7), threads=st.integers(1, 3))
def test_random_geometries(isa: str, g: Geometry, layout: str, each: int, threads: int) -> None:
    per_sample = each == 0 and g.n is not None
    for op in PASSES:
        rng = np.random.default_rng(100)
        check(g, layout, op, rng, per_sample=per_sample, threads=threads)
        if op != "forward":
            check(g, layout, op, rng, per_sample=per_sample, threads=threads, accumulate=True)


NAMED = {
    "one channel": Geometry(2, 1, 1, (700,), (64,), padding=31, bias=True),
    "one pixel": Geometry(3, 5, 4, (1, 1), (9, 9), padding=4),
    "one result": Geometry(3, 5, 4, (23, 31), (23, 31)),
    "1x1": Geometry(2, 3, 4, (9, 8), (1, 1)),
    "all of x is read by every result": Geometry(2, 2, 3, (20,), (39,), padding="full"),
    "depthwise, along tiles": Geometry(2, 5, 5, (60, 61), (9, 11), padding=4, groups=5),
    "depthwise, along channels": Geometry(1, 70, 70, (12, 13), (9, 11), padding=5, groups=70),
    # Weight gradients whose tiles are summed in chunks.
    "one channel, many tiles": Geometry(3, 1, 1, (60_000,), (32,), padding=7),
    "depthwise, along channels, many samples": Geometry(33, 20, 20, (12, 13), (9, 11), padding=5, groups=20),
    "depthwise, two filters each": Geometry(2, 6, 12, (30, 29), (9, 11), padding=5, groups=6),
    "groups": Geometry(2, 12, 9, (20, 21), (7, 7), padding=3, groups=3, flip=True),
    "many channels": Geometry(1, 90, 17, (12, 11), (7, 7), padding=3),
    "many filters": Geometry(1, 17, 90, (12, 11), (7, 7), padding=3),
    "patches": Geometry(2, 3, 20, (64, 48), (16, 16), stride=16),
    "stride beyond the kernel": Geometry(2, 3, 4, (61, 50), (2, 3), stride=(5, 4), padding=1),
    "stride and dilation": Geometry(2, 3, 4, (61, 50), (5, 4), stride=(4, 3), dilation=(2, 5), padding=3),
    "dilated beyond the signal": Geometry(2, 3, 4, (9,), (3,), padding="full", dilation=50),
    "cropped": Geometry(2, 4, 3, (39, 40), (8, 9), padding=((-3, -5), (2, -4))),
    "padded far": Geometry(1, 4, 3, (5, 6), (7, 7), padding=((30, 0), (0, 41))),
    "volume": Geometry(1, 3, 4, (13, 14, 15), (6, 5, 7), padding=3, stride=(1, 2, 1)),
    "causal": Geometry(2, 4, 4, (500,), (100,), padding="causal", dilation=3),
    "no batch": Geometry(None, 3, 4, (30, 31), (9, 10), padding=4, bias=True),
    "reflected": Geometry(2, 3, 4, (30, 31), (11, 11), padding=9, padding_mode="reflect", bias=True),
    "around": Geometry(2, 3, 4, (30,), (21,), padding=60, padding_mode="circular"),
    "replicated and mirrored": Geometry(2, 3, 4, (9, 8), (7, 7), padding=20, padding_mode=("replicate", "symmetric")),
    # Kernels in parts.
    "9,000 taps": Geometry(2, 2, 3, (12_001,), (9000,), padding=700, bias=True),
    "20,000 taps, strided": Geometry(1, 1, 2, (26_000,), (20_000,), stride=2),
    "9,000 taps, depthwise": Geometry(1, 3, 3, (12_001,), (9000,), padding=9, groups=3, flip=True),
    "80x80": Geometry(1, 1, 2, (150, 170), (80, 80), padding=11),
}


@both_layouts
@every_pass
@pytest.mark.parametrize("name", NAMED)
def test_named_geometries(isa: str, name: str, op: str, layout: str, rng: np.random.Generator) -> None:
    for dtype in DTYPES if NAMED[name].macs < 1e7 else ("float32",):
        check(replace(NAMED[name], dtype=dtype), layout, op, rng, threads=2)
    if "000 taps" in name:
        assert "kernels in " in explain(NAMED[name], layout, op).blocking


def test_a_hundred_thousand_taps(rng: np.random.Generator) -> None:
    """In parts, against NumPy's FFT in float64, and in memory that does not follow from their number."""
    taps = 100_000
    x, w = normal(rng, (1, 1, 250_001), "float32"), normal(rng, (1, 1, taps), "float32")
    n = 2**19
    spectra = np.fft.rfft(x[0, 0].astype("float64"), n) * np.conj(np.fft.rfft(w[0, 0].astype("float64"), n))
    want = np.fft.irfft(spectra, n)[: x.shape[2] - taps + 1]
    assert relative_error(convpp.conv(x, w)[0, 0], want) < 1e-6
    e = convpp.explain(x.shape, w.shape)
    assert e.algorithm == "fft"
    assert "kernels in " in e.blocking
    assert e.workspace_bytes < 24 * 2**20


@both_layouts
@pytest.mark.parametrize("name", NAMED)
def test_adjointness(name: str, layout: str, rng: np.random.Generator) -> None:
    """<dy, conv(x, w)> = <conv_input_grad(dy, w), x> (= <conv_weight_grad(dy, x), w>), to 1e-12 of the norms."""
    g = replace(NAMED[name], dtype="float64", bias=False)
    how = {**g.keywords(layout), "algorithm": "fft"}
    x, w, dy = (normal(rng, shape) for shape in (g.x_shape(layout), g.w_shape, g.y_shape(layout)))
    for forward, backward, operand in (
        (lambda a: convpp.conv(a, w, **how), lambda a: convpp.conv_input_grad(a, w, x.shape, **how), x),
        (lambda a: convpp.conv(x, a, **how), lambda a: convpp.conv_weight_grad(a, x, w.shape, **how), w),
    ):
        assert adjoint_test(forward, backward, operand, dy, rtol=1e-12)


# ---------------------------------------------------------------- what "auto" makes of it

#: Taken by "auto" for the FFT in every pass, on every instruction set.
TAKEN = {
    "FIR of 1,024 taps": Geometry(1, 1, 1, (100_000,), (1024,)),
    "FIR of 1,024 taps, 16 channels": Geometry(2, 16, 16, (9000,), (1024,), groups=16, padding="causal"),
    "31x31 depthwise": Geometry(1, 64, 64, (56, 56), (31, 31), padding=15, groups=64),
    "blur of 64x64": Geometry(1, 1, 1, (300, 300), (64, 64), padding="same", padding_mode="reflect"),
    "15x15": Geometry(1, 16, 16, (64, 64), (15, 15), padding=7),
    "11x11x11": Geometry(1, 4, 4, (30, 30, 30), (11, 11, 11), padding=5),
}


@both_layouts
@every_pass
@pytest.mark.parametrize("name", TAKEN)
def test_auto_takes_it_for_many_taps(isa: str, name: str, op: str, layout: str) -> None:
    for dtype in DTYPES:
        e = explain(replace(TAKEN[name], dtype=dtype), layout, op, algorithm="auto")
        assert (e.algorithm, e.strategy) == ("fft", "fft")
        assert isinstance(e.candidates["fft"], float)


@every_pass
def test_auto_never_takes_it_for_few_taps(isa: str, op: str) -> None:
    rng = np.random.default_rng(70)
    for kernel in ((3, 3), (1, 1), (3, 5), (15,), (2, 2, 3)):
        for _ in range(10):
            rank, groups = len(kernel), int(rng.choice([1, 1, 2, 16]))
            c, k = (groups * int(rng.integers(1, 65)) for _ in range(2))
            spatial = tuple(int(n) for n in rng.integers(15, (4000, 70, 24)[rank - 1], rank))
            g = Geometry(int(rng.integers(1, 9)), c, k, spatial, kernel, padding=1, groups=groups)
            for layout in LAYOUTS:
                e = explain(g, layout, op, algorithm="auto")
                assert e.algorithm != "fft"
                assert e.candidates["fft"] == "fewer than 16 taps"


@every_pass
@pytest.mark.parametrize("data", accuracy.DATA)
@pytest.mark.parametrize("name", TAKEN)
def test_the_error_of_auto_is_at_most_four_times_that_of_direct(name: str, data: str, op: str) -> None:
    """In float32, whose error stays below 1e-6 of the result besides."""
    rng = np.random.default_rng(71)
    g = TAKEN[name]
    spatial = tuple(min(n, r + most) for n, r, most in zip(g.spatial, g.kernel, (9000, 9, 9), strict=False))
    g = replace(g, spatial=spatial, c=min(g.c, 16), k=min(g.k, 16), groups=min(g.groups, 16))
    x, w, dy = (draw(rng, shape, data) for shape in (g.x_shape(), g.w_shape, g.y_shape()))
    arguments: tuple[Any, ...] = {"forward": (x, w), "input_grad": (dy, w, x.shape), "weight_grad": (dy, x, w.shape)}[
        op
    ]
    want = FUNCTIONS[op](
        *(a.astype("float64") if isinstance(a, np.ndarray) else a for a in arguments), **g.exact_keywords()
    )
    fft, direct = (FUNCTIONS[op](*arguments, **g.keywords(), algorithm=by) for by in ("fft", "direct"))
    errors = relative_error(fft, want), relative_error(direct, want)
    assert errors[0] <= min(4 * errors[1], 1e-6)


def draw(rng: np.random.Generator, shape: tuple[int, ...], data: str) -> Array:
    values = rng.standard_normal(shape) if data == "normal" else rng.random(shape)
    return values.astype("float32")


def test_whole_numbers_are_exact_in_direct() -> None:
    """The FFT rounds them: they are near, and nearest to the right ones while these are small."""
    rng = np.random.default_rng(72)
    g = TAKEN["FIR of 1,024 taps"]
    x, w = (rng.integers(-3, 4, shape).astype("float32") for shape in (g.x_shape(), g.w_shape))
    direct, fft = (convpp.conv(x, w, algorithm=by) for by in ("direct", "fft"))
    assert np.array_equal(direct, np.convolve(x[0, 0], w[0, 0, ::-1], "valid")[None, None])
    assert np.array_equal(np.rint(fft), direct)
    assert not np.array_equal(fft, direct)


def test_what_explain_says() -> None:
    e = convpp.explain((1, 1, 100_000), (1, 1, 20_000))
    assert e.algorithm == e.strategy == "fft"
    assert re.fullmatch(
        r"transforms of [0-9]+; tiles of [0-9]+ results, [0-9]+ of each channel; kernels in [0-9]+ parts; "
        r"[0-9]+ boxes of up to [0-9]+ tiles; vectors along tiles; relative error about [1-3]\.[0-9]e-07",
        e.blocking,
    )
    text = str(convpp.explain((1, 3, 64, 64), (8, 3, 16, 16), stride=4, algorithm="fft"))
    assert "16 phases of taps; " in text
    assert "algorithm     fft" in text
    assert "transforms of " in text
