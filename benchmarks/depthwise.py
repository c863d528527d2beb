"""Depthwise layers beside what holds them: memory, multiply-adds, loads.

    python benchmarks/depthwise.py
    python benchmarks/depthwise.py --threads 1 --seconds 0.3 --csv depthwise.csv

In: the depthwise rows of convbench.csv.
Out: for each row, pass and layout convpp's time over that of a call that has nothing to do (one channel, the kernel and
as many pixels) and the longest of three bounds:

  memory          the bytes of both operands and of the result, each moved once, at the bandwidth that is measured for a
                  working set of that size;
  multiply-adds   one for each tap of each vector of results, at the measured peak;
  loads           a multiply-add takes one operand from memory unless several share what was loaded.  Vectors along rows
                  (channels first) take each row of the source once for each column of the kernel, and share it among
                  its lines; vectors along channels take each pixel once for each line, and share it among the columns.
                  As many loads as multiply-adds fit into the same time on the CPUs that this was written for.

Rows end with vectors that are partly filled, of 7 pixels in 16 lanes more than half: the last two bounds count such
vectors whole, as the widest ISA of the machine has them.  Bounds are of one layer alone: nothing is left in the caches
that the layer does not find there itself, since calls follow each other.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from compare import keep_memory
from machine import Machine
from results import TABLES, Table, markdown

import convpp
from convpp._cli.bench import best_times, layer_pass
from convpp._cli.suite import PASSES, Layer, read_layers

LAYOUTS = ("channels_first", "channels_last")
#: Bytes of a vector.
VECTORS = {"avx512": 64, "avx2": 32, "neon": 16, "scalar": 16}
#: A row is as fast as it can be expected to be.
NEAR = 1.3


@dataclass(frozen=True)
class Point:
    """A row in one pass and layout: microseconds."""

    row: str
    op: str
    layout: str
    measured: float
    call: float
    memory: float
    multiply_adds: float
    loads: float

    @property
    def bound(self) -> float:
        """The call and the longest of the three."""
        return self.call + max(self.memory, self.multiply_adds, self.loads)

    @property
    def held_by(self) -> str:
        """What takes the longest."""
        return max(("call", "memory", "multiply_adds", "loads"), key=lambda name: float(getattr(self, name)))


def vectors_of(layer: Layer, layout: str, lanes: int) -> tuple[int, int]:
    """Of the results and of the source: whole ones, however many of their lanes count."""
    result, source = math.prod(layer.y_shape[2:-1]), math.prod(layer.x_shape[2:-1])
    if layout == "channels_last":
        pixels = layer.n * math.ceil(layer.k / lanes)
        return pixels * result * layer.y_shape[-1], pixels * source * layer.x_shape[-1]
    planes = layer.n * layer.k
    return (
        planes * result * math.ceil(layer.y_shape[-1] / lanes),
        planes * source * math.ceil(layer.x_shape[-1] / lanes),
    )


def bounds(layer: Layer, layout: str, threads: int, machine: Machine) -> tuple[float, float, float]:
    """Seconds by memory, multiply-adds and loads, of any pass: all do the same sums on the same arrays."""
    lanes = VECTORS[convpp.runtime_info()["isa"]] // np.dtype("float32").itemsize
    results, source = vectors_of(layer, layout, lanes)
    slot = 2 * lanes / machine.peak("float32", threads) / 1e9
    along = layer.kernel[0] if layout == "channels_last" else layer.kernel[-1]
    traffic = layer.traffic("float32")
    return (
        traffic / machine.bandwidth(traffic, threads) / 1e9,
        results * math.prod(layer.kernel) * slot,
        source * along * slot,
    )


def measure(layer: Layer, op: str, layout: str, threads: int, seconds: float, machine: Machine) -> Point:
    """The best of many calls, beside the bounds."""
    nothing = replace(layer, n=1, c=1, k=1, groups=1, input=layer.kernel)
    runs = {
        of.row_id + str(of.c): layer_pass(of, op, layout, threads, of.arrays("float32", layout), "auto")
        for of in (layer, nothing)
    }
    times = best_times(runs, seconds).values()
    limits = bounds(layer, layout, threads, machine)
    return Point(layer.row_id, op, layout, *(t * 1e6 for t in (*times, *limits)))


def rows_table(points: Sequence[Point]) -> Table:
    """A row for each point."""
    table = [["layer", "pass", "layout", "time, us", "call", "memory", "multiply-adds", "loads", "time / bound"]]
    for p in points:
        times = (f"{t:.1f}" for t in (p.measured, p.call, p.memory, p.multiply_adds, p.loads))
        table.append([p.row, p.op, p.layout, *times, f"{p.measured / p.bound:.2f} ({p.held_by.replace('_', '-')})"])
    return table


def summary_table(points: Sequence[Point]) -> Table:
    """For each layout and pass: how near the rows are to their bounds, and what holds them."""
    table = [
        [
            "layout, pass",
            "rows",
            "time / bound, geometric mean",
            f"within {NEAR}",
            "the farthest",
            "held by the call",
            "by memory",
        ]
    ]
    for layout in LAYOUTS:
        for op in PASSES:
            chosen = [p for p in points if (p.layout, p.op) == (layout, op)]
            if not chosen:
                continue
            ratios = [p.measured / p.bound for p in chosen]
            worst = max(chosen, key=lambda p: p.measured / p.bound)
            table.append(
                [
                    f"{layout}, {op}",
                    str(len(chosen)),
                    f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.2f}",
                    str(sum(r <= NEAR for r in ratios)),
                    f"{max(ratios):.1f}: {worst.row}",
                    *(str(sum(p.held_by == name for p in chosen)) for name in ("call", "memory")),
                ]
            )
    return table


COLUMNS = ("row", "op", "layout", "measured", "call", "memory", "multiply_adds", "loads")


def write_csv(points: Sequence[Point], path: Path) -> None:
    """For ``report.py``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for p in points:
            writer.writerow([p.row, p.op, p.layout, *(f"{getattr(p, name):.6g}" for name in COLUMNS[3:])])


def read_csv(path: Path) -> list[Point]:
    """What ``write_csv`` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Point(row["row"], row["op"], row["layout"], *(float(row[name]) for name in COLUMNS[3:]))
            for row in csv.DictReader(file)
        ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="", help="rows whose suite or name contain it")
    parser.add_argument("--passes", nargs="*", default=PASSES, choices=PASSES)
    parser.add_argument("--layout", nargs="*", default=LAYOUTS, choices=LAYOUTS)
    parser.add_argument("--threads", type=int, default=convpp.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.2, help="for each case")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    keep_memory()
    machine = Machine()
    layers = [a for a in read_layers(TABLES["convbench"]) if "depthwise" in a.suite and args.name in a.row_id]
    points = []
    for layer in layers:
        for op in args.passes:
            for layout in args.layout:
                points.append(measure(layer, op, layout, args.threads, args.seconds, machine))
                print(" ".join(rows_table(points[-1:])[1]), flush=True)
    print(f"\n{markdown(summary_table(points))}")
    if args.csv:
        write_csv(points, args.csv)


if __name__ == "__main__":
    main()
