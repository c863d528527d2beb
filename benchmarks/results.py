"""Measured cases, how they are kept in CSV files, and what they amount to.

In: cases as ``compare.py`` measures them, or its CSV files.
Out: totals of networks and summaries of groups of rows, as tables of text.   Next: ``picture.py``, ``report.py``.

A ratio is a peer's time / convpp's time: above 1, convpp is faster.  convpp's own direct algorithm is a peer of another
one that convpp takes.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from convpp._cli.bench import is_effective, legend, marked
from convpp._cli.suite import NETWORKS, PASSES, Layer, read_layers

PEERS = ("torch", "onnxruntime", "scipy")
#: Those that run whole networks; SciPy's filters take part where a layer is one image or signal and one kernel.
RUN_NETWORKS = ("torch", "onnxruntime")
#: The tables of layers: those of famous networks, and what people run, drawn from a thousand models.
TABLES = {"layers": None, "convbench": Path(__file__).with_name("convbench.csv")}
#: convpp's direct algorithm beside another one.
DIRECT = "convpp direct"
#: What is promised of the algorithm that convpp chooses: not slower than the direct one by more than that.
SLOWER_AT_MOST = 0.03
#: The layers for which other algorithms than the direct one are made, for each pass a group of its own.
WIDE_3X3 = "3x3, stride 1, C and K >= 64, H >= 14"

Configuration = tuple[str, str, int]  # dtype, layout, threads
Table = list[list[str]]  # the first row is the head


@dataclass(frozen=True)
class Case:
    """One pass of one layer in one configuration: what was measured."""

    suite: str
    layer: str
    count: int
    op: str
    dtype: str
    layout: str
    threads: int
    algorithm: str  # convpp's
    flops: int
    traffic: int  # bytes: the operands and the result, each once
    peak: float  # GFLOP/s
    bandwidth: float  # GB/s of a working set of that many bytes
    attainable: float  # GFLOP/s
    classes: tuple[str, ...]
    seconds: dict[str, float]  # of each contestant, convpp's first

    @property
    def row(self) -> str:
        """The row of its table."""
        return f"{self.suite}/{self.layer}"

    @property
    def configuration(self) -> Configuration:
        """What is the same for all rows of a table."""
        return (self.dtype, self.layout, self.threads)

    @property
    def key(self) -> tuple[str, str, Configuration]:
        """The same in another run."""
        return (self.row, self.op, self.configuration)

    @property
    def ours(self) -> float:
        """convpp's seconds."""
        return self.seconds["convpp"]

    @property
    def rate(self) -> float:
        """convpp's GFLOP/s."""
        return self.flops / self.ours / 1e9

    @property
    def effective(self) -> bool:
        """Whether rate and share are effective ones: operations of the direct sum, of which convpp does fewer."""
        return is_effective(self.algorithm)

    @property
    def share(self) -> float:
        """convpp's share of what is attainable."""
        return self.rate / self.attainable

    def ratio(self, peer: str) -> float | None:
        """The peer's time / convpp's; None where it did not take part."""
        return self.seconds[peer] / self.ours if peer in self.seconds else None

    @property
    def direct_ratio(self) -> float | None:
        """The direct algorithm's time / convpp's; None where that is the direct one, or it did not take part."""
        return None if self.algorithm == "direct" else self.ratio(DIRECT)

    @property
    def best_ratio(self) -> float | None:
        """That of the best peer, whoever took part."""
        times = [self.seconds[peer] for peer in PEERS if peer in self.seconds]
        return min(times) / self.ours if times else None


# ------------------------------------------------------------------------------------------------ files

FIELDS = {
    "suite": str,
    "layer": str,
    "count": int,
    "op": str,
    "dtype": str,
    "layout": str,
    "threads": int,
    "algorithm": str,
    "flops": int,
    "traffic": int,
    "peak": float,
    "bandwidth": float,
    "attainable": float,
}
SECONDS = " seconds"
DIRECT_RATIO = "direct / convpp"  # for people: it follows from the seconds


