"""What the benchmarks compute from what they measured: totals, means, imbalances, files, the page."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import growth
import per_sample
import picture
import pytest
import report
import results
import spread
import workspace
from machine import MEASURES, SIZES, Machine, attainable

from cases import GROUP, LAYERS, WIDE, a_case
from convpp._cli import bench
from convpp._cli.suite import PASSES

VGG = [row for row in LAYERS if row.startswith("vgg16/")]


# --------------------------------------------------------------------------------- peak and bandwidth


def test_a_layer_that_moves_much_is_held_against_the_bandwidth() -> None:
    layer = LAYERS["mobilenet_v1/dw3x3_32-32@112"]
    elems = 2 * 8 * 32 * 112 * 112 + 32 * 9
    assert attainable(layer, "float32", 1000.0, 10.0) == 10.0 * layer.flops / (4 * elems)
    assert attainable(layer, "float32", 1.0, 10.0) == 1.0


def test_bandwidths_are_measured_once_and_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("machine._measure_bandwidth", lambda size, n: (asked.append((size, n)), 2.0**40 / size)[1])
    machine = Machine()
    for size in (*SIZES, SIZES[0] * 2, SIZES[-2] * 2):
        assert machine.bandwidth(size, 2) == pytest.approx(2.0**40 / size)
    assert machine.bandwidth(1, 2) == pytest.approx(2.0**40 / SIZES[0])
    assert machine.bandwidth(2**40, 2) == pytest.approx(2.0**40 / SIZES[-1])
    assert asked == [(size, 2) for size in SIZES] * MEASURES


def test_the_highest_peak_of_a_run_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    measures = iter([100.0, 110.0, 105.0, 60.0, 120.0, 100.0])
    monkeypatch.setattr("machine._measure_peak", lambda dtype, threads: next(measures))
    machine = Machine()
    assert [machine.peak("float32", 2) for _ in range(4)] == [110.0, 110.0, 120.0, 120.0]


def test_a_measured_bandwidth_is_positive() -> None:
    from convpp.runtime import _measure_bandwidth

    assert _measure_bandwidth(1000, 2) > 0
    with pytest.raises(ValueError, match="bytes is 0, expected at least 1"):
        _measure_bandwidth(0, 1)


# ----------------------------------------------------------------------------------------- the tables


def test_cases_come_back_from_a_file(tmp_path: Path) -> None:
    first = [a_case("lenet/question", op, convpp=0.25, torch=0.5) for op in PASSES]
    again = a_case("lenet/question", "forward", algorithm="winograd", convpp=0.125, torch=0.25, onnxruntime=0.0625)
    for name, cases in (("a.csv", first), ("b.csv", [again])):
        with (tmp_path / name).open("w", encoding="utf-8") as file:
            writer = results.Writer(file, ["convpp", *results.PEERS])
            for case in cases:
                writer.write(case)
    read = results.read_cases([tmp_path / "a.csv", tmp_path / "b.csv"])
    assert [case.seconds for case in read] == [again.seconds, *(case.seconds for case in first[1:])]
    assert [case.classes for case in read] == [case.classes for case in first]
    assert read[0].algorithm == "winograd"
    assert (read[0].ratio("torch"), read[0].ratio("scipy"), read[0].best_ratio) == (2.0, None, 0.5)
    assert read[1].best_ratio == 2.0
    assert read[0].rate == LAYERS["lenet/question"].flops / 0.125e9


def test_totals_count_each_layer_as_often_as_the_network_has_it() -> None:
    cases = [a_case(row, op, convpp=0.001, torch=0.002) for row in VGG for op in PASSES]
    times = {"convpp": "13.0 ms", "torch": "26.0 ms"}
    assert results.totals(cases)[1:] == [
        *([f"vgg16, {op}", "13 of 13", *times.values(), "", "2.00", ""] for op in PASSES),
        ["vgg16, all passes", "13 of 13", "39.0 ms", "78.0 ms", "", "2.00", ""],
    ]
    # A contestant that lacks a layer has no total, and a part of a network is called so.
    part = [a_case("vgg16/conv3x3_512-512@14", "forward", convpp=0.001, torch=0.002, onnxruntime=0.004)]
    part.append(a_case("vgg16/conv3x3_3-64@224", "forward", convpp=0.002, torch=0.002))
    assert results.totals(part)[1:] == [["vgg16, forward", "4 of 13", "5.0 ms", "8.0 ms", "", "1.60", ""]]


def test_summaries() -> None:
    cases = [
        a_case("lenet/question", "forward", convpp=1.0, torch=4.0, onnxruntime=2.0),
        a_case("lenet/conv1", "forward", convpp=2.0, torch=2.0, onnxruntime=1.0),
        a_case("lenet/conv2", "input_grad", convpp=1.0, torch=16.0),
    ]
    table = {row[0]: row[1:7] for row in results.summaries(cases)}
    assert list(table) == ["rows", "suite lenet", "first layer", "other", "forward", "input_grad", "all"]
    assert table["first layer"] == ["2", "2.00, lowest 1.00", "1.00, lowest 0.50", "", "1.00, lowest 0.50", "1"]
    assert table["other"] == ["1", "16.00, lowest 16.00", "", "", "16.00, lowest 16.00", "0"]
    assert table["all"][:2] == ["3", "4.00, lowest 1.00"]
    assert [row[:2] for row in results.behind(cases, 9)[1:]] == [["lenet/conv1, forward", "0.50"]]


def test_wide_3x3_layers_are_a_group_for_each_pass() -> None:
    cases = [
        *(a_case(WIDE[0], op, convpp=1.0, torch=4.0) for op in ("forward", "weight_grad")),
        a_case(WIDE[1], "forward", convpp=2.0, torch=2.0, onnxruntime=1.0),
        a_case("resnet50/conv3x3_512-512@7", "forward", convpp=1.0, torch=9.0),
        a_case("resnet50/conv3x3s2_128-128@56", "forward", convpp=1.0, torch=9.0),
    ]
    table = {row[0]: row[1:4] for row in results.summaries(cases)}
    assert list(table)[2:] == ["regular", f"{GROUP}, forward", f"{GROUP}, weight_grad", "forward", "weight_grad", "all"]
    assert table[f"{GROUP}, forward"] == ["2", "2.00, lowest 1.00", "0.50, lowest 0.50"]
    assert table[f"{GROUP}, weight_grad"] == ["1", "4.00, lowest 4.00", ""]


def test_rates_of_another_algorithm_are_marked_in_all_tables() -> None:
    seconds = LAYERS[WIDE[0]].flops / 100e9  # at the peak
    direct = a_case(WIDE[0], "forward", convpp=seconds, torch=seconds / 2)
    other = a_case(WIDE[0], "weight_grad", algorithm="winograd", convpp=seconds / 2, torch=seconds / 8)
    assert (direct.effective, other.effective) == (False, True)
    assert not a_case(WIDE[0], "forward", algorithm="reference", convpp=1.0).effective
    shares = {row[0]: row[-1] for row in results.summaries([direct, other])}
    assert (shares["forward"], shares["weight_grad"]) == ("100%, lowest 100%", "200%, lowest 200% eff")
    assert shares["all"] == "141%, lowest 100% eff"
    assert [row[2] for row in results.behind([direct, other], 9)[1:]] == ["200% eff", "100%"]
    assert results.notes([direct]) == []
    assert results.notes([direct, other]) == [bench.LEGEND]


def test_markdown() -> None:
    assert results.markdown([["a", "bcd"], ["efg", "1"]]) == "| a   | bcd |\n|-----|----:|\n| efg |   1 |"


# ---------------------------------------------------------------------------------- spread and memory


@pytest.mark.parametrize(
    ("tasks", "threads", "expected"),
    [
        ([1.0] * 16, 2, 0.0),
        ([1.0] * 16, 32, 1.0),  # half of the threads stay idle
        ([3.0, 1.0, 1.0, 1.0], 2, 0.0),
        ([1.0, 1.0, 1.0, 3.0], 2, 4 / 3 - 1),  # the longest one comes last
        ([5.0], 4, 3.0),
    ],
)
def test_imbalance(tasks: list[float], threads: int, expected: float) -> None:
    assert spread.imbalance(tasks, threads) == pytest.approx(expected)


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_a_loop_and_a_call_per_sample(layout: Any) -> None:
    layers = [layer for layer in per_sample.LAYERS if layer.name in ("question", "depthwise 32")]
    found = list(per_sample.ratios(layers, (1, 3), "float32", layout, 1, 0.0))  # compares the results, too
    assert len(found) == 2 * 2 * 3
    assert all(ratio.gain > 0 for ratio in found)
    head, *rows = per_sample.table(found)
    cases = [(name, samples) for name in ("question", "depthwise 32") for samples in ("1", "3")]
    assert [tuple(row[:2]) for row in rows] == cases
    assert all(len(row) == len(head) for row in rows)


def test_spread_and_workspace_come_back_from_files(tmp_path: Path) -> None:
    found = spread.spreads(["lenet"], "float32", "channels_first")
    assert [(s.row, s.op) for s in found] == [
        (f"lenet/{n}", op) for n in ("conv1", "conv2", "question") for op in PASSES
    ]
    assert [bool(s.imbalance) for s in found] == [True] * 6 + [False] * 3  # the worked example is too small to share
    spread.write_csv(found, tmp_path / "spread.csv")
    assert spread.summary_table(spread.read_csv(tmp_path / "spread.csv")) == spread.summary_table(found)
    asked = workspace.workspaces()
    assert len(asked) == 6 * len(LAYERS)
    for w in asked:
        algorithm = bench.explain_pass(LAYERS[w.row], w.op, w.dtype, "channels_first", 1, "auto").algorithm
        # By Winograd's algorithm: a box's tiles and products, for each of up to 36 points.
        assert 0 < w.per_thread <= (3 if algorithm == "direct" else 12) * 2**20
        # Its weights have up to 36 points for 9 taps, and are filled up to whole panels.
        assert 0 <= w.shared <= max(10 * w.weights, 2**25)
    workspace.write_csv(asked, tmp_path / "workspace.csv")
    assert workspace.read_csv(tmp_path / "workspace.csv") == asked


# --------------------------------------------------------------------------------- pictures, the page


def test_the_page_has_the_sections_that_the_report_writes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cases = [a_case(row, op, t, convpp=0.001, torch=0.002) for row in VGG[:3] for op in PASSES for t in (1, 2)]
    with (tmp_path / "compare.csv").open("w", encoding="utf-8") as file:
        writer = results.Writer(file, ["convpp", "torch"])
        for case in cases:
            writer.write(case)
    points = [
        growth.Point(extent, value, op, "float32", 2, growth.grown(extent, value).flops, 100.0, 0.5)
        for extent, values in growth.GROWTH.items()
        for value in values
        for op in PASSES
    ]
    growth.write_csv(points, tmp_path / "growth.csv")
    spread.write_csv(spread.spreads(["lenet"], "float32", "channels_first"), tmp_path / "spread.csv")
    workspace.write_csv(workspace.workspaces()[:6], tmp_path / "workspace.csv")

    before = (Path(__file__).parents[1] / "docs" / "performance.md").read_text(encoding="utf-8")
    page = before
    for name, text in report.sections(tmp_path, tmp_path / "performance"):
        assert page.count(f"<!-- begin: {name} -->") == 1
        page = report.replaced(page, name, text)
        assert report.replaced(page, name, text) == page
    assert "Not measured yet." not in page
    assert page.count("<!-- begin: ") == before.count("<!-- begin: ")
    pictures = {path.name for path in (tmp_path / "performance").iterdir()}
    assert pictures == {"growth.png", *(f"ratios-float32-channels_first-{t}t.png" for t in (1, 2))}
    assert all(f"](performance/{name})" in page for name in pictures)
    with pytest.raises(SystemExit, match="expected one"):
        report.replaced(page, "unknown", "")


def test_the_page_can_be_written_from_older_files(tmp_path: Path) -> None:
    """Files that know of no direct algorithm beside convpp's, and of growth without algorithms."""
    pytest.importorskip("matplotlib")
    cases = [a_case(row, op, convpp=0.25, torch=0.5) for row in VGG for op in PASSES]
    points = [
        growth.Point("N", value, op, "float32", 2, growth.grown("N", value).flops, 100.0, 0.5)
        for value in growth.GROWTH["N"]
        for op in PASSES
    ]
    with (tmp_path / "new.csv").open("w", encoding="utf-8") as file:
        writer = results.Writer(file, ["convpp", "torch"])
        for case in cases:
            writer.write(case)
    growth.write_csv(points, tmp_path / "new_growth.csv")
    without_last_column(tmp_path / "new.csv", tmp_path / "compare_old.csv")
    without_last_column(tmp_path / "new_growth.csv", tmp_path / "growth.csv")
    assert results.read_cases([tmp_path / "compare_old.csv"]) == cases
    assert growth.read_csv(tmp_path / "growth.csv") == points
    text = dict(report.sections(tmp_path, tmp_path / "performance"))
    assert "eff" not in " ".join(text.values()).split()
    assert all(f"| {GROUP}, {op} " in text["summaries"] for op in PASSES)

    # Beside a younger file, whose case counts, and is marked.
    seconds = {"convpp": 0.25, results.DIRECT: 0.5, "torch": 0.5}
    case = replace(cases[0], algorithm="winograd", seconds=seconds)
    with (tmp_path / "compare_younger.csv").open("w", encoding="utf-8") as file:
        results.Writer(file, list(seconds)).write(case)
    growth.write_csv([replace(point, algorithm="winograd") for point in points], tmp_path / "growth.csv")
    newer = dict(report.sections(tmp_path, tmp_path / "performance"))
    assert newer["totals"] == text["totals"]
    assert newer["summaries"].endswith(f" |\n\n{results.beside_direct([case])[0]}\n\n{bench.LEGEND}")
    assert newer["growth"].endswith(f"% eff |\n\n{bench.LEGEND}")


