"""Steps of networks in PyTorch, as measured: rows of a CSV, and the table of the page.

In: benchmarks/results/end_to_end.csv.   Out: a table.   Next: end_to_end.py, which measures; report.py.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from picture import save
from results import Table


class Row(NamedTuple):
    """The best step of each contestant."""

    network: str
    batch: int
    what: str
    torch_ms: float
    torch_format: str
    convpp_ms: float
    convpp_format: str

    @property
    def ratio(self) -> float:
        """PyTorch's time / convpp's."""
        return self.torch_ms / self.convpp_ms


def table(rows: list[Row]) -> Table:
    """One row for each network."""
    head = ["network", "batch", "what", "PyTorch, ms", "its format", "with convpp, ms", "its format", "ratio"]
    ms = [(f"{r.torch_ms:.0f}", r.torch_format, f"{r.convpp_ms:.0f}", r.convpp_format) for r in rows]
    return [head, *([r.network, str(r.batch), r.what, *t, f"{r.ratio:.2f}"] for r, t in zip(rows, ms, strict=True))]


def draw(rows: list[Row], stem: Path, endings: Sequence[str] = ("png", "svg")) -> list[Path]:
    """A bar for each network: how many times as fast its step is with convpp."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.45 * len(rows) + 0.9), layout="constrained")
    panel = figure.subplots()
    names = [f"{row.network}, {row.what}" for row in rows]
    bars = panel.barh(names, [row.ratio for row in rows], color="#4e79a7")
    panel.bar_label(bars, [f"{row.ratio:.2f}" for row in rows], padding=3)
    panel.axvline(1, color="0.3", lw=1)
    panel.invert_yaxis()
    panel.set(xlabel="PyTorch's time / the same with convpp", xlim=(0, 1.15 * max(row.ratio for row in rows)))
    panel.spines[["top", "right"]].set_visible(False)
    return save(figure, stem, endings)


def read_csv(path: Path) -> list[Row]:
    """What was measured."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    times = {"batch": int, "torch_ms": float, "convpp_ms": float}
    return [Row(**{name: times.get(name, str)(text) for name, text in line.items()}) for line in lines]
