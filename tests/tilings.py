"""Random ways to cut a result into blocks, and what the tests do with them: compute all blocks, join them.

In: a random generator and a `Geometry`.   Out: `Tiled`, a pass with arrays, cut into blocks; `whole_of`, the result of
its blocks, in which nothing is written twice or not at all.
Next: test_tiles.py (values and bits), test_tiles_indices.py (which elements are read).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import convpp
from convpp._call.validation import dtype_from
from convpp.tiling.compute import compute, read
from convpp.tiling.grid import Tiles
from convpp.tiling.tiles import tiles
from convpp.tiling.tree import TreeSum
from geometry import LAYOUTS, Array, Geometry, Shape, draw_geometry, in_layout, pick, with_modes

#: The pass of the convolution that a pass of its transposed one is.
OF_TRANSPOSED = {"forward": "input_grad", "input_grad": "forward", "weight_grad": "weight_grad"}
CONV = {"forward": convpp.conv, "input_grad": convpp.conv_input_grad, "weight_grad": convpp.conv_weight_grad}
TRANSPOSE = {
    "forward": convpp.conv_transpose,
    "input_grad": convpp.conv_transpose_input_grad,
    "weight_grad": convpp.conv_transpose_weight_grad,
}


@dataclass(frozen=True)
class Tiled:
    """One pass, as ``tiles`` is asked for it; `op` is a pass of the transposed convolution if it is one."""

    geometry: Geometry
    layout: str
    op: str
    transposed: bool
    chunks: tuple[Shape, ...]

    @property
    def core(self) -> str:
        return OF_TRANSPOSED[self.op] if self.transposed else self.op

    @property
    def keywords(self) -> dict[str, Any]:
        g = self.geometry
        if self.transposed:
            return {**g.transposed_keywords(self.layout), "padding_mode": g.padding_mode}
        return g.keywords(self.layout)

    @property
    def shapes(self) -> tuple[Shape, Shape]:
        """Of x, as the function that was asked for has it, and of w."""
        g = self.geometry
        return (g.y_shape if self.transposed else g.x_shape)(self.layout), g.w_shape

    def tiles(self) -> Tiles:
        return tiles(self.op, *self.shapes, self.chunks, transposed=self.transposed, **self.keywords)

    def sources(self, x: Array, w: Array, dy: Array) -> dict[str, Array]:
        """The arrays of the convolution by the names of the function that was asked for."""
        return {"x": dy, "w": w, "dy": x} if self.transposed else {"x": x, "w": w, "dy": dy}

    def call(self, arrays: dict[str, Array], algorithm: str) -> Array:
        """The whole result."""
        function: Callable[..., Array] = (TRANSPOSE if self.transposed else CONV)[self.op]
        x, w, dy = arrays["x"], arrays["w"], arrays["dy"]
        given: dict[str, tuple[Any, ...]] = {
            "forward": (x, w),
            "input_grad": (dy, w, x.shape),
            "weight_grad": (dy, x, w.shape),
        }
        return function(*given[self.op], **self.keywords, algorithm=algorithm)


def draw_tiled(rng: np.random.Generator, op: str, geometry: Geometry) -> Tiled:
    layout, transposed = pick(rng, LAYOUTS), bool(rng.random() < 0.3)
    draft = Tiled(geometry, layout, op, transposed, ())
    return replace(draft, chunks=draw_chunks(rng, geometry, layout, draft.core))


def draw_chunks(rng: np.random.Generator, g: Geometry, layout: str, core: str) -> tuple[Shape, ...]:
    """Blocks of unequal extents along each axis; of channels, whole groups or parts of one."""
    of_x = core == "input_grad"
    channels = g.c if of_x else g.k
    per_group = channels // g.groups
    if per_group > 1 and rng.random() < 0.5:
        of_channels = tuple(part for _ in range(g.groups) for part in cut(rng, per_group))
    else:
        of_channels = tuple(per_group * part for part in cut(rng, g.groups)) if channels else (0,)
    spatial = tuple(cut(rng, extent) for extent in (g.spatial if of_x else g.out))
    lead = () if g.n is None else (cut(rng, g.n),)
    return (*lead, of_channels, *spatial) if layout == "channels_first" else (*lead, *spatial, of_channels)


def cut(rng: np.random.Generator, extent: int) -> Shape:
    """An axis in up to four parts."""
    if extent == 0:
        return (0,)
    inner = {int(at) for at in rng.integers(1, extent + 1, int(rng.integers(0, 4)))} - {extent}
    ends = [0, *sorted(inner), extent]
    return tuple(stop - start for start, stop in itertools.pairwise(ends))


def draw_small(rng: np.random.Generator, most: int = 12_000) -> Geometry:
    geometry = replace(draw_geometry(rng, max_macs=most), bias=False)
    return with_modes(rng, geometry) if rng.random() < 0.4 else geometry


def arrays_of(
    rng: np.random.Generator, tiled: Tiled, fill: Callable[..., Array], dtype: str | None = None
) -> dict[str, Array]:
    """x, w and dy, by the names of the function that was asked for."""
    g = tiled.geometry
    of = dtype_from(dtype or g.dtype)
    x, w, dy = fill(rng, g.x_shape()), fill(rng, g.w_shape), fill(rng, g.y_shape())
    x, dy = (in_layout(array.astype(of), tiled.layout, g.rank) for array in (x, dy))
    return tiled.sources(x, w.astype(of), dy)


def whole_of(tiled: Tiled, arrays: dict[str, Array], **options: Any) -> Array:
    """The result from its blocks, each of which writes its own part; partial sums are added in their tree."""
    made = tiled.tiles()
    dtype = arrays["w"].dtype
    whole = np.zeros(made.result_shape, dtype)
    written = np.zeros(made.result_shape, np.uint8)
    sums: dict[tuple[tuple[int, int], ...], TreeSum] = {}
    for number, block in enumerate(made):
        assert made[number] == block
        is_sum = made.core == "weight_grad"
        got = compute(block, lambda name, source: read(arrays[name], source), dtype.name, rounded=not is_sum, **options)
        assert got.shape == block.shape == whole[block.result].shape
        if not is_sum:
            assert got.dtype == dtype
            whole[block.result] = got
            written[block.result] += 1
            continue
        place = tuple((part.start, part.stop) for part in block.result)
        if place not in sums:
            sums[place] = TreeSum()
            written[block.result] += 1
        sums[place].add(got)
    for place, partial in sums.items():
        whole[tuple(slice(*ends) for ends in place)] = partial.result().astype(dtype)
    assert np.all(written == 1)
    return whole
