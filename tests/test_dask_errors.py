"""What `convpp.dask` refuses, before anything is computed: each message says what to do, and which rechunk to make."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dask.array")

import dask.array as da

import convpp
import convpp.dask

W = np.ones((4, 3, 3))
X = da.ones((2, 3, 8), chunks=(1, 3, 4))
DY = da.ones((2, 4, 6), chunks=(1, 4, 3))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: convpp.dask.conv(np.ones((2, 3, 8)), W), TypeError, r"x is a ndarray, expected a dask array: dask"),
        (lambda: convpp.dask.conv_weight_grad(DY, X.compute(), W.shape), TypeError, r"x is a ndarray"),
        (lambda: convpp.dask.conv(X.astype("i8"), W), TypeError, r"x has dtype int64"),
        (lambda: convpp.dask.conv(X, W.astype(int)), TypeError, r"w has dtype int64"),
        (lambda: convpp.dask.conv(X, np.ones((4, 2, 3))), ValueError, r"w has shape \(4, 2, 3\), so x must have"),
        (lambda: convpp.dask.conv(X, W, np.ones(3)), ValueError, r"bias has shape \(3,\), expected \(4,\)"),
        (lambda: convpp.dask.conv(X, W, padding="sam"), ValueError, "padding is 'sam'"),
        (lambda: convpp.dask.conv(X, W, threads=0), ValueError, "threads is 0"),
        (lambda: convpp.dask.conv(X, W, activation="rely"), ValueError, "activation is 'rely'"),
        (lambda: convpp.dask.conv(X, W, algorithm="fastest"), ValueError, "algorithm is 'fastest'"),
        (lambda: convpp.dask.conv(X, W, chunks=((2,), (4,), (3, 4))), ValueError, r"chunks is .*of shape \(2, 4, 6\)"),
        (lambda: convpp.dask.conv_input_grad(DY, W, (2, 3, 9)), ValueError, r"expected \(2, 4, 7\)"),
        (lambda: convpp.dask.conv_weight_grad(DY, X, (4, 3, 2)), ValueError, r"dy has shape \(2, 4, 6\)"),
        (lambda: convpp.dask.conv_backward(DY, X, W, needs=("b",)), ValueError, "needs is"),
        (lambda: convpp.dask.conv_bias_grad(da.ones((2, 3))), ValueError, r"dy has shape \(2, 3\)"),
        (lambda: convpp.dask.conv_bias_grad(DY[0], batched=False, per_sample=True), ValueError, "batched=True"),
        (lambda: convpp.dask.conv(X, convpp.prepare_weights(W, (1, 3, 8))), TypeError, "w was prepared for one shape"),
    ],
)  # fmt: skip
def test_operands_and_options(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_chunks_of_unknown_extent() -> None:
    x = X[X[:, 0, 0] > 0]
    with pytest.raises(convpp.ShapeError, match=r"use x\.compute_chunk_sizes\(\)"):
        convpp.dask.conv(x, W)


def test_chunks_with_parts_of_two_groups() -> None:
    w, x = np.ones((6, 2, 3)), da.ones((1, 4, 5), chunks=(1, 1, 5))
    dy = da.ones((1, 6, 3), chunks=(1, (2, 4), 3))
    message = r"dy has a chunk with channels 2 to 5, .* multiple of 3 or a divisor of it: use dy\.rechunk\(\{1: 3\}\)"
    with pytest.raises(convpp.ShapeError, match=message):
        convpp.dask.conv_weight_grad(dy, x, w.shape, groups=2)
    dw = convpp.dask.conv_weight_grad(dy.rechunk({1: 3}), x, w.shape, groups=2)
    assert np.all(dw.compute() == 3)
    with pytest.raises(convpp.ShapeError, match=r"use w\.rechunk\(\{0: 3\}\)"):
        convpp.dask.conv(x, da.from_array(w, chunks=((2, 4), 2, 3)), groups=2)
    with pytest.raises(convpp.ShapeError, match=r"use x\.rechunk\(\{1: 2\}\)"):
        convpp.dask.conv_backward(dy.rechunk({1: 3}), x.rechunk({1: (1, 3)}), w, groups=2)
    with pytest.raises(convpp.ShapeError, match=r"chunks has a chunk with channels 2 to 5.*use 3 along axis 1"):
        convpp.dask.conv(x, w, groups=2, chunks=((1,), (2, 4), (3,)))


def test_what_is_added_has_the_chunks_of_the_result() -> None:
    add = da.ones((2, 4, 6), chunks=(2, 4, 2))
    with pytest.raises(
        convpp.ShapeError, match=r"add\.rechunk\(\(\(1, 1\), \(4,\), \(3, 3\)\)\), or chunks=add\.chunks"
    ):
        convpp.dask.conv(X, W, add=add)
    assert convpp.dask.conv(X, W, add=add, chunks=add.chunks).compute().max() == 10


def test_chunks_that_are_no_numpy_arrays() -> None:
    masked = da.ma.masked_less(X, 0)
    with pytest.raises(convpp.DTypeError, match="chunks of MaskedArray"):
        convpp.dask.conv(masked, W)


@pytest.mark.parametrize("function", [convpp.conv, convpp.convolve])
def test_functions_of_arrays_in_memory_name_this_module(function: Any) -> None:
    with pytest.raises(convpp.DTypeError, match=r"is a dask array, expected one in memory: .*convpp\.dask"):
        function(X, W)


def test_arrays_of_expressions_are_refused() -> None:
    code = "import dask; dask.config.set({'array.query-planning': True}); import convpp.dask"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ImportError: convpp.dask needs arrays of graphs" in done.stderr


def test_the_module_is_imported_when_it_is_asked_for() -> None:
    assert convpp.dask.conv is not convpp.conv  # and `import dask` within it is dask
    assert "dask" not in dir(convpp)
