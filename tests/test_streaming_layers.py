"""Layers that stream: the bits of the whole signal, gradients of the last chunk, a state that can be saved."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import convpp

Array = npt.NDArray[Any]


def layers(streaming: bool, **options: Any) -> convpp.Conv1d:
    return convpp.Conv1d(4, 6, 5, padding="causal", streaming=streaming, rng=1, **options)


def drawn(seed: int, *shape: int, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("activation", [None, "silu"])
def test_the_bits_of_the_whole_signal(dtype: Any, layout: Any, activation: Any) -> None:
    options: dict[str, Any] = {"dtype": dtype, "layout": layout, "activation": activation, "groups": 2, "dilation": 3}
    axis = 2 if layout == "channels_first" else 1
    x = drawn(2, 3, 4, 90, dtype=dtype) if axis == 2 else drawn(2, 3, 90, 4, dtype=dtype)
    whole = layers(True, **options)(x)
    plain = layers(False, **options, algorithm="stream")(x)
    assert whole.tobytes() == plain.tobytes()
    layer = layers(True, **options)
    for _ in range(2):
        parts = [layer(part) for part in np.split(x, [1, 1, 7, 60], axis=axis)]
        assert np.concatenate(parts, axis).tobytes() == whole.tobytes()
        layer.reset()


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
@pytest.mark.parametrize("keep", ["reference", "copy"])
def test_gradients_are_those_of_the_chunk_with_what_was_before_it_given(activation: Any, keep: Any) -> None:
    layer = layers(True, activation=activation, dtype=np.float64, keep=keep)
    plain = convpp.Conv1d(4, 6, 5, activation=activation, dtype=np.float64)
    plain.load_state_dict(layer.state_dict())
    x, dy = drawn(3, 2, 4, 30, dtype=np.float64), drawn(4, 2, 6, 13, dtype=np.float64)
    layer(x[..., :17])
    layer(x[..., 17:])
    dx = layer.backward(dy)
    plain(x[..., 13:])
    want = plain.backward(dy)
    assert dx.shape == (2, 4, 13)
    np.testing.assert_allclose(dx, want[..., 4:], atol=1e-12)
    np.testing.assert_allclose(layer.weight_grad, plain.weight_grad, atol=1e-12)
    assert layer.bias_grad is not None
    np.testing.assert_allclose(layer.bias_grad, plain.bias_grad, atol=1e-12)
    each, (weights, biases) = layer.backward_per_sample(dy)
    np.testing.assert_allclose(each, dx, atol=1e-12)
    np.testing.assert_allclose(weights.sum(0), layer.weight_grad, atol=1e-12)
    np.testing.assert_allclose(biases.sum(0), layer.bias_grad, atol=1e-12)
    assert layer.backward(dy, needs="w") is None


def test_finite_differences_of_one_chunk() -> None:
    layer = layers(True, dtype=np.float64)
    x, dy = drawn(5, 1, 4, 20, dtype=np.float64), drawn(6, 1, 6, 8, dtype=np.float64)
    layer(x[..., :12])
    state = layer.state
    layer(x[..., 12:])
    dx = layer.backward(dy)
    for index in ((0, 1, 0), (0, 3, 7)):
        moved = x[..., 12:].copy()
        moved[index] += 1e-6
        layer.state = state
        up = (layer(moved, keep=False) * dy).sum()
        layer.state = state
        down = (layer(x[..., 12:], keep=False) * dy).sum()
        np.testing.assert_allclose((up - down) / 1e-6, dx[index], rtol=1e-4)


def test_an_empty_chunk_changes_nothing_and_other_layers_are_as_they_were() -> None:
    layer = layers(True)
    x = drawn(7, 2, 4, 20)
    layer(x[..., :9])
    state = layer.state
    assert state is not None
    assert layer(x[..., :0]).shape == (2, 6, 0)
    assert np.array_equal(layer.state, state)
    with pytest.raises(RuntimeError, match="needs a forward"):
        layer.backward(drawn(8, 2, 6, 0))
    plain = layers(False)
    y = plain(x)
    assert plain.state is None
    assert plain.backward(y).shape == x.shape
    assert "streaming" not in repr(plain)
    assert repr(layer) == "Conv1d(4, 6, kernel_size=(5,), stride=(1,), padding='causal', streaming=True)"
    with pytest.raises(RuntimeError, match="streaming=True"):
        plain.reset()


def test_copies_go_on_where_the_layer_was() -> None:
    layer = layers(True)
    x = drawn(9, 1, 4, 40)
    layer(x[..., :20])
    others = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    want = layer(x[..., 20:])
    for other in others:
        assert other(x[..., 20:]).tobytes() == want.tobytes()


def test_nothing_given_as_padding_is_causal() -> None:
    assert convpp.Conv1d(4, 6, 5, streaming=True).padding == "causal"


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("padding is 'same', expected 'causal'", {"padding": "same"}),
        ("padding is 2, expected 'causal'", {"padding": 2}),
        ("stride is 2, expected 1", {"stride": 2}),
        ("padding_mode is 'reflect', expected 'zeros'", {"padding_mode": "reflect"}),
        ("algorithm is 'fft', expected 'auto' or 'direct'", {"algorithm": "fft"}),
        ("streaming is 1, expected True or False", {"streaming": 1}),
    ],
)
def test_errors_at_once(message: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=message):
        convpp.Conv1d(4, 6, 5, **{"streaming": True, **options})


def test_errors() -> None:
    with pytest.raises(ValueError, match="a stream has one axis"):
        convpp.Conv2d(4, 6, 5, streaming=True)
    layer = layers(True)
    layer(drawn(1, 2, 4, 20))
    with pytest.raises(convpp.ShapeError, match="state has"):
        layer(drawn(1, 3, 4, 20))
    with pytest.warns(UserWarning, match="x has dtype float64 and is rounded to float32"):
        assert layer(drawn(1, 2, 4, 20, dtype=float)).dtype == np.float32


def test_an_empty_chunk_is_checked_as_others_are() -> None:
    empty = np.ones((1, 2, 0), np.float32)
    with pytest.raises(ValueError, match="threads is -5"):
        convpp.conv(empty, np.ones((2, 2, 3), np.float32), padding="causal", state="zeros", threads=-5)
    layer = convpp.Conv1d(2, 2, 3, streaming=True, rng=0)
    with pytest.raises(ValueError, match="keep is 7"):
        layer(empty, keep=7)
    with pytest.warns(UserWarning, match="add has dtype float64 and is rounded to float32"):
        assert layer(empty, add=np.ones((1, 2, 0))).dtype == np.float32
