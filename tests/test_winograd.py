"""Winograd's algorithm: geometries against the float64 oracle within the bound of rounding.py, and equal bits.

Read next: test_transformed_values.py (NaN, overflow, memory).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import accuracy
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convpp
from convpp.testing import adjoint_test
from geometry import (
    DTYPES,
    FUNCTIONS,
    LAYOUTS,
    Array,
    Geometry,
    assert_same_bits,
    failures_name,
    in_layout,
    nan_out,
    normal,
)
from rounding import PASSES, arguments_of, check_rounded, chosen_by_auto

both_layouts = pytest.mark.parametrize("layout", LAYOUTS)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
every_pass = pytest.mark.parametrize("op", PASSES)


def run(op: str, arguments: tuple[Any, ...], like: Array, **keywords: Any) -> Array:
    out = nan_out(like.shape, arguments[0].dtype)
    return FUNCTIONS[op](*arguments, **keywords, out=out)


# ---------------------------------------------------------------- geometries


def serves(g: Geometry, op: str) -> bool:
    try:
        convpp.explain(g.x_shape(), g.w_shape, op=op, dtype=g.dtype, **g.keywords(), algorithm="winograd")
    except ValueError as error:
        if "algorithm is 'winograd', which does not serve this geometry: " in str(error):
            return False
        raise
    return True


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Most of them have a kernel extent of 3 or 5 at stride 1."""

    def pick(*values: Any) -> Any:
        return draw(st.sampled_from(values))

    rank, groups = pick(1, 2, 2, 3), pick(1, 1, 1, 2, 3)
    c, k = (draw(st.integers(1, 40 if groups == 1 else 20)) for _ in range(2))
    kernel = [pick(3, 3, 5, 3, 1, 2, 4) for _ in range(rank)]
    stride = [pick(1, 1, 1, 1, 2) for _ in range(rank)]
    transformed = draw(st.integers(0, rank - 1))
    kernel[transformed], stride[transformed] = pick(3, 3, 5), 1
    dilation = [pick(1, 1, 2, 3, 5) for _ in range(rank)]
    padding = [(pick(0, 1, 2, 5, -1), pick(1, 0, 3, 5, -1)) for _ in range(rank)]
    most = (60, 15, 7)[rank - 1]
    spatial = []
    for r, d, (lo, hi) in zip(kernel, dilation, padding, strict=True):
        least = max(d * (r - 1) + 1 - lo - hi, 1 - min(lo, 0) - min(hi, 0), 1)
        spatial.append(draw(st.integers(least, max(least, most))))
    return Geometry(
        n=pick(1, 2, 3),
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
        dtype=pick(*DTYPES),
    )


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(g=geometries(), layout=st.sampled_from(LAYOUTS), per_sample=st.integers(0, 7), threads=st.integers(1, 3))
def test_random_geometries(isa: str, g: Geometry, layout: str, per_sample: int, threads: int) -> None:
    w_shape = (g.n, *g.w_shape) if per_sample == 0 and g.n else None
    for op in PASSES:
        if serves(g, op):
            rng = np.random.default_rng(100)
            check_rounded(g, layout, op, "winograd", rng, w_shape=w_shape, threads=threads)
            if op != "forward":
                check_rounded(g, layout, op, "winograd", rng, w_shape=w_shape, threads=threads, accumulate=True)


