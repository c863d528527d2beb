"""Measured cases of benchmarks/, made up, and files of them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import results
from machine import attainable

from convpp._cli.suite import read_layers

LAYERS = {layer.row_id: layer for layer in read_layers()}


def a_case(
    row: str, op: str, threads: int = 1, algorithm: str = "direct", direct: float | None = None, **seconds: float
) -> results.Case:
    layer, peak, bandwidth = LAYERS[row], 100.0, 10.0
    if direct is not None:
        seconds[results.DIRECT] = direct
    what = (layer.suite, layer.name, layer.count, op, "float32", "channels_first", threads, algorithm)
    most = (peak, bandwidth, attainable(layer, "float32", peak, bandwidth))
    return results.Case(*what, layer.flops, layer.traffic("float32"), *most, layer.classes(op), seconds)


def write_cases(path: Path, cases: Iterable[results.Case]) -> Path:
    """As a run writes them: each is in the file at once, whatever interrupts the run."""
    with path.open("w", encoding="utf-8") as file:
        writer = results.Writer(file, ["convpp", results.DIRECT, *results.PEERS])
        for lines, case in enumerate(cases, start=2):
            writer.write(case)
            assert len(path.read_text(encoding="utf-8").splitlines()) == lines
    return path
