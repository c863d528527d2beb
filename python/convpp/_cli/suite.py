"""The layers to measure on: rows of layers.csv, their arrays, and what each pass costs.

In: layers.csv, which is installed beside the compiled core: a row a layer, with its suite, its name, how often the
network has it (``count``) and its extents, joined by "x".
Out: ``Layer`` objects.   Next: ``bench.py`` (``python -m convpp bench``).
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convpp import _core
from convpp._call.planning import PASSES
from convpp._call.validation import Array
from convpp.shapes import conv_output_shape

__all__ = ["NETWORKS", "PASSES", "Array", "Layer", "read_layers"]

Ints = tuple[int, ...]

#: Suites that are all convolutions of one network, so that their sums over ``count`` mean something.
NETWORKS = ("resnet50", "vgg16", "mobilenet_v1")

#: From here on a kernel's taps, not its channels, make the work.
MANY_TAPS = 121


@dataclass(frozen=True)
class Layer:
    """One convolution of a real network."""

    suite: str
    name: str
    count: int
    n: int
    c: int
    k: int
    input: Ints
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints
    groups: int

    @property
    def row_id(self) -> str:
        """A name that no other row of layers.csv has."""
        return f"{self.suite}/{self.name}"

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    @property
    def x_shape(self) -> Ints:
        """Channels first."""
        return (self.n, self.c, *self.input)

    @property
    def w_shape(self) -> Ints:
        """In both layouts."""
        return (self.k, self.c // self.groups, *self.kernel)

    @property
    def y_shape(self) -> Ints:
        """Channels first."""
        return conv_output_shape(self.x_shape, self.w_shape, **self.geometry)

    @property
    def flops(self) -> int:
        """Of each pass, a multiply-add counted as two."""
        return 2 * math.prod(self.y_shape) * math.prod(self.w_shape[1:])

    def traffic(self, dtype: str) -> int:
        """Bytes of the two operands and of the result, each once: the same arrays in each pass."""
        elems = sum(math.prod(shape) for shape in (self.x_shape, self.w_shape, self.y_shape))
        return elems * np.dtype(dtype).itemsize

    def classes(self, op: str) -> tuple[str, ...]:
        """What kinds of convolution a pass of this layer is; it may be several."""
        few = min(self.c, self.k) // self.groups
        kinds = {
            "regular": few >= 32,
            "first layer": self.c <= 4 and self.k > 1,
            "depthwise or grouped": self.groups > 1,
            "strided input gradient": max(self.stride) > 1 and op == "input_grad",
            "dilated": max(self.dilation) > 1,
            "many taps": math.prod(self.kernel) >= MANY_TAPS,
            "single channel": (self.c, self.k) == (1, 1),
            "conv1d": self.rank == 1,
            "conv3d": self.rank == 3,
        }
        return tuple(kind for kind, holds in kinds.items() if holds) or ("other",)

    @property
    def is_wide_3x3(self) -> bool:
        """3x3 at any dilation, stride 1, C and K of a group at least 64, H at least 14."""
        few = min(self.c, self.k) // self.groups
        return self.kernel == (3, 3) and set(self.stride) == {1} and few >= 64 and self.input[0] >= 14

    @property
    def geometry(self) -> dict[str, Any]:
        """The geometry arguments of convpp's functions."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    def arrays(self, dtype: str, layout: str) -> dict[str, Array]:
        """x, w and dy of the layer, normal values."""
        rng = np.random.default_rng(0)

        def draw(shape: Ints) -> Array:
            return rng.standard_normal(shape, dtype=np.float32).astype(dtype)

        x, w, dy = (draw(shape) for shape in (self.x_shape, self.w_shape, self.y_shape))
        return {"x": in_layout(x, layout), "w": w, "dy": in_layout(dy, layout)}


def in_layout(array: Array, layout: str) -> Array:
    """The tensor ``array``, whose channels come first, in this layout."""
    return array if layout == "channels_first" else np.ascontiguousarray(np.moveaxis(array, 1, -1))


def read_layers(table: Path | None = None) -> list[Layer]:
    """All rows of a table: layers.csv, unless another file of the same columns is named.

    >>> from convpp._cli.suite import read_layers
    >>> layer = read_layers()[0]
    >>> layer.row_id, layer.x_shape, layer.y_shape
    ('resnet50/conv7x7s2_3-64@224', (8, 3, 224, 224), (8, 64, 112, 112))
    """

    path = table or Path(_core.__file__).with_name("layers.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return [_layer(row) for row in csv.DictReader(file)]


def _layer(row: dict[str, str]) -> Layer:
    sizes = {name.lower(): int(row[name]) for name in ("count", "N", "C", "K", "groups")}
    axes = ("input", "kernel", "stride", "padding", "dilation")
    extents = {name: tuple(int(part) for part in row[name].split("x")) for name in axes}
    columns: dict[str, Any] = {"suite": row["suite"], "name": row["name"], **sizes, **extents}
    return Layer(**columns)