NAMED = {
    "one row": Geometry(2, 17, 19, (1, 23), (3, 3), padding=1),
    "one column": Geometry(2, 17, 19, (23, 1), (3, 3), padding=1),
    "one pixel": Geometry(3, 33, 31, (1, 1), (3, 3), padding=1),
    "one result": Geometry(3, 33, 31, (3, 3), (3, 3)),
    "5x5": Geometry(2, 18, 35, (14, 9), (5, 5), padding=2),
    "3x3 of 5x5 is one axis": Geometry(2, 18, 35, (14, 9), (5, 3), padding=2),
    "strided along one axis": Geometry(2, 16, 24, (15, 14), (3, 3), stride=(2, 1), padding=1),
    "3x1": Geometry(2, 16, 24, (15, 14), (3, 1)),
    "rows between": Geometry(1, 16, 16, (9, 10, 11), (2, 3, 2), padding=1),
    "volume": Geometry(2, 20, 17, (7, 6, 9), (3, 3, 3), padding=1),
    "signal": Geometry(3, 33, 40, (301,), (3,), padding="same", dilation=7),
    "long signal of five": Geometry(1, 20, 33, (1501,), (5,), padding="causal"),
    "dilated, 64 phases": Geometry(1, 16, 16, (21, 22), (3, 3), padding=8, dilation=8),
    "dilated beyond the image": Geometry(2, 5, 7, (9,), (3,), padding="full", dilation=50),
    "cropped": Geometry(2, 16, 17, (19, 20), (3, 3), padding=((-3, -1), (2, -4))),
    "padded far": Geometry(1, 16, 17, (5, 6), (3, 3), padding=((9, 0), (0, 14))),
    "groups": Geometry(2, 96, 51, (11, 13), (3, 3), padding=1, groups=3, flip=True),
    "depthwise": Geometry(2, 21, 21, (11, 13), (3, 3), padding=1, groups=21),
    "no batch": Geometry(None, 17, 18, (13, 11), (3, 3), padding=1, bias=True),
    # Kernels beside which the taps of the other axes are many, or far apart.
    "many other taps": Geometry(1, 4, 6, (21, 40), (19, 3), padding=1),
    "several hundred other taps": Geometry(1, 3, 2, (340, 12), (331, 3), padding=1),
    "other taps far apart": Geometry(1, 4, 6, (9, 10, 11), (2, 3, 2), padding="full", dilation=(100, 2, 37), groups=2),
    "other rows far apart": Geometry(2, 4, 5, (120, 40), (2, 3), padding=((100, 100), (1, 1)), dilation=(100, 1)),
    "many channels": Geometry(1, 300, 17, (9, 8), (3, 3), padding=1, bias=True),
    "many filters": Geometry(1, 17, 290, (9, 8), (3, 3), padding=1, bias=True),
}


@both_layouts
@pytest.mark.parametrize("name", NAMED)
def test_named_geometries(isa: str, name: str, layout: str, rng: np.random.Generator) -> None:
    served = [op for op in PASSES if serves(NAMED[name], op)]
    assert "forward" in served
    for op in served:
        for dtype in DTYPES:
            check_rounded(replace(NAMED[name], dtype=dtype), layout, op, "winograd", rng, threads=2)


@every_pass
@both_dtypes
@pytest.mark.parametrize("data", accuracy.DATA)
@pytest.mark.parametrize("channels", [16, 64])
def test_accuracy(op: str, channels: int, data: str, dtype: str) -> None:
    """Errors as docs/accuracy.md has them, within the bound that it states."""
    what = accuracy.PASSES[op.replace("grad", "gradient").replace("_", " ")]
    found = accuracy.errors(what, accuracy.operands(channels, 2, 14, data), dtype, ("direct", "winograd"))
    assert 0 < found["direct"] < found["winograd"] <= accuracy.FACTOR * found["direct"] + accuracy.ADDED[dtype]


@both_layouts
@pytest.mark.parametrize("name", NAMED)
def test_adjointness(name: str, layout: str, rng: np.random.Generator) -> None:
    """<dy, conv(x, w)> = <conv_input_grad(dy, w), x> (= <conv_weight_grad(dy, x), w>), to 1e-12 of the norms."""
    g = replace(NAMED[name], dtype="float64", bias=False)
    how = {**g.keywords(layout), "algorithm": "winograd"}
    x, w, dy = (normal(rng, shape) for shape in (g.x_shape(layout), g.w_shape, g.y_shape(layout)))
    for op, forward, backward, operand in (
        ("input_grad", lambda a: convpp.conv(a, w, **how), lambda a: convpp.conv_input_grad(a, w, x.shape, **how), x),
        ("weight_grad", lambda a: convpp.conv(x, a, **how), lambda a: convpp.conv_weight_grad(a, x, w.shape, **how), w),
    ):
        if serves(g, op):
            assert adjoint_test(forward, backward, operand, dy, rtol=1e-12)


# ---------------------------------------------------------------- bits

#: "auto" chooses Winograd's algorithm for each, at least in one pass.
BITS = {
    "3x3": Geometry(9, 33, 65, (23, 21), (3, 3), padding=1, bias=True),
    "several samples in a box": Geometry(9, 64, 120, (7, 5), (3, 3), padding=1, bias=True),
    "5x5": Geometry(9, 40, 49, (14, 15), (5, 5), padding=2, bias=True),
    "dilated": Geometry(9, 48, 50, (19, 18), (3, 3), padding=2, dilation=2),
    "grouped": Geometry(9, 96, 70, (17, 16), (3, 3), padding=1, groups=2, bias=True),
    "signal": Geometry(9, 64, 65, (601,), (3,), padding=1, bias=True),
    "volume": Geometry(9, 24, 33, (6, 9, 8), (3, 3, 3), padding=1, bias=True),
    "several blocks of channels": Geometry(9, 140, 150, (9, 8), (3, 3), padding=1, bias=True),
}


