"""Weights for each sample, and gradients of each sample: one call beside a loop of single calls.

    python benchmarks/per_sample.py
    python benchmarks/per_sample.py --name mnist --samples 1 64 --dtype float64 --layout channels_last --threads 1

In: nothing but the machine.
Out: for each layer and number of samples the time of the loop divided by that of the one call with ``per_sample=True``
(above 1, the call is faster), for the three passes.  Both write into slices of the same arrays and take turns in one
process; each is the best of many.  The results are compared.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from results import Table, markdown

import convpp
from convpp._call.arguments import Layout
from convpp._cli.suite import PASSES, Layer

LAYERS = (
    Layer("per_sample", "question", 1, 1, 3, 5, (20, 20), (3, 3), (1, 1), (0, 0), (1, 1), 1),
    Layer("per_sample", "mnist 1-32", 1, 1, 1, 32, (28, 28), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    Layer("per_sample", "mnist 32-64, stride 2", 1, 1, 32, 64, (14, 14), (3, 3), (2, 2), (1, 1), (1, 1), 1),
    Layer("per_sample", "3x3 64-64", 1, 1, 64, 64, (28, 28), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    Layer("per_sample", "3x3 256-256", 1, 1, 256, 256, (7, 7), (3, 3), (1, 1), (1, 1), (1, 1), 1),
    Layer("per_sample", "1x1 64-128", 1, 1, 64, 128, (28, 28), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    Layer("per_sample", "depthwise 96", 1, 1, 96, 96, (14, 14), (3, 3), (1, 1), (1, 1), (1, 1), 96),
    Layer("per_sample", "depthwise 32", 1, 1, 32, 32, (7, 7), (5, 5), (1, 1), (2, 2), (1, 1), 32),
    Layer("per_sample", "grouped 4 x 8-8", 1, 1, 32, 32, (14, 14), (3, 3), (1, 1), (1, 1), (1, 1), 4),
    Layer("per_sample", "conv1d 16-16", 1, 1, 16, 16, (256,), (5,), (1,), (2,), (1,), 1),
)
SAMPLES = (1, 4, 32, 256)
#: Elements of all weights, at most: larger cases are left out.
MOST_WEIGHTS = 2**26
Array = Any


@dataclass(frozen=True)
class Ratio:
    """One measured case: seconds of the loop and of the call."""

    layer: str
    samples: int
    op: str
    loop: float
    call: float

    @property
    def gain(self) -> float:
        """Above 1, the call is faster."""
        return self.loop / self.call


def contestants(
    layer: Layer, samples: int, op: str, dtype: str, layout: Layout, threads: int
) -> tuple[Callable[[], Array], Callable[[], Array]]:
    """The loop and the call; each returns its result."""
    rng = np.random.default_rng(0)
    how: dict[str, Any] = {"layout": layout, "threads": threads, **geometry(layer)}
    x_shape, w_shape = in_layout(layer.x_shape, layout)[1:], layer.w_shape
    y_shape = convpp.conv_output_shape(x_shape, w_shape, **{k: v for k, v in how.items() if k != "threads"})

    def drawn(shape: tuple[int, ...]) -> Array:
        return rng.integers(-3, 4, (samples, *shape)).astype(dtype)

    function: Callable[..., Array]
    if op == "forward":
        function, first, second, tail, shape = convpp.conv, drawn(x_shape), drawn(w_shape), None, y_shape
    elif op == "input_grad":
        function, first, second, tail, shape = convpp.conv_input_grad, drawn(y_shape), drawn(w_shape), x_shape, x_shape
    else:
        function, first, second, tail, shape = convpp.conv_weight_grad, drawn(y_shape), drawn(x_shape), w_shape, w_shape
    single = () if tail is None else (tail,)
    whole = () if tail is None else ((samples, *x_shape),) if op == "input_grad" else (w_shape,)
    looped, called = np.empty((samples, *shape), dtype), np.empty((samples, *shape), dtype)

    def loop() -> Array:
        for n in range(samples):
            function(first[n], second[n], *single, **how, out=looped[n])
        return looped

    def call() -> Array:
        return function(first, second, *whole, **how, per_sample=True, out=called)

    return loop, call


def geometry(layer: Layer) -> dict[str, Any]:
    """The arguments of ``conv``."""
    names = ("stride", "padding", "dilation", "groups")
    return {name: getattr(layer, name) for name in names}


def in_layout(shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
    """(N, C, ...) or (N, ..., C)."""
    return shape if layout == "channels_first" else (shape[0], *shape[2:], shape[1])


def measured(loop: Callable[[], Array], call: Callable[[], Array], seconds: float) -> tuple[float, float]:
    """The best of each, turn by turn."""
    a, b = loop(), call()
    error = float(np.abs(a - b).max(initial=0))
    if error > 1e-3 * max(1.0, float(np.abs(a).max(initial=0))):
        raise RuntimeError(f"the results differ by {error}")
    best, until, turns = [float("inf")] * 2, time.perf_counter() + seconds, 0
    while turns < 5 or time.perf_counter() < until:
        for i, contestant in enumerate((loop, call)):
            start = time.perf_counter()
            contestant()
            best[i] = min(best[i], time.perf_counter() - start)
        turns += 1
    return best[0], best[1]


def ratios(
    layers: Sequence[Layer], samples: Sequence[int], dtype: str, layout: Layout, threads: int, seconds: float
) -> Iterator[Ratio]:
    """All cases, one after the other."""
    for layer, count in itertools.product(layers, samples):
        if count * int(np.prod(layer.w_shape)) > MOST_WEIGHTS:
            continue
        for op in PASSES:
            loop, call = measured(*contestants(layer, count, op, dtype, layout, threads), seconds)
            yield Ratio(layer.name, count, op, loop, call)


def table(found: Sequence[Ratio]) -> Table:
    """A row for each layer and number of samples, a column for each pass."""
    rows = [["layer", "N", *(f"{op}: loop / call" for op in PASSES), *(f"{op}: us a sample" for op in PASSES)]]
    for layer, samples in dict.fromkeys((r.layer, r.samples) for r in found):
        of_row = [r for r in found if (r.layer, r.samples) == (layer, samples)]
        times = [f"{1e6 * r.call / r.samples:.1f}" for r in of_row]
        rows.append([layer, str(samples), *(f"{r.gain:.2f}" for r in of_row), *times])
    return rows


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="", help="layers whose names contain it")
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--layout", default="channels_first", choices=["channels_first", "channels_last"])
    parser.add_argument("--threads", type=int, default=convpp.get_num_threads())
    parser.add_argument("--seconds", type=float, default=0.2, help="for each case")
    args = parser.parse_args()
    layers = [layer for layer in LAYERS if args.name in layer.name]
    found = list(ratios(layers, args.samples, args.dtype, args.layout, args.threads, args.seconds))
    print(f"{args.dtype}, {args.layout}, {args.threads} threads\n\n{markdown(table(found))}")


if __name__ == "__main__":
    main()