class Writer:
    """Writes cases into a CSV file as they come, so that a run that is interrupted leaves what it has."""

    def __init__(self, file: TextIO, contestants: Sequence[str]) -> None:
        self._file = file
        columns = [*FIELDS, "classes", *(name + SECONDS for name in contestants), DIRECT_RATIO]
        self._writer = csv.DictWriter(file, columns, lineterminator="\n")
        self._writer.writeheader()

    def write(self, case: Case) -> None:
        """One row."""
        row: dict[str, Any] = {name: getattr(case, name) for name in FIELDS}
        row = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
        row["classes"] = "; ".join(case.classes)
        row[DIRECT_RATIO] = "" if case.direct_ratio is None else f"{case.direct_ratio:.4g}"
        self._writer.writerow(row | {name + SECONDS: f"{value:.6g}" for name, value in case.seconds.items()})
        self._file.flush()


def read_cases(paths: Iterable[Path]) -> list[Case]:
    """The cases of all files; where two have the same one, the later file's."""
    found: dict[Any, Case] = {}
    for path in paths:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                fields: dict[str, Any] = {name: kind(row[name]) for name, kind in FIELDS.items()}
                seconds = {
                    name.removesuffix(SECONDS): float(text) for name, text in row.items() if SECONDS in name and text
                }
                case = Case(**fields, classes=tuple(row["classes"].split("; ")), seconds=seconds)
                found[case.key] = case
    return list(found.values())


def by_configuration(cases: Iterable[Case]) -> dict[Configuration, list[Case]]:
    """The cases of each."""
    groups: dict[Configuration, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.configuration, []).append(case)
    return groups


def title(configuration: Configuration) -> str:
    """For people."""
    dtype, layout, threads = configuration
    return f"{dtype}, {layout}, {threads} thread{'s'[: threads > 1]}"


# ----------------------------------------------------------------------------------------------- tables


