"""Holds a change of the core to what plans decided, and to the bits of the results, before the change.

In:   the compiled core of the convpp that Python imports; layers.csv, convbench.csv and random geometries.
Out:  ``plan_guard.py dump FILE`` writes a line for each plan (strategy, tile, blocks, tasks, bytes) and for each
      result (a digest of its bits).  ``plan_guard.py compare BEFORE AFTER`` prints which fields differ, how often, and
      examples; its exit code is 1 if any field differs that ``--allow FIELD`` does not let off.
Next: noxfile.py (session guard, which dumps two revisions and compares them); cpp/src/plan/, which decides.

Plans are made of all geometries in three passes, two layouts and four types, on each instruction set of the machine,
for 1, 2 and 8 threads.  Results are computed of small random geometries, with the options that change what is computed,
on 1 and 2 threads.  A dump takes half a minute.  ``--every 50`` takes a few seconds: each 50th geometry is planned, a
tenth of the small ones is computed.  A sample can be compared with a whole dump: ``--allow missing``.

The plans are asked for through the private binding, so that this program dumps another revision, too, as long as that
one's ``_core.Convolution`` takes the same arguments.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import gzip
import hashlib
import itertools
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
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
#: Of a plan's line.  New ones go to the end: of two dumps, those fields are compared that both have.
FIELDS = ("algorithm", "blocking", "tasks", "parallel", "weight_share", "cuts", "bytes", "bytes_per_thread", "strategy")
#: Channels of random geometries: about the extents of vectors, tiles and blocks.
CHANNELS = (1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 32, 33, 48, 64, 70)
MANY_CHANNELS = (96, 128, 200, 256, 384, 512)


@dataclass(frozen=True)
class Case:
    """One geometry.  It always has three axes; where ``rank`` is less, the first ones have extent 1."""

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
        """The core's plan of a pass."""
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
            n, c, k, groups = (int(row[column]) for column in ("N", "C", "K", "groups"))
            rank = row["kernel"].count("x") + 1
            extents, kernel, stride, dilation = (
                (1,) * (3 - rank) + tuple(map(int, row[column].split("x")))
                for column in ("input", "kernel", "stride", "dilation")
            )
            padding = (0,) * (3 - rank) + tuple(map(int, row["padding"].split("x")))
            name = f"{path.stem}/{row['suite']}/{row['name']}"
            yield Case(name, rank, n, c, k, groups, extents, kernel, stride, dilation, padding, padding)


def draw_channels(rng: random.Random, kind: str, small: bool) -> tuple[int, int, int]:
    """(C, K, groups) of a random geometry."""
    channels = CHANNELS + (() if small else MANY_CHANNELS)
    if kind == "wide":
        return rng.choice(channels), rng.choice(channels), 1
    if kind == "narrow":
        return rng.randint(1, 6), rng.randint(1, 6), 1
    if kind == "grouped":
        groups = rng.choice((2, 3, 4, 8, 16, 32))
        of_group = (1, 2, 3, 4, 5, 8, 9, 16)
        return groups * rng.choice(of_group), groups * rng.choice(of_group), groups
    c = rng.choice(channels)
    return c, c * rng.choice((1, 1, 1, 2)), c


def draw_axis(rng: random.Random, kind: str, longest: int) -> Ints:
    """(input, kernel, stride, dilation, lo, hi) of an axis of a random geometry, which may have no output."""
    kernel = rng.choice((1, 1, 2, 3, 3, 3, 4, 5, 5, 7) + ((11, 31) if kind in ("narrow", "depthwise") else ()))
    half = kernel // 2
    lo, hi = rng.choice(((0, 0), (half, half), (half, half), (1, 0), (2, 3), (-1, 1)))
    extent = rng.randint(1, rng.choice((8, 32, longest)))
    return extent, kernel, rng.choice((1, 1, 1, 2, 2, 3, 4, 7)), rng.choice((1, 1, 1, 1, 2, 3, 8)), lo, hi


