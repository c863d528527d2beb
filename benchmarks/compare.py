"""convpp beside PyTorch, ONNX Runtime and SciPy on real layers: one process, turn by turn, results compared.

    python benchmarks/compare.py --suite resnet50 --threads 2
    python benchmarks/compare.py --name 'conv3x3_64-64@56|conv3x3_128-128@28|conv3x3_256-256@14' --peers

In: layers.csv.   Out: a table (and a CSV with --csv): GFLOP/s of each contestant, the share of the peak of
multiply-adds measured in the same run, and peer's time / convpp's time (above 1: convpp is faster).

Each contestant's time is the best of many turns.  A turn is preceded by a pause and an untimed call, so that another
library's waiting threads do not take the cores, and pages and caches are warm for all.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from contestants import Run, contestants
from layers import PASSES, Array, Layer, read_layers

import convpp
from convpp.runtime import _measure_peak

#: Largest relative L2 difference between two libraries' results: sums of up to millions of terms in other orders.
AGREEMENT = {"float32": 2e-4, "float64": 1e-11}
PAUSE_SECONDS = 0.003


def check_agreement(results: dict[str, Array], dtype: str, case: str) -> None:
    """All contestants computed the same."""
    (first, expected), *others = results.items()
    scale = float(np.linalg.norm(expected.astype(np.float64)))
    for name, result in others:
        difference = float(np.linalg.norm(expected.astype(np.float64) - result)) / (scale or 1.0)
        if not difference <= AGREEMENT[dtype]:
            raise SystemExit(f"{case}: {first} and {name} differ by {difference:.1e} (relative L2)")


def best_times(runs: dict[str, Run], seconds: float) -> dict[str, float]:
    """The best time of each contestant over turns that take about ``seconds`` in all."""
    best = dict.fromkeys(runs, math.inf)
    end = time.perf_counter() + seconds
    turns = 0
    while turns < 3 or time.perf_counter() < end:
        turns += 1
        for name, run in runs.items():
            time.sleep(PAUSE_SECONDS)
            run()
            calls = 1 if best[name] > 1e-3 else min(50, int(1e-3 / best[name]) + 1)
            start = time.perf_counter()
            for _ in range(calls):
                run()
            best[name] = min(best[name], (time.perf_counter() - start) / calls)
    return best


def geometric_mean(values: list[float]) -> float:
    """Of ratios."""
    return math.exp(sum(map(math.log, values)) / len(values))


def selected(args: argparse.Namespace) -> list[Layer]:
    """The rows that --suite and --name ask for."""
    layers = [
        layer
        for layer in read_layers()
        if (not args.suite or layer.suite in args.suite) and re.search(args.name, layer.name)
    ]
    if not layers:
        raise SystemExit("no layer of layers.csv fits --suite and --name")
    return layers


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", nargs="*", help="suites of layers.csv (default: all)")
    parser.add_argument("--name", default="", help="regular expression that the layer's name fits")
    parser.add_argument("--passes", nargs="*", default=PASSES, choices=PASSES)
    parser.add_argument("--dtype", nargs="*", default=["float32"], choices=["float32", "float64"])
    parser.add_argument("--layout", nargs="*", default=["channels_first"], choices=["channels_first", "channels_last"])
    parser.add_argument("--threads", nargs="*", type=int, default=[convpp.get_num_threads()])
    parser.add_argument("--peers", nargs="*", default=["torch", "onnxruntime", "scipy"])
    parser.add_argument("--algorithm", nargs="*", default=["direct"])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case, all contestants together")
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()

    convpp.show_config()
    rows: list[dict[str, object]] = []
    ratios: dict[str, list[float]] = defaultdict(list)
    cases = [
        (layer, op, dtype, layout, threads)
        for threads in args.threads
        for dtype in args.dtype
        for layout in args.layout
        for layer in selected(args)
        for op in args.passes
    ]
    for layer, op, dtype, layout, threads in cases:
        runs = contestants(layer, op, dtype, layout, threads, args.algorithm, args.peers)
        case = f"{layer.suite}/{layer.name} {op} {dtype} {layout} {threads}t"
        check_agreement({name: run() for name, run in runs.items()}, dtype, case)
        times = best_times(runs, args.seconds)
        peak = _measure_peak(dtype, threads)
        ours = times["convpp"]
        line = (
            f"{case:70} {layer.flops / ours / 1e9:7.1f} GFLOP/s {layer.flops / ours / 1e9 / peak:5.0%} of {peak:5.0f}"
        )
        for name in list(times)[1:]:
            ratios[name].append(times[name] / ours)
            line += f"   {name} {times[name] / ours:6.2f}x"
        print(line, flush=True)
        rows.append(
            {"suite": layer.suite, "layer": layer.name, "count": layer.count, "pass": op, "dtype": dtype}
            | {"layout": layout, "threads": threads, "flops": layer.flops, "peak_gflops": peak}
            | {f"{name} seconds": seconds for name, seconds in times.items()}
        )
    for name, values in ratios.items():
        print(
            f"{name}: geometric mean {geometric_mean(values):.2f}x, lowest {min(values):.2f}x over {len(values)} cases"
        )
    if args.csv:
        with args.csv.open("w", newline="") as file:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
