"""What the benchmarks compute from what they measured: totals, means, files, the page; and what compare.py runs."""

from __future__ import annotations

import argparse
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import compare
import crossover
import depthwise
import growth
import neighbour
import numpy as np
import per_sample
import picture
import pytest
import report
import results
import spread
import streaming
import workspace
from contestants import contestants
from machine import MEASURES, SIZES, Machine, attainable

from cases import LAYERS, a_case, write_cases
from convpp._cli import bench
from convpp._cli.suite import PASSES
from convpp.runtime import _measure_bandwidth

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
VGG = [row for row in LAYERS if row.startswith("vgg16/")]
#: Two rows of the group of this name.
WIDE = ("resnet50/conv3x3_64-64@56", "resnet50/conv3x3_256-256@14")
#: Microseconds by memory, multiply-adds and loads.
BOUNDS = {"memory": (11.0, 1.0, 1.0), "multiply-adds": (1.0, 10.0, 1.0), "loads": (1.0, 1.0, 6.0)}
GROUP = "3x3, stride 1, C and K >= 64, H >= 14"


def test_what_a_machine_attains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bandwidths are measured once and interpolated; the highest peak of a run counts."""
    assert _measure_bandwidth(1000, 2) > 0
    with pytest.raises(ValueError, match="bytes is 0, expected at least 1"):
        _measure_bandwidth(0, 1)
    asked: list[tuple[int, int]] = []
    peaks = iter([100.0, 110.0, 105.0, 60.0, 120.0, 100.0])
    monkeypatch.setattr("machine._measure_bandwidth", lambda size, n: (asked.append((size, n)), 2.0**40 / size)[1])
    monkeypatch.setattr("machine._measure_peak", lambda dtype, threads: next(peaks))
    machine = Machine()
    for size in (*SIZES, SIZES[0] * 2, SIZES[-2] * 2, 1, 2**40):
        assert machine.bandwidth(size, 2) == pytest.approx(2.0**40 / min(max(size, SIZES[0]), SIZES[-1]))
    assert asked == [(size, 2) for size in SIZES] * MEASURES
    assert [machine.peak("float32", 2) for _ in range(4)] == [110.0, 110.0, 120.0, 120.0]
    layer = LAYERS["mobilenet_v1/dw3x3_32-32@112"]
    elems = 2 * 8 * 32 * 112 * 112 + 32 * 9
    assert attainable(layer, "float32", 1000.0, 10.0) == 10.0 * layer.flops / (4 * elems)
    assert attainable(layer, "float32", 1.0, 10.0) == 1.0


def test_the_bounds_of_a_depthwise_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors are counted whole: of 112 pixels as rows, of 32 channels as pixels."""
    monkeypatch.setattr("machine._measure_bandwidth", lambda size, n: 10.0)
    monkeypatch.setattr("machine._measure_peak", lambda dtype, threads: 100.0)
    monkeypatch.setattr(depthwise, "VECTORS", dict.fromkeys(depthwise.VECTORS, 64))
    layer = LAYERS["mobilenet_v1/dw3x3_32-32@112"]
    vectors, slot = 8 * 32 * 112 * 112 / 16, 32 / 100e9
    for layout in depthwise.LAYOUTS:
        memory, multiply_adds, loads = depthwise.bounds(layer, layout, 2, Machine())
        assert memory == pytest.approx(layer.traffic("float32") / 10e9)
        assert multiply_adds == pytest.approx(9 * vectors * slot)
        assert loads == pytest.approx(3 * vectors * slot)
    point = depthwise.measure(layer, "forward", "channels_first", 1, 0.0, Machine())
    assert point.measured > point.call > 0


