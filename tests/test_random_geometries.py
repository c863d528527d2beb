"""The three passes of random geometries, in both layouts, exactly equal to the float64 oracle by the direct algorithm.

Each runs under "auto" too: exactly, where that is the direct algorithm, else within a bound (rounding.py).

5,000 small geometries hit the edges (see `test_the_drawing_hits_its_edges`); 1,200 layers are drawn for what
strategies differ in (`test_the_layers_take_every_direct_strategy`); the large ones exceed every blocking.
A failure prints the whole geometry; its arrays follow from the batch number in the test's name.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
import pytest

import convpp
from geometry import (
    LAYOUTS,
    MODES,
    Geometry,
    check_accumulation,
    check_passes,
    draw_geometry,
    make_case,
    with_modes,
)
from layer_kinds import draw_layer
from rounding import PASSES, check_auto

#: Strategies of the direct algorithm.
DIRECT = {"sliding", "channels", "packed", "rows", "phases", "flat", "indirect", "dots"}

BATCHES = 100
BATCH_SIZE = 50
LAYER_BATCHES = 60
LAYER_BATCH_SIZE = 20


def drawn(batch: int) -> list[Geometry]:
    return a_third_with_modes(np.random.default_rng((1, batch)), draw_geometry, BATCH_SIZE)


def drawn_layers(batch: int) -> list[Geometry]:
    return a_third_with_modes(np.random.default_rng((6, batch)), draw_layer, LAYER_BATCH_SIZE)


def a_third_with_modes(
    rng: np.random.Generator, draw: Callable[[np.random.Generator], Geometry], count: int
) -> list[Geometry]:
    geometries = [draw(rng) for _ in range(count)]
    return [with_modes(rng, g) if i % 3 == 0 else g for i, g in enumerate(geometries)]


def check_all_are_drawn(
    features_of: Callable[[Geometry], dict[str, bool]], geometries: Iterable[Geometry], least: int
) -> None:
    seen: Counter[str] = Counter()
    for g in geometries:
        seen.update({name: int(present) for name, present in features_of(g).items()})
    rare = {name: count for name, count in seen.items() if count < least}
    assert not rare, f"drawn too rarely: {rare}"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_small_geometries(batch: int) -> None:
    rng = np.random.default_rng((2, batch))
    for geometry in drawn(batch):
        case = make_case(geometry, rng)
        for layout in LAYOUTS:
            # Without out= the result is allocated inside: seen in one call of eight.
            how = {"threads": int(rng.integers(1, 4)), "fill": bool(rng.random() < 7 / 8)}
            check_passes(case, layout, **how)
            check_auto(case, layout, **how)


def test_the_drawing_hits_its_edges() -> None:
    check_all_are_drawn(features, (g for batch in range(BATCHES) for g in drawn(batch)), 40)


def features(g: Geometry) -> dict[str, bool]:
    per_group, filters = g.c // g.groups, g.k // g.groups
    axes = list(zip(g.spatial, g.spans, g.strides, g.dilations, g.pads, strict=True))
    return {
        "rank 1": g.rank == 1,
        "rank 2": g.rank == 2,
        "rank 3": g.rank == 3,
        "unbatched": g.n is None,
        "N = 0": g.n == 0,
        "C = 0": g.c == 0,
        "K = 0": g.k == 0,
        "K around a vector": filters in (7, 9, 15, 17, 31, 33, 47, 49, 63, 65),
        "C around a vector": per_group in (7, 9, 15, 17, 31, 33, 47, 49, 63, 65),
        "K a whole vector": filters in (8, 16, 32, 48, 64),
        "C a whole vector": per_group in (8, 16, 32, 48, 64),
        "depthwise": g.groups > 1 and per_group == 1,
        "grouped": g.groups > 1 and per_group > 1,
        "kernel longer than image": any(span > i for i, span, *_ in axes),
        "taps far apart": max(g.dilations) > 10,
        "strided and dilated": any(s > 1 and d > 1 for _, _, s, d, _ in axes),
        "stride above kernel": any(s > span for _, span, s, *_ in axes),
        "asymmetric padding": any(lo != hi for *_, (lo, hi) in axes),
        "cropping": any(min(pads) < 0 for *_, pads in axes),
        "padding above kernel": any(max(pads) >= span for _, span, _, _, pads in axes),
        "input unread at the end": any((i + sum(p) - span) % s for i, span, s, _, p in axes),
        **{f"padding mode {mode}": mode in g.modes and any(max(pads) > 0 for *_, pads in axes) for mode in MODES},
        "modes of axes": len(set(g.modes)) > 1,
        "padding above image": set(g.modes) != {"zeros"} and any(max(pads) > i for i, *_, pads in axes),
        "bias": g.bias,
        "flip": g.flip,
        "float64": g.dtype == "float64",
        "1x1": g.kernel == (1,) * g.rank,
        **{f"padding {name}": g.padding == name for name in ("valid", "same", "same_lower", "full", "causal")},
    }


@pytest.mark.parametrize("batch", range(LAYER_BATCHES))
def test_layers(batch: int) -> None:
    rng = np.random.default_rng((7, batch))
    for geometry in drawn_layers(batch):
        case = make_case(geometry, rng)
        for layout in LAYOUTS:
            threads = int(rng.integers(1, 4))
            fill = bool(rng.random() < 3 / 4)
            check_passes(case, layout, threads=threads, fill=fill)
            check_auto(case, layout, threads=threads, fill=fill)
            check_accumulation(case, layout, rng, threads=threads)


def test_the_layers_hit_what_strategies_differ_in() -> None:
    check_all_are_drawn(layer_features, (g for batch in range(LAYER_BATCHES) for g in drawn_layers(batch)), 20)


def test_the_layers_take_every_direct_strategy() -> None:
    taken = Counter(
        convpp.explain(g.x_shape(layout), g.w_shape, op=op, dtype=g.dtype, **g.exact_keywords(layout)).strategy
        for batch in range(LAYER_BATCHES)
        for g in drawn_layers(batch)
        for op in PASSES
        for layout in LAYOUTS
    )
    assert {name for name in taken if taken[name] >= 20} >= DIRECT, taken


def layer_features(g: Geometry) -> dict[str, bool]:
    per_group, filters, taps = g.c // g.groups, g.k // g.groups, math.prod(g.kernel)
    in_vectors = g.groups > 1 and per_group == filters and per_group in (1, 2, 4, 8)
    strided = max(g.strides) > 1
    # The residues of the pixels of dx, of all axes, that are read through some tap: with all of them, dx has no gaps.
    axes = list(zip(g.kernel, g.strides, g.dilations, strict=True))
    complete = all(len({d * r % s for r in range(kernel)}) == s for kernel, s, d in axes)
    row = g.spatial[-1]
    few = strided and per_group < 8 and not in_vectors
    return {
        **{f"groups of {n}": in_vectors and per_group == n for n in (1, 2, 4, 8)},
        "groups of several vectors": in_vectors and g.c > 16,
        "groups that fill a part of a vector": in_vectors and g.c % 16 != 0,
        "strided groups": in_vectors and strided,
        "strided groups, classes missing": in_vectors and strided and not complete,
        "groups of unequal channels": g.groups > 1 and per_group != filters,
        "groups of many taps": in_vectors and taps > 288,
        "strided, every class": strided and complete,
        "strided, classes missing": strided and not complete,
        "two classes in an even row": g.strides[-1] == 2 and complete and row % 2 == 0,
        "two classes in an odd row": g.strides[-1] == 2 and complete and row % 2 == 1,
        "three or more classes in a row": g.strides[-1] > 2 and complete,
        "few channels, classes of as many taps": few and all(r % s == 0 for r, s, _ in axes),
        "few channels, classes of unequal taps": few and any(s > 1 and 1 < s < r and r % s for r, s, _ in axes),
        "few channels, strided and dilated": few and any(s > 1 and r > s and d > 1 for r, s, d in axes),
        "more classes than a task takes": math.prod(g.strides) > 16,
        "short rows": row < 8 and math.prod(g.spatial) >= 32,
        "short rows, many channels": row < 8 and min(per_group, filters) >= 32,
        "several blocks of taps": taps > 288,
        "several blocks of channels": taps * per_group > 288 and per_group > 1,
        "channels before a whole vector": filters % 16 == 15,
        "channels after a whole vector": filters > 1 and filters % 16 == 1,
        "whole vectors of channels": filters % 16 == 0,
        "1x1": taps == 1 and not strided,
    }


# Each exceeds a block of the plan in some direction: contraction (C*R*S), pixels, filters, images, taps.
LARGE = [
    Geometry(2, 70, 33, (12, 12), (3, 3), padding=1),
    Geometry(1, 129, 131, (9, 10), (3, 3), padding="same"),
    Geometry(1, 300, 17, (7, 7), (3, 3), padding=1, bias=True),
    Geometry(3, 16, 140, (14, 14), (3, 3), stride=2, padding=1, bias=True),
    Geometry(1, 3, 20, (75, 70), (7, 7), stride=2, padding=3),
    Geometry(2, 3, 9, (61, 67), (11, 11), stride=4, padding=((2, 3), (5, 0))),
    Geometry(1, 260, 150, (30, 31), (1, 1)),
    Geometry(2, 200, 270, (9, 9), (1, 1), stride=2),
    Geometry(5, 65, 49, (7, 7), (3, 3), padding=1, dilation=2),
    Geometry(9, 5, 7, (33, 33), (5, 5), padding=2, flip=True),
    Geometry(17, 12, 12, (8, 8), (3, 3), padding=1),
    Geometry(1, 1, 1, (130, 140), (11, 11), padding=5),
    Geometry(1, 1, 1, (64, 70), (31, 31), padding="same", flip=True),
    Geometry(2, 24, 24, (40, 37), (3, 3), padding=1, groups=24),
    Geometry(1, 18, 36, (31, 33), (5, 5), stride=2, padding=2, groups=18, bias=True),
    Geometry(1, 10, 10, (30, 30), (17, 17), padding=8, groups=10),
    Geometry(1, 128, 128, (13, 12), (3, 3), padding=1, groups=32),
    Geometry(2, 96, 64, (16, 15), (3, 3), stride=2, padding=1, groups=2, flip=True),
    Geometry(1, 66, 99, (20, 20), (3, 3), stride=3, padding=(2, 1), dilation=(2, 3), groups=3),
    Geometry(1, 1, 1, (5000,), (400,)),
    Geometry(1, 1, 1, (5000,), (301,), padding="same", stride=3),
    Geometry(2, 2, 3, (5000,), (64,), padding="causal", dilation=5),
    Geometry(1, 4, 4, (4099,), (9,), groups=4, padding=4, stride=2),
    Geometry(3, 40, 50, (700,), (5,), padding=2, bias=True),
    Geometry(1, 20, 20, (600,), (25,), stride=13, padding=7),
    Geometry(1, 6, 5, (3000,), (3,), stride=50),
    Geometry(1, 700, 5, (40,), (3,), padding=1),
    Geometry(1, 3, 700, (50,), (3,), padding=1),
    Geometry(1, 5, 6, (20, 21, 22), (3, 3, 3), padding=1),
    Geometry(2, 33, 34, (6, 7, 8), (3, 3, 3), padding=1, bias=True),
    Geometry(1, 3, 17, (9, 28, 29), (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)),
    Geometry(2, 16, 16, (8, 9, 10), (3, 3, 3), stride=2, padding=((0, 1), (2, 0), (1, 1)), dilation=(1, 2, 1)),
    Geometry(None, 64, 48, (28, 27), (3, 3), padding="same_lower", stride=2),
    Geometry(1, 9, 9, (90, 91), (2, 2), stride=17, padding=(30, 1)),
    Geometry(1, 8, 8, (50, 50), (3, 3), padding=((-7, -9), (-3, 20)), dilation=4),
    Geometry(2, 1, 64, (28, 28), (5, 5), padding=2),
    Geometry(2, 64, 1, (28, 28), (5, 5), padding="full"),
    Geometry(1, 40, 40, (25, 25), (4, 4), stride=4),
    Geometry(1, 2, 2, (5, 3001), (3, 3), padding=1),
    Geometry(1, 2, 2, (3001, 5), (3, 3), padding=1),
    # The taps of one channel exceed a block, with several images, rows or slices in one panel.
    Geometry(3, 1, 2, (40, 43), (17, 19), padding=1),
    Geometry(2, 2, 1, (18, 17), (19, 18), padding=(3, 2), bias=True),
    Geometry(3, 1, 1, (340,), (331,), padding=2),
    Geometry(2, 3, 2, (500,), (401,), stride=3, padding="same"),
    Geometry(2, 2, 3, (12, 13, 14), (8, 9, 7), padding=2),
    Geometry(3, 1, 2, (41, 40), (21, 20), stride=2, padding="same", dilation=(1, 2)),
    # Few channels.
    Geometry(7, 1, 1, (61, 64), (3, 3), padding=1),
    Geometry(3, 2, 1, (70, 33), (5, 4), padding=2, stride=(1, 2), bias=True),
    Geometry(5, 3, 16, (48, 50), (3, 3), padding=1),
    Geometry(20, 1, 6, (28, 28), (5, 5)),
    Geometry(2, 4, 2, (3000,), (9,), padding=4),
    Geometry(3, 32, 48, (40, 33), (3, 3), padding=1, groups=16),
    Geometry(2, 1, 2, (17, 20, 34), (3, 3, 3), padding=1, flip=True),
    # Taps that are farther apart than the image, or almost.
    Geometry(2, 3, 4, (300,), (5,), padding="same", dilation=200),
    Geometry(2, 3, 4, (5000,), (7,), padding="causal", dilation=513),
    Geometry(2, 5, 7, (40, 41), (3, 3), padding="same", dilation=(17, 64), stride=(2, 3)),
    Geometry(1, 4, 6, (9, 10, 11), (2, 3, 2), padding="full", dilation=(100, 2, 37), groups=2),
    # Outputs of one pixel, or of one along some axes.
    Geometry(9, 3, 70, (16, 16), (16, 16), bias=True),
    Geometry(5, 20, 33, (4, 4), (4, 4), flip=True),
    Geometry(4, 12, 12, (5, 6), (5, 6), groups=12, bias=True),
    Geometry(3, 8, 18, (3, 4, 5), (3, 4, 5), groups=2, stride=(1, 9, 2)),
    Geometry(3, 5, 4, (7, 20), (9, 3), padding=(1, 2), bias=True),
    Geometry(3, 6, 9, (11, 8), (4, 8), padding=((-1, 2), (0, 0)), dilation=(3, 1)),
    Geometry(2, 3, 5, (1200,), (1200,)),
    # Strides beyond the kernel, with several residue classes.
    Geometry(2, 48, 48, (31, 29), (2, 2), stride=3, groups=48, bias=True),
    Geometry(2, 40, 40, (9, 10, 11), (2, 1, 2), stride=(2, 2, 3), groups=40),
    Geometry(1, 17, 17, (31, 30), (4, 4), stride=5, groups=17, bias=True),
    Geometry(3, 1, 2, (50, 51), (2, 2), stride=3, bias=True),
    Geometry(2, 70, 66, (20, 21), (2, 2), stride=3, padding=1),
    # More residue classes than a product takes: planes, rows, parts of a row.
    Geometry(2, 2, 5, (4, 32, 35), (2, 16, 16), stride=(2, 16, 16)),
    Geometry(2, 1, 3, (61, 64), (20, 20), stride=20, bias=True),
    Geometry(2, 1, 3, (1300,), (301,), stride=300),
    # Groups of unequal or odd channels.
    Geometry(2, 20, 60, (19, 20), (3, 3), padding=1, groups=20, bias=True),
    Geometry(2, 21, 21, (300,), (5,), groups=7, dilation=2),
    Geometry(2, 32, 16, (15, 16), (3, 2), stride=2, groups=16, flip=True),
    Geometry(1, 9, 27, (20, 30), (19, 17), padding=3, groups=9),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", range(len(LARGE)))
def test_large_geometries(number: int, dtype: str) -> None:
    geometry = Geometry(**{**LARGE[number].__dict__, "dtype": dtype})
    case = make_case(geometry, np.random.default_rng((3, number)))
    for layout in LAYOUTS:
        check_passes(case, layout, threads=2)
        check_auto(case, layout, threads=2)


@pytest.mark.parametrize("batch", range(8))
def test_large_random_geometries(batch: int) -> None:
    rng = np.random.default_rng((4, batch))
    for _ in range(5):
        geometry = draw_geometry(rng, max_macs=4_000_000, min_macs=300_000)
        case = make_case(geometry, rng)
        for layout in LAYOUTS:
            check_passes(case, layout, threads=2)
        check_auto(case, layout, threads=2)


@pytest.mark.parametrize("algorithm", ["reference", "direct"])
@pytest.mark.parametrize("batch", range(4))
def test_each_algorithm_that_serves_every_geometry(batch: int, algorithm: str) -> None:
    rng = np.random.default_rng((5, batch))
    for _ in range(25):
        case = make_case(draw_geometry(rng, max_macs=50_000), rng)
        for layout in LAYOUTS:
            check_passes(case, layout, algorithm=algorithm)
