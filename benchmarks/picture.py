"""The picture of a comparison: for each row and pass the ratios, and the share of what is attainable.

    python benchmarks/picture.py results.csv picture

In: CSV files of ``compare.py``, and a path without suffix.
Out: a PNG and an SVG for each configuration (dtype, layout, threads); where there are several, their names say which.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from results import PEERS, Case, Configuration, by_configuration, read_cases, title

from convpp._cli.suite import PASSES

#: Colours that people who see few of them can tell apart (Okabe and Ito).
MARKS = {"torch": ("o", "#0072B2"), "onnxruntime": ("D", "#CC79A7"), "scipy": ("^", "#009E73")}
FASTER, SLOWER = "#9CCDE8", "#F0A070"
HATCH = "////"
SUITES = ("#4C72B0", "#DD8452", "#55A868", "#8172B3", "#937860")
ROW_INCHES, HEAD_INCHES = 0.19, 1.3


def draw(cases: Sequence[Case], stem: Path, endings: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Draw all configurations of the cases; return the files."""
    groups = by_configuration(cases)
    paths = []
    for configuration, chosen in groups.items():
        name = stem.name + (f"-{suffix(configuration)}" if len(groups) > 1 else "")
        figure = draw_configuration(configuration, chosen)
        paths += save(figure, stem.with_name(name), endings)
    return paths


