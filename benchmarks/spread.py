"""How evenly each pass spreads over many threads, from its plan: no hardware with so many is needed.

    python benchmarks/spread.py
    python benchmarks/spread.py --suite resnet50 --csv spread.csv

In: layers.csv, and the tasks that the plan cuts each pass into.
Out: for each row and pass the imbalance over 2, 8, 32 and 128 threads: the longest thread's work / the mean - 1, where
each thread takes the next task when it is free, as ``cpp/src/machine/parallel.hpp`` does it.  Work is operations:
packing, caches and a task's ends are not counted.  A pass too small for more than one thread is left out.

The plan does not depend on the number of threads, but on the instruction set: CONVPP_MAX_ISA chooses another one.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from results import Table, markdown

from convpp._cli.bench import explain_pass, task_flops
from convpp._cli.suite import PASSES, read_layers

THREADS = (2, 8, 32, 128)
COLUMN = "{} threads"


@dataclass(frozen=True)
class Spread:
    """The tasks of one pass of one layer; no imbalance where it runs on one thread."""

    row: str
    op: str
    tasks: int
    imbalance: dict[int, float]  # by threads


def imbalance(tasks: Sequence[float], threads: int) -> float:
    """The longest thread's work / the mean - 1, if tasks go in order to the first thread that is free."""
    busy = [0.0] * threads
    for task in tasks:
        heapq.heapreplace(busy, busy[0] + task)
    return max(busy) * threads / sum(tasks) - 1


def spreads(suites: Sequence[str] | None, dtype: str, layout: str) -> list[Spread]:
    """Of all rows of the suites (all: None), in each pass."""
    found = []
    for layer in read_layers():
        if suites and layer.suite not in suites:
            continue
        for op in PASSES:
            tasks = {threads: task_flops(layer, op, dtype, layout, threads) for threads in THREADS}
            parallel = explain_pass(layer, op, dtype, layout, 2, "auto").parallel
            uneven = {threads: imbalance(tasks[threads], threads) for threads in THREADS} if parallel else {}
            found.append(Spread(layer.row_id, op, len(tasks[THREADS[-1]]), uneven))
    return found


def rows_table(found: Sequence[Spread]) -> Table:
    """A row for each layer and pass."""
    table = [["layer", "pass", "tasks", *map(COLUMN.format, THREADS)]]
    for s in found:
        shares = [f"{s.imbalance[threads]:.1%}" if s.imbalance else "alone" for threads in THREADS]
        table.append([s.row, s.op, str(s.tasks), *shares])
    return table


def summary_table(found: Sequence[Spread]) -> Table:
    """For each pass and number of threads: the median, the tenth part that is worst, the worst row."""
    table = [["pass, threads", "rows", "median", "nine of ten below", "rows above 10 %", "worst", "which"]]
    for op in PASSES:
        for threads in THREADS:
            chosen = [s for s in found if s.op == op and s.imbalance]
            if not chosen:
                continue
            values = sorted(s.imbalance[threads] for s in chosen)
            worst = max(chosen, key=lambda s: s.imbalance[threads])
            above = sum(1 for value in values if value > 0.1)
            cells = [statistics.median(values), values[-(-9 * len(values) // 10) - 1]]
            row = [f"{op}, {threads}", str(len(values)), *(f"{cell:.1%}" for cell in cells), str(above)]
            table.append([*row, f"{worst.imbalance[threads]:.1%}", f"{worst.row}, {worst.tasks} tasks"])
    return table


def write_csv(found: Sequence[Spread], path: Path) -> None:
    """For ``report.py``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "pass", "tasks", *map(COLUMN.format, THREADS)])
        for s in found:
            writer.writerow([s.row, s.op, s.tasks, *(f"{s.imbalance[t]:.6g}" if s.imbalance else "" for t in THREADS)])


def read_csv(path: Path) -> list[Spread]:
    """What ``write_csv`` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Spread(
                row["row"],
                row["pass"],
                int(row["tasks"]),
                {t: float(row[COLUMN.format(t)]) for t in THREADS if row[COLUMN.format(t)]},
            )
            for row in csv.DictReader(file)
        ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", nargs="*", help="suites of layers.csv (default: all)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--layout", default="channels_first", choices=["channels_first", "channels_last"])
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    found = spreads(args.suite, args.dtype, args.layout)
    print(f"{markdown(rows_table(found))}\n\n{markdown(summary_table(found))}")
    if args.csv:
        write_csv(found, args.csv)


if __name__ == "__main__":
    main()
