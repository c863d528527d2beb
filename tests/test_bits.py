"""The same bits for every thread count, alone or within a batch, and from any memory with the same values.

The data are normal random numbers, so that another order of summation would show.  The geometries are large
enough for several chunks of work, and odd enough for every tile to have a rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import (
    DTYPES,
    LAYOUTS,
    Array,
    Geometry,
    assert_same_bits,
    draw_geometry,
    failures_name,
    in_layout,
    nan_out,
    normal,
)

GEOMETRIES = {
    "3x3": Geometry(5, 33, 65, (23, 21), (3, 3), padding=1),
    "3x3 strided": Geometry(4, 17, 35, (33, 31), (3, 3), stride=2, padding=1),
    "1x1": Geometry(5, 70, 49, (19, 18), (1, 1)),
    "first layer": Geometry(4, 3, 20, (41, 43), (7, 7), stride=2, padding=3),
    "first layer dilated": Geometry(4, 2, 20, (41, 43), (5, 4), stride=(2, 3), padding=(1, 2), dilation=(3, 1)),
    "one channel strided": Geometry(5, 1, 40, (1203,), (10,), stride=5, padding=(3,)),
    "dilated": Geometry(3, 20, 19, (25, 27), (3, 3), padding=(3, 2), dilation=(3, 2), stride=(1, 2)),
    "grouped": Geometry(4, 24, 36, (19, 23), (3, 3), padding=1, groups=4),
    "depthwise": Geometry(4, 21, 21, (29, 27), (5, 5), padding=2, groups=21),
    "depthwise strided": Geometry(4, 40, 40, (57, 54), (3, 3), stride=2, padding=1, groups=40),
    "depthwise, classes missing": Geometry(3, 35, 35, (60, 62), (3, 3), stride=(4, 3), padding=1, groups=35),
    "groups of four": Geometry(4, 36, 36, (30, 29), (3, 3), padding=1, groups=9),
    "groups of many taps": Geometry(3, 18, 18, (30, 28), (19, 17), stride=(2, 1), padding=5, groups=9),
    "short rows": Geometry(5, 64, 40, (14, 7), (3, 3), padding=1),
    "one channel": Geometry(3, 1, 1, (61, 67), (9, 9), padding=4),
    "deep": Geometry(3, 130, 24, (9, 11), (3, 3), padding=1),
    "long signal": Geometry(3, 2, 3, (3001,), (129,), padding="same"),
    "one pixel": Geometry(5, 6, 40, (7, 9), (7, 9)),
    "one pixel along an axis": Geometry(4, 6, 30, (7, 19), (9, 3), padding=1, flip=True),
    "depthwise, stride beyond the kernel": Geometry(4, 35, 35, (40, 41), (2, 2), stride=3, groups=35),
    "products of classes": Geometry(3, 1, 20, (61, 64), (20, 20), stride=20),
    "groups of one and three": Geometry(4, 20, 60, (19, 23), (3, 3), padding=1, groups=20),
    "volume": Geometry(3, 9, 17, (9, 11, 13), (3, 3, 3), padding=1),
}
#: Results in which a sample has bits of its own; dw and db are sums over the batch.
PER_SAMPLE = ("y", "dx", "transposed y", "transposed dx")

both_layouts = pytest.mark.parametrize("layout", LAYOUTS)
both_dtypes = pytest.mark.parametrize("dtype", DTYPES)
all_geometries = pytest.mark.parametrize("name", GEOMETRIES)


@dataclass(frozen=True)
class Operands:
    """Random operands of a geometry in one layout and dtype; ``run`` gives every result that they lead to."""

    geometry: Geometry
    layout: str
    x: Array
    w: Array
    bias: Array
    transposed_bias: Array
    dy: Array

    def changed(self, change: Callable[[Array], Array]) -> Operands:
        arrays = {f.name: change(getattr(self, f.name)) for f in fields(self)[2:]}
        return replace(self, **arrays)

    def samples(self, chosen: Any) -> Operands:
        return replace(self, x=self.x[chosen], dy=self.dy[chosen])

    def run(self, **options: Any) -> dict[str, Array]:
        x, w, dy = self.x, self.w, self.dy
        keywords = {**self.geometry.keywords(self.layout), **options}
        transposed = {**self.geometry.transposed_keywords(self.layout), **options}
        batched = x.ndim == w.ndim

        def new(like: Array) -> Array:
            return nan_out(like.shape, like.dtype)

        return {
            "y": convpp.conv(x, w, self.bias, **keywords, out=new(dy)),
            "dx": convpp.conv_input_grad(dy, w, x.shape, **keywords, out=new(x)),
            "dw": convpp.conv_weight_grad(dy, x, w.shape, **keywords, out=new(w)),
            "db": convpp.conv_bias_grad(dy, layout=self.layout, batched=batched, out=new(self.bias)),
            "transposed y": convpp.conv_transpose(dy, w, self.transposed_bias, **transposed, out=new(x)),
            "transposed dx": convpp.conv_transpose_input_grad(x, w, dy.shape, **transposed, out=new(dy)),
            "transposed dw": convpp.conv_transpose_weight_grad(x, dy, w.shape, **transposed, out=new(w)),
        }


def make_operands(name: str, layout: str, dtype: str) -> Operands:
    rng = np.random.default_rng((20, list(GEOMETRIES).index(name)))
    return random_operands(replace(GEOMETRIES[name], dtype=dtype), layout, rng)


def random_operands(g: Geometry, layout: str, rng: np.random.Generator) -> Operands:
    return Operands(
        geometry=g,
        layout=layout,
        x=in_layout(normal(rng, g.x_shape(), g.dtype), layout, g.rank),
        w=normal(rng, g.w_shape, g.dtype),
        bias=normal(rng, (g.k,), g.dtype),
        transposed_bias=normal(rng, (g.c,), g.dtype),
        dy=in_layout(normal(rng, g.y_shape(), g.dtype), layout, g.rank),
    )


def assert_same(got: dict[str, Array], want: dict[str, Array]) -> None:
    for result in want:
        with failures_name(result):
            assert_same_bits(got[result], want[result])


@both_layouts
@both_dtypes
@all_geometries
def test_every_thread_count(name: str, layout: str, dtype: str) -> None:
    operands = make_operands(name, layout, dtype)
    want = operands.run(threads=1)
    for threads in range(2, 9):
        with failures_name(f"{threads} threads", operands.geometry):
            assert_same(operands.run(threads=threads), want)


@both_layouts
@both_dtypes
@all_geometries
def test_a_sample_alone_and_in_any_batch(name: str, layout: str, dtype: str) -> None:
    operands = make_operands(name, layout, dtype)
    n = operands.x.shape[0]
    want = operands.run(threads=2)
    last = [n - 1]
    for chosen in (0, n - 1, slice(1), slice(1, 3), slice(None, None, -1), last, last * 2 + [0] * 11 + [1]):
        got = operands.samples(chosen).run(threads=3)
        with failures_name(f"samples {chosen}", operands.geometry):
            assert_same(
                {result: got[result] for result in PER_SAMPLE},
                {result: np.ascontiguousarray(want[result][chosen]) for result in PER_SAMPLE},
            )


@both_layouts
@pytest.mark.parametrize("seed", range(20))
def test_random_geometries(seed: int, layout: str) -> None:
    rng = np.random.default_rng((21, seed))
    for _ in range(10):
        g = draw_geometry(rng, max_macs=2_000_000)
        operands = random_operands(g, layout, rng)
        want = operands.run(threads=1)
        with failures_name(g):
            assert_same(operands.run(threads=int(rng.integers(2, 9))), want)
            if g.n:
                chosen = rng.integers(0, g.n, int(rng.integers(1, 8)))
                got = operands.samples(chosen).run(threads=2)
                for result in PER_SAMPLE:
                    with failures_name(result, chosen):
                        assert_same_bits(got[result], want[result][chosen])


def offset(array: Array, by: int) -> Array:
    """The same values, ``by`` bytes behind an address that is a multiple of 64."""
    memory = np.empty(array.nbytes + 64 + by, np.uint8)
    start = -memory.ctypes.data % 64 + by
    moved: Array = np.ndarray(array.shape, array.dtype, buffer=memory, offset=start)
    moved[...] = array
    return moved


def spaced(array: Array) -> Array:
    """Every second element, along each axis, of a larger array full of NaN."""
    memory = np.full([2 * extent + 1 for extent in array.shape], np.nan, array.dtype)
    view = memory[(slice(1, None, 2),) * array.ndim]
    view[...] = array
    return view


def read_only(array: Array) -> Array:
    array = array.copy()
    array.flags.writeable = False
    return array


MEMORY: dict[str, Callable[[Array], Array]] = {
    "aligned": lambda a: offset(a, 0),
    "one byte off": lambda a: offset(a, 1),
    "odd bytes off": lambda a: offset(a, 59),
    "one element off": lambda a: offset(a, a.itemsize),
    "inside a larger array": spaced,
    "negative strides": lambda a: np.flip(np.flip(a).copy()),
    "one negative stride": lambda a: np.flip(np.flip(a, -1).copy(), -1),
    "Fortran order": np.asfortranarray,
    "other layout": lambda a: np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -1, 0)), 0, -1),
    "read-only": read_only,
}


@both_layouts
@both_dtypes
@pytest.mark.parametrize("name", ["3x3 strided", "1x1", "grouped", "long signal", "volume"])
def test_any_memory(name: str, layout: str, dtype: str) -> None:
    operands = make_operands(name, layout, dtype)
    want = operands.run(threads=1)
    for form, change in MEMORY.items():
        with failures_name(form, operands.geometry):
            changed = operands.changed(change)
            before = changed.changed(np.copy)
            assert_same(changed.run(threads=2), want)
            for field in fields(operands)[2:]:  # inputs are never written
                assert_same_bits(getattr(changed, field.name).copy(), getattr(before, field.name))


@both_layouts
def test_unaligned_out(layout: str) -> None:
    operands = make_operands("3x3", layout, "float32")
    want = operands.run(threads=1)
    g = operands.geometry
    for by in (4, 20):
        y = offset(np.full_like(want["y"], np.nan), by)
        convpp.conv(operands.x, operands.w, operands.bias, **g.keywords(layout), out=y)
        assert_same_bits(y, want["y"])


@both_layouts
def test_zero_strides(layout: str, rng: np.random.Generator) -> None:
    g = Geometry(4, 9, 17, (12, 13), (3, 3), padding=1)
    keywords = g.keywords(layout)
    x_shape, y_shape = g.x_shape(layout), g.y_shape(layout)
    w = np.broadcast_to(normal(rng, g.w_shape[1:]), g.w_shape)
    bias = np.broadcast_to(normal(rng, ()), (g.k,))
    for sample in (normal(rng, x_shape[1:]), normal(rng, x_shape[-1:]), normal(rng, ())):
        x = np.broadcast_to(sample, x_shape)
        assert_same_bits(convpp.conv(x, w, bias, **keywords), convpp.conv(x.copy(), w.copy(), bias.copy(), **keywords))
    dy = np.broadcast_to(normal(rng, ()), y_shape)
    dx = convpp.conv_input_grad(dy, w, x_shape, **keywords)
    assert_same_bits(dx, convpp.conv_input_grad(dy.copy(), w.copy(), x_shape, **keywords))
    dw = convpp.conv_weight_grad(dy, x, g.w_shape, **keywords)
    assert_same_bits(dw, convpp.conv_weight_grad(dy.copy(), x.copy(), g.w_shape, **keywords))
    assert_same_bits(convpp.conv_bias_grad(dy, layout=layout), convpp.conv_bias_grad(dy.copy(), layout=layout))


@both_layouts
def test_memory_mapped(layout: str, tmp_path: Path) -> None:
    operands = make_operands("3x3 strided", layout, "float32")
    numbers = itertools.count()

    def mapped(array: Array) -> Array:
        path = tmp_path / f"{next(numbers)}.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]

    got = operands.changed(mapped).run(threads=2)
    assert_same(got, operands.run(threads=1))
    assert all(type(result) is np.ndarray for result in got.values())
