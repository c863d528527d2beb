"""``--json``, and warnings of a busy machine: what the commands say to programs, and of themselves.

In: words.   What is in each object: docs/command_line.md, whose tables are read here.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from typing import Any

import pytest

import convpp
from cases import LAYERS
from convpp import runtime
from convpp._cli import bench, cli, machine
from convpp._cli.suite import PASSES
from pages import ROOT

pytestmark = pytest.mark.one_isa

PAGE = (ROOT / "docs" / "command_line.md").read_text(encoding="utf-8")


def keys_of(title: str) -> set[str]:
    """The keys in the table below these words; "..." stands for a row of keys that are another object's."""
    table = PAGE.split(title)[1].split("|---|---|\n")[1].split("\n\n")[0]
    return {key for row in table.splitlines() for key in re.findall(r"`(\w+)`", row.split("|")[1])}


def reported(words: str, capsys: pytest.CaptureFixture[str]) -> Any:
    """The object, all that is on standard output."""
    assert cli.main(words.split()) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


COMMON = keys_of("Every object has")


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    report = reported("info --json", capsys)
    info = convpp.runtime_info()
    assert set(report) == COMMON | keys_of("`info` has also") | set(info)
    assert {key: report[key] for key in info} == info
    assert (report["schema"], report["command"], report["peaks"], report["warnings"]) == (1, "info", [], [])


def test_info_with_peaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rates = iter([100.0, 98.0, 99.0, 50.0, 50.0, 30.0, 90.0, 80.0, 89.0, 90.0, 90.0, 90.0])
    monkeypatch.setattr(runtime, "_measure_peak", lambda dtype, threads: next(rates))
    with convpp.threads(2):
        report = reported("info --peak --json", capsys)
    assert [(peak["dtype"], peak["threads"], peak["gflops"]) for peak in report["peaks"]] == [
        ("float32", 1, 100.0),
        ("float64", 1, 50.0),
        ("float32", 2, 90.0),
        ("float64", 2, 90.0),
    ]
    assert report["peaks"][1]["repeats"] == [50.0, 50.0, 30.0]
    busy = "this machine is busy with something else: "
    assert report["warnings"] == [
        busy + "repeats of the peak (float64, 1 thread) are 40% apart",
        busy + "the peak of float32, 2 threads is 90 GFLOP/s, and that of one alone 100",
    ]


def test_warnings_are_no_results(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rates = iter([10.0, 5.0, 10.0] * 2)
    monkeypatch.setattr(runtime, "_measure_peak", lambda dtype, threads: next(rates))
    with convpp.threads(1):
        assert cli.main(["info", "--peak"]) == 0
    captured = capsys.readouterr()
    assert "warning" not in captured.out
    assert captured.err.splitlines() == [
        f"warning: this machine is busy with something else: repeats of the peak ({dtype}, 1 thread) are 50% apart"
        for dtype in ("float32", "float64")
    ]


def test_a_quiet_machine_is_not_warned_of() -> None:
    peaks = [machine.Peak("float32", 1, (100.0, 81.0, 99.0)), machine.Peak("float32", 2, (100.0, 99.0, 98.0))]
    assert machine.warnings_of(peaks) == []


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    words = "explain --x 8,64,56,56 --w 64,64,3,3 --padding 1 --op input_grad --json"
    report = reported(words, capsys)
    expected = convpp.explain((8, 64, 56, 56), (64, 64, 3, 3), padding=1, op="input_grad")
    names = {field.name for field in fields(expected)}
    assert set(report) == COMMON | keys_of("`explain` has also") | names
    assert (report["x_shape"], report["w_shape"]) == ([8, 64, 56, 56], [64, 64, 3, 3])
    for name in names - {"output_shape"}:
        assert report[name] == getattr(expected, name), name
    assert report["output_shape"] == list(expected.output_shape)


@pytest.mark.parametrize("algorithm", ["direct", "fft", "winograd", "reference"])
def test_no_explanation_has_a_number_that_json_lacks(algorithm: str, capsys: pytest.CaptureFixture[str]) -> None:
    report = reported(f"explain --x 1,4,9,9 --w 4,4,3,3 --algorithm {algorithm} --json", capsys)
    assert report["algorithm"] == algorithm


def test_bench(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    report = reported("bench --network lenet --seconds 1e-9 --threads 2 --dtype float64 --json", capsys)
    assert set(report) == COMMON | keys_of("`bench` has also") | set(convpp.runtime_info())
    asked = {"network": "lenet", "dtype": "float64", "layout": "channels_first", "threads": 2, "seconds": 1e-9}
    assert {key: report[key] for key in asked} == asked
    assert [(peak["dtype"], peak["threads"]) for peak in report["peaks"]] == [("float64", 1), ("float64", 2)]
    layers = [layer for layer in LAYERS.values() if layer.suite == "lenet"]
    passes = report["passes"]
    assert [(row["layer"], row["op"]) for row in passes] == [(layer.row_id, op) for layer in layers for op in PASSES]
    for row in passes:
        assert set(row) == keys_of("each of its `passes`")
        layer = LAYERS[row["layer"]]
        assert (row["count"], row["flops"]) == (layer.count, layer.flops)
        assert row["gflops"] == layer.flops / row["seconds"] / 1e9
        assert row["of_peak"] == row["gflops"] / report["peaks"][1]["gflops"]
        assert row["spread"] >= 0
        assert row["effective"] == (row["algorithm"] in ("winograd", "fft"))
    totals = report["totals"]
    assert [row["op"] for row in totals] == [*PASSES, "all passes"]
    assert all(set(row) == keys_of("each of its `totals`") for row in totals)
    assert all((row["network"], row["layers"]) == ("lenet", sum(layer.count for layer in layers)) for row in totals)


def test_many_passes_that_were_interrupted_are_warned_of() -> None:
    layer = next(iter(LAYERS.values()))

    def measured(spreads: list[float]) -> bench.Bench:
        rows = [bench.Measured(layer, "forward", "direct", 1.0, spread) for spread in spreads]
        return bench.Bench("one", "float32", "channels_first", 1, 0.1, [machine.Peak("float32", 1, (9.0,))], rows)

    assert measured([0.1] * 8 + [0.9] * 2).warnings() == []
    assert measured([0.1] * 7 + [0.9] * 3).warnings() == [
        "this machine is busy with something else: in 3 of 10 passes the middle turn took over 25% longer than the "
        "best one, whose time is given"
    ]


def test_times_are_those_of_each_turn() -> None:
    calls: list[str] = []
    times = bench.times_of({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 0.0)  # type: ignore[dict-item]
    assert {name: len(of) for name, of in times.items()} == {"a": 3, "b": 3}
    assert calls[:2] == ["a", "a"]  # a call that is not timed comes first


def test_the_commands_of_the_page_are_those_that_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    listed = re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE)
    assert set(listed) == keys_of("# The command line")
