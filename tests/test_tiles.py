"""Blocks of results: their values exactly those of the whole, the bits of y and dx those of ``algorithm="stream"``.

Which elements of which arrays a block reads: test_tiles_indices.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import convpp
from convpp._call.planning import PASSES
from convpp.tiling.tree import Tree, TreeSum
from geometry import LAYOUTS, Geometry, assert_exact, failures_name, in_layout, integers, make_case, normal, pick
from layer_kinds import draw_layer
from test_random_geometries import LARGE
from tilings import Tiled, arrays_of, draw_chunks, draw_small, draw_tiled, whole_of

BATCHES, BATCH_SIZE = 20, 34


def assert_same_bits(tiled: Tiled, arrays: dict[str, Any], **options: Any) -> None:
    with failures_name(tiled):
        assert_exact(whole_of(tiled, arrays, **options), tiled.call(arrays, "stream"))


@pytest.mark.parametrize("batch", range(BATCHES))
def test_whole_numbers_of_two_thousand_tilings_are_exact(batch: int) -> None:
    rng = np.random.default_rng((20, batch))
    for _ in range(BATCH_SIZE):
        case = make_case(draw_small(rng), rng)
        g = case.geometry
        for op in PASSES:
            tiled = draw_tiled(rng, op, g)
            x, dy, y, dx = (in_layout(a, tiled.layout, g.rank) for a in (case.x, case.dy, case.y, case.dx))
            want = {"forward": y, "input_grad": dx, "weight_grad": case.dw}[tiled.core]
            with failures_name(tiled):
                assert_exact(whole_of(tiled, tiled.sources(x, case.w, dy)), want)
    assert BATCHES * BATCH_SIZE * len(PASSES) >= 2000


@pytest.mark.parametrize("batch", range(8))
def test_y_and_dx_of_blocks_have_the_bits_of_the_whole(batch: int) -> None:
    rng = np.random.default_rng((21, batch))
    for i in range(30):
        geometry = draw_small(rng) if i % 3 else draw_layer(rng)
        for op in ("forward", "input_grad"):
            tiled = draw_tiled(rng, op, geometry)
            dtype = pick(rng, ("float32", "float32", "float64", "float16", "bfloat16"))
            assert_same_bits(tiled, arrays_of(rng, tiled, normal, dtype), threads=int(rng.integers(1, 3)))


@pytest.mark.parametrize("number", range(0, len(LARGE), 4))
def test_large_layers_in_blocks_have_the_bits_of_the_whole(number: int) -> None:
    rng = np.random.default_rng((22, number))
    for geometry in LARGE[number : number + 4]:
        mode = pick(rng, ("zeros", "zeros", "reflect", "circular"))
        for op in ("forward", "input_grad"):
            tiled = draw_tiled(rng, op, replace(geometry, padding_mode=mode, dtype="float32"))
            assert_same_bits(tiled, arrays_of(rng, tiled, normal))


def test_dx_by_stream_looks_at_no_extent() -> None:
    """Where direct sums would: one pixel of dy, folded products, taps far apart."""
    rng = np.random.default_rng(23)
    for extent, kernel, dilation in ((1, 5, 1), (2, 9, 1), (9, 3, 200), (4, 30, 1)):
        w = rng.standard_normal((7, 40, kernel)).astype(np.float32)
        dy = rng.standard_normal((2, 7, 50 + extent)).astype(np.float32)
        x_shape = (2, 40, dy.shape[2] + dilation * (kernel - 1))
        options: dict[str, Any] = {"dilation": dilation, "algorithm": "stream"}
        whole = convpp.conv_input_grad(dy, w, x_shape, **options)
        ends = np.zeros_like(dy)
        ends[..., -extent:] = dy[..., -extent:]
        part_shape = (2, 40, extent + dilation * (kernel - 1))
        last = convpp.conv_input_grad(np.ascontiguousarray(dy[..., -extent:]), w, part_shape, **options)
        assert_exact(last[..., -extent:].copy(), whole[..., -extent:].copy())
        assert_exact(last, convpp.conv_input_grad(ends, w, x_shape, **options)[..., -part_shape[2] :].copy())


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", PASSES)
def test_samples_with_weights_of_their_own(op: str, layout: str, mode: str) -> None:
    rng = np.random.default_rng(24)
    x, w = rng.integers(-3, 4, (3, 4, 9, 8)).astype(float), rng.integers(-3, 4, (3, 6, 2, 3, 2)).astype(float)
    options: dict[str, Any] = {"groups": 2, "padding": 2, "per_sample": True, "padding_mode": mode, "layout": layout}
    x = in_layout(x, layout, 2)
    dy = integers(rng, convpp.conv(x, w, **options).shape)
    g = Geometry(3, 4, 6, (9, 8), (3, 2), padding=2, groups=2, padding_mode=mode, dtype="float64")

    class EachSample(Tiled):
        @property
        def keywords(self) -> dict[str, Any]:
            return {**super().keywords, "per_sample": True}

        @property
        def shapes(self) -> Any:
            return x.shape, w.shape

    for _ in range(4):
        tiled = EachSample(g, layout, op, False, draw_chunks(rng, g, layout, op))
        arrays = {"x": x, "w": w, "dy": dy}
        assert_exact(whole_of(tiled, arrays), tiled.call(arrays, "stream"))


def test_the_tree_is_fixed_by_the_number_of_blocks() -> None:
    for count in range(1, 70):
        tree, stream = Tree(count), TreeSum()
        level = [f"{i}" for i in range(count)]
        for number in range(1, len(tree.levels)):
            level = [
                "(" + "+".join(level[i] for i in tree.children(number, at)) + ")" if len(tree.children(number, at)) > 1
                else level[tree.children(number, at)[0]]
                for at in range(tree.levels[number])
            ]  # fmt: skip
        for i in range(count):
            stream.add(_Name(f"{i}"))  # type: ignore[arg-type]
        assert str(stream.result()) == level[0]
    assert Tree(1).levels == (1,)
    assert Tree(7).levels == (7, 4, 2, 1)


class _Name:
    def __init__(self, name: str) -> None:
        self.name = name

    def __iadd__(self, other: _Name) -> _Name:
        return _Name(f"({self.name}+{other.name})")

    def __str__(self) -> str:
        return self.name


def test_dw_has_the_same_bits_for_any_threads() -> None:
    rng = np.random.default_rng(25)
    for _ in range(10):
        tiled = draw_tiled(rng, "weight_grad", draw_layer(rng))
        arrays = arrays_of(rng, tiled, normal, "float32")
        one, two = (whole_of(tiled, arrays, threads=threads) for threads in (1, 2))
        assert one.tobytes() == two.tobytes()
