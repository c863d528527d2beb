"""Writes what was measured into docs/performance.md.

    python benchmarks/report.py

In: benchmarks/results/: compare*.csv (of ``compare.py``; where two files have the same case, the later name's counts),
one_sample.csv (of ``compare.py --batch 1 --prepared``), depthwise.csv, crossover.csv, end_to_end.csv, growth.csv,
neighbour.csv, plain_arrays.csv, spread.csv, workspace.csv (of the scripts of these names).
Out: the marked sections of the page, and the pictures beside it, in docs/performance/.  A section whose CSV is missing
stays as it is; nothing else on the page is touched.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import crossover
import depthwise
import growth
import neighbour
import picture
import plain_arrays
import spread
import steps
import workspace
from results import (
    Case,
    Table,
    behind,
    by_configuration,
    markdown,
    notes,
    read_cases,
    slowest,
    summaries,
    title,
    totals,
)

from convpp._cli.bench import legend
from convpp._cli.suite import read_layers

ROOT = Path(__file__).resolve().parents[1]
ROWS_BEHIND = 20


def sections(results: Path, pictures: Path) -> Iterator[tuple[str, str]]:
    """Each section's name and its new text."""
    if files := sorted(results.glob("compare*.csv")):
        yield from compared(files, pictures)
    made: dict[str, Callable[[Path], str]] = {
        "one_sample": lambda path: markdown(totals(read_cases([path]))),
        "depthwise": lambda path: markdown(depthwise.summary_table(depthwise.read_csv(path))),
        "crossover": lambda path: crossed(path, pictures),
        "growth": lambda path: grown(path, pictures),
        "plain_arrays": lambda path: markdown(plain_arrays.table(plain_arrays.read_csv(path))),
        "end_to_end": lambda path: stepped(path, pictures),
        "neighbour": lambda path: markdown(neighbour.table(neighbour.read_csv(path))),
        "spread": lambda path: markdown(spread.summary_table(spread.read_csv(path))),
        "workspace": lambda path: markdown(workspace.workspace_table(workspace.read_csv(path))),
    }
    for name, make in made.items():
        if (path := results / f"{name}.csv").exists():
            yield name, make(path)


def compared(files: list[Path], pictures: Path) -> Iterator[tuple[str, str]]:
    """The sections that come from ``compare.py``."""
    groups = by_configuration(read_cases(files))
    lines = ["| configuration | cases | peak, lowest to highest, GFLOP/s |", "|---|--:|--:|"]
    for configuration, cases in groups.items():
        peaks = [case.peak for case in cases]
        lines.append(f"| {title(configuration)} | {len(cases)} | {min(peaks):.0f} to {max(peaks):.0f} |")
    yield "runs", "\n".join(lines)
    made: dict[str, Callable[[Sequence[Case]], tuple[Table, list[str]]]] = {
        "totals": lambda cases: (totals(cases), []),
        "summaries": lambda cases: (summaries(cases), notes(cases)),
        "behind": lambda cases: (
            behind(cases, ROWS_BEHIND),
            legend(case.algorithm for case in slowest(cases, ROWS_BEHIND)),
        ),
    }
    for name, make in made.items():
        parts = []
        for configuration, cases in groups.items():
            table, below = make(cases)
            if len(table) > 1:
                parts += [f"**{title(configuration)}**", markdown(table), *below]
        yield name, "\n\n".join(parts) or "None."
    pictures.mkdir(exist_ok=True)
    drawn = []
    rows = {layer.row_id for layer in read_layers()}  # convbench's would take pages
    for configuration, cases in groups.items():
        shown = [case for case in cases if case.row in rows]
        if not shown:
            continue
        (path,) = picture.draw(shown, pictures / f"ratios-{picture.suffix(configuration)}", ["png"])
        drawn.append(f"![Ratios and shares, {title(configuration)}.]({pictures.name}/{path.name})")
    yield "pictures", "\n\n".join(drawn)


def grown(path: Path, pictures: Path) -> str:
    """The section that comes from ``growth.py``."""
    points = growth.read_csv(path)
    pictures.mkdir(exist_ok=True)
    (drawn,) = growth.draw(points, pictures / "growth", ["png"])
    words = growth.base_in_words(points)
    parts = [words, f"![{words}]({pictures.name}/{drawn.name})", markdown(growth.growth_table(points))]
    return "\n\n".join([*parts, *legend(point.algorithm for point in points)])


def stepped(path: Path, pictures: Path) -> str:
    """The section that comes from ``end_to_end.py``."""
    rows = steps.read_csv(path)
    pictures.mkdir(exist_ok=True)
    (drawn,) = steps.draw(rows, pictures / "end_to_end", ["png"])
    return f"![How many times as fast each step is.]({pictures.name}/{drawn.name})\n\n{markdown(steps.table(rows))}"


def crossed(path: Path, pictures: Path) -> str:
    """The section that comes from ``crossover.py``."""
    points = crossover.read_csv(path)
    pictures.mkdir(exist_ok=True)
    (drawn,) = crossover.draw(points, pictures / "crossover", ["png"])
    picture_of = f"![Milliseconds over kernels, forward.]({pictures.name}/{drawn.name})"
    return "\n\n".join([picture_of, markdown(crossover.crossover_table(points))])


def replaced(page: str, name: str, text: str) -> str:
    """The page with another text between the marks of a section."""
    begin, end = f"<!-- begin: {name} -->\n", f"<!-- end: {name} -->"
    page, count = re.subn(
        f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", lambda _: f"\n{text}\n\n", page, flags=re.DOTALL
    )
    if count != 1:
        raise SystemExit(f"the page has {count} sections {name!r}, expected one")
    return page


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "performance.md")
    args = parser.parse_args()
    page = args.page.read_text(encoding="utf-8")
    for name, text in sections(args.results, args.page.with_suffix("")):
        page = replaced(page, name, text)
        print(f"written: {name}")
    args.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
