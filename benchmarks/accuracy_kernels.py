"""Errors over the size of the kernel: of direct sums, the FFT, and what "auto" takes.

    python benchmarks/accuracy_kernels.py

In: nothing but convpp.
Out: relative L2 errors of all passes in float32, against float64, which ``accuracy.py`` writes into docs/accuracy.md;
exits 1 where one exceeds four times that of the direct sum by more than the bound there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from results import Table, markdown

import convpp

Array = npt.NDArray[Any]
ALGORITHMS = ("direct", "fft", "auto")
FACTOR, ADDED = 4, 5e-7  # as in accuracy.py


@dataclass(frozen=True)
class Layer:
    """Channels and filters, planes (or a signal), kernel and groups."""

    channels: int
    spatial: tuple[int, ...]
    kernel: int
    groups: int = 1

    @property
    def title(self) -> str:
        """As the table says it."""
        of = "a kernel for each" if self.groups > 1 else f"to {self.channels}"
        sizes = "x".join(map(str, self.spatial)), "x".join([str(self.kernel)] * len(self.spatial))
        return f"{self.channels} {of}, {sizes[0]}, kernel {sizes[1]}"


LAYERS = (
    *(Layer(1, (100_000,), taps) for taps in (64, 1024, 16384)),
    *(Layer(1, (256, 256), size) for size in (9, 31)),
    *(Layer(16, (64, 64), size) for size in (5, 9, 31)),
    Layer(64, (64, 64), 7),
    Layer(64, (56, 56), 31, 64),
    Layer(4, (24, 24, 24), 7),
)


def relative_error(result: Array, exact: Array) -> float:
    """In the L2 norm."""
    return float(np.linalg.norm(result - exact) / np.linalg.norm(exact))


def errors(layer: Layer, *, positive: bool) -> dict[tuple[str, str], float]:
    """For each pass and algorithm."""
    rng = np.random.default_rng(0)
    rank = len(layer.spatial)

    def draw(shape: tuple[int, ...]) -> Array:
        return (rng.random(shape) if positive else rng.standard_normal(shape)).astype(np.float32)

    x = draw((1, layer.channels, *layer.spatial))
    w = draw((layer.channels, layer.channels // layer.groups, *(layer.kernel,) * rank))
    dy = draw(convpp.conv_output_shape(x.shape, w.shape, groups=layer.groups))
    passes = {
        "forward": lambda of, **how: convpp.conv(of(x), of(w), **how),
        "input gradient": lambda of, **how: convpp.conv_input_grad(of(dy), of(w), x.shape, **how),
        "weight gradient": lambda of, **how: convpp.conv_weight_grad(of(dy), of(x), w.shape, **how),
    }
    found = {}
    for name, run in passes.items():
        exact = run(lambda a: a.astype(np.float64), groups=layer.groups, algorithm="direct")
        for algorithm in ALGORITHMS:
            result = run(lambda a: a, groups=layer.groups, algorithm=algorithm)
            found[name, algorithm] = relative_error(result, exact)
    return found


def measured() -> Iterator[tuple[str, Table, list[str]]]:
    """For each kind of data: a title, a table, and what exceeds the bound."""
    for title, positive in (("normal numbers", False), ("numbers from 0 to 1", True)):
        table: Table = [["layer", "forward: " + " / ".join(ALGORITHMS), "input gradient", "weight gradient"]]
        exceeding = []
        for layer in LAYERS:
            found = errors(layer, positive=positive)
            row = [layer.title]
            for name in ("forward", "input gradient", "weight gradient"):
                row.append(" / ".join(f"{found[name, algorithm]:.1e}" for algorithm in ALGORITHMS))
                bound = FACTOR * found[name, "direct"] + ADDED
                exceeding += [f"{layer.title}, {name}: {a}" for a in ALGORITHMS if found[name, a] > bound]
            table.append(row)
        yield title, table, exceeding


def main() -> None:
    """Print the tables."""
    failed = []
    for title, table, exceeding in measured():
        print(f"{title}\n\n{markdown(table)}\n")
        failed += exceeding
    if failed:
        raise SystemExit("beyond the bound: " + "; ".join(failed))


if __name__ == "__main__":
    main()