def without_last_column(source: Path, target: Path) -> None:
    lines = source.read_text(encoding="utf-8").splitlines()
    target.write_text("".join(f"{line.rpartition(',')[0]}\n" for line in lines), encoding="utf-8")


def test_the_results_that_are_kept_can_be_read() -> None:
    kept = Path(__file__).parents[1] / "benchmarks" / "results"
    cases = results.read_cases(sorted(kept.glob("compare*.csv")))
    assert cases
    assert {case.row for case in cases} <= set(LAYERS)
    assert growth.read_csv(kept / "growth.csv")


def test_effective_shares_above_all_that_is_attainable_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    seconds = LAYERS[WIDE[0]].flops / 100e9
    cases = [a_case(WIDE[0], op, algorithm="winograd", convpp=seconds / 2.4, torch=seconds) for op in PASSES]
    picture.draw(cases, tmp_path / "a", ["svg"])
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert all(f"<!-- {words} -->" in drawn for words in ("100 %", "200 %", "effective: fewer operations than counted"))
    cases = [replace(case, algorithm="direct", seconds={"convpp": seconds}) for case in cases]
    picture.draw(cases, tmp_path / "b", ["svg"])
    drawn = (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert "<!-- 50 % -->" in drawn
    assert "effective" not in drawn


def test_the_same_data_are_the_same_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cases = [a_case("lenet/question", op, convpp=1.0, torch=2.0) for op in PASSES]
    files = [picture.draw(cases, tmp_path / name) for name in ("a", "b")]
    assert [[path.name for path in paths] for paths in files] == [["a.png", "a.svg"], ["b.png", "b.svg"]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))


def test_a_file_ends_where_a_run_was_interrupted() -> None:
    file = io.StringIO()
    writer = results.Writer(file, ["convpp", "torch"])
    writer.write(a_case("lenet/question", "forward", convpp=1.0))
    assert len(file.getvalue().splitlines()) == 2
