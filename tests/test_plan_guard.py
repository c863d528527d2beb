"""The guard of restructurings can fail: it reports whatever differs between two dumps, and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import random
from pathlib import Path

import pytest

import convpp
from rounding import PASSES

pytest.importorskip("ml_dtypes")
import plan_guard

#: A few geometries of each kind: seconds.
FEW = ("--geometries", "60", "--digests", "20", "--every", "50")

Lines = dict[str, list[str]]


@pytest.fixture(scope="module")
def dumped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guard") / "dump.gz"
    assert plan_guard.main(["dump", str(path), *FEW]) == 0
    return path


@pytest.fixture
def lines(dumped: Path) -> Lines:
    return dict(plan_guard.read(dumped))


def written(path: Path, lines: Lines) -> Path:
    with gzip.open(path, "wt") as file:
        file.writelines("\t".join((key, *fields)) + "\n" for key, fields in lines.items())
    return path


def compare(before: Path, after: Path, *allowed: str) -> int:
    words = [word for name in allowed for word in ("--allow", name)]
    return plan_guard.main(["compare", str(before), str(after), *words])


def a_plan(lines: Lines) -> str:
    """The key of a plan that was not refused."""
    return next(key for key, fields in lines.items() if key.startswith("plan/") and len(fields) > 1)


def test_a_small_dump_has_all_passes_layouts_types_and_instruction_sets(lines: Lines) -> None:
    isas = convpp.runtime_info()["isas_available"]
    plans = {tuple(key.split("/")[-5:]) for key in lines if key.startswith("plan/")}
    assert plans == set(itertools.product(PASSES, ("first", "last"), plan_guard.DTYPES, isas, "128"))
    bits = {tuple(key.split("/")[-5:]) for key in lines if key.startswith("bits/")}
    results = ("y", "fused", "prepared", "dx", "dx_added", "dw", "dw_added")
    assert bits == set(itertools.product(results, ("first", "last"), plan_guard.DTYPES, isas, "12"))
    assert {key.split("/")[1] for key in lines} == {"layers", "convbench", "random", "small"}
    assert len(lines[a_plan(lines)]) == len(plan_guard.FIELDS)


def test_a_second_dump_is_equal_and_the_runtime_is_left_as_it_was(
    dumped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = convpp.runtime_info()
    assert plan_guard.main(["dump", str(tmp_path / "again.gz"), *FEW]) == 0
    assert convpp.runtime_info() == before
    assert compare(dumped, tmp_path / "again.gz") == 0
    count = len(dict(plan_guard.read(dumped)))
    assert capsys.readouterr().out == f"{count} lines compared\n"


@pytest.mark.parametrize("name", plan_guard.FIELDS)
def test_a_field_that_differs(
    name: str, dumped: Path, lines: Lines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = a_plan(lines)
    lines[key][plan_guard.FIELDS.index(name)] += "0"
    other = written(tmp_path / "other.gz", lines)
    assert compare(dumped, other) == 1
    printed = capsys.readouterr().out
    assert f"{name}: 1 differ\n  {key}\n" in printed
    assert printed.count("differ") == 1
    assert compare(dumped, other, *(set(plan_guard.FIELDS) - {name})) == 1
    assert compare(dumped, other, name) == 0
    assert f"{name}: 1 differ (allowed)\n" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["bits", "outcome", "missing", "new"])
def test_other_differences(
    name: str, dumped: Path, lines: Lines, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "bits":
        lines[next(key for key in lines if key.startswith("bits/"))] = ["0123456789abcdef"]
    elif name == "outcome":
        lines[a_plan(lines)] = ["refused: not today"]
    else:
        del lines[a_plan(lines)]
    other = written(tmp_path / "other.gz", lines)
    files = (other, dumped) if name == "new" else (dumped, other)
    assert compare(*files) == 1
    assert f"{name}: 1 differ\n" in capsys.readouterr().out
    assert compare(*files, name) == 0


def test_fields_that_only_one_dump_has_are_not_compared(dumped: Path, lines: Lines, tmp_path: Path) -> None:
    older = written(tmp_path / "older.gz", {key: fields[: len(plan_guard.FIELDS) - 1] for key, fields in lines.items()})
    assert compare(older, dumped) == compare(dumped, older) == 0


def test_dumps_without_a_line_in_common_do_not_agree(dumped: Path, tmp_path: Path) -> None:
    empty = written(tmp_path / "empty.gz", {})
    assert compare(empty, empty) == compare(dumped, empty, "missing") == compare(empty, dumped, "new") == 1


def test_a_sample_is_no_larger_than_what_it_is_drawn_from(tmp_path: Path) -> None:
    assert (
        plan_guard.main(["dump", str(tmp_path / "dump.gz"), "--geometries", "1", "--digests", "2", "--every", "7"]) == 0
    )


def test_random_geometries_are_the_same_in_every_revision() -> None:
    """Dumps of different days are compared: only a change that means to draw others may change this."""
    rng = random.Random(12)
    drawn = [plan_guard.draw(rng, f"{small}/{i}", small) for small in (False, True) for i in range(100)]
    assert hashlib.sha1(repr(drawn).encode()).hexdigest() == "7a0b7e0d70c2a33f4ee556d21625f78a971a711c"
    assert {case.rank for case in drawn} == {1, 2, 3}
    assert {mode for case in drawn for mode in case.modes} == {"zeros", *plan_guard.MODES}
    assert {case.algorithm for case in drawn} == {"auto", "direct", "winograd"}
    assert all({False, True} == {getattr(case, option) for case in drawn} for option in ("flip", "per_sample"))
    assert all(min(case.output) >= 1 for case in drawn)