def test_cases_come_back_from_files_of_which_the_later_one_counts(tmp_path: Path) -> None:
    first = [a_case("lenet/question", op, convpp=0.25, torch=0.5) for op in PASSES]
    again = a_case("lenet/question", "forward", algorithm="winograd", convpp=0.125, torch=0.25, onnxruntime=0.0625)
    read = results.read_cases([write_cases(tmp_path / "a.csv", first), write_cases(tmp_path / "b.csv", [again])])
    assert [case.seconds for case in read] == [again.seconds, *(case.seconds for case in first[1:])]
    assert [case.classes for case in read] == [case.classes for case in first]
    assert (read[0].ratio("torch"), read[0].ratio("scipy"), read[0].best_ratio) == (2.0, None, 0.5)
    assert (read[0].algorithm, read[1].best_ratio) == ("winograd", 2.0)
    assert read[0].rate == LAYERS["lenet/question"].flops / 0.125e9
    kept = results.read_cases(sorted((BENCHMARKS / "results").glob("compare*.csv")))
    assert set() < {case.row for case in kept} <= {layer.row_id for layer in results.all_layers()}
    assert growth.read_csv(BENCHMARKS / "results" / "growth.csv")


def test_totals_count_each_layer_as_often_as_the_network_has_it() -> None:
    cases = [a_case(row, op, convpp=0.001, torch=0.002) for row in VGG for op in PASSES]
    assert results.totals(cases)[1:] == [
        *([f"vgg16, {op}", "13 of 13", "13.0 ms", "26.0 ms", "", "2.00", ""] for op in PASSES),
        ["vgg16, all passes", "13 of 13", "39.0 ms", "78.0 ms", "", "2.00", ""],
    ]
    # A contestant that lacks a layer has no total, and a part of a network is called so.
    part = [a_case("vgg16/conv3x3_512-512@14", "forward", convpp=0.001, torch=0.002, onnxruntime=0.004)]
    part.append(a_case("vgg16/conv3x3_3-64@224", "forward", convpp=0.002, torch=0.002))
    assert results.totals(part)[1:] == [["vgg16, forward", "4 of 13", "5.0 ms", "8.0 ms", "", "1.60", ""]]


def test_the_kinds_of_convbench_are_added_up_as_networks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    convbench = results.read_layers(results.TABLES["convbench"])
    layers = [layer for layer in convbench if layer.suite in ("dilated", "first")]
    monkeypatch.setattr("cases.LAYERS", {layer.row_id: layer for layer in layers})
    cases = [a_case(layer.row_id, "forward", convpp=0.001, torch=0.002) for layer in layers]
    counts = {suite: sum(layer.count for layer in layers if layer.suite == suite) for suite in ("dilated", "first")}
    table = {row[0]: row[1:4] for row in results.totals(cases)[1:]}
    assert list(table) == ["convbench first, forward", "convbench dilated, forward", "convbench, forward"]
    for suite, count in counts.items():
        assert table[f"convbench {suite}, forward"] == [f"{count} of {count}", f"{count}.0 ms", f"{2 * count}.0 ms"]
    everything = sum(layer.count for layer in convbench)
    assert table["convbench, forward"][0] == f"{sum(counts.values())} of {everything}"


def test_a_scipy_filter_is_a_peer_where_it_takes_part() -> None:
    case = a_case("lenet/question", "forward", convpp=1.0, torch=4.0, onnxruntime=3.0)
    assert (case.best_ratio, replace(case, seconds=case.seconds | {"scipy": 2.0}).best_ratio) == (3.0, 2.0)


