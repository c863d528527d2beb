"""Transposed convolution and its gradients, exactly equal to the crop of the full result.

That is by the direct algorithm; where "auto" takes another one, its results on normal numbers are within a bound.

The oracle spreads every input over a canvas of ``stride*(in - 1) + dilation*(k - 1) + 1`` (the input gradient
of an unpadded convolution) and takes from it the window that padding and output_padding leave; beyond the
canvas lie zeros.  The gradients put ``dy`` back into that canvas and convolve it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import convpp
from convpp.testing import reference_conv, reference_input_grad, reference_weight_grad
from geometry import (
    LAYOUTS,
    Array,
    Geometry,
    Passes,
    Shape,
    all_axes_but_channels,
    assert_exact,
    assert_needed,
    assert_same_bits,
    draw_candidate,
    failures_name,
    in_layout,
    integers,
    nan_out,
    normal,
)
from rounding import assert_rounded


@dataclass(frozen=True)
class Transposed:
    """``base`` describes x (C_in = base.c) and w (C_out = base.k), with what a user would pass beside it."""

    base: Geometry
    output_padding: Any = 0

    @property
    def canvas(self) -> Shape:
        g = self.base
        return tuple(s * (i - 1) + span for i, s, span in zip(g.spatial, g.strides, g.spans, strict=True))

    @property
    def paddings(self) -> Shape:
        op = self.output_padding
        return (op,) * self.base.rank if isinstance(op, int) else tuple(op)

    @property
    def out(self) -> Shape:
        axes = zip(self.canvas, self.base.pads, self.paddings, strict=True)
        return tuple(extent - lo - hi + op for extent, (lo, hi), op in axes)

    @property
    def w_shape(self) -> Shape:
        return (self.base.c, self.base.k // self.base.groups, *self.base.kernel)

    def y_shape(self, spatial: Shape) -> Shape:
        sample = (self.base.k, *spatial)
        return sample if self.base.n is None else (self.base.n, *sample)

    def keywords(self, layout: str) -> dict[str, Any]:
        return {**self.base.keywords(layout), "output_padding": self.output_padding}


@dataclass(frozen=True)
class Case(Passes):
    """Integer operands and exact results."""

    geometry: Transposed


def window(array: Array, starts: Shape, extents: Shape) -> Array:
    """``array[..., start : start + extent]`` along the last axes, with zeros where that leaves the array."""
    lead = array.ndim - len(starts)
    result = np.zeros(array.shape[:lead] + extents, array.dtype)
    source, target = [slice(None)] * lead, [slice(None)] * lead
    for start, extent, size in zip(starts, extents, array.shape[lead:], strict=True):
        first, stop = max(start, 0), max(min(start + extent, size), max(start, 0))
        source.append(slice(first, stop))
        target.append(slice(first - start, stop - start))
    if 0 not in array[tuple(source)].shape:
        result[tuple(target)] = array[tuple(source)]
    return result


def make_case(t: Transposed, rng: np.random.Generator, numbers: Callable[..., Array] = integers) -> Case:
    """Integers; of normal numbers, the results stay float64."""
    g = t.base
    x, w = numbers(rng, g.x_shape(), g.dtype), numbers(rng, t.w_shape, g.dtype)
    bias = numbers(rng, (g.k,), g.dtype) if g.bias else None
    dy = numbers(rng, t.y_shape(t.out), g.dtype)
    lo = tuple(pads[0] for pads in g.pads)
    plain = {"stride": g.stride, "dilation": g.dilation, "groups": g.groups, "flip": g.flip}

    y = window(reference_input_grad(x, w, t.y_shape(t.canvas), **plain), lo, t.out)
    if bias is not None:
        y += bias.reshape(-1, *(1,) * g.rank)
    spread = window(dy, tuple(-start for start in lo), t.canvas)
    results = (
        y,
        reference_conv(spread, w, **plain),
        reference_weight_grad(x, spread, w.shape, **plain),
        dy.sum(axis=all_axes_but_channels(dy.ndim, g.rank), dtype="float64"),
    )
    exact = numbers is integers
    return Case(x, w, bias, dy, *(result.astype(g.dtype) if exact else result for result in results), t)


def draw(rng: np.random.Generator) -> Transposed:
    while True:
        base = draw_candidate(rng)
        limits = [max(s, d) for s, d in zip(base.strides, base.dilations, strict=True)]
        if rng.random() < 0.3:
            drawn: Any = int(rng.integers(min(limits)))
        else:
            drawn = tuple(int(rng.integers(limit)) for limit in limits)
        t = Transposed(base, drawn)
        taps = np.prod(t.w_shape) * np.prod(base.spatial) * (base.n or 1)
        small = taps <= 200_000 and np.prod(t.out) * (base.n or 1) * base.k <= 200_000
        if base.padding not in ("same", "same_lower") and min(t.out) >= 1 and small:
            return t


def calls(case: Case, layout: str, **options: Any) -> list[tuple[Callable[..., Array], Array]]:
    """The three functions, each taking algorithm=, with their results."""
    t, g = case.geometry, case.geometry.base
    keywords = {**t.keywords(layout), **options}
    x, dy = in_layout(case.x, layout, g.rank), in_layout(case.dy, layout, g.rank)
    y, dx = in_layout(case.y, layout, g.rank), in_layout(case.dx, layout, g.rank)

    def one(function: Any, want: Array, *arguments: Any) -> tuple[Callable[..., Array], Array]:
        def run(algorithm: str) -> Array:
            out = nan_out(want.shape, g.dtype)
            with failures_name(f"convpp.{function.__name__} by {algorithm} with {keywords}", t):
                assert function(*arguments, **keywords, algorithm=algorithm, out=out) is out
            return out

        return run, want

    return [
        one(convpp.conv_transpose, y, x, case.w, case.bias),
        one(convpp.conv_transpose_input_grad, dx, dy, case.w, x.shape),
        one(convpp.conv_transpose_weight_grad, case.dw, dy, x, case.w.shape),
    ]


def check(case: Case, layout: str, **options: Any) -> None:
    with failures_name(case.geometry, layout, options):
        rounded = False
        for run, want in calls(case, layout, **options):
            assert_exact(run("direct"), want)
            if not np.array_equal(run("auto"), want):  # "auto" takes an algorithm that rounds: no other excuse counts
                assert_same_bits(run("auto"), run("winograd"))
                rounded = True
        if rounded:
            other = make_case(case.geometry, np.random.default_rng(32), normal)
            for run, want in calls(other, layout, **options):
                assert_rounded(run("auto"), run("direct"), want)


@pytest.mark.parametrize("batch", range(40))
def test_random_geometries(batch: int) -> None:
    rng = np.random.default_rng((30, batch))
    for _ in range(25):
        case = make_case(draw(rng), rng)
        for layout in LAYOUTS:
            check(case, layout, threads=int(rng.integers(1, 4)))


LARGE = [
    Geometry(2, 70, 33, (13, 12), (3, 3), padding=1),
    Geometry(1, 140, 131, (14, 14), (4, 4), stride=2, padding=1, bias=True),
    Geometry(3, 40, 50, (11, 17), (3, 3), stride=3, padding=1, dilation=2, bias=True),
    Geometry(1, 64, 48, (9, 9), (5, 5), stride=2, padding=2, groups=4, dtype="float64"),
    Geometry(1, 32, 32, (15, 16), (3, 3), stride=2, padding=1, groups=32),
    Geometry(1, 3, 2, (700,), (64,), stride=7, dtype="float64"),
    Geometry(2, 9, 17, (6, 7, 8), (3, 3, 3), stride=2, padding=1),
    Geometry(None, 20, 30, (20, 21), (2, 2), stride=5, padding=((-1, 0), (2, -3))),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("number", range(len(LARGE)))
def test_large_geometries(number: int, layout: str) -> None:
    g = LARGE[number]
    limits = zip(g.strides, g.dilations, strict=True)
    t = Transposed(g, tuple(max(s, d) - 1 for s, d in limits))
    check(make_case(t, np.random.default_rng((31, number))), layout, threads=2)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_size_sets_output_padding(layout: str, rng: np.random.Generator) -> None:
    for _ in range(20):
        t = draw(rng)
        case = make_case(t, rng)
        keywords = t.base.keywords(layout)
        x = in_layout(case.x, layout, t.base.rank)
        with failures_name(t, layout):
            y = convpp.conv_transpose(x, case.w, case.bias, **keywords, output_size=t.out, algorithm="direct")
            assert_exact(y, in_layout(case.y, layout, t.base.rank))
            shape = convpp.conv_transpose_output_shape(x.shape, case.w.shape, **keywords, output_size=t.out)
            assert shape == y.shape


def test_output_padding_selects_computed_values() -> None:
    x, w = np.array([[1.0, 2.0]]), np.array([[[1.0, 10.0, 100.0]]])
    assert convpp.conv_transpose(x, w, stride=2).tolist() == [[1, 10, 102, 20, 200]]
    assert convpp.conv_transpose(x, w, stride=2, padding=1).tolist() == [[10, 102, 20]]
    assert convpp.conv_transpose(x, w, stride=2, padding=1, output_padding=1).tolist() == [[10, 102, 20, 200]]
    bias = np.array([5.0])  # beyond the canvas only the bias is left
    assert convpp.conv_transpose(x, w, bias, stride=2, output_padding=1).tolist() == [[6, 15, 107, 25, 205, 5]]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_gives_stride_times_the_input(stride: int, layout: str, rng: np.random.Generator) -> None:
    for kernel in range(stride, 8):
        total = kernel - stride  # ONNX's SAME_UPPER: the odd element is cropped at the end
        for name, lo in (("same", total // 2), ("same_lower", total - total // 2)):
            g = Geometry(2, 3, 4, (5, 4), (kernel, kernel), stride=stride, padding=((lo, total - lo),) * 2)
            case = make_case(Transposed(g), rng)
            keywords = {**g.keywords(layout), "padding": name}
            x, y = in_layout(case.x, layout, 2), in_layout(case.y, layout, 2)
            assert case.y.shape == (2, 4, 5 * stride, 4 * stride)
            assert_exact(convpp.conv_transpose(x, case.w, **keywords), y)
            assert convpp.conv_transpose_output_shape(x.shape, case.w.shape, **keywords) == y.shape
            dy, dx = in_layout(case.dy, layout, 2), in_layout(case.dx, layout, 2)
            assert_exact(convpp.conv_transpose_input_grad(dy, case.w, x.shape, **keywords), dx)
            dw = convpp.conv_transpose_weight_grad(dy, x, case.w.shape, **keywords)
            assert_exact(dw, case.dw)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("needs", [("x", "w", "bias"), ("w",), ("bias", "x"), ()])
def test_backward_gives_what_is_needed(needs: tuple[str, ...], layout: str, rng: np.random.Generator) -> None:
    for t in (draw(rng) for _ in range(5)):
        case, rank = make_case(t, rng), t.base.rank
        x, dy = in_layout(case.x, layout, rank), in_layout(case.dy, layout, rank)
        got = convpp.conv_transpose_backward(dy, x, case.w, **t.keywords(layout), needs=needs, algorithm="direct")
        want = (in_layout(case.dx, layout, rank), case.dw, case.db)
        with failures_name(t, layout):
            assert_needed(needs, got, want)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_accumulate_adds(layout: str, rng: np.random.Generator) -> None:
    for t in (draw(rng) for _ in range(10)):
        case, rank = make_case(t, rng), t.base.rank
        x, dy = in_layout(case.x, layout, rank), in_layout(case.dy, layout, rank)
        dx, dw = in_layout(case.dx, layout, rank), case.dw
        keywords = {**t.keywords(layout), "accumulate": True, "algorithm": "direct"}
        before_dx, before_dw = integers(rng, dx.shape, dx.dtype), integers(rng, dw.shape, dw.dtype)
        with failures_name(t, layout):
            out = before_dx.copy()
            convpp.conv_transpose_input_grad(dy, case.w, x.shape, **keywords, out=out)
            assert_exact(out, before_dx + dx)
            out = before_dw.copy()
            convpp.conv_transpose_weight_grad(dy, x, dw.shape, **keywords, out=out)
            assert_exact(out, before_dw + dw)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_residue_classes_of_which_one_reads_no_padding(dtype: str, layout: str) -> None:
    """The rows of one class may be read as one; a task computes all classes row by row nevertheless."""
    rng = np.random.default_rng(17)
    for shape, kernel, stride, dilation in (
        ((1, 98, 6, 6, 2), (2, 1, 1), (3, 1, 1), (4, 1, 2)),
        ((2, 33, 7, 5, 4), (3, 1, 1), (4, 1, 1), (2, 1, 1)),
        ((2, 20, 6, 9), (2, 1), (3, 1), (4, 1)),
    ):
        how = {"stride": stride, "dilation": dilation, "layout": layout}
        x_shape = shape if layout == "channels_first" else (shape[0], *shape[2:], shape[1])
        w = rng.integers(-3, 4, (4, shape[1], *kernel)).astype(dtype)
        y = convpp.conv(np.zeros(x_shape, dtype), w, **how)
        dy, bias = (rng.integers(-3, 4, extents).astype(dtype) for extents in (y.shape, shape[1]))
        size = {"output_size": shape[2:]}
        dx = convpp.conv_transpose(dy, w, bias, **how, **size, algorithm="direct")
        assert_exact(dx, convpp.conv_transpose(dy, w, bias, **how, **size, algorithm="reference"))
