"""Holds a change of the core to what plans decided, and to the bits of results, before it.

In:   the compiled core that Python imports; layers.csv, convbench.csv and random geometries.
Out:  ``plan_guard.py dump FILE``: a line for each plan (algorithm, tile, blocks, tasks, bytes) and for each digest of y, dx
      and dw; ``plan_guard.py compare BEFORE AFTER``: which fields differ, how often, and examples; exit code 1 if any does.
Next: cpp/src/plan/, which decides; cpp/bindings/module.cpp, through which this asks.

Every geometry is planned in three passes, two layouts, four types, on each instruction set of the machine and for 1, 2 and
8 threads.  ``--every 50`` takes each 50th geometry only: a minute in place of many.  A field may be let off, by name:
``compare BEFORE AFTER --allow bytes``.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import itertools
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

import convpp
from convpp import _core

Array = npt.NDArray[Any]
Ints = tuple[int, ...]

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
PASSES = ("forward", "input_grad", "weight_grad")
DTYPES = ("float32", "float64", "bfloat16", "float16")
THREADS = (1, 2, 8)
MODES = ("reflect", "replicate", "circular", "symmetric")
FIELDS = ("algorithm", "blocking", "tasks", "parallel", "weight_share", "cuts", "bytes", "bytes_per_thread")


@dataclass(frozen=True)
class Case:
    """One geometry, with three axes of which the first ones may be of extent 1."""

    name: str
    rank: int
    n: int
    c: int
    k: int
    groups: int
    input: Ints
    kernel: Ints
    stride: Ints
    dilation: Ints
    lo: Ints
    hi: Ints
    flip: bool = False
    per_sample: bool = False
    modes: tuple[str, ...] = ("zeros",) * 3
    algorithm: str = "auto"

    def convolution(self, pass_: str, dtype: str, channels_last: bool) -> _core.Convolution:
        """The planned pass."""
        sizes = (self.rank, self.n, self.c, self.k, self.groups)
        axes = (self.input, self.kernel, self.stride, self.dilation, self.lo, self.hi)
        options = (self.flip, self.per_sample, channels_last, self.modes)
        return _core.Convolution(pass_, dtype, self.algorithm, *sizes, *axes, *options)

    @property
    def output(self) -> Ints:
        """Extents of y."""
        axes = zip(self.input, self.lo, self.hi, self.dilation, self.kernel, self.stride, strict=True)
        return tuple((i + lo + hi - d * (k - 1) - 1) // s + 1 for i, lo, hi, d, k, s in axes)


def rows_of(path: Path) -> Iterator[Case]:
    """The layers of a table of benchmarks/."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            axes = {key: tuple(map(int, row[key].split("x"))) for key in ("input", "kernel", "stride", "padding", "dilation")}
            rank = len(axes["kernel"])
            ones, zeros = (1,) * (3 - rank), (0,) * (3 - rank)
            padding = zeros + axes["padding"]
            yield Case(
                f"{path.stem}/{row['suite']}/{row['name']}", rank,
                int(row["N"]), int(row["C"]), int(row["K"]), int(row["groups"]),
                ones + axes["input"], ones + axes["kernel"], ones + axes["stride"], ones + axes["dilation"], padding, padding,
            )  # fmt: skip


