"""From which kernels on the FFT is faster: direct sums, products of spectra, and SciPy, over kernel sizes.

    python benchmarks/crossover.py
    python benchmarks/crossover.py --family "2-D, 1 channel" --threads 1 --csv results/crossover.csv

In: nothing but the machine.
Out: for each family of layers, pass and kernel: milliseconds of ``algorithm="direct"``, ``"fft"`` and ``"auto"``, and,
where each channel has a kernel of its own, of SciPy (the faster of ``oaconvolve`` and ``fftconvolve``, one thread;
gradients as one would write them by hand).  All take turns in one process, and their results are compared.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import picture
from results import Table, geometric_mean

from convpp import explain
from convpp._cli.bench import PASSES, Run, best_times, layer_pass
from convpp._cli.suite import Layer

Array = npt.NDArray[Any]
BAR = 1e-4  # relative difference of results (L2) that is no rounding any more, in float32
MOST_DIRECT = 4e10  # operations: beyond, the direct sum is not measured


@dataclass(frozen=True)
class Family:
    """Layers that differ in their kernels alone."""

    name: str
    n: int
    c: int
    k: int
    spatial: tuple[int, ...]
    kernels: tuple[int, ...]  # of each axis
    groups: int = 1
    padded: bool = False

    def layers(self) -> Iterator[Layer]:
        """Of each kernel one."""
        rank = len(self.spatial)
        for size in self.kernels:
            padding = size // 2 if self.padded else 0
            yield Layer(
                self.name,
                f"{size}",
                1,
                self.n,
                self.c,
                self.k,
                self.spatial,
                (size,) * rank,
                (1,) * rank,
                (padding,) * rank,
                (1,) * rank,
                self.groups,
            )


FAMILIES = (
    Family("1-D, 1 channel", 1, 1, 1, (882_000,), (16, 64, 256, 1024, 4096, 16384, 65536)),
    Family("1-D, 64 channels, one kernel each", 1, 64, 64, (80_000,), (16, 64, 256, 1024, 4096, 16384, 65536), 64),
    Family("2-D, 1 channel", 1, 1, 1, (1024, 1024), (5, 7, 9, 11, 15, 31, 63, 127)),
    Family("2-D, 3 to 3", 1, 3, 3, (256, 256), (5, 7, 9, 11, 15, 31), padded=True),
    Family("2-D, 64 to 64", 1, 64, 64, (128, 128), (5, 7, 9, 11, 15, 21, 31), padded=True),
    Family("2-D, depthwise, 128 at 56x56", 1, 128, 128, (56, 56), (5, 7, 9, 13, 21, 31), 128, padded=True),
    Family("2-D, depthwise, 512 at 14x14", 1, 512, 512, (14, 14), (5, 7, 9, 13, 27), 512, padded=True),
    Family("3-D, 1 channel", 1, 1, 1, (64, 64, 64), (3, 5, 7, 9, 11, 15)),
    Family("3-D, 16 to 16", 1, 16, 16, (24, 24, 24), (3, 5, 7, 9), padded=True),
)


@dataclass(frozen=True)
class Point:
    """A kernel's times in milliseconds; NaN: not measured."""

    family: str
    dtype: str
    threads: int
    op: str
    kernel: int
    algorithm: str  # that "auto" takes
    direct: float
    fft: float
    auto: float
    scipy: float


def reversed_axes(array: Array, rank: int) -> Array:
    """The last axes from back to front."""
    return np.ascontiguousarray(np.flip(array, tuple(range(-rank, 0))))


def scipy_passes(layer: Layer, op: str, arrays: Mapping[str, Array]) -> dict[str, Run]:
    """By SciPy, of one sample whose channels have a kernel each."""
    from scipy import signal

    rank = layer.rank
    axes = tuple(range(1, rank + 1))
    x, w, dy = arrays["x"][0], arrays["w"][:, 0], arrays["dy"][0]
    padded = max(layer.padding) > 0
    if op == "forward":
        first, second, mode = x, reversed_axes(w, rank), "same" if padded else "valid"
    elif op == "input_grad":
        first, second, mode = dy, w, "same" if padded else "full"
    else:
        padding = [(0, 0), *((p, p) for p in layer.padding)]
        first, second, mode = np.pad(x, padding), reversed_axes(dy, rank), "valid"
    return {
        "oaconvolve": lambda: signal.oaconvolve(first, second, mode, axes=axes),
        "fftconvolve": lambda: signal.fftconvolve(first, second, mode, axes=axes),
    }


def check_agreement(results: Mapping[str, Array], layer: Layer) -> None:
    """End the program where results are not the same but for rounding."""
    exact = results["fft"]
    for name, result in results.items():
        off = np.linalg.norm(result.reshape(exact.shape) - exact) / np.linalg.norm(exact)
        if not off < BAR:
            raise SystemExit(f"{layer.suite}, {layer.name}: {name} differs from fft by {off:.1e}")


