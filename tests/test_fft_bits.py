"""The FFT: the same bits for any threads, batch, layout and memory of earlier calls; and memory that does not grow.

Read next: test_transformed_values.py (NaN, overflow, prepared weights).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import convpp
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
from rounding import PASSES, arguments_of

#: Each path of the strategy: lanes that are tiles or channels, one term or many, parts, phases, dilation, borders.
BITS = {
    "one channel": Geometry(9, 1, 1, (1500,), (300,), bias=True),
    "two filters of a channel": Geometry(9, 1, 2, (700,), (90,), padding=11, bias=True),
    "few channels": Geometry(9, 3, 5, (40, 37), (11, 9), padding=4, bias=True),
    "many channels": Geometry(9, 33, 40, (18, 17), (9, 9), padding=4, bias=True),
    "depthwise": Geometry(9, 40, 40, (21, 20), (13, 11), padding=5, groups=40, bias=True),
    "grouped": Geometry(9, 6, 9, (21, 20), (9, 9), padding=4, groups=3, bias=True),
    "strided": Geometry(9, 3, 4, (41, 38), (9, 8), stride=(2, 3), padding=4, bias=True),
    "dilated": Geometry(9, 3, 4, (300,), (17,), padding=5, dilation=9, bias=True),
    "reflected": Geometry(9, 3, 4, (30, 31), (9, 9), padding=4, padding_mode="reflect", bias=True),
    "volume": Geometry(9, 2, 3, (12, 13, 14), (5, 6, 7), padding=2, bias=True),
    "kernel in parts": Geometry(9, 2, 1, (13_000,), (9000,), bias=True),
}

both_layouts = pytest.mark.parametrize("layout", LAYOUTS)
every_pass = pytest.mark.parametrize("op", PASSES)
every_case = pytest.mark.parametrize("name", BITS)


def operands(g: Geometry, layout: str, op: str, rng: np.random.Generator) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Arguments of a pass, and the shape of its result."""
    x, w, dy = (normal(rng, shape, g.dtype) for shape in (g.x_shape(layout), g.w_shape, g.y_shape(layout)))
    if op == "forward":
        return (x, w, normal(rng, (g.k,), g.dtype)), dy.shape
    return ((dy, w, x.shape), x.shape) if op == "input_grad" else ((dy, x, w.shape), w.shape)


def run(op: str, arguments: tuple[Any, ...], shape: tuple[int, ...], **keywords: Any) -> Array:
    return FUNCTIONS[op](*arguments, algorithm="fft", **keywords, out=nan_out(shape, arguments[0].dtype))


def samples(op: str, arguments: tuple[Any, ...], chosen: list[int]) -> tuple[Any, ...]:
    first, w, last = arguments
    return (first[chosen], w, (len(chosen), *last[1:]) if op == "input_grad" else last)


@both_layouts
@every_case
def test_bits(isa: str, name: str, layout: str, rng: np.random.Generator) -> None:
    """One after the other, for every dtype and pass: threads, then samples alone and in any batch."""
    for dtype in (*DTYPES, "float16"):
        g = replace(BITS[name], dtype=dtype)
        for op in PASSES:
            arguments, shape = operands(g, layout, op, rng)
            keywords = g.keywords(layout)
            alone = run(op, arguments, shape, **keywords, threads=1)
            assert np.all(np.isfinite(alone))
            for threads in (2, 3, 8):
                with failures_name(op, dtype, f"{threads} threads"):
                    assert_same_bits(run(op, arguments, shape, **keywords, threads=threads), alone)
            if op == "weight_grad":
                continue
            for chosen in ([0], [8], [3, 1], [0, 4, 8], [*range(9)][::-1]):
                with failures_name(op, dtype, f"samples {chosen}"):
                    part = samples(op, arguments, chosen)
                    got = run(op, part, (len(chosen), *shape[1:]), **keywords, threads=2)
                    assert_same_bits(got, alone[chosen])


@every_case
def test_layouts_have_the_same_results(isa: str, name: str, rng: np.random.Generator) -> None:
    for dtype in DTYPES:
        g = replace(BITS[name], dtype=dtype)
        for op in ("forward", "input_grad"):
            (first, w, last), shape = operands(g, "channels_first", op, rng)
            got = run(op, (first, w, last), shape, **g.keywords())
            turned = in_layout(first, "channels_last", g.rank)
            like = in_layout(got, "channels_last", g.rank)
            arguments = (turned, w, like.shape if op == "input_grad" else last)
            assert_same_bits(run(op, arguments, like.shape, **g.keywords("channels_last")), like)


