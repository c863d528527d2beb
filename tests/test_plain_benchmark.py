"""What benchmarks/plain_arrays.py computes: cases whose results agree, times, their table."""

from __future__ import annotations

from pathlib import Path

import plain_arrays
from plain_arrays import Time


def test_every_case_agrees_with_the_others() -> None:
    names = []
    for case in plain_arrays.cases(megapixels=0.01, threads=1):
        names.append(case.name)
        times = plain_arrays.measured(case, seconds=0)
        assert next(iter(times)) == "convpp"
        assert all(seconds > 0 for seconds in times.values())
    assert len(set(names)) == len(names) == 10


def test_the_table(tmp_path: Path) -> None:
    times = [Time("blur", "convpp", 2, 0.01), Time("blur", "SciPy", 2, 0.05), Time("line", "convpp", 1, 0.002)]
    path = tmp_path / "times.csv"
    plain_arrays.write_csv(times, path)
    assert plain_arrays.read_csv(path) == times
    assert plain_arrays.table(times) == [
        ["case", "threads", "convpp, ms", "SciPy", "astropy", "OpenCV"],
        ["blur", "2", "10.0", "5.00", "", ""],
        ["line", "1", "2.0", "", "", ""],
    ]