def measure(layer: Layer, dtype: str, threads: int, op: str, seconds: float) -> Point:
    """All contestants of a pass."""
    arrays = layer.arrays(dtype, "channels_first")
    algorithm = explain(layer.x_shape, layer.w_shape, op=op, dtype=dtype, **layer.geometry).algorithm
    names = ["fft", "auto"] + (["direct"] if layer.flops < MOST_DIRECT else [])
    runs = {name: layer_pass(layer, op, "channels_first", threads, arrays, name) for name in names}
    own_kernels = layer.groups == layer.c == layer.k
    peers = scipy_passes(layer, op, arrays) if own_kernels else {}
    check_agreement({name: np.asarray(run()) for name, run in {**runs, **peers}.items()}, layer)
    best = best_times({**runs, **peers}, seconds)
    milliseconds = {name: time * 1e3 for name, time in best.items()}
    scipy = min((milliseconds[name] for name in peers), default=math.nan)
    return Point(
        layer.suite,
        dtype,
        threads,
        op,
        layer.kernel[0],
        algorithm,
        milliseconds.get("direct", math.nan),
        milliseconds["fft"],
        milliseconds["auto"],
        scipy,
    )


def write_csv(points: Sequence[Point], path: Path) -> None:
    """A line for each point."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Point)])
        writer.writeheader()
        writer.writerows(asdict(point) for point in points)


def read_csv(path: Path) -> list[Point]:
    """The points of an earlier run."""

    def point(row: dict[str, str]) -> Point:
        numbers = {name: float(row[name]) for name in ("direct", "fft", "auto", "scipy")}
        texts = {name: row[name] for name in ("family", "dtype", "op", "algorithm")}
        return Point(threads=int(row["threads"]), kernel=int(row["kernel"]), **texts, **numbers)

    with path.open(newline="") as file:
        return [point(row) for row in csv.DictReader(file)]


def crossover_table(points: Sequence[Point]) -> Table:
    """A line for each family, type, number of threads and pass: direct / fft for each kernel, and what auto loses."""

    def ratio(over: float, under: float) -> str:
        return "" if math.isnan(over) else f"{over / under:.2f}"

    lines: dict[tuple[str, str, int, str], list[Point]] = {}
    for point in points:
        lines.setdefault((point.family, point.dtype, point.threads, point.op), []).append(point)
    header = ["layers", "type", "threads", "pass", "kernel: direct / fft", "fft from", "SciPy / auto", "auto / best"]
    table: Table = [header]
    for (family, dtype, threads, op), own in lines.items():
        both = [p for p in own if not math.isnan(p.direct)]
        ratios = ", ".join(f"{p.kernel}: {ratio(p.direct, p.fft)}" for p in both)
        chosen = [p.kernel for p in own if p.algorithm == "fft"]
        beside = [p.scipy / p.auto for p in own if not math.isnan(p.scipy)]
        lost = [p.auto / min(p.direct, p.fft) for p in both]
        table.append(
            [
                family,
                dtype,
                str(threads),
                op,
                ratios,
                str(min(chosen)) if chosen else "never",
                f"{geometric_mean(beside):.2f} ({min(beside):.2f} to {max(beside):.2f})" if beside else "",
                f"{geometric_mean(lost):.2f} (to {max(lost):.2f})",
            ]
        )
    return table


def draw(points: Sequence[Point], stem: Path, endings: Sequence[str] = ("png", "svg")) -> list[Path]:
    """A panel for each family: milliseconds of the forward pass over the kernel's extent."""
    from matplotlib.figure import Figure

    families = list(dict.fromkeys(point.family for point in points))
    columns = 3
    rows = math.ceil(len(families) / columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel, family in zip(panels, families, strict=False):
        own = [p for p in points if p.family == family and p.op == "forward"]
        first = own[0]
        own = [p for p in own if (p.dtype, p.threads) == (first.dtype, first.threads)]
        kernels = [p.kernel for p in own]
        for name, style in (("direct", "o-"), ("fft", "s-"), ("auto", "k:"), ("scipy", "^--")):
            panel.plot(kernels, [getattr(p, name) for p in own], style, label=name, markersize=4)
        panel.set(xscale="log", yscale="log", title=f"{family} ({first.dtype}, {first.threads} threads)")
        panel.set_xticks(kernels, [str(kernel) for kernel in kernels])
        panel.minorticks_off()
        panel.set(xlabel="kernel", ylabel="ms")
    panels[0].legend()
    for panel in panels[len(families) :]:
        panel.set_axis_off()
    return picture.save(figure, stem, endings)


def main() -> None:
    """Measure the families and print, and write if asked to, the points."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", default="", help="regular expression that the family's name fits")
    parser.add_argument("--dtype", nargs="*", default=["float32", "float64"])
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 1])
    parser.add_argument("--seconds", type=float, default=0.3, help="for each kernel and pass, about")
    parser.add_argument("--csv")
    parser.add_argument("--picture", help="a path without an ending")
    args = parser.parse_args()
    points = []
    for family in FAMILIES:
        if not re.search(args.family, family.name):
            continue
        for dtype in args.dtype:
            for threads in args.threads:
                for op in PASSES:
                    for layer in family.layers():
                        point = measure(layer, dtype, threads, op, args.seconds)
                        points.append(point)
                        print(
                            f"{point.family:34} {point.dtype} {point.threads} {point.op:11} {point.kernel:6} "
                            f"direct {point.direct:9.3f}  fft {point.fft:8.3f}  auto {point.auto:8.3f} "
                            f"({point.algorithm})  scipy {point.scipy:9.3f} ms",
                            flush=True,
                        )
    if args.csv:
        write_csv(points, Path(args.csv))
    if args.picture:
        draw(points, Path(args.picture))


if __name__ == "__main__":
    main()