def draw(rng: random.Random, name: str, small: bool) -> Case:
    """A random geometry with at least one output; ``small`` ones can be computed in a moment."""
    while True:
        rank = rng.choice((1, 2, 2, 2, 3))
        kind = rng.choice(("wide", "wide", "narrow", "grouped", "depthwise"))
        edges = (1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 48, 64, 70) + (() if small else (96, 128, 200, 256, 384, 512))
        groups = 1
        if kind == "wide":
            c, k = rng.choice(edges), rng.choice(edges)
        elif kind == "narrow":
            c, k = rng.randint(1, 6), rng.randint(1, 6)
        elif kind == "grouped":
            groups = rng.choice((2, 3, 4, 8, 16, 32))
            c, k = groups * rng.choice((1, 2, 3, 4, 5, 8, 9, 16)), groups * rng.choice((1, 2, 3, 4, 5, 8, 9, 16))
        else:
            groups = c = rng.choice(edges)
            k = c * rng.choice((1, 1, 1, 2))
        most = {1: 4000, 2: 112, 3: 30}[rank] if not small else {1: 150, 2: 18, 3: 7}[rank]
        axes: list[tuple[int, ...]] = [(1, 1, 1, 1, 0, 0)] * (3 - rank)
        for _ in range(rank):
            kernel = rng.choice((1, 1, 2, 3, 3, 3, 4, 5, 5, 7) + ((11, 31) if kind in ("narrow", "depthwise") else ()))
            lo, hi = rng.choice(((0, 0), (kernel // 2, kernel // 2), (kernel // 2, kernel // 2), (1, 0), (2, 3), (-1, 1)))
            axes.append((
                rng.randint(1, rng.choice((8, 32, most))), kernel, rng.choice((1, 1, 1, 2, 2, 3, 4, 7)),
                rng.choice((1, 1, 1, 1, 2, 3, 8)), lo, hi,
            ))  # fmt: skip
        extents, kernels, strides, dilations, los, his = zip(*axes, strict=True)
        case = Case(
            name, rank, rng.choice((0, 1, 1, 1, 2, 3, 8)), c, k, groups, extents, kernels, strides, dilations, los, his,
            flip=rng.random() < 0.2, per_sample=rng.random() < 0.15,
            algorithm=rng.choice(("auto",) * 4 + ("direct", "winograd")),
        )  # fmt: skip
        if rng.random() < 0.25:
            case = replace(case, modes=("zeros",) * (3 - rank) + tuple(rng.choice((*MODES, "zeros")) for _ in range(rank)))
        if min(case.output) < 1:
            continue
        work = float(np.prod(case.output, dtype=float)) * case.n * k * c / groups * float(np.prod(kernels, dtype=float))
        if work <= (4e5 if small else 4e10):
            return case


def plan_line(case: Case, pass_: str, dtype: str, channels_last: bool, threads: int) -> str:
    """What a plan decides, fields separated by tabs."""
    try:
        plan = case.convolution(pass_, dtype, channels_last)
    except ValueError as refusal:
        return f"refused: {refusal}"
    summary = plan.summary(threads)
    flops = plan.task_flops()
    cuts = hashlib.sha1(repr(flops).encode()).hexdigest()[:12]  # groups, boxes, blocks and chunks of all tasks
    values = (
        summary["algorithm"], summary["blocking"], summary["tasks"], summary["parallel"],
        f"{summary['weight_share']:.12g}", cuts, summary["workspace_bytes"], summary["workspace_bytes_per_thread"],
    )  # fmt: skip
    return "\t".join(map(str, values))


def dump_plans(file: IO[str], cases: list[Case]) -> None:
    """A line for each plan of each case, one instruction set and number of threads after the other."""
    for isa, threads in itertools.product(_core.isas_available(), THREADS):
        _core.select_isa(isa)
        _core.set_num_threads(threads)
        for case in cases:
            for pass_, dtype, last in itertools.product(PASSES, DTYPES, (False, True)):
                key = f"plan/{case.name}/{pass_}/{'last' if last else 'first'}/{dtype}/{isa}/{threads}"
                file.write(f"{key}\t{plan_line(case, pass_, dtype, last, threads)}\n")


def array_of(rng: np.random.Generator, shape: Ints, dtype: Any, spoiled: bool) -> Array:
    """Normal numbers, a few of them not finite if ``spoiled``."""
    values = rng.standard_normal(shape).astype(dtype)
    if spoiled and values.size:
        flat = values.reshape(-1)
        flat[rng.integers(values.size, size=2)] = rng.choice([np.inf, -np.inf, np.nan], size=2)
    return values


def digest_of(array: Array) -> str:
    """Of the bits; every NaN counts as the same one."""
    values = array.copy()
    values[np.isnan(values.astype(np.float64))] = np.nan
    return hashlib.sha1(values.tobytes()).hexdigest()[:16]


def dump_digests(file: IO[str], cases: list[Case]) -> None:
    """A line for each result of each case, with all options that change what is computed."""
    dtypes = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in DTYPES}
    for isa, threads in itertools.product(_core.isas_available(), (1, 2)):
        _core.select_isa(isa)
        convpp.set_num_threads(threads)
        for number, case in enumerate(cases):
            for (name, dtype), last in itertools.product(dtypes.items(), (False, True)):
                rng = np.random.default_rng(number)
                for pass_, text in results_of(case, dtype, last, rng, number):
                    key = f"bits/{case.name}/{pass_}/{'last' if last else 'first'}/{name}/{isa}/{threads}"
                    file.write(f"{key}\t{text}\n")


def results_of(case: Case, dtype: Any, last: bool, rng: np.random.Generator, number: int) -> Iterator[tuple[str, str]]:
    """(what, digest) of the case's results in one type and layout."""
    rank = case.rank

    def shape(channels: int, extents: Ints) -> Ints:
        return (case.n, *extents[3 - rank :], channels) if last else (case.n, channels, *extents[3 - rank :])

    spoiled = number % 5 == 0
    w_shape = ((case.n,) if case.per_sample else ()) + (case.k, case.c // case.groups, *case.kernel[3 - rank :])
    x, dy = (array_of(rng, shape(*of), dtype, spoiled) for of in ((case.c, case.input), (case.k, case.output)))
    w = array_of(rng, w_shape, dtype, spoiled and number % 2 == 0)
    bias, add = array_of(rng, (case.k,), dtype, False), array_of(rng, dy.shape, dtype, False)
    pairs = tuple(zip(case.lo, case.hi, strict=True))[3 - rank :]
    how: dict[str, Any] = {
        "stride": case.stride[3 - rank :], "dilation": case.dilation[3 - rank :], "padding": pairs,
        "groups": case.groups, "flip": case.flip, "padding_mode": case.modes[3 - rank :], "algorithm": case.algorithm,
        "layout": "channels_last" if last else "channels_first", "per_sample": case.per_sample,
    }  # fmt: skip
    activation = (None, "relu", "gelu", ("clip", -1.0, 1.0))[number % 4]
    prepare = {key: value for key, value in how.items() if key != "algorithm"}

    def added(function: Any, *arguments: Any) -> Array:
        out = np.ones(arguments[-1], dtype)
        return function(*arguments, out=out, accumulate=True, **how)  # type: ignore[no-any-return]

    calls = {
        "y": lambda: convpp.conv(x, w, bias, **how),
        "fused": lambda: convpp.conv(x, w, bias, add=add, activation=activation, **how),
        "prepared": lambda: convpp.conv(x, convpp.prepare_weights(w, x.shape, **prepare), bias, **prepare),
        "dx": lambda: convpp.conv_input_grad(dy, w, x.shape, **how),
        "dx_added": lambda: added(convpp.conv_input_grad, dy, w, x.shape),
        "dw": lambda: convpp.conv_weight_grad(dy, x, w.shape, **how),
        "dw_added": lambda: added(convpp.conv_weight_grad, dy, x, w.shape),
    }
    for what, call in calls.items():
        try:
            yield what, digest_of(call())
        except ValueError as refusal:
            yield what, f"refused: {refusal}"


def dump(path: Path, geometries: int, digests: int, every: int) -> None:
    """Writes the dump."""
    rng = random.Random(12)
    cases = [*rows_of(BENCHMARKS / "layers.csv"), *rows_of(BENCHMARKS / "convbench.csv")]
    cases += [draw(rng, f"random/{i}", small=False) for i in range(geometries)]
    small = [draw(rng, f"small/{i}", small=True) for i in range(digests)]
    with gzip.open(path, "wt", compresslevel=1) as file:
        dump_plans(file, cases[::every])
        dump_digests(file, small[:: max(1, every // 5)])


def read(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The keys and fields of a dump."""
    with gzip.open(path, "rt") as file:
        for line in file:
            key, *fields = line.rstrip("\n").split("\t")
            yield key, fields


def compare(before: Path, after: Path, allowed: set[str], examples: int) -> int:
    """Prints which fields differ; the number of lines that differ in a field that is not allowed to."""
    old = dict(read(before))
    counts: Counter[str] = Counter()
    shown: defaultdict[str, list[str]] = defaultdict(list)
    lines = 0
    for key, fields in read(after):
        lines += 1
        was = old.pop(key, None)
        if was == fields:
            continue
        if was is None or len(was) != len(fields):
            differing = ["outcome"]
        elif len(fields) == 1:
            differing = ["bits"]
        else:
            differing = [name for name, a, b in zip(FIELDS, was, fields, strict=True) if a != b]
        for name in differing:
            counts[name] += 1
            if len(shown[name]) < examples:
                shown[name].append(f"  {key}\n    - {was}\n    + {fields}")
    counts["missing"] = len(old)
    print(f"{lines} lines compared")
    for name, count in sorted(counts.items()):
        if count:
            print(f"{name}: {count} differ" + (" (allowed)" if name in allowed else ""), *shown[name], sep="\n")
    return sum(count for name, count in counts.items() if name not in allowed)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 if nothing differs."""
    parser = argparse.ArgumentParser(description="Dump what plans decide, and compare two dumps.")
    commands = parser.add_subparsers(dest="command", required=True)
    writes = commands.add_parser("dump", help="write a dump")
    writes.add_argument("file", type=Path)
    writes.add_argument("--geometries", type=int, default=3000, help="random ones that are planned (%(default)s)")
    writes.add_argument("--digests", type=int, default=400, help="small ones that are computed (%(default)s)")
    writes.add_argument("--every", type=int, default=1, help="take each N-th geometry only (%(default)s)")
    compares = commands.add_parser("compare", help="compare two dumps")
    compares.add_argument("before", type=Path)
    compares.add_argument("after", type=Path)
    compares.add_argument("--allow", action="append", default=[], help="a field that may differ")
    compares.add_argument("--examples", type=int, default=3, help="that are shown of each field (%(default)s)")
    given = parser.parse_args(arguments)
    if given.command == "dump":
        dump(given.file, given.geometries, given.digests, given.every)
        return 0
    return 1 if compare(given.before, given.after, set(given.allow), given.examples) else 0


if __name__ == "__main__":
    sys.exit(main())
