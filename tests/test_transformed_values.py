"""Algorithms that transform (Winograd's, the FFT) on what is not finite, beside other memory, and prepared."""

from __future__ import annotations

from collections.abc import Callable
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
    assert_exact,
    assert_same_bits,
    failures_name,
    in_layout,
    nan_out,
    normal,
)
from rounding import PASSES, arguments_of, check_rounded

GEOMETRIES = {
    "3x3": Geometry(3, 18, 21, (11, 13), (3, 3), padding=1, bias=True),
    "5x5": Geometry(3, 17, 16, (9, 8), (5, 5), padding=2, bias=True),
    "3x2 flipped": Geometry(3, 16, 19, (10, 12), (3, 2), padding=((1, 1), (0, 1)), flip=True, bias=True),
    "dilated": Geometry(3, 16, 17, (13, 14), (3, 3), padding=2, dilation=2, bias=True),
    "grouped": Geometry(3, 32, 34, (8, 9), (3, 3), padding=1, groups=2, bias=True),
    "signal": Geometry(3, 5, 7, (41,), (3,), padding=1, bias=True),
    "volume": Geometry(3, 9, 8, (5, 6, 7), (3, 3, 3), padding=1, bias=True),
}

#: Served by the FFT alone, beside those above.
FOR_FFT = {
    "one channel": Geometry(3, 1, 1, (300,), (41,), padding=20, bias=True),
    "strided": Geometry(3, 5, 4, (31, 28), (9, 7), stride=(2, 3), padding=4, bias=True),
    "gaps": Geometry(3, 3, 4, (40,), (2,), stride=5, padding=1, bias=True),
    "depthwise": Geometry(3, 18, 18, (25, 26), (11, 12), padding=5, groups=18, bias=True),
    "kernel in parts": Geometry(3, 3, 2, (9000,), (4999,), padding=4, bias=True),
    "dilated far": Geometry(3, 2, 3, (140,), (4,), padding=3, dilation=33, flip=True, bias=True),
}
CASES = [("winograd", name) for name in GEOMETRIES] + [("fft", name) for name in (*GEOMETRIES, *FOR_FFT)]
GEOMETRIES |= FOR_FFT

both_layouts = pytest.mark.parametrize("layout", LAYOUTS)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
every_pass = pytest.mark.parametrize("op", PASSES)
every_case = pytest.mark.parametrize(("algorithm", "name"), CASES)
both_algorithms = pytest.mark.parametrize("algorithm", ["winograd", "fft"])


def run(op: str, arguments: tuple[Any, ...], like: Array, algorithm: str, **keywords: Any) -> Array:
    """A pass; 12345 is no result, so that what stays unwritten is seen even among NaN."""
    out = np.full(like.shape, 12345, arguments[0].dtype)
    with np.errstate(all="ignore"):
        assert FUNCTIONS[op](*arguments, **keywords, algorithm=algorithm, out=out, threads=2) is out
    return out


def operands_of(name: str, dtype: str, layout: str, op: str, rng: np.random.Generator) -> tuple[Any, ...]:
    return arguments_of(replace(GEOMETRIES[name], dtype=dtype), layout, op, rng)


# ---------------------------------------------------------------- values


@both_layouts
@both_dtypes
@every_pass
@every_case
def test_what_is_not_finite_goes_where_the_plain_sum_takes_it(
    algorithm: str, name: str, op: str, dtype: str, layout: str, rng: np.random.Generator
) -> None:
    arguments, keywords, want = operands_of(name, dtype, layout, op, rng)
    clean = run(op, arguments, want, algorithm, **keywords)
    arrays = [i for i, a in enumerate(arguments) if isinstance(a, np.ndarray)]
    for values in ([np.nan], [np.inf], [-np.inf], [np.nan, np.inf, -np.inf, np.inf]):
        for spoiled in arrays:
            changed = list(arguments)
            changed[spoiled] = array = arguments[spoiled].copy()
            per_sample = array.shape[0] == want.shape[0] == 3 and spoiled == 0 and op != "weight_grad"
            part = array[1] if per_sample else array
            part.reshape(-1)[rng.choice(part.size, min(part.size, len(values)), replace=False)] = values[: part.size]
            got = run(op, tuple(changed), want, algorithm, **keywords)
            direct = run(op, tuple(changed), want, "direct", **keywords)
            with failures_name(f"argument {spoiled} with {values}"):
                for kind in (np.isnan, np.isposinf, np.isneginf):
                    assert_exact(kind(got), kind(direct))
                if per_sample and np.all(np.isfinite(direct)):  # what no result reads
                    assert np.array_equal(got[1], direct[1]) or np.array_equal(got[1], clean[1])
                elif per_sample:
                    assert_exact(got[1], direct[1])  # is computed again
                if per_sample:
                    for other in (0, 2):
                        assert_same_bits(got[other], clean[other])
                elif op != "weight_grad":
                    assert_exact(got, direct)