def test_summaries_and_what_is_behind() -> None:
    cases = [
        a_case("lenet/question", "forward", convpp=1.0, torch=4.0, onnxruntime=2.0),
        a_case("lenet/conv1", "forward", convpp=2.0, torch=2.0, onnxruntime=1.0),
        a_case("lenet/conv2", "input_grad", convpp=1.0, torch=16.0),
        *(a_case(WIDE[0], op, convpp=1.0, torch=4.0) for op in ("forward", "weight_grad")),
        a_case(WIDE[1], "forward", convpp=4.0, torch=4.0, onnxruntime=3.0),
        a_case("resnet50/conv3x3_512-512@7", "forward", convpp=1.0, torch=9.0),  # neither is wide
        a_case("resnet50/conv3x3s2_128-128@56", "forward", convpp=1.0, torch=9.0),
    ]
    table = {row[0]: row[1:7] for row in results.summaries(cases)}
    groups = ["suite lenet", "suite resnet50", "first layer", "other", "regular"]
    assert list(table) == ["rows", *groups, f"{GROUP}, forward", f"{GROUP}, weight_grad", *PASSES, "all"]
    assert table["first layer"] == ["2", "2.00, lowest 1.00", "1.00, lowest 0.50", "", "1.00, lowest 0.50", "1"]
    assert table["other"] == ["1", "16.00, lowest 16.00", "", "", "16.00, lowest 16.00", "0"]
    assert table["suite lenet"][:2] == ["3", "4.00, lowest 1.00"]
    assert table[f"{GROUP}, forward"][:3] == ["2", "2.00, lowest 1.00", "0.75, lowest 0.75"]
    assert table[f"{GROUP}, weight_grad"][:3] == ["1", "4.00, lowest 4.00", ""]
    assert table["all"][:2] == ["8", "4.12, lowest 1.00"]
    behind = [["lenet/conv1, forward", "0.50"], [f"{WIDE[1]}, forward", "0.75"]]
    assert [[row[:2] for row in results.behind(cases, most)[1:]] for most in (9, 1)] == [behind, behind[:1]]
    assert results.markdown([["a", "bcd"], ["efg", "1"]]) == "| a   | bcd |\n|-----|----:|\n| efg |   1 |"


def test_rates_of_another_algorithm_are_marked_in_all_tables_lines_and_pictures(tmp_path: Path) -> None:
    seconds = LAYERS[WIDE[0]].flops / 100e9  # at the peak
    direct = a_case(WIDE[0], "forward", convpp=seconds, torch=seconds / 2)
    other = a_case(WIDE[0], "weight_grad", algorithm="winograd", convpp=seconds / 2, torch=seconds / 8, direct=seconds)
    effective = [replace(direct, algorithm=name).effective for name in ("direct", "reference", "winograd")]
    assert effective == [False, False, True]
    shares = {row[0]: row[-1] for row in results.summaries([direct, other])}
    assert (shares["forward"], shares["weight_grad"]) == ("100%, lowest 100%", "200%, lowest 200% eff")
    assert shares["all"] == "141%, lowest 100% eff"
    assert [row[2] for row in results.behind([direct, other], 9)[1:]] == ["200% eff", "100%"]
    lines = [compare.line(case) for case in (direct, other)]
    assert "  100.0     GFLOP/s, 100%     of the attainable   100 (peak 100)   torch   0.50x" in lines[0]
    assert "  200.0 eff GFLOP/s, 200% eff of the attainable   100 (peak 100)   torch   0.25x" in lines[1]
    assert lines[1].endswith(f"   convpp direct {1e3 * seconds:.3f} ms   2.00x")
    assert lines[0].index("GFLOP/s") == lines[1].index("GFLOP/s")

    pytest.importorskip("matplotlib")
    legend = "effective: fewer operations than counted"
    for case, there, missing in ((direct, ["50 %"], "effective"), (other, ["100 %", "200 %", legend], "300 %")):
        for name in ("a", "b"):
            assert [path.name for path in picture.draw([case], tmp_path / name)] == [f"{name}.png", f"{name}.svg"]
        drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
        assert all(f"<!-- {words} -->" in drawn for words in there)
        assert missing not in drawn
        for ending in ("png", "svg"):  # the same data are the same picture
            assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_imbalance() -> None:
    for tasks, threads, expected in (
        ([1.0] * 16, 2, 0.0),
        ([1.0] * 16, 32, 1.0),  # half of the threads stay idle
        ([3.0, 1.0, 1.0, 1.0], 2, 0.0),
        ([1.0, 1.0, 1.0, 3.0], 2, 4 / 3 - 1),  # the longest one comes last
        ([5.0], 4, 3.0),
    ):
        assert spread.imbalance(tasks, threads) == pytest.approx(expected)


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_a_loop_and_a_call_per_sample(layout: Any) -> None:
    layers = [layer for layer in per_sample.LAYERS if layer.name in ("question", "depthwise 32")]
    found = list(per_sample.ratios(layers, (1, 3), "float32", layout, 1, 0.0))  # compares the results, too
    assert [ratio.gain > 0 for ratio in found] == [True] * 2 * 2 * 3
    head, *rows = per_sample.table(found)
    assert [row[:2] for row in rows] == [[name, n] for name in ("question", "depthwise 32") for n in ("1", "3")]
    assert {len(row) for row in rows} == {len(head)}


