"""Plain arrays: convolve beside SciPy, astropy and OpenCV, where these are installed.

    python benchmarks/plain_arrays.py
    python benchmarks/plain_arrays.py --name gaussian --megapixels 5 --threads 1

In: nothing but the machine.
Out: for each case the best time of each library, and theirs divided by convpp's (above 1, convpp is faster).  They take
turns in one process, and the results are compared.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import itertools
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from results import Table, markdown

import convpp

Array = Any
#: Of the array to write into; who returns new ones does not look at it.
Call = Callable[[Array], Array]
OTHERS = ("SciPy", "astropy", "OpenCV")


@dataclass(frozen=True)
class Case:
    """``calls`` by library, convpp's first; ``error`` is how far their results may differ, relative to the largest."""

    name: str
    calls: dict[str, Call]
    error: float
    #: Of the results that are written into arrays which are there: new ones cost time in the operating system.
    shape: tuple[int, ...] = ()
    dtype: str = "float32"


@dataclass(frozen=True)
class Time:
    """Best seconds of a library in a case."""

    case: str
    library: str
    threads: int
    seconds: float


def module(name: str) -> Any:
    """A library, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def cases(megapixels: float, threads: int) -> Iterator[Case]:
    """Each in turn, so that one case's arrays are there at a time."""
    rng = np.random.default_rng(0)
    height, width = (int(math.sqrt(megapixels / 20) * side) for side in (4000, 5000))
    same: dict[str, Any] = {"mode": "same", "threads": threads}
    ndimage, signal = module("scipy.ndimage"), module("scipy.signal")
    astropy, cv2 = module("astropy.convolution"), module("cv2")
    if cv2 is not None:
        cv2.setNumThreads(threads)
    kernel = convpp.gaussian(2.0).astype(np.float32)
    for layout, shape, axes in ("(H, W, 3)", (height, width, 3), (0, 1)), ("(3, H, W)", (3, height, width), (1, 2)):
        a = rng.random(shape, np.float32)
        calls: dict[str, Call] = {
            "convpp": lambda out, a=a, axes=axes: convpp.convolve(
                a, [kernel, kernel], axes=axes, method="separable", boundary="symmetric", out=out, **same
            )
        }
        if ndimage:
            calls["SciPy"] = lambda out, a=a, axes=axes: ndimage.gaussian_filter(a, 2.0, axes=axes, output=out)
        if cv2 and axes == (0, 1):
            calls["OpenCV"] = lambda out, a=a: cv2.sepFilter2D(
                a, -1, kernel, kernel, dst=out, borderType=cv2.BORDER_REFLECT
            )
        yield Case(f"gaussian, 17 taps, {layout}", calls, 1e-5, shape)
    a, weights = rng.random((height, width), np.float32), rng.random((3, 3), np.float32)
    for boundary, theirs in ("zeros", "constant"), ("symmetric", "reflect"):
        calls = {
            "convpp": lambda out, boundary=boundary: convpp.convolve(a, weights, boundary=boundary, out=out, **same)
        }
        if ndimage:
            calls["SciPy"] = lambda out, theirs=theirs: ndimage.convolve(a, weights, mode=theirs, output=out)
        if cv2:
            border = cv2.BORDER_CONSTANT if boundary == "zeros" else cv2.BORDER_REFLECT
            calls["OpenCV"] = lambda out, border=border: cv2.filter2D(
                a, -1, weights[::-1, ::-1], dst=out, borderType=border
            )
        yield Case(f"3x3, {boundary}", calls, 1e-5, a.shape)
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    whole = rng.integers(-4, 5, (3, 3))
    calls = {"convpp": lambda out: convpp.convolve(picture, whole, axes=(0, 1), dtype=np.int32, out=out, **same)}
    if ndimage:
        calls["SciPy"] = lambda out: ndimage.convolve(picture, whole[..., None], output=out, mode="constant")
    yield Case("3x3, uint8 picture, exact", calls, 0, picture.shape, "int32")
    holes = a[: height // 4, : width // 4].copy()
    holes[rng.random(holes.shape) < 0.1] = np.nan
    nine = rng.random((9, 9), np.float32)
    calls = {"convpp": lambda out: convpp.convolve(holes, nine, nan="ignore", out=out, **same)}
    if astropy:
        calls["astropy"] = lambda out: astropy.convolve(holes, nine, boundary="fill")
    yield Case("9x9, NaN ignored", calls, 1e-4, holes.shape)
    for n, taps in (2**20, 64), (2**20, 512), (2**20, 4096), (2**16, 129):
        line = rng.random((2, n)).view(np.complex128)[0][: n // 2]
        filters = rng.random(2 * taps).view(np.complex128)
        calls = {"convpp": lambda out, line=line, filters=filters: convpp.convolve(line, filters, threads=threads)}
        if signal:
            calls["SciPy"] = lambda out, line=line, filters=filters: signal.oaconvolve(line, filters)
        yield Case(f"complex, {len(line)} by {taps}", calls, 1e-12)


def measured(case: Case, seconds: float) -> dict[str, float]:
    """The best time of each library; they take turns."""
    best = dict.fromkeys(case.calls, math.inf)
    outs = {library: np.full(case.shape, 1, case.dtype) for library in case.calls}
    results: dict[str, Array] = {}
    end = time.perf_counter() + seconds
    for turn in itertools.count():
        if turn > 1 and time.perf_counter() > end:
            break
        for library, call in case.calls.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # astropy's of NaN
                start = time.perf_counter()
                result = call(outs[library])
                best[library] = min(best[library], time.perf_counter() - start)
            results[library] = outs[library] if result is None else result
    ours = results["convpp"]
    for library, theirs in results.items():
        off = np.nanmax(np.abs(ours - theirs)) / np.nanmax(np.abs(theirs))
        if not off <= case.error:
            raise SystemExit(f"{case.name}: convpp and {library} differ by {off:.3g}, expected {case.error:.3g}")
    return best


def write_csv(times: Sequence[Time], path: Path) -> None:
    """One row for each library of each case."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Time))
        writer.writerows(astuple(time_of) for time_of in times)


def read_csv(path: Path) -> list[Time]:
    """What ``write_csv`` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Time(row["case"], row["library"], int(row["threads"]), float(row["seconds"]))
            for row in csv.DictReader(file)
        ]


def table(times: Sequence[Time]) -> Table:
    """A row for each case; the others' times divided by convpp's."""
    of_case: dict[tuple[str, int], dict[str, float]] = {}
    for entry in times:
        of_case.setdefault((entry.case, entry.threads), {})[entry.library] = entry.seconds
    rows = [["case", "threads", "convpp, ms", *OTHERS]]
    for (case, threads), seconds in of_case.items():
        ours = seconds["convpp"]
        beside = [f"{seconds[name] / ours:.2f}" if name in seconds else "" for name in OTHERS]
        rows.append([case, str(threads), f"{ours * 1e3:.1f}", *beside])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="", help="cases whose name has this (a regular expression)")
    parser.add_argument("--megapixels", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=10, help="for each case")
    parser.add_argument("--threads", type=int, nargs="+", default=[convpp.get_num_threads()])
    parser.add_argument("--csv", type=Path, help="a file to write, for report.py")
    chosen = parser.parse_args(arguments)
    found: list[Time] = []
    for threads in chosen.threads:
        for case in cases(chosen.megapixels, threads):
            if re.search(chosen.name, case.name):
                seconds = measured(case, chosen.seconds)
                found += [Time(case.name, library, threads, best) for library, best in seconds.items()]
                print(case.name, *(f"{library} {best * 1e3:.1f} ms" for library, best in seconds.items()), flush=True)
    print()
    print(markdown(table(found)))
    if chosen.csv:
        write_csv(found, chosen.csv)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