def save(figure: Any, stem: Path, endings: Sequence[str]) -> list[Path]:
    """As files whose bytes depend on the data alone."""
    import matplotlib

    paths = [stem.with_name(f"{stem.name}.{ending}") for ending in endings]
    with matplotlib.rc_context({"svg.hashsalt": "convpp"}):
        for path in paths:
            figure.savefig(path, dpi=110, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def suffix(configuration: Configuration) -> str:
    """A configuration in a file's name."""
    dtype, layout, threads = configuration
    return f"{dtype}-{layout}-{threads}t"


def draw_configuration(configuration: Configuration, cases: Sequence[Case]) -> Any:
    """A figure: rows of layers.csv downwards, for each pass a panel of ratios and one of shares."""
    from matplotlib.figure import Figure

    places = row_places(cases)
    passes = [op for op in PASSES if any(case.op == op for case in cases)]
    height = ROW_INCHES * (max(places.values()) + 2) + HEAD_INCHES
    figure = Figure(figsize=(2.9 + 4.4 * len(passes), height), layout="constrained")
    figure.suptitle(f"{title(configuration)}: peer's time / convpp's time, and convpp's share of attainable GFLOP/s")
    panels = figure.subplots(1, 2 * len(passes), sharey=True, squeeze=False, width_ratios=[3, 1.1] * len(passes))[0]
    ratios = [r for case in cases for peer in PEERS if (r := case.ratio(peer)) is not None]
    for i, op in enumerate(passes):
        chosen = [case for case in cases if case.op == op]
        draw_ratios(panels[2 * i], chosen, places, limits(ratios))
        draw_shares(panels[2 * i + 1], chosen, places)
        panels[2 * i].set_title(op, fontweight="bold")
        panels[2 * i + 1].set_title("of attainable", fontsize=9)
    label_rows(panels[0], places)
    shown = [(peer, mark) for peer, mark in MARKS.items() if any(peer in case.seconds for case in cases)]
    handles = [panels[0].plot([], [], mark, color=colour, ls="", label=peer)[0] for peer, (mark, colour) in shown]
    handles += [
        panels[0].barh([0], [0], color=colour, label=words)
        for words, colour in (("faster than the best peer", FASTER), ("slower", SLOWER))
    ]
    if any(case.effective for case in cases):
        handles.append(
            panels[1].barh([0], [0], color="0.7", hatch=HATCH, label="effective: fewer operations than counted")
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def row_places(cases: Sequence[Case]) -> dict[str, float]:
    """Where each row stands, downwards; above each suite is room for its name."""
    places: dict[str, float] = {}
    suites = list(dict.fromkeys(case.suite for case in cases))
    for row in dict.fromkeys(case.row for case in sorted(cases, key=lambda case: suites.index(case.suite))):
        places[row] = len(places) + 1 + 1.6 * suites.index(row.partition("/")[0])
    return places


def label_rows(panel: Any, places: dict[str, float]) -> None:
    """The rows' names, and the suites' above them."""
    first: dict[str, float] = {}
    for row, place in places.items():
        first.setdefault(row.partition("/")[0], place - 1)
    labels = {place: row.partition("/")[2] for row, place in places.items()} | {at: name for name, at in first.items()}
    colours = {place: colour_of(row, places) for row, place in places.items()}
    panel.set_yticks(list(labels), list(labels.values()), fontsize=7.5)
    panel.set_ylim(max(places.values()) + 1, -0.8)
    for label, place in zip(panel.get_yticklabels(), labels, strict=True):
        label.set_color(colours.get(place, "black"))
        if place not in colours:
            label.set(fontweight="bold", fontsize=9)


def colour_of(row: str, places: dict[str, float]) -> str:
    """Of the row's suite."""
    suites = list(dict.fromkeys(name.partition("/")[0] for name in places))
    return SUITES[suites.index(row.partition("/")[0]) % len(SUITES)]


def limits(ratios: Sequence[float]) -> tuple[float, float]:
    """Powers of two around all ratios and around 1."""
    low, high = min([*ratios, 0.8]), max([*ratios, 2.0])
    return 2.0 ** math.floor(math.log2(low)), 2.0 ** math.ceil(math.log2(high))


def draw_ratios(panel: Any, cases: Sequence[Case], places: dict[str, float], span: tuple[float, float]) -> None:
    """A bar from 1 to the best peer's ratio, and a mark for each peer."""
    panel.set(xscale="log", xlim=(span[0] / 1.1, span[1] * 1.1))
    exponents = range(round(math.log2(span[0])), round(math.log2(span[1])) + 1)
    step = math.ceil(len(exponents) / 9)
    ticks = [2.0**e for e in exponents if e % step == 0]
    panel.set_xticks(ticks, [f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks], fontsize=8)
    panel.set_xticks([], minor=True)
    panel.xaxis.set_tick_params(top=True, labeltop=True)
    panel.grid(axis="x", color="0.9", lw=0.6)
    panel.set_axisbelow(True)
    panel.axvline(1, color="0.25", lw=1.1)
    for case in cases:
        place = places[case.row]
        if (best := case.best_ratio) is not None:
            panel.barh(place, best - 1, left=1, height=0.72, color=FASTER if best >= 1 else SLOWER)
        for peer, (mark, colour) in MARKS.items():
            if (ratio := case.ratio(peer)) is not None:
                panel.plot(ratio, place, mark, color=colour, ms=3.6)
    frame_suites(panel, places)


def draw_shares(panel: Any, cases: Sequence[Case], places: dict[str, float]) -> None:
    """A bar for each row, up to its share of what is attainable; hatched where the rate is an effective one."""
    highest = max([1.0, *(case.share for case in cases)])
    panel.set(xlim=(0, highest))
    step = 0.5 if highest < 1.5 else 1.0  # effective shares may be above 1
    ticks = [step * i for i in range(math.floor(highest / step) + 1)]
    panel.set_xticks(ticks, [f"{100 * tick:.0f} %" if tick else "0" for tick in ticks], fontsize=8)
    panel.xaxis.set_tick_params(top=True, labeltop=True)
    panel.grid(axis="x", color="0.9", lw=0.6)
    panel.set_axisbelow(True)
    for case in cases:
        hatch = HATCH if case.effective else None
        colour = colour_of(case.row, places)
        panel.barh(places[case.row], case.share, height=0.72, color=colour, alpha=0.8, hatch=hatch)
    frame_suites(panel, places)


def frame_suites(panel: Any, places: dict[str, float]) -> None:
    """A light line between two suites, and no ticks of the rows."""
    for (above, place), (below, next_place) in itertools.pairwise(places.items()):
        if above.partition("/")[0] != below.partition("/")[0]:
            panel.axhline(place + 0.3 * (next_place - place), color="0.7", lw=0.8)
    panel.tick_params(axis="y", length=0)
    for side in ("left", "right"):
        panel.spines[side].set_color("0.8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="+", type=Path)
    parser.add_argument("stem", type=Path, metavar="PATH_WITHOUT_SUFFIX")
    args = parser.parse_args()
    for path in draw(read_cases(args.csv), args.stem):
        print(path)


if __name__ == "__main__":
    main()
