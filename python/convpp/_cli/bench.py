"""How fast this machine computes real layers: ``python -m convpp bench``.

In: a suite of layers.csv, dtype, layout, threads, seconds for each case.
Out: a table, a line for each layer and pass: milliseconds, GFLOP/s, and the share of the peak of multiply-adds, which
is measured in the same run; and the sum over the network, each layer counted as often as the network has it.  Where
convpp does fewer operations than the direct sum has, rates and shares are effective ones, and marked so.

Next: ``suite.py`` (the layers).  Beside other libraries, the same is measured by ``benchmarks/compare.py``.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from convpp import runtime
from convpp._call.arguments import Layout
from convpp._call.options import ConvOptions
from convpp._call.planning import PLANS, Pass
from convpp._cli.machine import Peak, measure_peaks, warn, warnings_of
from convpp._cli.optional import require
from convpp._cli.suite import PASSES, Array, Layer, read_layers
from convpp.explain import Explanation, explain
from convpp.forward import conv
from convpp.functional import conv_input_grad, conv_weight_grad

Run = Callable[[], Array]

#: Longer than another OpenMP library's threads spin behind a call (GCC's about 5 ms), so that each finds idle cores.
PAUSE_SECONDS = 0.008

#: Where the middle turn of a pass takes longer than the best by such a part, and that of so many passes, the machine is
#: busy: a pass alone may meet an interruption.
SLOWER, OFTEN = 0.25, 0.2

#: The algorithms that do all the operations of the definition, which is what rates count.
DIRECT_SUMS = ("direct", "reference")


@dataclass(frozen=True)
class Measured:
    """One pass of one layer."""

    layer: Layer
    op: Pass
    algorithm: str
    seconds: float
    #: How much longer the middle turn took than the best, as a part of it.
    spread: float = 0.0

    @property
    def rate(self) -> float:
        """GFLOP/s, by the operations of the direct sum."""
        return self.layer.flops / self.seconds / 1e9

    @property
    def effective(self) -> bool:
        """Whether the rate counts more operations than were done."""
        return is_effective(self.algorithm)


@dataclass(frozen=True)
class Total:
    """The sum over a network, each layer counted as often as the network has it; ``op``: of a pass, or "all passes"."""

    network: str
    layers: int
    op: str
    seconds: float
    rate: float
    effective: bool


@dataclass
class Bench:
    """What is asked for, and what was measured."""

    network: str
    dtype: str
    layout: Layout
    threads: int
    seconds: float
    peaks: list[Peak]
    measured: list[Measured]

    @property
    def peak(self) -> float:
        """GFLOP/s of multiply-adds, of all threads."""
        return self.peaks[-1].rate

    def totals(self) -> list[Total]:
        """Of each network, each pass, and all passes."""
        return totals_of(self.measured)

    def warnings(self) -> list[str]:
        """Why times are not to be trusted."""
        slow = sum(m.spread > SLOWER for m in self.measured)
        found = warnings_of(self.peaks)
        if slow > OFTEN * len(self.measured):
            found.append(
                f"this machine is busy with something else: in {slow} of {len(self.measured)} passes the middle turn "
                f"took over {SLOWER:.0%} longer than the best one, whose time is given"
            )
        return found


def main(network: str, dtype: str, layout: Layout, threads: int | None, seconds: float, quiet: bool = False) -> Bench:
    """Measure, print unless it is to be ``quiet``, and return what was measured."""
    layers = layers_of(network)
    require("the bench", "tqdm", install="tqdm")
    from tqdm import tqdm

    count = threads or runtime.get_num_threads()
    bench = Bench(network, dtype, layout, count, seconds, measure_peaks([dtype], count), [])
    if not quiet:
        info = runtime.runtime_info()
        print(f"convpp {info['version']}, {info['isa']}, {count} thread{'s'[: count > 1]}, {dtype}, {layout}")
        print(f"peak of multiply-adds: {bench.peak:.0f} GFLOP/s\n")
        print(HEADER)
    cases = [(layer, op) for layer in layers for op in PASSES]
    with tqdm(total=len(cases), desc=network, unit="pass", leave=False) as bar:
        for layer, op in cases:
            bench.measured.append(measure(layer, op, dtype, layout, count, seconds))
            if not quiet:
                bar.write(line(bench.measured[-1], bench.peak))
            bar.update()
    if not quiet:
        print("\n".join(total_lines(bench.measured, bench.peak)))
        print("".join(f"\n{words}\n" for words in legend(m.algorithm for m in bench.measured)), end="")
        warn(bench.warnings())
    return bench


def layers_of(network: str) -> list[Layer]:
    """The layers of a suite, or of all; ValueError if there is no such suite."""
    layers = read_layers()
    suites = list(dict.fromkeys(layer.suite for layer in layers))
    if network != "all" and network not in suites:
        raise ValueError(f"network is {network!r}, expected one of {', '.join(suites)}, all")
    return [layer for layer in layers if network in ("all", layer.suite)]


def measure(layer: Layer, op: Pass, dtype: str, layout: Layout, threads: int, seconds: float) -> Measured:
    """The best time of a pass."""
    arrays = layer.arrays(dtype, layout)
    how = explain_pass(layer, op, dtype, layout, threads, "auto")
    run = layer_pass(layer, op, layout, threads, arrays, "auto")
    times = times_of({"convpp": run}, seconds)["convpp"]
    best = min(times)
    return Measured(layer, op, how.algorithm, best, statistics.median(times) / best - 1)


def explain_pass(layer: Layer, op: Pass, dtype: str, layout: Layout, threads: int, algorithm: str) -> Explanation:
    """What ``convpp.explain`` says of a pass of a layer."""
    how: dict[str, Any] = {"layout": layout, "threads": threads, "algorithm": algorithm, **layer.geometry}
    return explain(_x_shape(layer, layout), layer.w_shape, op=op, dtype=dtype, **how)


def task_flops(layer: Layer, op: Pass, dtype: str, layout: Layout, threads: int) -> list[float]:
    """The operations of each task that a pass is cut into for so many threads, in the order in which they take them."""
    options = ConvOptions(**layer.geometry, layout=layout)
    return PLANS[op, dtype, _x_shape(layer, layout), layer.w_shape, options].convolution.task_flops(threads)


def _x_shape(layer: Layer, layout: Layout) -> tuple[int, ...]:
    return layer.x_shape if layout == "channels_first" else (layer.n, *layer.input, layer.c)


def layer_pass(
    layer: Layer, op: Pass, layout: Layout, threads: int, arrays: Mapping[str, Array], algorithm: str
) -> Run:
    """A pass of a layer as a function that computes it anew at each call."""
    x, w, dy = arrays["x"], arrays["w"], arrays["dy"]
    how: dict[str, Any] = {**layer.geometry, "layout": layout, "threads": threads, "algorithm": algorithm}
    passes: dict[str, Run] = {
        "forward": lambda: conv(x, w, **how),
        "input_grad": lambda: conv_input_grad(dy, w, x.shape, **how),
        "weight_grad": lambda: conv_weight_grad(dy, x, w.shape, **how),
    }
    return passes[op]


def best_times(runs: Mapping[str, Run], seconds: float) -> dict[str, float]:
    """The best time of each over turns that take about ``seconds`` in all."""
    return {name: min(times) for name, times in times_of(runs, seconds).items()}


def times_of(runs: Mapping[str, Run], seconds: float) -> dict[str, list[float]]:
    """The time of each in each turn; turns take about ``seconds`` in all.

    A turn is preceded by a pause, where there are several, and an untimed call: so another library's waiting threads
    do not take the cores, and pages and caches are warm for all.
    """
    best = dict.fromkeys(runs, math.inf)
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    turns = 0
    while turns < 3 or time.perf_counter() < end:
        turns += 1
        for name, run in runs.items():
            if len(runs) > 1:
                time.sleep(PAUSE_SECONDS)
            run()
            calls = 1 if best[name] > 1e-3 else min(50, int(1e-3 / best[name]) + 1)
            start = time.perf_counter()
            for _ in range(calls):
                run()
            times[name].append((time.perf_counter() - start) / calls)
            best[name] = min(best[name], times[name][-1])
    return times


EFFECTIVE = "eff"
LEGEND = (
    f"{EFFECTIVE}: effective. The algorithm (winograd, fft) does fewer operations than the direct sum, whose "
    "operations are counted nevertheless: a rate may exceed the peak. A mean or sum with such rates among its terms is "
    "marked too."
)
HEADER = f"{'layer':36} {'pass':11} {'ms':>10} {'GFLOP/s':>9}     {'of peak':>8}"


def is_effective(algorithm: str) -> bool:
    """Whether rates of this algorithm count more operations than it does."""
    return algorithm not in DIRECT_SUMS


def marked(number: str, effective: bool) -> str:
    """A rate or share, with the mark of effective ones."""
    return f"{number} {EFFECTIVE}" if effective else number


def legend(algorithms: Iterable[str]) -> list[str]:
    """What the mark means, where there is one."""
    return [LEGEND] if any(map(is_effective, algorithms)) else []


def line(measured: Measured, peak: float) -> str:
    """A row of the table."""
    numbers = _numbers(measured.seconds, measured.rate, peak, measured.effective)
    return f"{measured.layer.row_id:36} {measured.op:11} {numbers}"


def _numbers(seconds: float, rate: float, peak: float, effective: bool) -> str:
    of_rate, of_share = marked(f"{rate:9.1f}", effective), marked(f"{rate / peak:8.0%}", effective)
    return f"{1e3 * seconds:10.3f} {of_rate:13} {of_share}"


def totals_of(measured: Iterable[Measured]) -> list[Total]:
    """The sums over each network, and of all passes together."""
    networks: dict[str, list[Measured]] = {}
    for m in measured:
        networks.setdefault(m.layer.suite, []).append(m)
    totals = []
    for network, all_of_it in networks.items():
        layers = sum({m.layer: m.layer.count for m in all_of_it}.values())
        groups = {op: [m for m in all_of_it if m.op == op] for op in PASSES} | {"all passes": all_of_it}
        for op, group in groups.items():
            seconds = sum(m.layer.count * m.seconds for m in group)
            rate = sum(m.layer.count * m.layer.flops for m in group) / seconds / 1e9
            totals.append(Total(network, layers, op, seconds, rate, any(m.effective for m in group)))
    return totals


def total_lines(measured: Iterable[Measured], peak: float) -> list[str]:
    """The sums in words, below the name of each network."""
    measured = list(measured)
    lines = []
    for total in totals_of(measured):
        if total.op == PASSES[0]:
            batches = sorted({m.layer.n for m in measured if m.layer.suite == total.network})
            lines += ["", f"total of {total.network}: {total.layers} layers, N = {', '.join(map(str, batches))}"]
        lines.append(f"{'':36} {total.op:11} {_numbers(total.seconds, total.rate, peak, total.effective)}")
    return lines