@both_layouts
@both_dtypes
@pytest.mark.parametrize("algorithm", ["auto", "winograd"])
@pytest.mark.parametrize("name", BITS)
def test_bits(name: str, algorithm: str, dtype: str, layout: str, rng: np.random.Generator) -> None:
    g = replace(BITS[name], dtype=dtype)
    chosen = [op for op in PASSES if chosen_by_auto(g, layout, op) == "winograd"]
    assert chosen
    for op in chosen if algorithm == "auto" else PASSES:
        arguments, keywords, want = arguments_of(g, layout, op, rng)
        how = {**keywords, "algorithm": algorithm}
        alone = run(op, arguments, want, **how, threads=1)
        assert not np.array_equal(
            alone, run(op, arguments, want, **keywords, algorithm="direct")
        )  # nothing was repaired
        for threads in (2, 3, 4):
            with failures_name(op, f"{threads} threads"):
                assert_same_bits(run(op, arguments, want, **how, threads=threads), alone)
        if op != "weight_grad":
            for chosen_samples in ([0], [8], [3, 1], [0, 4, 8], [*range(9)][::-1]):
                with failures_name(op, f"samples {chosen_samples}"):
                    part = samples(op, arguments, chosen_samples)
                    assert_same_bits(run(op, part, want[chosen_samples], **how, threads=2), alone[chosen_samples])


def samples(op: str, arguments: tuple[Any, ...], chosen: list[int]) -> tuple[Any, ...]:
    first, w, last = arguments
    return (first[chosen], w, (len(chosen), *last[1:]) if op == "input_grad" else last)


