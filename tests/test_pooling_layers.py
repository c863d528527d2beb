"""Pooling layers: the functions with PyTorch's arguments, what they keep for backward, what they refuse."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convpp
from convpp.testing import gradcheck
from geometry import assert_exact, assert_same_bits, normal

#: What PyTorch computes (tests/data/make_torch_pools.py).
TORCH = np.load(Path(__file__).parent / "data" / "torch_pools.npz")
CASES = json.loads(str(TORCH["cases"]))
NAMES = [f"{kind}Pool{rank}d" for kind in ("Max", "Avg") for rank in (1, 2, 3)]
every_layer = pytest.mark.parametrize("name", NAMES)


def shape_of(name: str, extent: int = 7) -> tuple[int, ...]:
    return (2, 3) + (extent,) * int(name[-2])


@every_layer
def test_layers_are_the_functions(name: str, rng: np.random.Generator) -> None:
    rank = int(name[-2])
    x = normal(rng, shape_of(name), "float32")
    layer = getattr(convpp, name)(3, 2, 1, ceil_mode=True)
    keywords = {"kernel_size": (3,) * rank, "stride": 2, "padding": 1, "ceil_mode": True}
    function = convpp.max_pool if "Max" in name else convpp.avg_pool
    y = layer(x)
    assert_same_bits(y, function(x, **keywords))
    dy = normal(rng, y.shape, "float32")
    if "Max" in name:
        want = convpp.max_pool_input_grad(dy, x, **keywords)
    else:
        want = convpp.avg_pool_input_grad(dy, x.shape, **keywords)
    assert_same_bits(layer.backward(dy), want)
    assert layer.backward(dy, needs=("w", "bias")) is None
    assert_same_bits(layer(x[0], keep=False), y[0])
    with pytest.raises(RuntimeError, match=f"{name}.backward"):
        layer.backward(dy)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("number", range(len(CASES)))
def test_values_of_pytorch(number: int, dtype: str) -> None:
    x, y, dy, dx = (TORCH[f"{number}/{name}"].astype(dtype) for name in ("x", "y", "dy", "dx"))
    name, arguments = CASES[number]["layer"], CASES[number]["arguments"]
    if "Max" in name:
        layer = getattr(convpp, name)(**arguments, return_indices=True)
        got, indices = layer(x)
        assert_exact(got, y)
        assert_exact(indices, TORCH[f"{number}/indices"])
        assert_exact(layer.backward(dy), dx)
    else:
        layer = getattr(convpp, name)(**arguments)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(layer(x), y, rtol=2 * eps, atol=0)
        np.testing.assert_allclose(layer.backward(dy), dx, rtol=0, atol=32 * eps)


@every_layer
def test_gradients_are_right(name: str, rng: np.random.Generator) -> None:
    assert gradcheck(getattr(convpp, name)(2, padding=1), normal(rng, shape_of(name, 4)))


def test_the_order_of_arguments_is_pytorchs() -> None:
    layer = convpp.MaxPool2d(3, 2, 1, 2, True, True)
    assert (layer.kernel_size, layer.stride, layer.padding, layer.dilation) == ((3, 3), (2, 2), 1, (2, 2))
    y, indices = layer(np.ones((1, 1, 9, 9), np.float32))
    assert y.shape == indices.shape == (1, 1, 4, 4)
    mean = convpp.AvgPool2d(3, None, 1, True, False, 5)
    assert (mean.stride, mean.ceil_mode, mean.count_include_pad, mean.divisor_override) == ((3, 3), True, False, 5)


def test_what_is_kept() -> None:
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    layers = [convpp.MaxPool2d(2), convpp.MaxPool2d(2, keep="copy")]
    dy = np.ones((1, 1, 2, 2))
    for layer in layers:
        layer(x)
    want = layers[0].backward(dy)
    x[...] = -x
    assert (layers[0].backward(dy) != want).any()
    assert_same_bits(layers[1].backward(dy), want)
    for other in (copy.deepcopy(layers[0]), pickle.loads(pickle.dumps(layers[0]))):
        assert repr(other) == repr(layers[0])
        with pytest.raises(RuntimeError):
            other.backward(dy)


def test_a_network_asks_all_layers_for_the_same() -> None:
    layer = convpp.AvgPool3d(2)
    layer.zero_grad()
    assert (layer.parameters(), layer.gradients(), layer.state_dict()) == ([], [], {})
    layer.load_state_dict({})
    with pytest.raises(KeyError, match="AvgPool3d has no parameters, got"):
        layer.load_state_dict({"weight": np.ones(1)})


def test_repr() -> None:
    assert repr(convpp.MaxPool1d(2)) == "MaxPool1d(kernel_size=(2,), stride=(2,))"
    shown = "AvgPool2d(kernel_size=(3, 2), stride=(1, 1), padding=1, count_include_pad=False, layout='channels_last')"
    assert repr(convpp.AvgPool2d((3, 2), 1, 1, count_include_pad=False, layout="channels_last")) == shown


@every_layer
def test_refused_at_once(name: str) -> None:
    layer: Any = getattr(convpp, name)
    rank = int(name[-2])
    for bad in (0, (2,) * (rank % 3 + 1), -1):
        with pytest.raises(convpp.ShapeError, match="kernel_size is"):
            layer(bad)
    with pytest.raises(convpp.ShapeError, match="stride is"):
        layer(2, 0)
    for error, words, arguments in (
        (ValueError, "padding is 2, expected at most half", {"padding": 2}),
        (ValueError, "ceil_mode is 1", {"ceil_mode": 1}),
        (ValueError, "layout is 'NHWC'.*channels_last", {"layout": "NHWC"}),
        (ValueError, "threads", {"threads": 0}),
    ):
        with pytest.raises(error, match=words):
            layer(2, **arguments)
    with pytest.raises(ValueError, match="divisor_override is 0"):
        convpp.AvgPool2d(2, divisor_override=0)
    with pytest.raises(ValueError, match="keep is 'yes'"):
        convpp.MaxPool2d(2, keep="yes")  # type: ignore[arg-type]
    with pytest.raises(convpp.ShapeError, match="did you mean MaxPool3d"):
        convpp.MaxPool2d((2, 2, 2))
    with pytest.raises(convpp.ShapeError, match="x has shape"):
        layer(2)(np.ones((2,) * rank))
