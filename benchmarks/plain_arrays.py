"""Plain arrays: convolve beside SciPy, astropy and OpenCV, where these are installed.

    python benchmarks/plain_arrays.py
    python benchmarks/plain_arrays.py --name gaussian --megapixels 5 --threads 1

In: nothing but the machine.
Out: for each case the best time of each library, and theirs divided by convpp's (above 1, convpp is faster).  They take
turns in one process, and the results are compared.
"""

from __future__ import annotations

import argparse
import importlib
import math
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from results import markdown

import convpp

Array = Any
Call = Callable[[], Array]


@dataclass(frozen=True)
class Case:
    """``calls`` by library, convpp's first; ``error`` is how far their results may differ, relative to the largest."""

    name: str
    calls: dict[str, Call]
    error: float


def module(name: str) -> Any:
    """A library, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def cases(megapixels: float, threads: int | None) -> Iterator[Case]:
    """Each in turn, so that one case's arrays are there at a time."""
    rng = np.random.default_rng(0)
    height, width = (int(math.sqrt(megapixels / 20) * side) for side in (4000, 5000))
    same: dict[str, Any] = {"mode": "same", "threads": threads}
    ndimage, signal = module("scipy.ndimage"), module("scipy.signal")
    astropy, cv2 = module("astropy.convolution"), module("cv2")
    if cv2 is not None:
        cv2.setNumThreads(threads or convpp.get_num_threads())
    kernel = convpp.gaussian(2.0).astype(np.float32)
    for layout, shape, axes in ("(H, W, 3)", (height, width, 3), (0, 1)), ("(3, H, W)", (3, height, width), (1, 2)):
        a = rng.random(shape, np.float32)
        calls: dict[str, Call] = {
            "convpp": lambda a=a, axes=axes: convpp.convolve(
                a, [kernel, kernel], axes=axes, method="separable", boundary="symmetric", **same
            )
        }
        if ndimage:
            calls["SciPy"] = lambda a=a, axes=axes: ndimage.gaussian_filter(a, 2.0, axes=axes)
        if cv2 and axes == (0, 1):
            calls["OpenCV"] = lambda a=a: cv2.sepFilter2D(a, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT)
        yield Case(f"gaussian, 17 taps, {layout}", calls, 1e-5)
    a, weights = rng.random((height, width), np.float32), rng.random((3, 3), np.float32)
    for boundary, theirs in ("zeros", "constant"), ("symmetric", "reflect"):
        calls = {"convpp": lambda boundary=boundary: convpp.convolve(a, weights, boundary=boundary, **same)}
        if ndimage:
            calls["SciPy"] = lambda theirs=theirs: ndimage.convolve(a, weights, mode=theirs)
        if cv2:
            border = cv2.BORDER_CONSTANT if boundary == "zeros" else cv2.BORDER_REFLECT
            calls["OpenCV"] = lambda border=border: cv2.filter2D(a, -1, weights[::-1, ::-1], borderType=border)
        yield Case(f"3x3, {boundary}", calls, 1e-5)
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    whole = rng.integers(-4, 5, (3, 3))
    calls = {"convpp": lambda: convpp.convolve(picture, whole, axes=(0, 1), dtype=np.int32, **same)}
    if ndimage:
        calls["SciPy"] = lambda: ndimage.convolve(picture, whole[..., None], output=np.int32, mode="constant")
    yield Case("3x3, uint8 picture, exact", calls, 0)
    holes = a[: height // 4, : width // 4].copy()
    holes[rng.random(holes.shape) < 0.1] = np.nan
    nine = rng.random((9, 9), np.float32)
    calls = {"convpp": lambda: convpp.convolve(holes, nine, nan="ignore", **same)}
    if astropy:
        calls["astropy"] = lambda: astropy.convolve(holes, nine, boundary="fill")
    yield Case("9x9, NaN ignored", calls, 1e-4)
    for n, taps in (2**20, 64), (2**20, 512), (2**20, 4096), (2**16, 129):
        line = rng.random((2, n)).view(np.complex128)[0][: n // 2]
        filters = rng.random(2 * taps).view(np.complex128)
        calls = {"convpp": lambda line=line, filters=filters: convpp.convolve(line, filters, threads=threads)}
        if signal:
            calls["SciPy"] = lambda line=line, filters=filters: signal.oaconvolve(line, filters)
        yield Case(f"complex, {len(line)} by {taps}", calls, 1e-12)


def measured(case: Case, seconds: float) -> dict[str, float]:
    """The best time of each library; they take turns."""
    best = dict.fromkeys(case.calls, math.inf)
    results: dict[str, Array] = {}
    end = time.perf_counter() + seconds
    while len(results) < len(best) or time.perf_counter() < end:
        for library, call in case.calls.items():
            start = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # astropy's of NaN
                result = call()
            best[library] = min(best[library], time.perf_counter() - start)
            results.setdefault(library, result)
    ours = results["convpp"]
    for library, theirs in results.items():
        off = np.nanmax(np.abs(ours - theirs)) / np.nanmax(np.abs(theirs))
        if not off <= case.error:
            raise SystemExit(f"{case.name}: convpp and {library} differ by {off:.3g}, expected {case.error:.3g}")
    return best


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="", help="cases whose name has this (a regular expression)")
    parser.add_argument("--megapixels", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=10, help="for each case")
    parser.add_argument("--threads", type=int, default=None)
    chosen = parser.parse_args(arguments)
    rows = []
    for case in cases(chosen.megapixels, chosen.threads):
        if not re.search(chosen.name, case.name):
            continue
        times = measured(case, chosen.seconds)
        ours = times.pop("convpp")
        beside = [f"{library} {theirs * 1e3:.1f} ms, {theirs / ours:.2f}x" for library, theirs in times.items()]
        rows.append([case.name, f"{ours * 1e3:.1f}", "; ".join(beside)])
        print(*rows[-1], sep="  ", flush=True)
    print()
    print(markdown([["case", "convpp, ms", "beside"], *rows]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
