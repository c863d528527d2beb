"""Calls beside a busy neighbour: a process that takes a core, or the spinning threads of another library.

    python benchmarks/neighbour.py
    python benchmarks/neighbour.py --name fir --peers --calls 500 --csv results/neighbour.csv

In: nothing but the machine.
Out: for each layer, each condition and each contestant the median and the 95th percentile of single calls, divided by
the median of convpp on one thread on the quiet machine.  Conditions:

    quiet              after a pause of 2 ms
    core taken         another process spins, so that one core is shared
    after onnxruntime  right behind a call of ONNX Runtime, whose threads spin for a while (its default)
    after torch        right behind a call of PyTorch, whose OpenMP threads spin for a while

All contestants take turns in one process; before each measured call is an untimed one, then the condition.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from contestants import onnxruntime_pass, torch_pass
from results import Table

from convpp._cli.bench import Run, layer_pass
from convpp._cli.suite import Layer

LAYERS = (
    Layer("neighbour", "fir, 127 taps", 1, 1, 1, 1, (40_000,), (127,), (1,), (0,), (1,), 1),
    Layer("neighbour", "5 MFLOP, 1x1", 1, 1, 64, 64, (24, 24), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    Layer("neighbour", "20 MFLOP, 1x1", 1, 1, 128, 128, (25, 25), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    Layer("neighbour", "20 MFLOP, 3x3, stride 2", 1, 1, 48, 48, (44, 44), (3, 3), (2, 2), (1, 1), (1, 1), 1),
    Layer("neighbour", "230 MFLOP, 3x3", 1, 1, 64, 64, (56, 56), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    Layer("neighbour", "2 GFLOP, 3x3", 1, 4, 128, 128, (42, 42), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    Layer("neighbour", "2 GFLOP, 1x1", 1, 8, 256, 256, (44, 44), (1, 1), (1, 1), (0, 0), (1, 1), 1),
)
PEERS = ("torch", "onnxruntime")
BASE = "convpp, 1 thread"
SPIN = "while True: pass"


@contextlib.contextmanager
def core_taken() -> Iterator[None]:
    """Another process spins."""
    process = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        time.sleep(0.3)
        yield
    finally:
        process.kill()
        process.wait()


def time_calls(runs: dict[str, Run], before: Callable[[], object], calls: int) -> dict[str, list[float]]:
    """Seconds of single calls, turn by turn."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(calls):
        for name, run in runs.items():
            run()
            before()
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def conditions(peers: list[str]) -> Iterator[tuple[str, contextlib.AbstractContextManager[None], Run]]:
    """Each with what holds during it, and what comes right before a call."""

    def pause() -> None:
        time.sleep(0.002)

    yield "quiet", contextlib.nullcontext(), pause
    yield "core taken", core_taken(), pause
    # The other library's call is the same for all layers: short, and on all of its threads.
    other = LAYERS[2]
    arrays = other.arrays("float32", "channels_first")
    if "onnxruntime" in peers:
        yield "after onnxruntime", contextlib.nullcontext(), onnxruntime_pass(other, 2, arrays, spins=True)
    if "torch" in peers:
        yield "after torch", contextlib.nullcontext(), torch_pass(other, "forward", "channels_first", 2, arrays)


def measure(layer: Layer, args: argparse.Namespace) -> Iterator[dict[str, object]]:
    """A row for each condition and contestant."""
    arrays = layer.arrays("float32", "channels_first")
    runs = {
        BASE: layer_pass(layer, "forward", "channels_first", 1, arrays, "auto"),
        f"convpp, {args.threads} threads": layer_pass(layer, "forward", "channels_first", args.threads, arrays, "auto"),
    }
    if "torch" in args.peers:
        runs["torch"] = torch_pass(layer, "forward", "channels_first", args.threads, arrays)
    if "onnxruntime" in args.peers:
        runs["onnxruntime"] = onnxruntime_pass(layer, args.threads, arrays)
    base = 0.0
    for condition, holds, before in conditions(args.peers):
        with holds:
            calls = max(20, min(args.calls, int(args.seconds / (max(base, 1e-4) * len(runs) * 3))))
            for name, seconds in time_calls(runs, before, calls).items():
                median, late = np.percentile(seconds, [50, 95])
                base = base or float(median)
                yield {
                    "layer": layer.name,
                    "condition": condition,
                    "contestant": name,
                    "milliseconds": median * 1e3,
                    "median": median / base,
                    "p95": late / base,
                }


def write_csv(rows: Sequence[dict[str, object]], path: Path) -> None:
    """A line for each row."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of an earlier run."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def table(rows: Sequence[dict[str, str]]) -> Table:
    """A line for each layer and condition: median / 95th percentile of each contestant."""
    contestants = list(dict.fromkeys(row["contestant"] for row in rows))
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        cell = f"{float(row['median']):.2f} / {float(row['p95']):.2f}"
        lines.setdefault((row["layer"], row["condition"]), {})[row["contestant"]] = cell
    header = ["layer", "condition", *contestants]
    return [header, *([*key, *(line.get(name, "") for name in contestants)] for key, line in lines.items())]


def main() -> None:
    """Measure the layers and print, and write if asked to, the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="", help="regular expression that the layer's name fits")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS)
    parser.add_argument("--calls", type=int, default=300, help="of each contestant in each condition, at most")
    parser.add_argument("--seconds", type=float, default=4, help="for each layer and condition, about")
    parser.add_argument("--csv")
    args = parser.parse_args()
    rows = []
    for layer in LAYERS:
        if re.search(args.name, layer.name):
            for row in measure(layer, args):
                rows.append(row)
                print(
                    f"{row['layer']:25} {row['condition']:18} {row['contestant']:18} {row['milliseconds']:8.3f} ms"
                    f"   median {row['median']:6.2f}   95 % {row['p95']:6.2f}",
                    flush=True,
                )
    if args.csv:
        write_csv(rows, Path(args.csv))


if __name__ == "__main__":
    main()