def markdown(table: Table) -> str:
    """The table with columns of equal width, the first one to the left."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = [
        "| " + " | ".join(cell.rjust(widths[i]) if i else cell.ljust(widths[i]) for i, cell in enumerate(row)) + " |"
        for row in table
    ]
    rule = "|" + "|".join("-" * (w + 1) + (":" if i else "-") for i, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def all_layers() -> list[Layer]:
    """The rows of all tables."""
    return [layer for table in TABLES.values() for layer in read_layers(table)]


def totals(cases: Sequence[Case]) -> Table:
    """Of one configuration: milliseconds of each network, each layer counted as often as the network has it.

    Of convbench.csv likewise, each kind of layer and all of them, counted as often as the models have them.
    A contestant that did not run all of the layers has no total.
    """
    table = [["network, pass", "layers", "convpp", *RUN_NETWORKS, *(f"{peer} / convpp" for peer in RUN_NETWORKS)]]
    sets = {name: [layer for layer in read_layers() if layer.suite == name] for name in NETWORKS}
    convbench = read_layers(TABLES["convbench"])
    for kind in dict.fromkeys(layer.suite for layer in convbench):
        sets[f"convbench {kind}"] = [layer for layer in convbench if layer.suite == kind]
    sets["convbench"] = convbench
    for network, layers in sets.items():
        rows = {layer.row_id for layer in layers}
        of_network = [case for case in cases if case.row in rows]
        everything = sum(layer.count for layer in layers)
        for name in (*PASSES, "all passes"):
            chosen = [case for case in of_network if name in (case.op, "all passes")]
            passes = len({case.op for case in chosen})
            if not chosen or (name == "all passes" and passes < len(PASSES)):
                continue
            times = {
                who: sum(case.count * case.seconds[who] for case in chosen)
                for who in ("convpp", *RUN_NETWORKS)
                if all(who in case.seconds for case in chosen)
            }
            row = [f"{network}, {name}", f"{sum(case.count for case in chosen) // passes} of {everything}"]
            row += [f"{1e3 * times[who]:.1f} ms" if who in times else "" for who in ("convpp", *RUN_NETWORKS)]
            row += [f"{times[peer] / times['convpp']:.2f}" if peer in times else "" for peer in RUN_NETWORKS]
            table.append(row)
    return table


def groups_of(cases: Sequence[Case]) -> Iterator[tuple[str, list[Case]]]:
    """The cases of each suite, of each class, of each pass of wide 3x3 layers, of each pass, and all."""
    for suite in dict.fromkeys(case.suite for case in cases):
        yield f"suite {suite}", [case for case in cases if case.suite == suite]
    for kind in dict.fromkeys(kind for case in cases for kind in case.classes):
        yield kind, [case for case in cases if kind in case.classes]
    wide = {layer.row_id for layer in all_layers() if layer.is_wide_3x3}  # not a class: older files do not know it
    for op in PASSES:
        if chosen := [case for case in cases if case.op == op and case.row in wide]:
            yield f"{WIDE_3X3}, {op}", chosen
    for op in PASSES:
        if chosen := [case for case in cases if case.op == op]:
            yield op, chosen
    yield "all", list(cases)


def summaries(cases: Sequence[Case]) -> Table:
    """Of each group: geometric mean and lowest of the ratios, and of the share of what is attainable."""
    columns = (*PEERS, "best peer")
    table = [["rows", "cases", *columns, "behind the best peer", "share of attainable"]]
    for name, group in groups_of(cases):
        row = [name, str(len(group))]
        for column in columns:
            every = [case.best_ratio if column == "best peer" else case.ratio(column) for case in group]
            row.append(mean_and_lowest([ratio for ratio in every if ratio is not None], ".2f"))
        row.append(str(sum(1 for case in group if case.best_ratio is not None and case.best_ratio < 1)))
        shares = mean_and_lowest([case.share for case in group], ".0%")
        row.append(marked(shares, any(case.effective for case in group)))
        table.append(row)
    return table


def notes(cases: Sequence[Case]) -> list[str]:
    """What stands below the summaries: convpp beside its direct algorithm, and what marks mean."""
    return [*beside_direct(cases), *legend(case.algorithm for case in cases)]


def beside_direct(cases: Sequence[Case]) -> list[str]:
    """A line about the cases where convpp takes another algorithm and the direct one was measured too."""
    found = [(ratio, f"{case.row}, {case.op}") for case in cases if (ratio := case.direct_ratio) is not None]
    if not found:
        return []
    ratios = [ratio for ratio, _ in found]
    slower = sum(1 for ratio in ratios if ratio * (1 + SLOWER_AT_MOST) < 1)
    return [
        f"Time of direct / time of convpp, over the {len(found)} case{'s'[: len(found) > 1]} not direct: "
        f"geometric mean {mean_and_lowest(ratios, '.2f')} ({min(found)[1]}); "
        f"slower than direct by more than {SLOWER_AT_MOST:.0%}: {slower}."
    ]


def slowest(cases: Sequence[Case], most: int) -> list[Case]:
    """The cases in which the best peer is fastest beside convpp, the worst first."""
    slower = [case for case in cases if case.best_ratio is not None and case.best_ratio < 1]
    return sorted(slower, key=lambda case: case.best_ratio or 1)[:most]


def behind(cases: Sequence[Case], most: int) -> Table:
    """The cases that ``slowest`` finds."""
    table = [["row, pass", "best peer", "share of attainable", "classes"]]
    for case in slowest(cases, most):
        share = marked(f"{case.share:.0%}", case.effective)
        table.append([f"{case.row}, {case.op}", f"{case.best_ratio:.2f}", share, ", ".join(case.classes)])
    return table


def geometric_mean(values: Sequence[float]) -> float:
    """Of ratios."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def mean_and_lowest(values: Sequence[float], form: str) -> str:
    """Both in words; nothing of nothing."""
    return f"{geometric_mean(values):{form}}, lowest {min(values):{form}}" if values else ""
