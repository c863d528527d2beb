"""Measured cases of benchmarks/, made up."""

from __future__ import annotations

import results
from machine import attainable

from convpp._cli.suite import read_layers

LAYERS = {layer.row_id: layer for layer in read_layers()}

#: Two rows of the group of this name.
WIDE = ("resnet50/conv3x3_64-64@56", "resnet50/conv3x3_256-256@14")
GROUP = "3x3, stride 1, C and K >= 64, H >= 14"


def a_case(
    row: str, op: str, threads: int = 1, algorithm: str = "direct", direct: float | None = None, **seconds: float
) -> results.Case:
    layer = LAYERS[row]
    if direct is not None:
        seconds[results.DIRECT] = direct
    return results.Case(
        suite=layer.suite,
        layer=layer.name,
        count=layer.count,
        op=op,
        dtype="float32",
        layout="channels_first",
        threads=threads,
        algorithm=algorithm,
        flops=layer.flops,
        traffic=layer.traffic("float32"),
        peak=100.0,
        bandwidth=10.0,
        attainable=attainable(layer, "float32", 100.0, 10.0),
        classes=layer.classes(op),
        seconds=seconds,
    )
