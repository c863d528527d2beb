"""Signals in chunks: ``conv`` and ``convolve`` with a state, beside ``scipy.signal.lfilter`` in the same loop.

    python benchmarks/streaming.py
    python benchmarks/streaming.py --taps 65 1024 --chunks 64 4096 --threads 1
    python benchmarks/streaming.py --page docs/streaming.md

In: nothing but the machine.
Out: for mono and stereo signals the best time of a chunk, and lfilter's divided by it (above 1, convpp is faster).
They take turns in one process, and the results are compared.  ``--page`` writes the table into the page.

``lfilter`` is given everything in the signal's type; with a denominator of ``1.0``, as most write it, it computes
float32 in float64, and takes longer.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from results import Table, markdown

import convpp

Array = Any
#: A chunk and the state before it: results and the next state.
Step = Callable[[Array, Any], tuple[Array, Any]]

TAPS, CHUNKS, CHANNELS, DTYPES = (65, 257, 1024, 4096), (64, 256, 1024, 4096), (1, 2), ("float32", "float64")
LIBRARIES = ("conv", "convolve", "lfilter")
#: How far results may differ, in units of the type's eps times the taps.
ERROR = 4.0


@dataclass(frozen=True)
class Row:
    """Best seconds of a chunk."""

    dtype: str
    channels: int
    taps: int
    chunk: int
    seconds: dict[str, float]

    def ratio(self, library: str) -> float:
        """How many times as fast as lfilter."""
        return self.seconds["lfilter"] / self.seconds[library]


def steps(kernel: Array, channels: int, chunk: Array) -> dict[str, tuple[Step, Any]]:
    """Each library's step, and the state that a signal begins with; chunks are (channels, samples)."""
    w = np.repeat(kernel[None, None, ::-1], channels, axis=0).copy()

    def conv(x: Array, state: Any) -> tuple[Array, Any]:
        return convpp.conv(x, w, padding="causal", groups=channels, state=state)

    def convolve(x: Array, state: Any) -> tuple[Array, Any]:
        return convpp.convolve(x, kernel, mode="causal", state=state)

    found: dict[str, tuple[Step, Any]] = {"conv": (conv, "zeros"), "convolve": (convolve, "zeros")}
    try:
        from scipy.signal import lfilter
    except ImportError:
        return found
    one, zeros = np.ones(1, kernel.dtype), np.zeros((channels, len(kernel) - 1), kernel.dtype)

    def theirs(x: Array, state: Any) -> tuple[Array, Any]:
        return lfilter(kernel, one, x, zi=state)

    return found | {"lfilter": (theirs, zeros)}


def measure(dtype: str, channels: int, taps: int, length: int, seconds: float) -> Row:
    """Best times, turn by turn; the results of the first chunks are compared."""
    rng = np.random.default_rng(taps)
    kernel = rng.standard_normal(taps).astype(dtype)
    chunks = [rng.standard_normal((channels, length)).astype(dtype) for _ in range(4)]
    turns = steps(kernel, channels, chunks[0])
    first: dict[str, Array] = {}
    states = {}
    for name, (step, state) in turns.items():
        results = []
        for x in chunks:
            y, state = step(x, state)
            results.append(y)
        first[name], states[name] = np.concatenate(results, axis=-1), state
    scale = ERROR * taps * np.finfo(dtype).eps * float(np.abs(kernel).max())
    for name, y in first.items():
        error = float(np.abs(y - first["conv"]).max())
        if error > scale * 4:
            raise SystemExit(f"{name} differs from conv by {error:.2g}: {dtype}, {taps} taps, chunks of {length}")
    best = dict.fromkeys(turns, float("inf"))
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for name, (step, _) in turns.items():
            state, calls, start = states[name], 0, time.perf_counter()
            while True:
                for x in chunks:
                    _, state = step(x, state)
                calls += len(chunks)
                taken = time.perf_counter() - start
                if taken > 1e-3:
                    break
            best[name] = min(best[name], taken / calls)
    return Row(dtype, channels, taps, length, best)


def rows_of(arguments: argparse.Namespace) -> Iterator[Row]:
    """Each combination."""
    for dtype in arguments.dtype:
        for channels in arguments.channels:
            for taps in arguments.taps:
                for chunk in arguments.chunks:
                    yield measure(dtype, channels, taps, chunk, arguments.seconds)


def table(rows: Sequence[Row]) -> Table:
    """A line for each type, number of channels and of taps; a column for each length of chunks."""
    lengths = list(dict.fromkeys(row.chunk for row in rows))
    found: Table = [["type", "channels", "taps", *(f"chunks of {length}" for length in lengths)]]
    for key in dict.fromkeys((row.dtype, row.channels, row.taps) for row in rows):
        cells = []
        for row in rows:
            if (row.dtype, row.channels, row.taps) == key:
                times = f"{row.ratio('conv'):.1f}" if "lfilter" in row.seconds else ""
                cells.append(f"{row.seconds['conv'] * 1e6:.1f} µs, {times}".rstrip(", "))
        found.append([key[0], str(key[1]), str(key[2]), *cells])
    return found


def summary(rows: Sequence[Row]) -> str:
    """Least and geometric mean."""
    ratios = {name: [row.ratio(name) for row in rows] for name in ("conv", "convolve")}
    means = {name: float(np.exp(np.mean(np.log(values)))) for name, values in ratios.items()}
    return (
        f"`conv` is {means['conv']:.1f} times as fast as `lfilter` on average, and {min(ratios['conv']):.1f} times at "
        f"least; `convolve` {means['convolve']:.1f} and {min(ratios['convolve']):.1f} times."
    )


def cpu() -> str:
    """The name of the CPU."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found.group(1) if found else "this machine"


def write(page: Path, text: str) -> None:
    """Puts text between the page's marks."""
    begin, end = "<!-- begin: streaming -->\n", "<!-- end: streaming -->"
    before, rest = page.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    page.write_text(before + begin + text + "\n" + end + after, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the page if it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taps", type=int, nargs="+", default=TAPS)
    parser.add_argument("--chunks", type=int, nargs="+", default=CHUNKS)
    parser.add_argument("--channels", type=int, nargs="+", default=CHANNELS)
    parser.add_argument("--dtype", nargs="+", default=DTYPES, choices=DTYPES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each case")
    parser.add_argument("--page", type=Path)
    given = parser.parse_args(arguments)
    rows: list[Row] = []
    with convpp.threads(given.threads):
        for row in rows_of(given):
            times = ", ".join(f"{name} {seconds * 1e6:.1f} us" for name, seconds in row.seconds.items())
            ratio = f", x{row.ratio('conv'):.2f}" if "lfilter" in row.seconds else ""
            print(f"{row.dtype} {row.channels} channel(s), {row.taps} taps, {row.chunk} samples: {times}{ratio}")
            rows.append(row)
    if any("lfilter" not in row.seconds for row in rows):
        print("SciPy is not installed: nothing to compare with")
        return 0
    print(summary(rows))
    if given.page is not None:
        isa = convpp.runtime_info()["isa"]
        head = (
            f"Time of a chunk by `conv`, and how many times as fast as `lfilter` that is ({cpu()}, {isa}, "
            f"{given.threads} thread(s)). {summary(rows)}"
        )
        write(given.page, f"{head}\n\n{markdown(table(rows))}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
