"""How the cost of an operation changes as one extent grows: N, C, K or H, by powers of two from one layer.

    python benchmarks/growth.py --csv growth.csv --picture growth

In: nothing but the machine.
Out: for each extent and pass the nanoseconds of 1000 operations, and the share of the peak of multiply-adds, measured
in the same run: a table, a CSV, and a picture, if asked for.

An ideal library would have one straight line: twice the work in twice the time, at the machine's peak.  Where convpp
does fewer operations than the direct sum has, those of the direct sum are counted, and shares are marked as effective.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from machine import Machine
from picture import save
from results import Table, markdown

import convpp
from convpp._cli.bench import is_effective, legend, marked, measure
from convpp._cli.suite import PASSES, Layer

BASE = Layer("growth", "base", 1, 1, 64, 64, (56, 56), (3, 3), (1, 1), (1, 1), (1, 1), 1)
#: What grows, and over which values.
GROWTH: dict[str, tuple[int, ...]] = {
    "N": (1, 2, 4, 8, 16, 32),
    "C": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    "K": (1, 2, 4, 8, 16, 32, 64, 128, 256, 512),
    "H = W": (7, 14, 28, 56, 112, 224),
}


@dataclass(frozen=True)
class Point:
    """One measured pass."""

    extent: str
    value: int
    op: str
    dtype: str
    threads: int
    flops: int
    peak: float  # GFLOP/s
    seconds: float
    algorithm: str = "direct"

    @property
    def share(self) -> float:
        """Of the peak."""
        return self.flops / self.seconds / 1e9 / self.peak

    @property
    def cost(self) -> float:
        """Nanoseconds of 1000 operations."""
        return 1e12 * self.seconds / self.flops

    @property
    def share_in_words(self) -> str:
        """Marked, if it is an effective one."""
        return marked(f"{self.share:.0%}", is_effective(self.algorithm))


def grown(extent: str, value: int) -> Layer:
    """The base layer with one other extent."""
    changed: dict[str, Any] = {"input": (value, value)} if extent == "H = W" else {extent.lower(): value}
    return replace(BASE, **changed)


def measured(dtype: str, threads: int, seconds: float) -> Iterator[Point]:
    """Every point, one after the other."""
    machine = Machine()
    for extent, values in GROWTH.items():
        for value in values:
            layer = grown(extent, value)
            peak = machine.peak(dtype, threads)
            for op in PASSES:
                found = measure(layer, op, dtype, "channels_first", threads, seconds)
                yield Point(extent, value, op, dtype, threads, layer.flops, peak, found.seconds, found.algorithm)


def growth_table(points: Sequence[Point]) -> Table:
    """A row for each value of each extent, a column for each pass."""
    table = [["extent", *(f"{op}, {unit}" for op in PASSES for unit in ("ns / 1000", "of peak"))]]
    for extent, value in dict.fromkeys((point.extent, point.value) for point in points):
        row = [f"{extent} = {value}"]
        for op in PASSES:
            (point,) = (p for p in points if (p.extent, p.value, p.op) == (extent, value, op))
            row += [f"{point.cost:.2f}", point.share_in_words]
        table.append(row)
    return table


def base_in_words(points: Sequence[Point]) -> str:
    """What the table is about."""
    dtype, threads = points[0].dtype, points[0].threads
    return f"From x {BASE.x_shape}, w {BASE.w_shape}, padding 1; {dtype}, {threads} thread{'s'[: threads > 1]}."


def draw(points: Sequence[Point], stem: Path, endings: Sequence[str] = ("png", "svg")) -> list[Path]:
    """For each extent a panel: the share of the peak over the extent, a line for each pass."""
    from matplotlib.figure import Figure

    extents = list(dict.fromkeys(point.extent for point in points))
    figure = Figure(figsize=(3.4 * len(extents), 3.4), layout="constrained")
    top = max([1.0, *(point.share for point in points)])  # effective shares may be higher
    shares = [quarter / 4 for quarter in range(math.floor(4 * top) + 1)]
    panels: Any = figure.subplots(1, len(extents), sharey=True, squeeze=False)[0]
    figure.suptitle(base_in_words(points))
    for panel, extent in zip(panels, extents, strict=True):
        for op, mark in zip(PASSES, "osD", strict=True):
            line = [p for p in points if (p.extent, p.op) == (extent, op)]
            panel.plot([p.value for p in line], [p.share for p in line], marker=mark, ms=4, label=op)
        ticks = sorted({p.value for p in points if p.extent == extent})
        panel.set(xscale="log", ylim=(0, 1.02 * top), title=f"{extent} grows")
        panel.set_xticks(ticks, map(str, ticks), fontsize=8)
        panel.set_xticks([], minor=True)
        panel.set_yticks(shares, [f"{100 * share:.0f} %" if share else "0" for share in shares])
        panel.grid(color="0.9")
    panels[0].set_ylabel("share of the peak")
    panels[0].legend(frameon=False, fontsize=8)
    return save(figure, stem, endings)


FIELDS = {"extent": str, "value": int, "op": str, "dtype": str, "threads": int, "flops": int}
NUMBERS = ("peak", "seconds")
ALGORITHM = "algorithm"  # older files lack it: all direct


def write_csv(points: Iterable[Point], path: Path) -> None:
    """For ``report.py``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*FIELDS, *NUMBERS, ALGORITHM])
        for point in points:
            numbers = [f"{getattr(point, name):.6g}" for name in NUMBERS]
            writer.writerow([*(getattr(point, name) for name in FIELDS), *numbers, point.algorithm])


def read_csv(path: Path) -> list[Point]:
    """What ``write_csv`` wrote."""
    points = []
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            fields: dict[str, Any] = {name: kind(row[name]) for name, kind in FIELDS.items()}
            fields |= {name: float(row[name]) for name in NUMBERS}
            points.append(Point(**fields, algorithm=row.get(ALGORITHM, "direct")))
    return points


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--threads", type=int, default=convpp.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.5, help="for each pass")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--picture", type=Path, help="draw PICTURE.png and PICTURE.svg")
    args = parser.parse_args()
    points = []
    for point in measured(args.dtype, args.threads, args.seconds):
        share = f"{point.share_in_words:>8} of {point.peak:.0f}"
        print(f"{point.extent} = {point.value:4} {point.op:11} {share}", flush=True)
        points.append(point)
    print(f"\n{base_in_words(points)}\n\n{markdown(growth_table(points))}")
    print("".join(f"\n{note}\n" for note in legend(point.algorithm for point in points)), end="")
    if args.csv:
        write_csv(points, args.csv)
    if args.picture:
        draw(points, args.picture)


if __name__ == "__main__":
    main()