def draw(rng: random.Random, name: str, small: bool) -> Case:
    """A random geometry with at least one output; ``small`` ones can be computed in a moment."""
    longest = {1: 150, 2: 18, 3: 7} if small else {1: 4000, 2: 112, 3: 30}
    while True:
        rank = rng.choice((1, 2, 2, 2, 3))
        kind = rng.choice(("wide", "wide", "narrow", "grouped", "depthwise"))
        c, k, groups = draw_channels(rng, kind, small)
        axes = [(1, 1, 1, 1, 0, 0)] * (3 - rank) + [draw_axis(rng, kind, longest[rank]) for _ in range(rank)]
        extents, kernels, strides, dilations, los, his = zip(*axes, strict=True)
        case = Case(
            name, rank, rng.choice((0, 1, 1, 1, 2, 3, 8)), c, k, groups, extents, kernels, strides, dilations, los, his,
            flip=rng.random() < 0.2, per_sample=rng.random() < 0.15,
            algorithm=rng.choice(("auto",) * 4 + ("direct", "winograd")),
        )  # fmt: skip
        if rng.random() < 0.25:
            modes = tuple(rng.choice((*MODES, "zeros")) for _ in range(rank))
            case = replace(case, modes=("zeros",) * (3 - rank) + modes)
        if min(case.output) < 1:
            continue
        terms = float(np.prod(case.output, dtype=float)) * float(np.prod(case.kernel, dtype=float))
        if terms * case.n * k * c / groups <= (4e5 if small else 4e10):
            return case


@contextlib.contextmanager
def runtime_kept() -> Iterator[None]:
    """The instruction set and the number of threads are afterwards what they were."""
    isa, threads = _core.isa(), _core.num_threads()
    try:
        yield
    finally:
        use(isa, threads)


def use(isa: str, threads: int) -> None:
    """Sets the instruction set and the number of threads of the process."""
    _core.select_isa(isa)
    convpp.set_num_threads(threads)  # which forgets the plans of another instruction set, too


def plan_line(case: Case, pass_: str, dtype: str, channels_last: bool, threads: int) -> str:
    """What a plan decides, its ``FIELDS`` separated by tabs; or why there is none."""
    try:
        plan = case.convolution(pass_, dtype, channels_last)
    except ValueError as refusal:
        return f"refused: {refusal}"
    summary = plan.summary(threads)
    work = repr(plan.task_flops())  # of each task: its groups, box of pixels, block of channels and chunk
    values = [
        summary["algorithm"], summary["blocking"], summary["tasks"], summary["parallel"],
        f"{summary['weight_share']:.12g}", hashlib.sha1(work.encode()).hexdigest()[:12],
        summary["workspace_bytes"], summary["workspace_bytes_per_thread"],
    ]  # fmt: skip
    if "strategy" in summary:  # older revisions do not say
        values.append(summary["strategy"])
    return "\t".join(map(str, values))


def dump_plans(file: IO[str], cases: list[Case]) -> None:
    """A line for each plan of each case, one instruction set and number of threads after the other."""
    for isa, threads in itertools.product(_core.isas_available(), THREADS):
        use(isa, threads)
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
    """A digest of the bits; all NaNs count as the same one."""
    values = array.copy()
    values[np.isnan(values.astype(np.float64))] = np.nan
    return hashlib.sha1(values.tobytes()).hexdigest()[:16]


def dump_digests(file: IO[str], cases: list[tuple[int, Case]]) -> None:
    """A line for each result of each case; from a case's number follow its values and some options."""
    dtypes = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in DTYPES}
    for isa, threads in itertools.product(_core.isas_available(), (1, 2)):
        use(isa, threads)
        for number, case in cases:
            for (name, dtype), last in itertools.product(dtypes.items(), (False, True)):
                rng = np.random.default_rng(number)
                for pass_, text in results_of(case, dtype, last, rng, number):
                    key = f"bits/{case.name}/{pass_}/{'last' if last else 'first'}/{name}/{isa}/{threads}"
                    file.write(f"{key}\t{text}\n")