@both_algorithms
@both_layouts
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("op", [op for op in PASSES if op != "weight_grad"])
def test_padding_makes_no_nan(algorithm: str, op: str, value: float, layout: str) -> None:
    """Taps that only ever meet padding may be anything."""
    for extents, kernel in (((1, 1), (3, 3)), ((1, 1), (5, 5)), ((1, 7), (3, 3))):
        pads = tuple(r // 2 for r in kernel)
        g = Geometry(2, 17, 18, extents, kernel, padding=pads, dtype="float64")
        w = np.full(g.w_shape, value)
        w[:, :, pads[0]] = 1.0
        if extents[1] == 1:
            w[:, :, pads[0]] = value
            w[:, :, pads[0], pads[1]] = 1.0
        first = np.ones(g.x_shape(layout) if op == "forward" else g.y_shape(layout))
        arguments = (first, w) if op == "forward" else (first, w, g.x_shape(layout))
        like = np.empty(g.y_shape(layout) if op == "forward" else g.x_shape(layout))
        got = run(op, arguments, like, algorithm, **g.keywords(layout))
        assert np.all(np.isfinite(got))
        assert_exact(got, run(op, arguments, like, "direct", **g.keywords(layout)))


@both_layouts
@both_dtypes
@every_pass
@every_case
def test_sums_of_the_largest_numbers(
    algorithm: str, name: str, op: str, dtype: str, layout: str, rng: np.random.Generator
) -> None:
    """Transforms overflow where the plain sum does not: what the plain sum gives, finite or not."""
    arguments, keywords, want = operands_of(name, dtype, layout, op, rng)
    clean = run(op, arguments, want, algorithm, **keywords)
    most = float(np.finfo(dtype).max) * 0.9
    n = 1 if op != "weight_grad" else slice(None)
    for scale in (1.0, 1e-3):  # with these weights, sums overflow; or few do, or none
        first = arguments[0].copy()
        first[n] = most * rng.choice([1.0, -1.0], first[n].shape)
        others = tuple(a * first.dtype.type(scale) if isinstance(a, np.ndarray) else a for a in arguments[1:])
        got = run(op, (first, *others), want, algorithm, **keywords)
        direct = run(op, (first, *others), want, "direct", **keywords)
        if op == "weight_grad":
            for kind in (np.isnan, np.isposinf, np.isneginf):
                assert_exact(kind(got), kind(direct))
            continue
        assert_exact(got[1], direct[1])
        assert np.any(np.isfinite(got[1])) or scale == 1.0
        if scale == 1.0:
            for other in (0, 2):
                assert_same_bits(got[other], clean[other])


@both_dtypes
@every_pass
@every_case
def test_denormals(algorithm: str, name: str, op: str, dtype: str, rng: np.random.Generator) -> None:
    arguments, keywords, want = operands_of(name, dtype, "channels_first", op, rng)
    tiny = float(np.finfo(dtype).smallest_subnormal)
    first = (rng.integers(-9, 10, arguments[0].shape) * np.float64(tiny)).astype(dtype)
    arguments = (first, arguments[1], None) if op == "forward" else (first, *arguments[1:])
    got, direct = (run(op, arguments, want, by, **keywords) for by in (algorithm, "direct"))
    # An operation is off by a unit at most, times what transforms along two axes multiply it by: below 4 in each.
    # (Of a Fourier transform: below the number of elements.)
    operations = (36 * 4 if algorithm == "winograd" else 2**14) * max(GEOMETRIES[name].w_shape[:2])
    terms = operations * 16 if op != "weight_grad" else operations * want.size
    assert np.all(np.isfinite(got))
    assert np.max(np.abs(got.astype("float64") - direct)) <= tiny * terms


# ---------------------------------------------------------------- calls


@both_layouts
@both_dtypes
@pytest.mark.parametrize("op", [op for op in PASSES if op != "forward"])
@every_case
def test_accumulate(algorithm: str, name: str, op: str, dtype: str, layout: str, rng: np.random.Generator) -> None:
    check_rounded(replace(GEOMETRIES[name], dtype=dtype), layout, op, algorithm, rng, accumulate=True, threads=2)
    arguments, keywords, want = operands_of(name, dtype, layout, op, rng)
    before = normal(rng, want.shape, dtype)
    out = before.copy()
    FUNCTIONS[op](*arguments, **keywords, algorithm=algorithm, out=out, accumulate=True)
    if op == "input_grad":
        assert_same_bits(out, before + run(op, arguments, want, algorithm, **keywords))


FORMS: dict[str, Callable[[Array], Array]] = {
    "Fortran order": np.asfortranarray,
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "odd bytes off": lambda a: offset(a, 59),
}


def offset(array: Array, by: int) -> Array:
    memory = np.zeros(array.nbytes + by, np.uint8)
    moved: Array = np.ndarray(array.shape, array.dtype, buffer=memory, offset=by)
    moved[...] = array
    return moved


@both_layouts
@every_pass
@every_case
def test_any_memory(algorithm: str, name: str, op: str, layout: str, rng: np.random.Generator) -> None:
    arguments, keywords, want = operands_of(name, "float32", layout, op, rng)
    plain = run(op, arguments, want, algorithm, **keywords)
    for form, change in FORMS.items():
        changed = tuple(change(a) if isinstance(a, np.ndarray) else a for a in arguments)
        with failures_name(form):
            assert_same_bits(run(op, changed, want, algorithm, **keywords), plain)


@both_algorithms
@both_layouts
def test_out_over_an_input(algorithm: str, layout: str, rng: np.random.Generator) -> None:
    g = Geometry(2, 18, 18, (11, 13), (3, 3), padding=1)
    for op in ("forward", "input_grad"):
        arguments, keywords, want = arguments_of(g, layout, op, rng)
        plain = run(op, arguments, want, algorithm, **keywords)
        for shift in (0, 1, 7, want.size // 2):
            for spoiled in (False, True):  # a sample that is computed again reads the input once more
                memory = np.zeros(want.size + shift, g.dtype)
                first = memory[: want.size].reshape(want.shape)
                first[...] = arguments[0]
                if spoiled:
                    first[1, 3, 2, 1] = np.nan
                    plain = run(op, (first.copy(), *arguments[1:]), want, algorithm, **keywords)
                out = memory[shift:].reshape(want.shape)
                assert FUNCTIONS[op](first, *arguments[1:], **keywords, algorithm=algorithm, out=out) is out
                assert_exact(out, plain)
            plain = run(op, arguments, want, algorithm, **keywords)


@both_layouts
@both_dtypes
@every_case
def test_prepared(algorithm: str, name: str, dtype: str, layout: str, rng: np.random.Generator) -> None:
    g = replace(GEOMETRIES[name], dtype=dtype)
    (x, w, bias), _, want = arguments_of(g, layout, "forward", rng)
    keywords = g.keywords(layout)
    plain = run("forward", (x, w, bias), want, algorithm, **keywords)
    prepared = convpp.prepare_weights(w, x.shape, **keywords, algorithm=algorithm)
    assert prepared.nbytes > w.nbytes
    bad = w.copy()
    bad[-1, 0] = np.nan
    spoiled = convpp.prepare_weights(bad, x.shape, **keywords, algorithm=algorithm)
    bad_x = x.copy()
    bad_x[1, -1] = np.inf
    with_bad_x = run("forward", (bad_x, w, bias), want, algorithm, **keywords)
    with_bad_w = run("forward", (x, bad, bias), want, algorithm, **keywords)
    w[...] = 7.0  # what was prepared is a copy
    bad[...] = 7.0
    for asked in ("auto", algorithm):
        for threads in (1, 2, 3):
            how = {"algorithm": asked, "threads": threads}
            assert_same_bits(convpp.conv(x, prepared, bias, **how, out=nan_out(want.shape, dtype)), plain)
            assert_exact(convpp.conv(bad_x, prepared, bias, **how), with_bad_x)
            assert_exact(convpp.conv(x, spoiled, bias, **how), with_bad_w)
    with pytest.raises(ValueError, match="prepared for the geometry"):
        convpp.conv(x, prepared, bias, **{**keywords, "dilation": 3})
    with pytest.raises(ValueError, match=f"algorithm is 'direct', expected '{algorithm}'"):
        convpp.conv(x, prepared, bias, algorithm="direct")
    with pytest.raises(convpp.ShapeError, match=r"x has shape .* expected"):
        convpp.conv(x[:2], prepared, bias)


@both_algorithms
@both_layouts
@every_pass
def test_nothing_to_compute(algorithm: str, op: str, layout: str, rng: np.random.Generator) -> None:
    for n, c, k in ((0, 16, 16), (2, 0, 16), (2, 16, 0)):
        g = Geometry(n, c, k, (9, 8), (3, 3), padding=1, bias=True)
        arguments, keywords, want = arguments_of(g, layout, op, rng)
        assert_exact(run(op, arguments, want, algorithm, **keywords), want.astype(g.dtype))


@both_algorithms
@both_layouts
def test_transposed(algorithm: str, layout: str, rng: np.random.Generator) -> None:
    """The transposed functions take it as the pass that they are."""
    g = replace(GEOMETRIES["3x3"], bias=False)
    arguments, keywords, want = arguments_of(g, layout, "input_grad", rng)
    dy, w, _ = arguments
    transposed = g.transposed_keywords(layout)
    y = convpp.conv_transpose(dy, w, **transposed, algorithm=algorithm)
    assert_same_bits(y, run("input_grad", arguments, want, algorithm, **keywords))
    x = in_layout(normal(rng, g.x_shape(), g.dtype), layout, g.rank)
    dx = convpp.conv_transpose_input_grad(x, w, dy.shape, **transposed, algorithm=algorithm)
    assert_same_bits(dx, convpp.conv(x, w, **g.keywords(layout), algorithm=algorithm))
