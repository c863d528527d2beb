"""The matrices of Winograd's minimal filtering: the header is what the script writes, and each size is exact.

Whole numbers and fractions, no tolerance.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "winograd_transforms.py"
tool = SimpleNamespace(**runpy.run_path(str(SCRIPT), run_name="winograd_transforms"))

SIZES = list(tool.SIZES)


def transform(size: tuple[int, int]) -> Any:
    return tool.toom_cook(*size, tool.SIZES[size])


def matrices(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """B^T, G, A^T."""
    t = transform(size)
    return np.array(t.source, object), np.array(t.weights, object), np.array(t.results, object)


def whole(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.vectorize(Fraction, otypes=[object])(rng.integers(-9, 10, shape))


def correlate(d: np.ndarray, g: np.ndarray) -> np.ndarray:
    """The definition, in one or two dimensions."""
    extents = np.subtract(d.shape, g.shape) + 1
    return np.array(
        [np.sum(g * d[tuple(map(slice, i, np.add(i, g.shape)))]) for i in np.ndindex(*extents)], object
    ).reshape(extents)


def along_both(matrix: np.ndarray, values: np.ndarray) -> np.ndarray:
    return matrix @ values @ matrix.T


def test_header_is_what_the_script_writes() -> None:
    # Read as bytes: the same file on every system, newlines included.
    assert tool.HEADER.read_bytes() == tool.header().encode(), "run tools/winograd_transforms.py"


@pytest.mark.parametrize(("text", "code"), [(None, 0), ("another", 1)], ids=["the same", "another"])
def test_check_tells_by_its_exit_code(
    text: str | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "header.hpp"
    file.write_text(text or tool.header(), encoding="utf-8", newline="\n")
    before = file.read_bytes()
    monkeypatch.setitem(tool.main.__globals__, "HEADER", file)
    monkeypatch.setattr("sys.argv", ["winograd_transforms.py", "--check"])
    assert tool.main() == code
    assert file.read_bytes() == before
    monkeypatch.setattr("sys.argv", ["winograd_transforms.py"])
    assert tool.main() == 0
    assert file.read_bytes() == tool.header().encode()


@pytest.mark.parametrize("size", SIZES)
def test_forward_is_exact_in_one_dimension(size: tuple[int, int], rng: np.random.Generator) -> None:
    source, weights, results = matrices(size)
    d, g = whole(rng, len(source)), whole(rng, size[1])
    assert np.array_equal(results @ ((weights @ g) * (source @ d)), correlate(d, g))


@pytest.mark.parametrize("size", SIZES)
def test_forward_is_exact_in_two_dimensions(size: tuple[int, int], rng: np.random.Generator) -> None:
    source, weights, results = matrices(size)
    d, g = whole(rng, len(source), len(source)), whole(rng, size[1], size[1])
    assert np.array_equal(along_both(results, along_both(weights, g) * along_both(source, d)), correlate(d, g))


@pytest.mark.parametrize("size", SIZES)
def test_weight_gradient_is_exact_in_one_dimension(size: tuple[int, int], rng: np.random.Generator) -> None:
    source, weights, results = matrices(size)
    d, dy = whole(rng, len(source)), whole(rng, size[0])
    assert np.array_equal(weights.T @ ((results.T @ dy) * (source @ d)), correlate(d, dy))


@pytest.mark.parametrize("size", SIZES)
def test_weight_gradient_is_exact_in_two_dimensions(size: tuple[int, int], rng: np.random.Generator) -> None:
    source, weights, results = matrices(size)
    tiles = [(whole(rng, len(source), len(source)), whole(rng, size[0], size[0])) for _ in range(3)]
    products = sum(along_both(results.T, dy) * along_both(source, d) for d, dy in tiles)
    assert np.array_equal(along_both(weights.T, products), sum(correlate(d, dy) for d, dy in tiles))


@pytest.mark.parametrize("size", SIZES)
def test_rows_of_a_pair_differ_in_the_signs_of_odd_columns(size: tuple[int, int]) -> None:
    source, weights, results = matrices(size)
    for matrix in (source, weights, results.T):
        signs = [(-1) ** column for column in range(matrix.shape[1])]
        assert np.array_equal(matrix[2:-1:2], matrix[1:-1:2] * signs)


def numbers(rows: Sequence[str]) -> list[list[float]]:
    """What a compiler makes of the rows, each number and each quotient rounded once."""
    return [[eval(entry) for entry in row.split("{")[1].split("}")[0].split(", ")] for row in rows]


def members(size: tuple[int, int]) -> dict[str, list[list[float]]]:
    """The arrays of one size, read from the header."""
    text = tool.HEADER.read_text(encoding="utf-8")
    struct = text.split(f"struct WinogradTransform<{size[0]}, {size[1]}> {{")[1].split("\n};")[0]
    found = {}
    for member in struct.split("static constexpr double ")[1:]:
        found[member.split("[")[0]] = numbers([line for line in member.splitlines() if line.startswith("        {")])
    return found


def rounded(matrix: Iterable[Iterable[Fraction]]) -> list[list[float]]:
    return [[float(entry) for entry in row] for row in matrix]


@pytest.mark.parametrize("size", SIZES)
def test_numbers_of_the_header_are_rounded_once(size: tuple[int, int]) -> None:
    t = transform(size)
    assert members(size) == {
        "source": rounded(t.source),
        "weights": rounded(t.weights),
        "results": rounded(t.results),
    }


@pytest.mark.parametrize("size", SIZES)
def test_source_and_results_are_exact_in_float32(size: tuple[int, int]) -> None:
    source, _, results = matrices(size)
    for entry in (*source.flat, *results.flat):
        assert Fraction(float(np.float32(float(entry)))) == entry


@pytest.mark.parametrize("size", SIZES)
def test_entries_are_moderate(size: tuple[int, int]) -> None:
    """Transformed numbers are neither much larger nor much smaller than what they come from."""
    for matrix in matrices(size):
        assert all(sum(map(abs, row)) < 10 for row in matrix)
        assert all(Fraction(1, 16) < abs(entry) < 8 for entry in matrix.flat if entry)


@pytest.mark.parametrize("points", [(1, 1), (1, 0), (1,), (1, 2, 3)])
def test_points_must_differ_and_be_as_many_as_the_size_needs(points: tuple[int, ...]) -> None:
    make: Callable[..., Any] = tool.toom_cook
    with pytest.raises(ValueError, match=r"F\(4, 3\) needs 6 points"):
        make(4, 3, [Fraction(point) for point in points])
