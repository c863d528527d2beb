"""The simulation of docs/scale.md: its rows are those of the page, and what it counts is what is read."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import scale_simulation as scale

PAGE = (Path(__file__).parents[1] / "docs" / "scale.md").read_text(encoding="utf-8")


def row_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.mark.parametrize(("case", "workers"), [(0, 4096), (4, 1024)])
def test_a_row_of_the_page_is_what_the_simulation_says(case: int, workers: int) -> None:
    _, row = scale.table([scale.simulated(scale.CASES[case], workers)])
    assert row in [row_of(line) for line in PAGE.splitlines()]


def test_the_page_has_every_row() -> None:
    lines = [row_of(line)[:3] for line in PAGE.splitlines() if line.startswith("|")]
    for case in scale.CASES:
        for workers in scale.WORKERS:
            assert [case.op, case.name, f"{workers:,}"] in lines


def test_what_is_fetched_is_the_halo() -> None:
    """Of a strip between two others of other workers: two rows of each."""
    case = scale.Case("strips", "forward", (1, 1, 100, 50), (1, 1, 5, 5), (1, 1, 10, -1))
    blocks = scale.blocks_of(case)
    assert [chunk for chunk, _ in blocks[4].pieces] == [3, 4, 5]
    assert [size for _, size in blocks[4].pieces] == [2 * 50 * 4, 10 * 50 * 4, 2 * 50 * 4]
    assert [size for _, size in blocks[0].pieces] == [10 * 50 * 4, 2 * 50 * 4]
    row = scale.simulated(case, 10)
    assert row.fetched == 4 * 50 * 4
    assert row.share == pytest.approx(18 * 2 * 50 / (1000 * 5 + 18 * 100))


def test_time_of_one_worker_is_that_of_computing() -> None:
    case = scale.Case("scene", "forward", (1, 4, 64, 64), (8, 4, 3, 3), (1, -1, 32, 32))
    alone = scale.finished(case, 1, frozenset({"scheduler"}))
    assert alone == pytest.approx(sum(block.seconds for block in scale.blocks_of(case)))
    assert scale.finished(case, 1, frozenset()) >= alone
    flops = 2 * 8 * 4 * 9 * 64 * 64
    assert alone >= flops / scale.FLOPS


def test_a_tree_takes_as_many_steps_as_it_has_levels() -> None:
    case = scale.Case("samples", "weight_grad", (16, 4, 8, 8), (8, 4, 3, 3), (1, -1, -1, -1))
    ends = [0.0] * 16
    size = 8 * 4 * 9 * 4
    step = scale.MESSAGE + size / scale.LINK + 1 / scale.TASKS + 3 * size / scale.MEMORY
    assert scale.tree_finished(case, ends, list(range(16))) == pytest.approx(4 * step)
    assert scale.tree_finished(case, ends, [0] * 16) == pytest.approx(4 * (step - scale.MESSAGE - size / scale.LINK))
    assert math.log2(len(case.tiles)) == len(case.tiles.tree.levels) - 1
