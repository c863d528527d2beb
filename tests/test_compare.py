"""``benchmarks/compare.py``: who takes part, what is printed and kept, convpp's direct algorithm beside another one."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import compare
import contestants
import numpy as np
import pytest
import results
from machine import SIZES

from cases import LAYERS, WIDE, a_case
from convpp._cli import bench
from convpp._cli.suite import PASSES


def test_direct_beside_another_algorithm_in_words() -> None:
    cases = [
        a_case(WIDE[0], "forward", algorithm="winograd", convpp=1.0, direct=4.0),
        a_case(WIDE[1], "forward", algorithm="winograd", convpp=1.0, direct=1 / 1.029),
        a_case(WIDE[1], "weight_grad", algorithm="winograd", convpp=1.0, direct=1.029 / 4),
        a_case(WIDE[1], "input_grad", algorithm="winograd", convpp=1.0),  # of an older run
        a_case("lenet/conv1", "forward", convpp=1.0, direct=0.25),  # direct already: asked for by --algorithm
    ]
    assert [case.direct_ratio for case in cases[2:]] == [pytest.approx(1.029 / 4), None, None]
    assert results.notes(cases) == [
        "Time of direct / time of convpp, over the 3 cases not direct: geometric mean 1.00, lowest 0.26 "
        f"({WIDE[1]}, weight_grad); slower than direct by more than 3%: 1.",
        bench.LEGEND,
    ]
    assert results.beside_direct(cases[:1]) == [
        f"Time of direct / time of convpp, over the 1 case not direct: geometric mean 4.00, lowest 4.00 ({WIDE[0]}, "
        "forward); slower than direct by more than 3%: 0."
    ]
    assert results.beside_direct(cases[3:]) == []


def test_the_promise_ends_at_three_per_cent() -> None:
    def slower(seconds: float) -> bool:
        (words,) = results.beside_direct([a_case(WIDE[0], "forward", algorithm="winograd", convpp=seconds, direct=1.0)])
        return words.endswith("3%: 1.")

    assert [slower(seconds) for seconds in (0.5, 1.0, 1.029, 1.031, 2.0)] == [False, False, False, True, True]


def test_direct_beside_another_algorithm_in_a_file(tmp_path: Path) -> None:
    cases = [
        a_case(WIDE[0], "forward", algorithm="winograd", convpp=0.25, direct=0.5, torch=1.0),
        a_case(WIDE[0], "input_grad", convpp=0.25, torch=1.0),
    ]
    with (tmp_path / "compare.csv").open("w", encoding="utf-8") as file:
        writer = results.Writer(file, [*contestants.names(["auto", "direct"]), "torch"])
        for case in cases:
            writer.write(case)
    with (tmp_path / "compare.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["convpp direct seconds"], row["direct / convpp"]) for row in rows] == [("0.5", "2"), ("", "")]
    assert results.read_cases([tmp_path / "compare.csv"]) == cases
    assert [case.direct_ratio for case in cases] == [2.0, None]


def test_a_line_shows_the_direct_algorithm() -> None:
    seconds = LAYERS[WIDE[0]].flops / 100e9  # at the peak
    case = a_case(WIDE[0], "forward", algorithm="winograd", convpp=seconds, torch=3 * seconds, direct=2 * seconds)
    words = compare.line(case)
    assert "  100.0 eff GFLOP/s, 100% eff of the attainable   100 (peak 100)" in words
    assert words.endswith(f"   torch   3.00x   convpp direct {2e3 * seconds:.3f} ms   2.00x")
    plain = compare.line(replace(case, algorithm="direct", seconds={"convpp": seconds, "torch": 3 * seconds}))
    assert "  100.0     GFLOP/s, 100%     of the attainable   100 (peak 100)   torch   3.00x" in plain
    assert plain.index("GFLOP/s") == words.index("GFLOP/s")


class MadeUpMachine:
    """Measures nothing."""

    def peak(self, dtype: str, threads: int) -> float:
        return 100.0

    def bandwidth(self, nbytes: int, threads: int) -> float:
        return 10.0

    def bandwidths(self, threads: int) -> list[float]:
        return [10.0] * len(SIZES)


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What "auto" takes in each pass, and a comparison that measures nothing: each contestant takes 2 s, convpp 1 s."""
    algorithms = dict.fromkeys(PASSES, "direct")

    def explain(x_shape: object, w_shape: object, *, algorithm: str, op: str, **how: object) -> bench.Explanation:
        named = algorithms[op] if algorithm == "auto" else algorithm
        return bench.Explanation(op, named, "", 1, 0, 0, 0, (), "float32", 1, False, 0.0, "")

    def times(runs: dict[str, bench.Run], seconds: float) -> dict[str, float]:
        return {name: 1.0 if name == "convpp" else 2.0 for name in runs}

    monkeypatch.setattr(bench, "explain", explain)
    monkeypatch.setattr(compare, "best_times", times)
    monkeypatch.setattr(compare, "Machine", MadeUpMachine)
    monkeypatch.setattr(compare, "keep_memory", lambda: None)
    return algorithms


def compared(monkeypatch: pytest.MonkeyPatch, path: Path, *words: str) -> list[results.Case]:
    always = ["compare.py", "--suite", "lenet", "--name", "question", "--threads", "1", "--peers", "--csv", str(path)]
    monkeypatch.setattr("sys.argv", [*always, *words])
    compare.main()
    return results.read_cases([path])


def test_direct_is_measured_beside_what_auto_takes(
    chosen: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen["input_grad"] = "winograd"
    cases = compared(monkeypatch, tmp_path / "compare.csv")
    assert [(case.op, case.algorithm) for case in cases] == list(chosen.items())
    assert [list(case.seconds) for case in cases] == [["convpp"], ["convpp", "convpp direct"], ["convpp"]]
    assert [case.direct_ratio for case in cases] == [None, 2.0, None]
    printed = capsys.readouterr().out
    assert printed.endswith("\n".join(["", *(f"{note}\n" for note in results.notes(cases))]))
    assert bench.LEGEND in printed
    assert printed.count(" eff GFLOP/s") == 1


def test_direct_is_a_contestant_once(
    chosen: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen["forward"] = "winograd"
    forward, *others = compared(monkeypatch, tmp_path / "a.csv", "--algorithm", "auto", "reference", "direct")
    assert list(forward.seconds) == ["convpp", "convpp reference", "convpp direct"]
    assert (forward.direct_ratio, [case.direct_ratio for case in others]) == (2.0, [None, None])
    assert all(
        list(case.seconds) == ["convpp"] for case in compared(monkeypatch, tmp_path / "b.csv", "--algorithm", "direct")
    )
    assert bench.LEGEND not in capsys.readouterr().out.splitlines()[-5:]


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 2e-4), ("float64", 1e-11)])
def test_all_contestants_agree(dtype: str, bound: float) -> None:
    expected = np.full(100, 3.0, dtype)
    for name in ("torch", results.DIRECT):
        for much, agrees in ((0.5, True), (2.0, False)):
            both = {"convpp": expected, name: expected.astype("float64") * (1 + much * bound)}
            if agrees:
                compare.check_agreement(both, dtype, "case")
            else:
                with pytest.raises(SystemExit, match=f"case: convpp and {name} differ by"):
                    compare.check_agreement(both, dtype, "case")
