"""Types of results: what checkers conclude is what comes back.

In: calls.   `assert_type` is read by mypy and pyright (session `types`), and does nothing when it runs; the dtypes that
come back are looked at here.   Read next: `_call/keywords.py`, which says why there are overloads.
"""

# pyright: strictListInference=true
# (Else it has lists of different classes as lists of anything.)

from __future__ import annotations

from typing import Any, assert_type, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

import convpp
from convpp._call import arguments, planning
from convpp.plain import arguments as plain

pytestmark = pytest.mark.one_isa

Single = NDArray[np.float32]
Double = NDArray[np.float64]
Anything = NDArray[Any]

X, W, DY = np.ones((2, 3, 6, 6), np.float32), np.ones((4, 3, 3, 3), np.float32), np.ones((2, 4, 4, 4), np.float32)
B, D = np.ones(4, np.float32), np.ones((2, 3, 6, 6))


def dtypes(*results: Any) -> list[str | None]:
    return [None if result is None else result.dtype.name for result in results]


def test_results_have_the_type_of_the_operands() -> None:
    y = convpp.conv(X, W, B, add=DY, padding=0, activation="relu")
    dx = convpp.conv_input_grad(DY, W, X.shape)
    dw = convpp.conv_weight_grad(DY, X, W.shape)
    z = convpp.conv_transpose(DY, W)
    a = convpp.activate(X, ("leaky_relu", 0.1))
    da = convpp.activation_grad(X, "relu", y=X)
    assert_type(y, Single)
    assert_type(dx, Single)
    assert_type(dw, Single)
    assert_type(z, Single)
    assert_type(a, Single)
    assert_type(da, Single)
    assert_type(convpp.conv_transpose_input_grad(X, W, DY.shape), Single)
    assert_type(convpp.conv_transpose_weight_grad(X, DY, W.shape), Single)
    assert_type(convpp.conv_bias_grad(DY), Single)
    assert_type(convpp.adjoint_kernel(W), Single)
    assert_type(convpp.conv(X, convpp.prepare_weights(W, X.shape)), Single)
    assert_type(convpp.conv(D, W.astype(np.float64)), Double)
    assert dtypes(y, dx, dw, z, a, da) == ["float32"] * 6


def test_of_two_types_the_result_is_of_one_of_them() -> None:
    y = convpp.conv(D, W)
    for_checkers: NDArray[np.floating[Any]] = y
    assert dtypes(for_checkers) == ["float64"]
    assert_type(convpp.conv(X.tolist(), W), Anything)


def test_arrays_of_any_type_are_no_riddle() -> None:
    x, w, dy = (array.astype("float64") for array in (X, W, DY))
    any_x: Anything = x
    any_w: Anything = w
    any_dy: Anything = dy
    assert_type(convpp.conv(any_x, any_w), Anything)
    assert_type(convpp.conv_backward(any_dy, any_x, any_w), tuple[Anything, Anything, Anything])
    assert_type(convpp.conv_backward(any_dy, any_x, any_w, needs=("x",)), tuple[Anything, None, None])
    assert_type(convpp.convolve(any_x, any_w[0, 0]), Anything)
    assert_type(convpp.max_pool(any_x, 2), Anything)


def test_out_says_what_comes_back() -> None:
    y = np.empty((2, 4, 4, 4), np.float32)
    assert convpp.conv(X, W, out=y) is y
    assert_type(convpp.conv(X, W, out=y), Single)
    wide: NDArray[np.floating[Any]] = convpp.conv(X.astype(np.float16), W.astype(np.float16), out=y)
    assert wide is y


def test_what_needs_leaves_out_is_none() -> None:
    def backward() -> None:
        assert_type(convpp.conv_backward(DY, X, W), tuple[Single, Single, Single])
        assert_type(convpp.conv_backward(DY, X, W, needs=("bias", "x", "w")), tuple[Single, Single, Single])
        assert_type(convpp.conv_backward(DY, X, W, needs="x"), tuple[Single, None, None])
        assert_type(convpp.conv_backward(DY, X, W, needs=("w",)), tuple[None, Single, None])
        assert_type(convpp.conv_backward(DY, X, W, needs=("bias",)), tuple[None, None, Single])
        assert_type(convpp.conv_backward(DY, X, W, needs=("w", "x")), tuple[Single, Single, None])
        assert_type(convpp.conv_backward(DY, X, W, needs=("x", "bias")), tuple[Single, None, Single])
        assert_type(convpp.conv_backward(DY, X, W, needs=("w", "bias"), stride=1), tuple[None, Single, Single])
        assert_type(convpp.conv_backward(DY, X, W, needs=["x"]), tuple[Single | None, Single | None, Single | None])
        assert_type(convpp.conv_backward(DY.tolist(), X, W, needs="w"), tuple[None, Anything, None])
        assert_type(convpp.conv_transpose_backward(X, DY, W, needs=("x", "w")), tuple[Single, Single, None])

    backward()
    assert dtypes(*convpp.conv_backward(DY, X, W, needs=("x", "bias"))) == ["float32", None, "float32"]
    layer = convpp.Conv2d(3, 4, 3)
    layer.forward(X)
    assert_type(layer.backward(DY), Anything)
    assert_type(layer.backward(DY, needs=("x", "w")), Anything)
    assert_type(layer.backward(DY, needs="w"), Anything | None)


