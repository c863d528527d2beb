"""Each row of docs/conventions.md's tables computes the same twice; converters of weights and arguments are right.

The page is the source of the first part: what the tables say is what runs.  Rows for a library that is not
installed are skipped; `nox -s conventions` installs PyTorch and JAX.
"""

from __future__ import annotations

import functools
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convpp
from convpp import ShapeError, conventions
from pages import PAGES, ROOT, Row, blocks, evaluate, rows, run

PAGE = ROOT / "docs" / "conventions.md"
ROWS = [(page, row) for page in PAGES for row in rows(page)]


@functools.cache
def names_after(page: Path, package: str, last: int) -> dict[str, Any]:
    """What the blocks down to that line leave, those for the library among them."""
    return run(page, *(block for block in blocks(page) if block.line <= last and block.needs in (None, package)))


@pytest.mark.parametrize(
    ("page", "row"), ROWS, ids=[f"{page.stem}-{row.line}-{row.package}-{row.theirs}" for page, row in ROWS]
)
def test_the_two_calls_of_a_row_agree(page: Path, row: Row) -> None:
    pytest.importorskip(row.package)
    names = names_after(page, row.package, max(block.line for block in blocks(page) if block.line < row.line))
    ours = evaluate(page, row.ours, row.line, names)
    theirs = np.asarray(evaluate(page, row.theirs, row.line, names))
    assert ours.shape == theirs.shape
    assert ours.size
    assert np.max(np.abs(ours)) > 0  # not a comparison of zeros
    assert np.max(np.abs(ours - theirs)) <= row.error * np.max(np.abs(theirs))


def test_every_library_has_rows() -> None:
    packages = {row.package for _, row in ROWS}
    peers = {"astropy", "skimage", "cv2"}
    assert packages == {"numpy", "scipy", "onnx", "onnxruntime", "torch", "tensorflow", "jax", *peers}
    exact = [row for _, row in ROWS if row.error == 0]
    assert len(exact) > 0.9 * len(ROWS) > 60


