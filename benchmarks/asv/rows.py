"""Rows of the tables of layers that are measured over time, read from the tables.

In: ../layers.csv and ../convbench.csv; ``ROWS``, which names some of them.
Out: ``Row`` objects.   Next: ``layers.py``.

Each row stands for a way in which the library computes: a strategy of the direct algorithm, Winograd's, the FFT, and
what is small, odd or strided.  Nothing is imported from convpp here, so that older commits can be measured, too.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Ints = tuple[int, ...]

TABLES = Path(__file__).parents[1]

#: Twenty rows: ``table/suite/name``.
ROWS = (
    "layers/resnet50/conv7x7s2_3-64@224",
    "layers/resnet50/conv1x1_256-64@56",
    "layers/resnet50/conv3x3_128-128@28",
    "layers/resnet50/conv3x3s2_256-256@28",
    "layers/resnet50/conv1x1_2048-512@7",
    "layers/vgg16/conv3x3_64-64@224",
    "layers/mobilenet_v1/dw3x3_128-128@56",
    "layers/mobilenet_v1/conv1x1_512-512@14",
    "layers/deepbench/speech1",
    "layers/deepbench/inc5x5",
    "layers/resnext/g32_128@56",
    "layers/dilated/aspp_d2_256@28",
    "layers/lenet/question",
    "layers/odd/c37_k53_31x29",
    "layers/largekernel/image_11x11",
    "layers/conv1d/fir1024",
    "layers/conv1d/audio_stem_k10s5",
    "layers/conv3d/k3_32",
    "convbench/depthwise/depthwise_384-384@14x14_n8_168",
    "convbench/other/other_128-128@28x28_n8_252",
)


@dataclass(frozen=True)
class Row:
    """One convolution."""

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
    def x_shape(self) -> Ints:
        """Channels first."""
        return (self.n, self.c, *self.input)

    @property
    def w_shape(self) -> Ints:
        """K, C / groups, and the kernel's extents."""
        return (self.k, self.c // self.groups, *self.kernel)

    @property
    def geometry(self) -> dict[str, Any]:
        """Arguments of ``conv`` and its gradients."""
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}


def extents(text: str) -> Ints:
    """``"3x5"`` as (3, 5)."""
    return tuple(int(part) for part in text.split("x"))


def read() -> dict[str, Row]:
    """The rows of ``ROWS``; a name that no table has is a KeyError."""
    found = {}
    for table in ("layers", "convbench"):
        with (TABLES / f"{table}.csv").open(newline="") as file:
            for line in csv.DictReader(file):
                numbers = [int(line[name]) for name in ("N", "C", "K")]
                lists = [extents(line[name]) for name in ("input", "kernel", "stride", "padding", "dilation")]
                found[f"{table}/{line['suite']}/{line['name']}"] = Row(*numbers, *lists, int(line["groups"]))
    return {name: found[name] for name in ROWS}