def test_a_list_of_different_layers_is_one_of_layers() -> None:
    layers = [convpp.Conv1d(1, 2, 3), convpp.ConvTranspose1d(2, 1, 3), convpp.MaxPool1d(2), convpp.AvgPool1d(2)]
    y = np.ones((1, 1, 8), np.float32)
    for layer in layers:
        y = layer(y, keep=True)
        assert_type(layer.parameters(), list[Anything])
    for layer in reversed(layers):
        assert_type(layer.backward(y), Anything)
        y = layer.backward(y)
    assert y.shape == (1, 1, 8)


def test_derivatives() -> None:
    assert_type(convpp.conv_jvp((X, W, None), (X, None, None)), tuple[Single, Single])
    assert_type(convpp.conv_double_backward(X, None, None, DY, X, W), tuple[Single, Single, Single])
    assert dtypes(*convpp.conv_jvp((X, W, None), (X, None, None))) == ["float32"] * 2


def test_pooling() -> None:
    y, indices = convpp.max_pool(X, 2, return_indices=True)
    assert_type(y, Single)
    assert_type(indices, NDArray[np.int64])
    assert_type(convpp.max_pool(X, 2), Single)
    assert_type(convpp.avg_pool(X, 2, count_include_pad=False), Single)
    assert_type(convpp.max_pool_input_grad(y, X, 2), Single)
    assert_type(convpp.avg_pool_input_grad(y, X.shape, 2), Single)
    assert dtypes(y, indices) == ["float32", "int64"]


def test_plain_arrays() -> None:
    k, z = np.ones((3, 3), np.float32), np.ones((6, 6), np.complex64)
    assert_type(convpp.convolve(X, k, mode="same", boundary="reflect"), Single)
    assert_type(convpp.correlate(X, [B, B], method="separable"), Single)
    assert_type(convpp.convolve(z, z), NDArray[np.complex64])
    assert_type(convpp.convolve([1, 2], [1, 2], dtype=np.float64), Double)
    assert_type(convpp.convolve([1, 2], [1, 2]), Anything)
    assert_type(convpp.convolve(X.ravel(), B, mode="causal", state="zeros"), tuple[Single, Single])
    assert_type(convpp.convolve_backward(X, X, k, mode="same"), tuple[Single, Single])
    assert_type(convpp.convolve_backward(X, X, k, mode="same", needs="a"), tuple[Single, None])
    assert_type(convpp.convolve_backward(X, X, k, mode="same", needs=("kernel",)), tuple[None, Single])
    assert dtypes(convpp.convolve(z, z), convpp.convolve(X, k)) == ["complex64", "float32"]
    assert dtypes(*convpp.convolve_backward(X, X, k, mode="same", needs="a")) == ["float32", None]


def test_a_signal_in_chunks() -> None:
    state: str | Single = "zeros"
    for chunk in np.split(X[0, :, 0], 2, axis=1):
        y, state = convpp.conv(chunk, W[:, :, 0], padding="causal", state=state)
        assert_type(y, Single)
    assert dtypes(state) == ["float32"]


@pytest.mark.parametrize(
    ("names", "literal"),
    [
        (arguments.PADDINGS, arguments.PaddingName),
        (arguments.PADDING_MODES, arguments.PaddingModeName),
        (arguments.LAYOUTS, arguments.Layout),
        (arguments.ALGORITHMS, arguments.Algorithm),
        (arguments.ACTIVATIONS, arguments.ActivationName),
        (planning.PASSES, planning.Pass),
        (plain.MODES, plain.Mode),
        (plain.BOUNDARIES, plain.BoundaryName),
        (plain.METHODS, plain.Method),
        (plain.NANS, plain.Nan),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_checkers_know_the_names_that_calls_take(names: tuple[str, ...], literal: Any) -> None:
    assert names == get_args(literal)