def test_the_page_has_the_sections_that_the_report_writes_from_older_files_too(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = (
        *("compare", "one_sample", "depthwise", "crossover", "growth", "neighbour", "spread", "workspace"),
        "compare_younger",
    )
    files = {name: tmp_path / f"{name}.csv" for name in names}
    cases = [a_case(row, op, t, convpp=0.25, torch=0.5) for row in VGG for op in PASSES for t in (1, 2)]
    points = [
        growth.Point(extent, value, op, "float32", 2, growth.grown(extent, value).flops, 100.0, 0.5)
        for extent, values in growth.GROWTH.items()
        for value in values
        for op in PASSES
    ]
    found = spread.spreads(["lenet"], "float32", "channels_first")
    rows = [(f"lenet/{name}", op) for name in ("conv1", "conv2", "question") for op in PASSES]
    assert [(s.row, s.op) for s in found if s.imbalance] == rows[:6]  # the worked example is too small to share
    assert [(s.row, s.op) for s in found] == rows
    write_cases(files["compare"], cases)
    write_cases(files["one_sample"], cases[:1])
    growth.write_csv(points, files["growth"])
    beside = [
        {"layer": "fir", "condition": "quiet", "contestant": name, "median": median, "p95": 2 * median}
        for name, median in (("one", 1.0), ("two", 0.5))
    ]
    neighbour.write_csv(beside, files["neighbour"])
    assert neighbour.table(neighbour.read_csv(files["neighbour"])) == [
        ["layer", "condition", "one", "two"],
        ["fir", "quiet", "1.00 / 2.00", "0.50 / 1.00"],
    ]
    held = [depthwise.Point(name, "forward", "channels_last", 13.0, 2.0, *by) for name, by in BOUNDS.items()]
    depthwise.write_csv(held, files["depthwise"])
    assert depthwise.summary_table(depthwise.read_csv(files["depthwise"]))[1:] == [
        ["channels_last, forward", "3", "1.21", "2", "1.6: loads", "0", "1"]
    ]
    crossed = [
        crossover.Point("blurs", "float32", 2, op, kernel, algorithm, direct, 2.0, auto, 8.0)
        for op in PASSES
        for kernel, algorithm, direct, auto in (
            (3, "direct", 1.0, 1.0),
            (9, "fft", 6.0, 2.0),
            (99, "fft", math.nan, 2.0),
        )
    ]
    crossover.write_csv(crossed, files["crossover"])
    table = crossover.crossover_table(crossover.read_csv(files["crossover"]))
    assert table[1:] == [
        ["blurs", "float32", "2", op, "3: 0.50, 9: 3.00", "9", "5.04 (4.00 to 8.00)", "1.00 (to 1.00)"] for op in PASSES
    ]
    spread.write_csv(found, files["spread"])
    assert spread.summary_table(spread.read_csv(files["spread"])) == spread.summary_table(found)
    asked = workspace.workspaces()  # test_workspace.py holds them to bounds
    assert len(asked) == len(LAYERS) * len(PASSES) * len(["float32", "float64"])
    workspace.write_csv(asked, files["workspace"])
    assert workspace.read_csv(files["workspace"]) == asked
    sections = dict(report.sections(tmp_path, tmp_path / "performance"))
    assert "eff" not in " ".join(sections.values()).split()
    assert all(f"| {GROUP}, {op} " in sections["summaries"] for op in PASSES)
    assert "| vgg16, forward " in sections["one_sample"]

    page = before = (BENCHMARKS.parent / "docs" / "performance.md").read_text(encoding="utf-8")
    for name, text in sections.items():
        page = report.replaced(page, name, text)  # which fails unless there is exactly one
        assert report.replaced(page, name, text) == page
    assert "Not measured yet." not in page
    assert page.count("<!-- begin: ") == before.count("<!-- begin: ")
    pictures = {path.name for path in (tmp_path / "performance").iterdir()}
    assert pictures == {"crossover.png", "growth.png", *(f"ratios-float32-channels_first-{t}t.png" for t in (1, 2))}
    assert all(f"](performance/{name})" in page for name in pictures)
    with pytest.raises(SystemExit, match="expected one"):
        report.replaced(page, "unknown", "")

    # Older files, which know of no direct algorithm beside convpp's, and of growth without algorithms.
    for file in (files["compare"], files["growth"]):
        lines = file.read_text(encoding="utf-8").splitlines()
        file.write_text("".join(f"{line.rpartition(',')[0]}\n" for line in lines), encoding="utf-8")
    assert results.read_cases([files["compare"]]) == cases
    assert growth.read_csv(files["growth"]) == points

    # Beside a younger file, whose case counts, and is marked.
    case = replace(cases[-1], algorithm="winograd", seconds={"convpp": 0.25, results.DIRECT: 0.5, "torch": 0.5})
    write_cases(files["compare_younger"], [case])
    growth.write_csv([replace(point, algorithm="winograd") for point in points], files["growth"])
    newer = dict(report.sections(tmp_path, tmp_path / "performance"))
    assert newer["totals"] == sections["totals"]
    assert newer["summaries"].endswith(f" |\n\n{results.beside_direct([case])[0]}\n\n{bench.LEGEND}")
    assert newer["growth"].endswith(f"% eff |\n\n{bench.LEGEND}")


def test_direct_beside_another_algorithm(tmp_path: Path) -> None:
    cases = [
        a_case(WIDE[0], "forward", algorithm="winograd", convpp=1.0, direct=4.0),
        a_case(WIDE[1], "forward", algorithm="winograd", convpp=1.029, direct=1.0),  # the promise ends at 3 %
        a_case(WIDE[1], "weight_grad", algorithm="winograd", convpp=4.0, direct=1.029),
        a_case(WIDE[1], "input_grad", algorithm="winograd", convpp=1.0),  # of an older run
        a_case(WIDE[1], "input_grad", threads=2, convpp=1.0, direct=0.25),  # direct already: asked for by --algorithm
    ]
    assert [case.direct_ratio for case in cases[2:]] == [1.029 / 4, None, None]
    assert results.notes(cases) == [
        "Time of direct / time of convpp, over the 3 cases not direct: geometric mean 1.00, lowest 0.26 "
        f"({WIDE[1]}, weight_grad); slower than direct by more than 3%: 1.",
        bench.LEGEND,
    ]
    assert results.beside_direct([replace(cases[1], seconds={"convpp": 1.031, results.DIRECT: 1.0})]) == [
        "Time of direct / time of convpp, over the 1 case not direct: geometric mean 0.97, lowest 0.97 "
        f"({WIDE[1]}, forward); slower than direct by more than 3%: 1."
    ]
    assert results.beside_direct(cases[3:]) == []
    path = write_cases(tmp_path / "compare.csv", cases)
    assert results.read_cases([path]) == cases
    last_columns = [line.rpartition(",")[2] for line in path.read_text(encoding="utf-8").splitlines()]
    assert last_columns == ["direct / convpp", "4", "0.9718", "0.2572", "", ""]


def test_direct_is_measured_once_beside_what_auto_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is measured: convpp takes 1 s, the others 2 s, and auto is Winograd's algorithm for one of the passes."""
    explain = bench.explain

    def explained(*shapes: Any, algorithm: str, op: str, **how: Any) -> bench.Explanation:
        auto = {"input_grad": "winograd"}.get(op, "direct")
        chosen = auto if algorithm == "auto" else algorithm
        return replace(explain(*shapes, op=op, **how), algorithm=chosen)

    monkeypatch.setattr(bench, "explain", explained)
    monkeypatch.setattr(compare, "best_times", lambda runs, _: {name: 1.0 + (name != "convpp") for name in runs})
    monkeypatch.setattr("machine._measure_peak", lambda dtype, threads: 100.0)
    monkeypatch.setattr("machine._measure_bandwidth", lambda size, threads: 10.0)
    monkeypatch.setattr(compare, "keep_memory", lambda: None)
    command = ["compare.py", "--suite", "lenet", "--name", "question", "--threads", "1", "--peers", "--csv"]
    for words, others, taking_part in (
        ("", 1, [["convpp"], ["convpp", "convpp direct"], ["convpp"]]),
        ("--algorithm auto reference direct", 1, [["convpp", "convpp reference", "convpp direct"]] * 3),
        ("--algorithm direct", 0, [["convpp"]] * 3),
    ):
        monkeypatch.setattr("sys.argv", [*command, str(tmp_path / "compare.csv"), *words.split()])
        compare.main()
        cases = results.read_cases([tmp_path / "compare.csv"])
        assert [case.op for case in cases] == list(PASSES)
        assert [list(case.seconds) for case in cases] == taking_part
        assert [case.algorithm for case in cases] == ["direct", "winograd" if others else "direct", "direct"]
        assert [case.direct_ratio for case in cases] == [None, 2.0 if others else None, None]
        printed = capsys.readouterr().out
        assert printed.endswith("\n".join(["", *(f"{note}\n" for note in results.notes(cases))]))
        assert (printed.count(bench.LEGEND), printed.count(" eff GFLOP/s")) == (others, others)


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-4), ("float64", 1e-11)])
@pytest.mark.parametrize("name", ["torch", results.DIRECT])
def test_all_contestants_agree(dtype: str, bound: float, name: str) -> None:
    expected = np.full(100, 3.0, dtype)
    for much in (0.5, 2.0):
        both = {"convpp": expected, name: expected.astype("float64") * (1 + much * bound)}
        with pytest.raises(SystemExit, match=f"case: convpp and {name} differ by") if much > 1 else nullcontext():
            compare.check_agreement(both, dtype, "case")


