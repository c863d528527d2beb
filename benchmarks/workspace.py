"""How much memory each pass asks for beside its arrays, from its plan.

    python benchmarks/workspace.py
    python benchmarks/workspace.py --csv workspace.csv

In: layers.csv.
Out: for each pass and dtype the largest workspace of a thread, and the largest one that all threads share (packed
weights; in the weight gradient the sums of its chunks; a second result, where a call may need one), with the rows that
ask for them.  But for second results, N does not matter: ``cpp/tests/test_plan_memory.cpp`` holds plans to bounds with
up to 2^20 samples.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from results import Table, markdown

from convpp._cli.bench import explain_pass
from convpp._cli.suite import PASSES, read_layers


@dataclass(frozen=True)
class Workspace:
    """What one pass of one layer asks for, in bytes."""

    row: str
    op: str
    dtype: str
    weights: int
    per_thread: int
    shared: int


def workspaces(layout: str = "channels_first") -> list[Workspace]:
    """Of all rows, in each pass and dtype."""
    found = []
    for layer in read_layers():
        for dtype in ("float32", "float64"):
            weights = math.prod(layer.w_shape) * np.dtype(dtype).itemsize
            for op in PASSES:
                e = explain_pass(layer, op, dtype, layout, 1, "auto")
                own = e.workspace_bytes_per_thread
                found.append(Workspace(layer.row_id, op, dtype, weights, own, e.workspace_bytes - own))
    return found


def workspace_table(found: Sequence[Workspace]) -> Table:
    """For each pass and dtype the largest ones."""
    table = [["pass, dtype", "of a thread", "in", "shared", "its weights", "in"]]
    for op, dtype in dict.fromkeys((w.op, w.dtype) for w in found):
        chosen = [w for w in found if (w.op, w.dtype) == (op, dtype)]
        own, shared = max(chosen, key=lambda w: w.per_thread), max(chosen, key=lambda w: w.shared)
        table.append(
            [f"{op}, {dtype}", mib(own.per_thread), own.row, mib(shared.shared), mib(shared.weights), shared.row]
        )
    return table


def mib(nbytes: int) -> str:
    """For people."""
    return f"{nbytes / 2**20:.2f} MiB"


FIELDS = {"row": str, "op": str, "dtype": str, "weights": int, "per_thread": int, "shared": int}


def write_csv(found: Sequence[Workspace], path: Path) -> None:
    """For ``report.py``."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(FIELDS)
        writer.writerows([getattr(w, name) for name in FIELDS] for w in found)


def read_csv(path: Path) -> list[Workspace]:
    """What ``write_csv`` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [Workspace(**{name: kind(row[name]) for name, kind in FIELDS.items()}) for row in csv.DictReader(file)]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    found = workspaces()
    print(markdown(workspace_table(found)))
    if args.csv:
        write_csv(found, args.csv)


if __name__ == "__main__":
    main()
