"""convpp beside PyTorch, ONNX Runtime and SciPy on real layers: one process, turn by turn, results compared.

    python benchmarks/compare.py --suite resnet50 --threads 2
    python benchmarks/compare.py --table convbench --rows-per-process 10 --runs 2
    python benchmarks/compare.py --suite resnet50 mobilenet_v1 --batch 1 --prepared --passes forward
    python benchmarks/compare.py --dtype float32 float64 --layout channels_first channels_last --threads 1 2 \
        --csv results.csv --picture results

In: layers.csv and convbench.csv.
Out: a line for each case: GFLOP/s of convpp, its share of what is attainable (the lower of the peak of multiply-adds
and bandwidth times operations a byte, both measured in this run), and peer's time / convpp's time (above 1: convpp
is faster); at the end totals of networks and means of groups of rows; all in a CSV and a picture too, if asked for.
Where convpp takes another algorithm than the direct one, rates and shares are effective ones and marked so, and the
direct one is a contestant too.

Read next: ``contestants.py`` (what each library runs), ``machine.py`` (peak, bandwidth), ``results.py`` (the tables).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from contestants import contestants, names, with_direct
from machine import SIZES, Machine, attainable
from results import (
    DIRECT,
    PEERS,
    TABLES,
    Case,
    Configuration,
    Writer,
    by_configuration,
    markdown,
    notes,
    read_cases,
    summaries,
    title,
    totals,
)

import convpp
from convpp._cli.bench import best_times, explain_pass, is_effective, marked
from convpp._cli.suite import PASSES, Array, Layer, read_layers

#: Largest relative L2 difference between two libraries' results: sums of up to millions of terms in other orders, and
#: by Winograd's transforms, whose errors are some times larger.
AGREEMENT = {"float32": 2e-4, "float64": 1e-11}


def check_agreement(results: dict[str, Array], dtype: str, case: str) -> None:
    """All contestants computed the same."""
    (first, expected), *others = results.items()
    scale = float(np.linalg.norm(expected.astype(np.float64)))
    for name, result in others:
        difference = float(np.linalg.norm(expected.astype(np.float64) - result)) / (scale or 1.0)
        if not difference <= AGREEMENT[dtype]:
            raise SystemExit(f"{case}: {first} and {name} differ by {difference:.1e} (relative L2)")


def selected(args: argparse.Namespace) -> list[Layer]:
    """The rows that --table, --suite and --name ask for, of these those of --rows, with the batch of --batch."""
    layers = [
        replace(layer, n=args.batch or layer.n)
        for table in args.table
        for layer in read_layers(TABLES[table])
        if (not args.suite or layer.suite in args.suite) and re.search(args.name, layer.name)
    ]
    if not layers:
        raise SystemExit(f"no layer of {' or '.join(args.table)} fits --suite and --name")
    return layers[slice(*args.rows)] if args.rows else layers


def measured(args: argparse.Namespace, machine: Machine) -> Iterator[Case]:
    """Every case that the arguments ask for, one after the other."""
    configurations = [(d, la, t) for t in args.threads for d in args.dtype for la in args.layout]
    for dtype, layout, threads in configurations:
        for layer in selected(args):
            peak = machine.peak(dtype, threads)
            bandwidth = machine.bandwidth(layer.traffic(dtype), threads)
            for op in args.passes:
                chosen = explain_pass(layer, op, dtype, layout, threads, args.algorithm[0]).algorithm
                algorithms = with_direct(args.algorithm) if is_effective(chosen) else args.algorithm
                runs = contestants(layer, op, dtype, layout, threads, algorithms, args.peers, args.prepared)
                words = f"{layer.row_id} {op} {dtype} {layout} {threads}t"
                check_agreement({name: run() for name, run in runs.items()}, dtype, words)
                yield Case(
                    suite=layer.suite,
                    layer=layer.name,
                    count=layer.count,
                    op=op,
                    dtype=dtype,
                    layout=layout,
                    threads=threads,
                    algorithm=chosen,
                    flops=layer.flops,
                    traffic=layer.traffic(dtype),
                    peak=peak,
                    bandwidth=bandwidth,
                    attainable=attainable(layer, dtype, peak, bandwidth),
                    classes=layer.classes(op),
                    seconds=best_times(runs, args.seconds),
                )


def measured_apart(args: argparse.Namespace) -> Iterator[Case]:
    """The same by processes of ``--rows-per-process`` rows each; what is behind a crash of one is missing, and said so.

    For peers that end the process: PyTorch 2.13 does in the backward pass of some 1x1 layers of one pixel.
    """
    count = len(selected(args))
    for first in range(0, count, args.rows_per_process):
        rows = [first, min(first + args.rows_per_process, count)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "part.csv")
            command = [
                *sys.argv,
                "--rows",
                *map(str, rows),
                "--rows-per-process",
                "0",
                "--runs",
                "1",
                "--csv",
                str(path),
            ]
            status = subprocess.run([sys.executable, *command], check=False, stdout=subprocess.DEVNULL).returncode
            if status != 0:
                print(f"rows {rows[0]} to {rows[1] - 1}: the process ended with status {status}", flush=True)
            yield from read_cases([path] if path.exists() else [])


def measured_again(args: argparse.Namespace, machine: Machine) -> Iterator[Case]:
    """All of that ``--runs`` times, some minutes apart: the last time with the least times of each contestant.

    What another guest of the machine takes for some seconds spoils all turns of a case.
    """
    least: dict[tuple[str, str, Configuration], Case] = {}
    for run in range(1, args.runs + 1):
        for case in measured_apart(args) if args.rows_per_process else measured(args, machine):
            before = least.get(case.key, case)
            seconds = {name: min(time, before.seconds.get(name, time)) for name, time in case.seconds.items()}
            least[case.key] = replace(case, seconds=seconds)
            if run == args.runs:
                yield least.pop(case.key)
            else:
                print(line(case), flush=True)
    yield from least.values()  # which the last run lost


def keep_memory() -> None:
    """Have glibc keep the memory that results leave behind, so that new ones find warm pages, whoever makes them.

    It does so by itself once large arrays have been freed, but for what lies at the end of its heap: whether that is
    given back to the system and comes again as zeroed pages, which can take longer than a small layer, would depend on
    what was measured before.
    """
    trim_threshold, mmap_threshold = -1, -3  # of mallopt(3)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(mmap_threshold, 32 << 20)  # the largest that glibc sets by itself
        mallopt(trim_threshold, 2**31 - 1)


def line(case: Case) -> str:
    """A case in words."""
    words = f"{case.row} {case.op} {case.dtype} {case.layout} {case.threads}t"
    rate, share = marked(f"{case.rate:7.1f}", case.effective), marked(f"{case.share:4.0%}", case.effective)
    ratios = [f"   {name}{time_of_direct(case, name)} {case.ratio(name):6.2f}x" for name in list(case.seconds)[1:]]
    return (
        f"{words:74} {rate:11} GFLOP/s, {share:8} of the attainable {case.attainable:5.0f} "
        f"(peak {case.peak:.0f})" + "".join(ratios)
    )


def time_of_direct(case: Case, name: str) -> str:
    """Said of the direct algorithm, where convpp takes another one."""
    return f" {1e3 * case.seconds[name]:.3f} ms" if name == DIRECT and case.direct_ratio is not None else ""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", nargs="+", default=["layers"], choices=list(TABLES), help="(default: layers)")
    parser.add_argument("--suite", nargs="*", help="suites of the table, convbench.csv's are kinds (default: all)")
    parser.add_argument("--rows", nargs=2, type=int, help="of these only the ones from a first to before a last one")
    parser.add_argument("--rows-per-process", type=int, default=0, help="a process of its own for so many rows each")
    parser.add_argument("--runs", type=int, default=1, help="the whole list so often, of which the least times count")
    parser.add_argument("--batch", type=int, help="samples, in place of the table's")
    parser.add_argument("--prepared", action="store_true", help="forward with weights that convpp has prepared, too")
    parser.add_argument("--name", default="", help="regular expression that the layer's name fits")
    parser.add_argument("--passes", nargs="*", default=PASSES, choices=PASSES)
    parser.add_argument("--dtype", nargs="*", default=["float32"], choices=["float32", "float64"])
    parser.add_argument("--layout", nargs="*", default=["channels_first"], choices=["channels_first", "channels_last"])
    parser.add_argument("--threads", nargs="*", type=int, default=[convpp.get_num_threads()])
    parser.add_argument("--peers", nargs="*", default=PEERS)
    parser.add_argument("--algorithm", nargs="+", default=["auto"], help="the first one is convpp's (default: auto)")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case, all contestants together")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--picture", type=Path, help="draw PICTURE.png and PICTURE.svg")
    args = parser.parse_args()

    keep_memory()
    convpp.show_config()
    machine = Machine()
    for threads in args.threads:
        rates = zip(SIZES, machine.bandwidths(threads), strict=True)
        described = ", ".join(f"{size / 2**20:g} MiB {rate:.0f} GB/s" for size, rate in rates)
        print(f"bandwidth, {threads} thread{'s'[: threads > 1]}: {described}")
    cases: list[Case] = []
    with contextlib.ExitStack() as stack:
        writer = None
        if args.csv:
            columns = [*names(with_direct(args.algorithm)), *args.peers]
            writer = Writer(stack.enter_context(args.csv.open("w", newline="", encoding="utf-8")), columns)
        for case in measured_again(args, machine):
            print(line(case), flush=True)
            cases.append(case)
            if writer:
                writer.write(case)
    for configuration, chosen in by_configuration(cases).items():
        for table in (totals(chosen), summaries(chosen)):
            if len(table) > 1:
                print(f"\n{title(configuration)}\n\n{markdown(table)}")
        print("".join(f"\n{note}\n" for note in notes(chosen)), end="")
    if args.picture:
        from picture import draw

        for path in draw(cases, args.picture):
            print(f"drawn: {path}")


if __name__ == "__main__":
    main()
