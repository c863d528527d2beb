"""What each block reads, to the last index: blocks partition the result, and sources are what is needed, no more.

An oracle goes through all pairs of results and taps.  Next: test_tiles.py, the values.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import convpp
from convpp.tiling.axes import Axis, AxisRead, border_element, forward_stretch, gradient_positions, gradient_run
from convpp.tiling.grid import Tiles
from geometry import MODES, pick
from tilings import draw_small, draw_tiled


def draw_axis(rng: np.random.Generator) -> Axis:
    while True:
        n, k = pick(rng, (1, 2, 3, 5, 8, 13)), pick(rng, (1, 2, 3, 5))
        s, d = pick(rng, (1, 1, 2, 3, 7)), pick(rng, (1, 1, 2, 3, 20))
        lo, hi = (int(v) for v in rng.integers(-3, 25 if rng.random() < 0.3 else 7, 2))
        padded = n + lo + hi - d * (k - 1) - 1
        if padded >= 0:
            return Axis(n, padded // s + 1, k, s, d, lo, pick(rng, ("zeros", "zeros", *MODES)))


def span(rng: np.random.Generator, extent: int) -> tuple[int, int]:
    start, stop = sorted(int(v) for v in rng.choice(extent + 1, 2, replace=False))
    return start, stop


def position(axis: Axis, p: int, tap: int) -> int:
    return p * axis.stride - axis.lo + tap * axis.dilation


def hull(elements: Any) -> range:
    return range(min(elements), max(elements) + 1) if elements else range(0)


def listed(read: AxisRead) -> list[int]:
    for before, after in itertools.pairwise(read.slices):
        assert before.stop < after.start
    assert all(part.step is None and part.start < part.stop for part in read.slices)
    assert read.extent == len(read.elements())
    assert read.order is None or {i for part in read.order for i in part} == set(range(read.joined))
    return list(read.elements())


@pytest.mark.parametrize("batch", range(5))
def test_a_forward_stretch_reads_the_elements_from_the_first_to_the_last_that_its_taps_meet(batch: int) -> None:
    rng = np.random.default_rng((30, batch))
    for _ in range(200):
        axis = draw_axis(rng)
        start, stop = span(rng, axis.output)
        met = {position(axis, p, tap) for p in range(start, stop) for tap in range(axis.kernel)}
        stretch = forward_stretch(axis, start, stop)
        if axis.mode == "zeros":
            inside = [at for at in met if 0 <= at < axis.input]
            assert listed(stretch.read) == list(hull(inside))
            lo, hi = stretch.padding
            first = min(inside, default=0)
            assert not inside or lo == first - min(met)
            assert lo + stretch.read.extent + hi == max(met) - min(met) + 1
        else:
            assert listed(stretch.read) == [border_element(axis.mode, at, axis.input) for at in hull(met)]
            assert stretch.padding == (0, 0)


@pytest.mark.parametrize("batch", range(5))
def test_a_stretch_of_dx_reads_the_results_from_the_first_to_the_last_that_met_it(batch: int) -> None:
    rng = np.random.default_rng((31, batch))
    for _ in range(200):
        axis = draw_axis(rng)
        start = int(rng.integers(-30, axis.input + 20))
        stop = start + int(rng.integers(1, 9))
        met = [
            p for p in range(axis.output) if any(start <= position(axis, p, tap) < stop for tap in range(axis.kernel))
        ]
        run = gradient_run(axis, start, stop)
        if run is None:
            assert not met
            continue
        results = listed(run.read)
        assert results == list(hull(met))
        assert run.extent == stop - start
        lo, hi = run.padding  # in a call with these results, element 0 is `start`
        assert {position(axis, p, 0) - start for p in results} == {i * axis.stride - lo for i in range(len(results))}
        assert (run.extent + lo + hi - axis.reach - 1) // axis.stride + 1 == len(results)


@pytest.mark.parametrize("batch", range(5))
def test_positions_of_dx_are_all_that_a_padding_mode_has_read_of_a_block(batch: int) -> None:
    rng = np.random.default_rng((32, batch))
    for _ in range(200):
        axis = draw_axis(rng)
        start, stop = span(rng, axis.input)
        found = gradient_positions(axis, start, stop)
        want = {"front": [], "inside": [], "behind": []}
        for at in axis.read:
            element = border_element(axis.mode, at, axis.input)
            if element is not None and start <= element < stop:
                want["front" if at < 0 else "inside" if at < axis.input else "behind"].append(at)
        want["read"] = want["front"] + want["inside"] + want["behind"]
        for name, positions in want.items():
            got = found[name]
            assert got.total == len(positions)
            elements = [i for part in got.targets or () for i in part]
            assert elements == [(border_element(axis.mode, at, axis.input) or 0) - start for at in positions]
        assert found["block"].targets is None


@pytest.mark.parametrize("batch", range(4))
def test_blocks_partition_the_result_and_read_in_bounds(batch: int) -> None:
    rng = np.random.default_rng((33, batch))
    for _ in range(40):
        geometry = draw_small(rng)
        for op in ("forward", "input_grad", "weight_grad"):
            tiled = draw_tiled(rng, op, geometry)
            made = tiled.tiles()
            x_shape, w_shape = tiled.shapes
            y_shape = (geometry.x_shape if tiled.transposed else geometry.y_shape)(tiled.layout)
            extents = {"x": x_shape, "w": w_shape, "dy": y_shape}
            count = np.zeros(made.result_shape, int)
            for block in made:
                count[block.result] += 1
                for part in block.parts:
                    for call in part.calls:
                        for name, source in call.sources.items():
                            for read, extent in zip(source, extents[name], strict=True):
                                assert all(0 <= i < extent for i in listed(read))
            each = made.tree.count
            assert np.all(count == each)
            numbers = sorted(block.number for block in made)
            assert numbers == sorted(list(range(each)) * (len(made) // each))


def test_a_block_of_dx_of_a_group_reads_that_group_alone() -> None:
    made = convpp.tiles("input_grad", (1, 8, 10, 10), (12, 4, 3, 3), (1, 2, 5, 10), groups=2, padding=1)
    block = made[0, 3, 0, 0]
    assert block.call is not None
    dy, w = block.sources["dy"], block.sources["w"]
    assert dy[1].slices == (slice(6, 12),)
    assert (w[0].slices, w[1].slices) == ((slice(6, 12),), (slice(2, 4),))
    assert block.call.options.groups == 1
    whole = convpp.tiles("input_grad", (1, 8, 10, 10), (12, 4, 3, 3), (1, 8, 5, 10), groups=2, padding=1)[0]
    assert whole.call is not None
    assert whole.call.options.groups == 2


def test_a_hundred_thousand_blocks_cost_no_more_than_those_that_are_asked_for() -> None:
    made = convpp.tiles("forward", (1, 1, 10**6, 10**6), (1, 1, 5, 5), (1, 1, 3000, 3000), padding=2)
    assert len(made) == 334**2
    assert made[-1].result == (slice(0, 1), slice(0, 1), slice(999_000, 10**6), slice(999_000, 10**6))
    read = made[5].sources["x"]
    assert [part.slices for part in read[2:]] == [(slice(0, 3002),), (slice(14998, 18002),)]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((1, 4, 8, -1), ((1, 1), (4,), (8, 8, 4), (20,))),
        (((1, 1), (4,), (3, 17), (20,)), ((1, 1), (4,), (3, 17), (20,))),
        ((2, 2, 20, (9, 11)), ((2,), (2, 2), (20,), (9, 11))),
        (10**9, ((2,), (4,), (20,), (20,))),
        ("1 GiB", ((2,), (4,), (20,), (20,))),
        ("19 KiB", ((1, 1), (4,), (20,), (20,))),
    ],
)
def test_chunks(chunks: Any, expected: Any) -> None:
    assert convpp.tiles("forward", (2, 6, 20, 20), (4, 6, 3, 3), chunks, padding=1).chunks == expected


@pytest.mark.parametrize("limit", [3_000, 10_000, 100_000])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("op", ["forward", "input_grad", "weight_grad"])
def test_blocks_of_memory_take_no_more(op: str, layout: Any, limit: int) -> None:
    x_shape = (3, 8, 60, 50) if layout == "channels_first" else (3, 60, 50, 8)
    made: Tiles = convpp.tiles(
        op, x_shape, (12, 4, 3, 3), limit, padding=1, stride=2, groups=2, layout=layout, itemsize=8
    )
    for block in made:
        assert block.call is not None
        shapes = [block.shape, *(tuple(r.extent for r in source) for source in block.sources.values())]
        assert sum(int(np.prod(s)) for s in shapes) * 8 <= limit


@pytest.mark.parametrize(
    ("error", "message", "changed"),
    [
        (ValueError, "pass_ is 'backward', expected one of forward", {"pass_": "backward"}),
        (ValueError, "chunks is '64 MX', expected memory", {"chunks": "64 MX"}),
        (ValueError, "chunks is 0, expected at least one byte", {"chunks": 0}),
        (ValueError, "chunks is 16 bytes, expected 220 or more: a block", {"chunks": 16}),
        (ValueError, r"chunks is \(1, 4\), expected memory .*: 4 entries", {"chunks": (1, 4)}),
        (ValueError, "expected blocks of 1 or more along axis K", {"chunks": (1, 0, 4, 4)}),
        (convpp.ShapeError, "along axis W that add up to 18, got 19", {"chunks": (1, 4, 4, (10, 9))}),
        (
            convpp.ShapeError,
            "parts of more than one group, expected chunks of a multiple of 2",
            {"chunks": (1, 3, 9, 9)},
        ),
        (ValueError, "expected transposed=True", {"output_padding": 1}),
        (convpp.ShapeError, "w has shape", {"w_shape": (4, 4, 3, 3)}),
    ],
)
def test_errors(error: type[Exception], message: str, changed: dict[str, Any]) -> None:
    call: dict[str, Any] = {"pass_": "forward", "x_shape": (2, 6, 20, 20), "w_shape": (4, 3, 3, 3), "groups": 2}
    with pytest.raises(error, match=message):
        convpp.tiles(**({**call, "chunks": (1, 2, 5, 5)} | changed))


def test_a_block_that_is_not_there() -> None:
    made = convpp.tiles("forward", (1, 1, 9), (1, 1, 3), (1, 1, 3))
    assert len(made) == 3
    for number in (3, -4, (0, 0, 3), (0, 0)):
        with pytest.raises(IndexError, match="block is"):
            made[number]
    assert [block.index for block in made[1:]] == [(0, 0, 1), (0, 0, 2)]