def results_of(case: Case, dtype: Any, last: bool, rng: np.random.Generator, number: int) -> Iterator[tuple[str, str]]:
    """(name, digest) of each of the case's results in one type and layout."""
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
    activation: Any = (None, "relu", "gelu", ("clip", -1.0, 1.0))[number % 4]
    prepare = {key: value for key, value in how.items() if key != "algorithm"}

    def added(function: Any, *arguments: Any) -> Array:
        out = np.ones(arguments[-1], dtype)
        return function(*arguments, out=out, accumulate=True, **how)  # type: ignore[no-any-return]

    calls: dict[str, Callable[[], Array]] = {
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


def by_fft(case: Case) -> Case:
    """The same, asked of the FFT, which is not among the algorithms that are drawn: these stay what they are."""
    return replace(case, name=f"{case.name}/fft", algorithm="fft")


def dump(path: Path, geometries: int, digests: int, every: int) -> None:
    """Writes the dump."""
    rng = random.Random(12)
    cases = [*rows_of(BENCHMARKS / "layers.csv"), *rows_of(BENCHMARKS / "convbench.csv")]
    cases += [draw(rng, f"random/{i}", small=False) for i in range(geometries)]
    small = [(i, draw(rng, f"small/{i}", small=True)) for i in range(digests)]
    if every > 5:  # at random, since options follow from the numbers
        small = sorted(rng.sample(small, -(-5 * digests // every)))
    small += [(i, by_fft(case)) for i, case in small[::4]]
    planned = cases[::every]
    with runtime_kept(), gzip.open(path, "wt", compresslevel=1) as file:
        dump_plans(file, planned + [by_fft(case) for case in planned[::4]])
        dump_digests(file, small)


def read(path: Path) -> Iterator[tuple[str, list[str]]]:
    """The keys and fields of a dump."""
    with gzip.open(path, "rt") as file:
        for line in file:
            key, *fields = line.rstrip("\n").split("\t")
            yield key, fields


def differing(key: str, before: list[str], after: list[str]) -> list[str]:
    """The names of what differs between two lines of the same key."""
    if before == after:
        return []
    if key.startswith("bits/"):
        return ["bits"]
    if 1 in (len(before), len(after)):  # refused, with another message or by one of the two only
        return ["outcome"]
    return [name for name, a, b in zip(FIELDS, before, after, strict=False) if a != b]


def compare(before: Path, after: Path, allowed: set[str], examples: int) -> bool:
    """Prints what differs; whether the dumps agree: they have lines in common, and differ in what is allowed alone."""
    old = dict(read(before))
    counts: Counter[str] = Counter()
    shown: defaultdict[str, list[str]] = defaultdict(list)

    def count(name: str, key: str, *lines: str) -> None:
        counts[name] += 1
        if len(shown[name]) < examples:
            shown[name].append("\n    ".join((f"  {key}", *lines)))

    compared = 0
    for key, fields in read(after):
        was = old.pop(key, None)
        if was is None:
            count("new", key)
            continue
        compared += 1
        for name in differing(key, was, fields):
            count(name, key, f"- {was}", f"+ {fields}")
    for key in old:
        count("missing", key)
    print(f"{compared} lines compared")
    for name, number in sorted(counts.items()):
        print(f"{name}: {number} differ" + (" (allowed)" if name in allowed else ""), *shown[name], sep="\n")
    return compared > 0 and counts.keys() <= allowed


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writes = commands.add_parser("dump", help="write a dump")
    writes.add_argument("file", type=Path)
    writes.add_argument("--geometries", type=int, default=3000, help="random ones that are planned (%(default)s)")
    writes.add_argument("--digests", type=int, default=400, help="small ones that are computed (%(default)s)")
    writes.add_argument("--every", type=int, default=1, help="plan each N-th geometry only (%(default)s)")
    compares = commands.add_parser("compare", help="compare two dumps")
    compares.add_argument("before", type=Path)
    compares.add_argument("after", type=Path)
    compares.add_argument(
        "--allow",
        action="append",
        default=[],
        choices=(*FIELDS, "outcome", "bits", "missing", "new"),
        help="a field that may differ",
    )
    compares.add_argument("--examples", type=int, default=3, help="that are shown of each field (%(default)s)")
    given = parser.parse_args(arguments)
    if given.command == "dump":
        dump(given.file, given.geometries, given.digests, given.every)
        return 0
    return 0 if compare(given.before, given.after, set(given.allow), given.examples) else 1


if __name__ == "__main__":
    sys.exit(main())
