"""What a layer holds between forward and backward, and what of it is copied, pickled and shared.

Its results: test_layers.py.  Its parameters: test_layer_parameters.py.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import convpp
from small_layers import LAYERS, an_input, make

ACTIVATIONS = (None, "relu", "gelu")  # kept for their derivatives: nothing, y, and what they were applied to


def gradients_of(layer: Any, x: Any, dy: Any, *, written_over: bool) -> list[Any]:
    """dx and the parameters' gradients, with x and y written over between the passes, or not."""
    x, dy = x.copy(), dy.copy()
    layer.zero_grad()
    y = layer(x, add=np.zeros_like(dy))
    if written_over:
        x[...] = 99
        y[...] = 99
    dx = layer.backward(dy)
    dy[...] = 99
    return [dx, *(g.copy() for g in layer.gradients()), layer.add_grad]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_copies_may_be_written_over(name: str, activation: str | None) -> None:
    layer = make(name, activation=activation, keep="copy")
    x = an_input(name)
    dy = np.cos(layer(x))
    want = gradients_of(make(name, activation=activation, keep="copy"), x, dy, written_over=False)
    got = gradients_of(layer, x, dy, written_over=True)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_references_are_what_the_arrays_hold(activation: str | None) -> None:
    """The default, which costs nothing: as its docstring says."""
    layer = make("Conv2d", activation=activation)
    x = an_input("Conv2d")
    y = layer(x)
    assert layer._x is x
    layer.backward(np.ones_like(y))
    first = layer.weight_grad.copy()
    layer.zero_grad()
    if activation is None:
        x *= 2
        layer.backward(np.ones_like(y))
        np.testing.assert_array_equal(layer.weight_grad, 2 * first)
    if activation == "relu":
        assert layer._kept["y"] is y
    for text in (convpp.Conv2d.__doc__, convpp.Conv2d.forward.__doc__, convpp.ConvTranspose3d.forward.__doc__):
        assert 'keep="copy"' in str(text)


def test_keep_is_checked_and_shown() -> None:
    with pytest.raises(ValueError, match=r"keep is 'view', expected one of reference, copy"):
        make("Conv2d", keep="view")
    assert "keep='copy'" in repr(make("Conv2d", keep="copy"))
    assert "keep" not in repr(make("Conv2d"))


def test_a_failed_forward_keeps_what_was_there() -> None:
    layer = make("Conv2d", keep="copy")
    x = an_input("Conv2d")
    y = layer(x)
    dx = layer.backward(np.ones_like(y))
    with pytest.raises(convpp.ShapeError):
        layer(x[:, :1])
    np.testing.assert_array_equal(layer.backward(np.ones_like(y)), dx)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_copies_of_a_layer_do_not_carry_its_last_batch(activation: str | None, copied: Any) -> None:
    layer = make("ConvTranspose2d", activation=activation, keep="copy")
    layer.name = "up"  # users' own attributes are part of it
    x = an_input("ConvTranspose2d")
    y = layer(x, add=np.ones_like(layer(x)))
    layer.backward(np.ones_like(y))
    other = copied(layer)
    assert repr(other) == repr(layer)
    assert other.name == "up"
    assert other.add_grad is None
    np.testing.assert_array_equal(other.weight_grad, layer.weight_grad)
    with pytest.raises(RuntimeError, match="needs a forward"):
        other.backward(np.ones_like(y))
    np.testing.assert_array_equal(other(x), layer(x))
    layer.backward(np.ones_like(y))  # which still has its own


def test_pickled_layers_are_as_small_as_their_parameters() -> None:
    layer = convpp.Conv2d(3, 4, 3, activation="gelu", rng=0)
    fresh = len(pickle.dumps(layer))
    y = layer(np.ones((64, 3, 64, 64), np.float32), add=np.ones((64, 4, 62, 62), np.float32))
    layer.backward(y)
    assert len(pickle.dumps(layer)) == fresh < 4000


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_backward_computes_what_is_needed(name: str, activation: str | None) -> None:
    layer = make(name, activation=activation, keep="copy")  # else add_grad is dy
    x = an_input(name)
    dy = np.cos(layer(x))
    want = gradients_of(layer, x, dy, written_over=False)
    for needs in ((), ("x",), ("w",), ("bias",), ("w", "bias"), ["x", "bias"], "x"):
        layer.zero_grad()
        layer(x, add=np.zeros_like(dy))
        dx = layer.backward(dy, needs=needs)
        assert (dx is None) == ("x" not in needs)
        found = (dx, *layer.gradients(), layer.add_grad)
        for wanted, one, other in zip(("x", "w", "bias", None), found, want, strict=False):
            if wanted is None or wanted in needs:
                np.testing.assert_array_equal(one, other)
            elif wanted != "x":
                assert not np.any(one)
    with pytest.raises(ValueError, match=r"needs is .*'weight'.*, expected any of x, w, bias: did you mean 'w'\?"):
        layer.backward(dy, needs=("weight",))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_forward_may_keep_nothing(name: str, activation: str | None) -> None:
    layer = make(name, activation=activation)
    x = an_input(name)
    want = layer(x, add=np.ones_like(layer(x)))
    for call in (layer, layer.forward):
        assert layer._x is not None
        np.testing.assert_array_equal(call(x, add=np.ones_like(want), keep=False), want)
        assert layer._x is None
        assert not layer._kept
        with pytest.raises(RuntimeError, match=r"needs a forward\(x\) before it"):
            layer.backward(want)
        layer(x)
    with pytest.raises(ValueError, match="keep is 'copy', expected True or False"):
        layer.forward(x, keep="copy")