def test_several_runs_leave_the_least_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each contestant; what one run lost is there from the other."""
    lost = a_case("lenet/conv1", "forward", convpp=1.0, torch=1.0)
    runs = iter(
        [
            [a_case("lenet/question", "forward", convpp=1.0, torch=4.0), lost],
            [a_case("lenet/question", "forward", convpp=2.0, torch=3.0)],
        ]
    )
    monkeypatch.setattr(compare, "measured", lambda args, machine: iter(next(runs)))
    args = argparse.Namespace(runs=2, rows_per_process=0)
    assert [case.seconds for case in compare.measured_again(args, Machine())] == [
        {"convpp": 1.0, "torch": 3.0},
        lost.seconds,
    ]


def test_prepared_weights_take_part_with_a_batch_of_one() -> None:
    layer = replace(LAYERS["lenet/question"], n=1)
    how = ("float32", "channels_first", 1, ["direct"], [])
    plain, prepared = (contestants(layer, "forward", *how, kept)["convpp"]() for kept in (False, True))
    assert plain.shape == layer.y_shape
    assert np.array_equal(plain, prepared)
    assert contestants(layer, "input_grad", *how, True)["convpp"]().shape == layer.x_shape


def test_streaming_measures_and_writes_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin: streaming -->\nold\n<!-- end: streaming -->\nafter\n", encoding="utf-8")
    few = ["--taps", "65", "--chunks", "64", "100", "--seconds", "0.001", "--page", str(page)]
    assert streaming.main(few) == 0
    said = capsys.readouterr().out
    assert "float64 2 channel(s), 65 taps, 100 samples: conv " in said
    rows = [streaming.Row("float32", 1, 65, n, {"conv": 1e-6, "convolve": 2e-6, "lfilter": n * 1e-6}) for n in (4, 9)]
    assert streaming.table(rows)[1] == ["float32", "1", "65", "1.0 µs, 4.0", "1.0 µs, 9.0"]
    assert "`conv` is 6.0 times as fast as `lfilter` on average, and 4.0 times at least" in streaming.summary(rows)
    if "lfilter" in said and "not installed" not in said:
        text = page.read_text(encoding="utf-8")
        assert "old" not in text
        assert text.startswith("before\n<!-- begin: streaming -->\nTime of a chunk")
        assert text.endswith("<!-- end: streaming -->\nafter\n")
