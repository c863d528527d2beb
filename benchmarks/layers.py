"""The layers to measure on: rows of layers.csv, their arrays, and what each pass costs.

In: layers.csv (a row a layer: suite, name, count in the network, extents joined by "x").
Out: ``Layer`` objects.   Next: ``contestants.py``.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Ints = tuple[int, ...]

PASSES = ("forward", "input_grad", "weight_grad")


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
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    @property
    def output(self) -> Ints:
        """Output extents."""
        axes = zip(self.input, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((i + 2 * p - d * (k - 1) - 1) // s + 1 for i, k, s, p, d in axes)

    @property
    def flops(self) -> int:
        """Of each pass, a multiply-add counted as two."""
        return 2 * self.n * self.k * math.prod(self.output) * self.c // self.groups * math.prod(self.kernel)

    @property
    def geometry(self) -> dict[str, Any]:
        """The geometry arguments of convpp's functions."""
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}

    @property
    def is_single_channel(self) -> bool:
        """One sample, one channel, one kernel, stride 1: what SciPy's filters do."""
        return (self.n, self.c, self.k) == (1, 1, 1) and set(self.stride) == {1}

    def arrays(self, dtype: str, layout: str) -> dict[str, Array]:
        """x, w and dy of the layer, normal values."""
        rng = np.random.default_rng(0)

        def draw(*shape: int) -> Array:
            return rng.standard_normal(shape, dtype=np.float32).astype(dtype)

        def laid_out(a: Array) -> Array:
            return a if layout == "channels_first" else np.ascontiguousarray(np.moveaxis(a, 1, -1))

        return {
            "x": laid_out(draw(self.n, self.c, *self.input)),
            "w": draw(self.k, self.c // self.groups, *self.kernel),
            "dy": laid_out(draw(self.n, self.k, *self.output)),
        }


def read_layers() -> list[Layer]:
    """All rows of layers.csv."""

    def extents(text: str) -> Ints:
        return tuple(int(part) for part in text.split("x"))

    with Path(__file__).with_name("layers.csv").open(newline="") as file:
        return [
            Layer(
                row["suite"],
                row["name"],
                int(row["count"]),
                int(row["N"]),
                int(row["C"]),
                int(row["K"]),
                *(extents(row[key]) for key in ("input", "kernel", "stride", "padding", "dilation")),
                int(row["groups"]),
            )
            for row in csv.DictReader(file)
        ]