def test_no_table_of_calls_is_overlooked() -> None:
    """A table with a column "convpp" is one whose rows run."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("|") and "| convpp |" in line:
            assert lines[number - 1].startswith("<!-- rows: "), f"line {number + 1}"


# ----------------------------------------------------------------------------------------- weights

KERNELS = [(5,), (5, 3), (2, 5, 3)]


def weights(*shape: int) -> Any:
    return np.arange(float(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("there", "back"),
    [
        (conventions.from_hwio, conventions.to_hwio),
        (conventions.from_ohwi, conventions.to_ohwi),
        (conventions.from_hwoi, conventions.to_hwoi),
        (conventions.from_jax_transpose, conventions.to_jax_transpose),
    ],
)
def test_round_trips(kernel: Any, there: Any, back: Any) -> None:
    w = weights(6, 4, *kernel)
    np.testing.assert_array_equal(there(back(w)), w)
    w = weights(*kernel, 6, 4)
    np.testing.assert_array_equal(back(there(w)), w)
    assert there(w.astype(np.int8)).dtype == np.int8


@pytest.mark.parametrize("kernel", KERNELS)
def test_round_trips_of_depthwise_and_grouped_weights(kernel: Any) -> None:
    w = weights(6, 1, *kernel)
    np.testing.assert_array_equal(conventions.from_depthwise(conventions.to_depthwise(w, 3)), w)
    assert conventions.to_depthwise(w, 3).shape == (*kernel, 3, 2)
    w = weights(6, 2, *kernel)  # C_in = 6, C_out = 4 in two groups
    there = conventions.to_jax_transpose(w, 2)
    assert there.shape == (*kernel, 3, 4)
    np.testing.assert_array_equal(conventions.from_jax_transpose(there, 2), w)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_element_is_where_the_equation_says(kernel: Any) -> None:
    w = weights(*kernel, 3, 4)
    found = {
        "hwio": conventions.from_hwio(w),
        "hwoi": conventions.from_hwoi(w),
        "depthwise": conventions.from_depthwise(w),
        "jax": conventions.from_jax_transpose(w),
    }
    ohwi = weights(3, *kernel, 4)
    found["ohwi"] = conventions.from_ohwi(ohwi)
    for r in np.ndindex(*kernel):
        rotated = tuple(k - 1 - i for k, i in zip(kernel, r, strict=True))
        for a, b in itertools.product(range(3), range(4)):
            assert found["hwio"][b, a, *r] == w[*r, a, b]
            assert found["hwoi"][b, a, *r] == w[*r, a, b]
            assert found["depthwise"][a * 4 + b, 0, *r] == w[*r, a, b]
            assert found["jax"][a, b, *r] == w[*rotated, a, b]
            assert found["ohwi"][a, b, *r] == ohwi[a, *r, b]


def test_which_results_are_views() -> None:
    w = weights(3, 5, 4, 2)
    views = ("from_hwio", "to_hwio", "from_ohwi", "to_ohwi", "from_hwoi", "to_hwoi", "from_depthwise")
    for name in views:
        assert np.shares_memory(getattr(conventions, name)(w), w), name
    assert np.shares_memory(conventions.to_depthwise(weights(6, 1, 3), 2), weights(1)) is False
    for name in ("from_jax_transpose", "to_jax_transpose"):
        result = getattr(conventions, name)(w)
        assert not np.shares_memory(result, w)
        assert result.flags.c_contiguous


@pytest.mark.parametrize("name", [name for name in conventions.__all__ if name.startswith(("from_", "to_"))])
@pytest.mark.parametrize("shape", [(3, 3), (2,) * 6, ()])
def test_weights_of_another_rank_are_refused(name: str, shape: Any) -> None:
    more = {"groups": 1} if name == "to_depthwise" else {}
    with pytest.raises(ShapeError, match=r"w has shape .*, expected \(.*\*kernel.*with 1, 2 or 3 kernel axes"):
        getattr(conventions, name)(np.ones(shape), **more)


def test_wrong_groups() -> None:
    with pytest.raises(ShapeError, match=r"w has shape \(6, 2, 3\), expected .* C = groups = 3"):
        conventions.to_depthwise(weights(6, 2, 3), 3)
    with pytest.raises(ShapeError, match="C = groups = 4"):
        conventions.to_depthwise(weights(6, 1, 3), 4)
    with pytest.raises(ShapeError, match="groups is 4, expected a divisor"):
        conventions.to_jax_transpose(weights(6, 2, 3), 4)
    for function in (conventions.to_depthwise, conventions.to_jax_transpose, conventions.from_jax_transpose):
        with pytest.raises(ValueError, match="groups is 0"):
            function(weights(6, 1, 3), 0)


# --------------------------------------------------------------------------------------- arguments


def test_arguments_for_numpy_and_scipy(rng: np.random.Generator) -> None:
    signal, ndimage = pytest.importorskip("scipy.signal"), pytest.importorskip("scipy.ndimage")
    image = rng.integers(-4, 5, (7, 8)).astype(float)

    def ours(kernel: Any, arguments: Any, image: Any = image) -> Any:
        return convpp.conv(image[np.newaxis], kernel[np.newaxis, np.newaxis], **arguments)[0]

    for shape in itertools.product(range(1, 6), range(1, 6)):
        kernel = rng.integers(-4, 5, shape).astype(float)
        for mode in ("full", "same", "valid"):
            for name in ("convolve", "correlate"):
                arguments = conventions.signal_arguments(name, mode)
                theirs = getattr(signal, name)(image, kernel, mode, method="direct")
                np.testing.assert_array_equal(ours(kernel, arguments), theirs)
                theirs = getattr(np, name)(image[0], kernel[0], mode)
                np.testing.assert_array_equal(ours(kernel[0], arguments, image[0]), theirs)
            for name in ("convolve2d", "correlate2d"):
                arguments = conventions.signal_arguments(name, mode)
                np.testing.assert_array_equal(ours(kernel, arguments), getattr(signal, name)(image, kernel, mode))
        middles = (range(-(k // 2), (k - 1) // 2 + 1) for k in shape)
        for origin, name in itertools.product(itertools.product(*middles), ("convolve", "correlate")):
            arguments = conventions.ndimage_arguments(name, shape, "constant", origin)
            theirs = getattr(ndimage, name)(image, kernel, mode="constant", origin=origin)
            np.testing.assert_array_equal(ours(kernel, arguments), theirs)


def test_names_of_modes() -> None:
    modes = {"reflect": "symmetric", "mirror": "reflect", "nearest": "replicate", "wrap": "circular"}
    for theirs, ours in modes.items():
        assert conventions.ndimage_arguments("correlate", (3,), theirs)["padding_mode"] == ours
    assert conventions.signal_arguments("convolve2d", "full", "symm")["padding_mode"] == "symmetric"


def test_pads_of_torch_and_onnx() -> None:
    assert conventions.torch_padding([1, 2, 3, 4, 5, 6]) == ((5, 6), (3, 4), (1, 2))
    assert conventions.torch_padding((-1, 0), rank=3) == ((0, 0), (0, 0), (-1, 0))
    assert conventions.torch_padding((), rank=1) == ((0, 0),)
    assert conventions.onnx_padding([1, 2, 3, 4, 5, 6]) == ((1, 4), (2, 5), (3, 6))
    assert conventions.onnx_padding() == 0
    assert conventions.onnx_padding(auto_pad="SAME_LOWER") == "same_lower"


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (conventions.torch_padding, ((1, 2, 3),), r"pad is \(1, 2, 3\)"),
        (conventions.torch_padding, ((1, 2, 3, 4), 1), "at most 1 axes"),
        (conventions.torch_padding, ("same",), "pad is 'same'"),
        (conventions.onnx_padding, ([1, 2, 3],), r"pads is \[1, 2, 3\]"),
        (conventions.onnx_padding, ([1, 2], "VALID"), "auto_pad='NOTSET'"),
        (conventions.onnx_padding, (None, "SAME"), "auto_pad is 'SAME', expected one of NOTSET"),
        (conventions.signal_arguments, ("fftconvolve", "same"), "function is 'fftconvolve'"),
        (conventions.signal_arguments, ("convolve", "causal"), "mode is 'causal'"),
        (conventions.signal_arguments, ("convolve2d", "same", "reflect"), "boundary is 'reflect'"),
        (conventions.ndimage_arguments, ("convolve1d", (3,)), "function is 'convolve1d'"),
        (conventions.ndimage_arguments, ("convolve", (3,), "symmetric"), "mode is 'symmetric'"),
        (conventions.ndimage_arguments, ("convolve", (3, 4), "wrap", (0, 2)), r"origin is \(0, 2\)"),
        (conventions.ndimage_arguments, ("convolve", (3, 4), "wrap", (0,)), "origin is"),
    ],
)
def test_wrong_arguments(function: Any, arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(*arguments)
