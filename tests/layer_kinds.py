"""Random layers of the kinds for which there is a strategy of its own, which `draw_geometry` would meet too seldom.

In: a random generator.  Out: a `Geometry`, small enough for the oracle.  Read next: test_random_geometries.py.
"""

from __future__ import annotations

import numpy as np

from geometry import DTYPES, EDGES, EXTENTS, Geometry, pick

#: Kinds of `draw_layer`, each with the strategies that it is there for.
LAYER_KINDS = (
    "vectors of channels",  # depthwise, and groups of 2, 4, 8 channels
    "residues",  # input gradients of strided layers: classes that fill the rows of dx, and some that do not
    "joint residues",  # of few channels: all classes in one product
    "short rows",  # of fewer pixels than a vector has lanes
    "many taps",  # more than a block of the sum holds
    "rows that slide",  # depthwise, up to nine lines, stride 1 or 2
    "wide",  # channels around the multiples of a vector, as many pixels as fill tiles
    "signals",  # one channel to one, along rows, and long filters
    "single pixels",  # samples that are one pixel of many channels
)


def draw_layer(rng: np.random.Generator, *, max_macs: int = 500_000) -> Geometry:
    """Draw a layer of one kind; the first kind, for which there are most strategies, twice as often."""
    kind = pick(rng, (*LAYER_KINDS, LAYER_KINDS[0]))
    while True:
        geometry = _draw_layer(rng, kind)
        if min(geometry.out) >= 1 and geometry.macs <= max_macs:
            return geometry


def _draw_layer(rng: np.random.Generator, kind: str) -> Geometry:
    rank = pick(rng, (1, 2, 2, 2, 3))
    groups, strides, kernels, dilations = 1, (1, 1, 2), (1, 2, 3, 3, 5), (1, 1, 1, 2)
    c, k = pick(rng, EDGES), pick(rng, EDGES)
    spatial = tuple(pick(rng, EXTENTS[rank]) for _ in range(rank))
    if kind == "vectors of channels":
        groups = int(rng.integers(1, 41))
        c = k = groups * pick(rng, (1, 1, 1, 2, 4, 8))
        k *= pick(rng, (1,) * 7 + (2,))
        strides = (1, 1, 2, 2, 3)
    elif kind == "residues":
        strides, dilations = (2, 2, 2, 3, 4, 5), (1, 1, 1, 1, 2, 3)
    elif kind == "joint residues":
        strides, dilations, kernels = (1, 2, 2, 3, 4, 5), (1, 1, 1, 2, 3), (1, 2, 3, 4, 5, 7)
        groups = pick(rng, (1, 1, 1, 2))
        c, k = groups * int(rng.integers(1, 8)), groups * int(rng.integers(1, 12))
    elif kind == "short rows":
        spatial = (*spatial[:-1], int(rng.integers(1, 10)))
        dilations = (1,)
    elif kind == "many taps":
        kernels, strides, dilations = {1: (289, 331, 600), 2: (17, 18, 19, 25), 3: (7, 8)}[rank], (1, 1, 2), (1,)
        groups = pick(rng, (1, 1, 2, 9, 17))
        c, k = groups * pick(rng, (1, 1, 2)), groups * pick(rng, (1, 1, 2))
    elif kind == "signals":
        rank, strides, dilations = 1, (1,), (1,)
        kernels = (16, 17, 33, 65, 100, 300, 600)
        groups = c = k = int(rng.integers(1, 5))
        spatial = (int(rng.integers(1, 700)),)
    elif kind == "rows that slide":
        rank, strides, dilations = 2, (pick(rng, (1, 1, 2)),), (1,)
        groups = c = k = int(rng.integers(1, 33))
        spatial = (int(rng.integers(2, 40)), int(rng.integers(1, 70)))
    elif kind == "single pixels":
        kernels, spatial, groups = (1,), (1,) * rank, pick(rng, (1, 1, 1, 2, 5))
        c, k = groups * int(rng.integers(40, 140)), groups * int(rng.integers(1, 50))
    kernel = tuple(pick(rng, kernels) for _ in range(rank))
    if kind == "rows that slide":
        kernel = (pick(rng, (1, 2, 3, 3, 5, 8, 9)), pick(rng, (3, 3, 3, 1, 2, 5, 7, 9)))
    if kind == "many taps":
        spatial = tuple(r + int(rng.integers(-2, 6)) for r in kernel)
    padding = pick(rng, (0, 1, 1, 2, "same", tuple((pick(rng, (0, 1, 3)), pick(rng, (-1, 0, 2))) for _ in kernel)))
    return Geometry(
        n=pick(rng, (None, 1, 1, 2, 3, 7) if kind == "single pixels" else (None, 1, 1, 2, 3)),
        c=c,
        k=k,
        spatial=spatial,
        kernel=kernel,
        stride=pick(rng, strides) if rng.random() < 0.6 else tuple(pick(rng, strides) for _ in range(rank)),
        padding=0 if kind == "single pixels" else padding,
        dilation=pick(rng, dilations),
        groups=groups,
        flip=bool(rng.random() < 0.25),
        bias=bool(rng.random() < 0.5),
        dtype=pick(rng, DTYPES),
    )