@pytest.mark.parametrize("op", [op for op in PASSES if op != "weight_grad"])
def test_bits_of_large_weights(op: str, rng: np.random.Generator) -> None:
    """Tasks transform them on their own where pixels are few, and share them where they are many."""
    g = Geometry(1, 512, 512, (7, 7), (3, 3), padding=1)
    nbytes = 4 * np.prod(g.w_shape)

    def shared(n: int) -> int:
        e = convpp.explain(replace(g, n=n).x_shape(), g.w_shape, op=op, padding=1, algorithm="winograd")
        return e.workspace_bytes - e.threads * e.workspace_bytes_per_thread

    assert shared(1) < nbytes
    many = next(n for n in (65, 130, 260) if shared(n) > nbytes)
    arguments, keywords, want = arguments_of(replace(g, n=3), "channels_first", op, rng)
    arguments = samples(op, arguments, [0, 1, 2] * (many // 3 + 1))
    like = np.concatenate([want] * (many // 3 + 1))
    for algorithm in ("auto", "winograd"):
        how = {**keywords, "algorithm": algorithm}
        together = run(op, arguments, like, **how, threads=2)
        for chosen in ([0], [0, 1], [many]):
            got = run(op, samples(op, arguments, chosen), like[chosen], **how, threads=2)
            assert_same_bits(got, together[chosen])
        assert_same_bits(together[3:6], together[:3])


@both_layouts
@pytest.mark.parametrize("name", [name for name in BITS if BITS[name].bias])
def test_earlier_calls_leave_nothing(name: str, layout: str, rng: np.random.Generator) -> None:
    """Not in the lanes behind the last channel either, which must not look like results that are not finite."""
    arguments, keywords, want = arguments_of(BITS[name], layout, "forward", rng)
    first = run("forward", arguments, want, **keywords, algorithm="winograd", threads=1)
    assert not np.array_equal(first, run("forward", arguments, want, **keywords, algorithm="direct", threads=1))
    x, w = np.ones((1, 200, 9, 9), "f4"), np.ones((240, 200, 3, 3), "f4")  # its memory is used again: all of it
    for value in (np.nan, np.inf, 3e38):
        for algorithm in ("direct", "winograd"):
            convpp.conv(x * np.float32(value), w * np.float32(value), algorithm=algorithm, threads=1)
            got = run("forward", arguments, want, **keywords, algorithm="winograd", threads=1)
            assert_same_bits(got, first)


# ---------------------------------------------------------------- memory


@every_pass
@both_dtypes
@pytest.mark.parametrize("name", BITS)
def test_the_workspace_does_not_grow_with_the_batch(name: str, dtype: str, op: str) -> None:
    def asked(n: int) -> tuple[int, int]:
        g = replace(BITS[name], n=n, dtype=dtype)
        how: dict[str, Any] = {**g.keywords(), "dtype": dtype, "op": op, "algorithm": "winograd", "threads": 1}
        e = convpp.explain(g.x_shape(), g.w_shape, **how)
        # An input gradient that is added to ``out`` is computed as a whole before.
        dx = math.prod(e.output_shape) * np.dtype(dtype).itemsize if op == "input_grad" else 0
        return e.workspace_bytes - dx, e.workspace_bytes_per_thread

    few, many = asked(2**10), asked(2**16)
    assert all(b <= a * 1.25 for a, b in zip(few, many, strict=True))  # but for how boxes are cut
    assert many[1] <= 12 * 2**20


def test_layouts_have_the_same_results(rng: np.random.Generator) -> None:
    for g in BITS.values():
        x, w = normal(rng, g.x_shape(), g.dtype), normal(rng, g.w_shape, g.dtype)
        first = convpp.conv(x, w, **g.keywords(), algorithm="winograd")
        last = convpp.conv(
            in_layout(x, "channels_last", g.rank), w, **g.keywords("channels_last"), algorithm="winograd"
        )
        assert_same_bits(last, in_layout(first, "channels_last", g.rank))


# ---------------------------------------------------------------- errors

NO_EXTENT = "no kernel extent is 3 or 5 at stride 1"
REFUSED = {
    "1x1": (Geometry(2, 16, 16, (9, 9), (1, 1)), "all", NO_EXTENT),
    "2x4": (Geometry(2, 16, 16, (9, 9), (2, 4)), "all", NO_EXTENT),
    "7x7": (Geometry(2, 16, 16, (9, 9), (7, 7)), "all", NO_EXTENT),
    "strided": (Geometry(2, 16, 16, (9, 9), (3, 3), stride=2), ("forward", "weight_grad"), NO_EXTENT),
    "strided gradient": (Geometry(2, 16, 16, (9, 9), (3, 3), stride=2), ("input_grad",), "has a stride"),
    "one strided axis": (Geometry(2, 16, 16, (9, 9), (3, 3), stride=(1, 2)), ("input_grad",), "has a stride"),
    "dilated": (
        Geometry(2, 16, 16, (29, 29), (3, 3), dilation=(9, 8)),
        "all",
        "the dilation makes more than 64 interleaved parts",
    ),
    "dilated signal": (Geometry(2, 16, 16, (400,), (5,), dilation=65), "all", "the dilation makes more than 64"),
}


@both_layouts
@pytest.mark.parametrize("name", REFUSED)
def test_errors_name_the_argument_and_the_reason(name: str, layout: str, rng: np.random.Generator) -> None:
    g, passes, reason = REFUSED[name]
    for op in FUNCTIONS:
        if passes != "all" and op not in passes:
            continue
        arguments, keywords, want = arguments_of(g, layout, op, rng)
        out = np.full(want.shape, 98765, g.dtype)
        with pytest.raises(
            ValueError, match=f"algorithm is 'winograd', which does not serve this geometry: .*{reason}"
        ):
            FUNCTIONS[op](*arguments, **keywords, algorithm="winograd", out=out)
        assert np.all(out == 98765)
        shapes = g.x_shape(layout), g.w_shape
        with pytest.raises(ValueError, match="algorithm is 'winograd'"):
            convpp.explain(*shapes, **g.keywords(layout), op=op, algorithm="winograd")
        assert convpp.explain(*shapes, **g.keywords(layout), op=op).algorithm == "direct"
    if passes == "all":
        w = normal(rng, g.w_shape, g.dtype)
        with pytest.raises(ValueError, match=f"algorithm is 'winograd'.*{reason}"):
            convpp.prepare_weights(w, g.x_shape(layout), **g.keywords(layout), algorithm="winograd")


def test_an_unknown_algorithm_is_told_of_winograd() -> None:
    with pytest.raises(ValueError, match=r"algorithm is 'fast'.*'winograd'|algorithm.*fast.*winograd"):
        convpp.conv(np.ones((1, 1, 5)), np.ones((1, 1, 3)), algorithm="fast")