@both_layouts
@every_case
def test_weights_of_each_sample_and_prepared_ones(name: str, layout: str, rng: np.random.Generator) -> None:
    """The bits of single calls with plain weights."""
    g = replace(BITS[name], n=3)
    keywords = g.keywords(layout)
    w = normal(rng, (3, *g.w_shape), g.dtype)
    for op in PASSES:
        arguments, shape = operands(g, layout, op, rng)
        if op == "weight_grad":
            all_of_them: tuple[Any, ...] = (*arguments[:2], w.shape)
        else:
            all_of_them = (arguments[0], w, arguments[2])
        like = w.shape if op == "weight_grad" else shape
        together = run(op, all_of_them, like, **keywords, per_sample=True, threads=2)
        for n in range(3):
            if op == "weight_grad":
                one = run(op, (arguments[0][[n]], arguments[1][[n]], g.w_shape), g.w_shape, **keywords)
                assert_same_bits(together[n], one)
                continue
            part = (arguments[0][[n]], w[n], (1, *shape[1:]) if op == "input_grad" else arguments[2])
            assert_same_bits(together[[n]], run(op, part, (1, *shape[1:]), **keywords))
        if op == "forward":
            x, plain, bias = arguments
            prepared = convpp.prepare_weights(plain, x.shape, **keywords, algorithm="fft")
            for threads in (1, 3):
                assert_same_bits(convpp.conv(x, prepared, bias, threads=threads), run(op, arguments, shape, **keywords))


@both_layouts
@every_pass
@every_case
def test_earlier_calls_leave_nothing(name: str, op: str, layout: str, rng: np.random.Generator) -> None:
    """Lanes that have no tile are computed with, too: NaN of earlier calls must not reach a result."""
    g = BITS[name]
    for n in (1, 2, 9):
        arguments, shape = operands(replace(g, n=n), layout, op, rng)
        first = run(op, arguments, shape, **g.keywords(layout), threads=1)
        direct = FUNCTIONS[op](*arguments, **g.keywords(layout), algorithm="direct")
        assert not np.array_equal(first, direct)  # nothing was computed again
        x, w = np.ones((1, 200, 9, 9), "f4"), np.ones((240, 200, 3, 3), "f4")  # its memory is used again: all of it
        for value in (np.nan, 3e38):
            convpp.conv(x * np.float32(value), w * np.float32(value), algorithm="direct", threads=1)
            assert_same_bits(run(op, arguments, shape, **g.keywords(layout), threads=1), first)
            with np.errstate(all="ignore"):
                spoilt = tuple(a * np.float32(value) if isinstance(a, np.ndarray) else a for a in arguments)
                run(op, spoilt, shape, **g.keywords(layout), threads=1)
            assert_same_bits(run(op, arguments, shape, **g.keywords(layout), threads=1), first)


@every_pass
@pytest.mark.parametrize("dtype", DTYPES)
@every_case
def test_the_workspace_does_not_grow_with_the_batch(name: str, dtype: str, op: str) -> None:
    def asked(n: int) -> tuple[int, int]:
        g = replace(BITS[name], n=n, dtype=dtype)
        how: dict[str, Any] = {**g.keywords(), "dtype": dtype, "op": op, "algorithm": "fft", "threads": 1}
        e = convpp.explain(g.x_shape(), g.w_shape, **how)
        # An input gradient that is added to ``out`` is computed as a whole before, some samples at a time.
        dx = math.prod(e.output_shape) * np.dtype(dtype).itemsize if op == "input_grad" else 0
        return e.workspace_bytes - min(dx, 4 << 20), e.workspace_bytes_per_thread

    few, many = asked(2**10), asked(2**16)
    assert all(b <= a * 1.25 + 4096 + 2**16 for a, b in zip(few, many, strict=True))  # a flag for each sample
    assert many[1] <= 64 << 20


def test_out_is_untouched_by_errors(rng: np.random.Generator) -> None:
    g = BITS["few channels"]
    arguments, _, want = arguments_of(g, "channels_first", "forward", rng)
    x, w, bias = arguments
    for wrong in ((x[:, :2], w, bias), (x, w[:, :2], bias), (x, w, bias[:2])):
        out = np.full(want.shape, 12345, g.dtype)
        with pytest.raises(convpp.ShapeError):
            convpp.conv(*wrong, **g.keywords(), algorithm="fft", out=out)
        assert np.all(out == 12345)


def test_refusals_say_what_was_expected() -> None:
    """More residue classes than are planned one by one; positions beyond 64 bits."""
    how: dict[str, Any] = {"stride": 40, "op": "input_grad"}
    with pytest.raises(
        ValueError, match=r"algorithm is 'fft', which does not serve .* too many, expected 1024 at most"
    ):
        convpp.explain((1, 1, 200, 200), (1, 1, 40, 40), **how, algorithm="fft")
    assert convpp.explain((1, 1, 200, 200), (1, 1, 40, 40), **how).algorithm == "direct"
    far: dict[str, Any] = {"dilation": 2**57, "padding": 2**57}
    with pytest.raises(ValueError, match=r"algorithm is 'fft', which does not serve .* 64 bits hold, expected less"):
        convpp.explain((1, 1, 9), (1, 1, 3), **far, algorithm="fft")
    assert convpp.explain((1, 1, 9), (1, 1, 3), **far).algorithm == "direct"
