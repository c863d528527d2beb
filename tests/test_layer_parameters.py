"""What a layer is made of: its arguments, its parameters and their first values, states, copies, how it is shown.

What it computes: test_layers.py.
"""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import convpp
from small_layers import LAYERS, an_input, assert_near, make

# ----------------------------------------------------------------------------------- arguments


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"groups": 4}, convpp.ShapeError, "out_channels=6.*groups=4"),
        ({"groups": 3}, convpp.ShapeError, "in_channels=4.*groups=3"),
        ({"groups": 0}, convpp.ShapeError, "groups=0"),
        ({"in_channels": -4}, convpp.ShapeError, "in_channels=-4"),
        ({"kernel_size": 0}, convpp.ShapeError, "kernel_size.*0"),
        ({"kernel_size": (3, 3, 3, 3)}, convpp.ShapeError, "kernel_size"),
        ({"stride": 0}, ValueError, "stride.*0"),
        ({"dilation": -1}, ValueError, "dilation.*-1"),
        ({"dtype": np.int32}, convpp.DTypeError, "int32"),
        ({"dtype": np.complex128}, convpp.DTypeError, "complex128"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_wrong_constructor_arguments(
    name: str, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make(name, **arguments)


def test_repr_reads_like_pytorchs() -> None:
    assert repr(convpp.Conv2d(3, 5, 3)) == "Conv2d(3, 5, kernel_size=(3, 3), stride=(1, 1))"
    layer: Any = convpp.Conv2d(4, 8, (3, 5), 2, (1, 2), 2, 4, False, dtype=np.float64)
    assert repr(layer) == (
        "Conv2d(4, 8, kernel_size=(3, 5), stride=(2, 2), padding=(1, 2), dilation=(2, 2), groups=4, "
        "bias=False, dtype=float64)"
    )
    layer = convpp.ConvTranspose1d(4, 8, 3, 2, 1, 1)
    assert repr(layer) == ("ConvTranspose1d(4, 8, kernel_size=(3,), stride=(2,), padding=(1,), output_padding=(1,))")
    assert "padding='same'" in repr(convpp.Conv1d(1, 1, 3, padding="same"))


def test_repr_shows_options_that_are_unusual() -> None:
    assert repr(convpp.Conv1d(1, 1, 3, flip=True, layout="channels_last", algorithm="direct", threads=2)) == (
        "Conv1d(1, 1, kernel_size=(3,), stride=(1,), flip=True, layout='channels_last', algorithm='direct', threads=2)"
    )


# ------------------------------------------------------------------------------------ parameters


@pytest.mark.parametrize("name", LAYERS)
def test_initial_values_follow_pytorch(name: str) -> None:
    layer = getattr(convpp, name)(32, 48, 5 if name[-2] != "3" else 3, groups=2, rng=0)
    fan_in = layer.weight[0].size
    bound = 1 / np.sqrt(fan_in)
    assert layer.weight.dtype == layer.bias.dtype == np.float32
    for values, slack in ((layer.weight, 0.02), (layer.bias, 0.2)):
        assert np.abs(values).max() <= np.float32(bound)
        assert np.abs(values).max() >= (1 - slack) * bound
    assert layer.weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.03)  # of U(-b, b)
    assert abs(layer.weight.mean()) < 0.05 * bound


def test_fan_in_of_a_transposed_layer_is_pytorchs() -> None:
    layer = convpp.ConvTranspose2d(2, 300, 3, rng=0)  # weight (2, 300, 3, 3): fan_in 2700, not 18
    assert np.abs(layer.weight).max() <= np.float32(1 / np.sqrt(2700))


def test_rng_decides() -> None:
    def weight(rng: Any) -> Any:
        return convpp.Conv2d(3, 4, 3, rng=rng).weight

    np.testing.assert_array_equal(weight(5), weight(5))
    np.testing.assert_array_equal(weight(5), weight(np.random.default_rng(5)))
    assert not np.array_equal(weight(5), weight(6))
    assert not np.array_equal(weight(None), weight(None))
    generator = np.random.default_rng(5)
    assert not np.array_equal(weight(generator), weight(generator))
    narrow, wide = convpp.Conv2d(3, 4, 3, rng=5), convpp.Conv2d(3, 4, 3, rng=5, dtype="float64")
    np.testing.assert_array_equal(narrow.weight, wide.weight.astype(np.float32))


@pytest.mark.parametrize("name", LAYERS)
def test_shapes_of_parameters(name: str) -> None:
    rank = int(name[-2])
    layer = make(name, groups=2)
    rows, columns = (4, 3) if "Transpose" in name else (6, 2)
    assert layer.weight.shape == layer.weight_grad.shape == (rows, columns) + (3,) * rank
    assert layer.bias.shape == layer.bias_grad.shape == (6,)
    assert [p.shape for p in layer.parameters()] == [layer.weight.shape, (6,)]
    assert len(make(name, bias=False).parameters()) == 1


def test_parameters_are_the_layers_own_arrays() -> None:
    layer = make("Conv2d")
    x = an_input("Conv2d")
    y = layer(x)
    layer.backward(np.ones_like(y))
    before = float(y.sum())
    for p, g in zip(layer.parameters(), layer.gradients(), strict=True):
        p -= 1e-4 * g
    assert float(layer(x).sum()) < before  # one step of gradient descent on the sum


def test_what_is_assigned_is_copied_so_that_lists_of_parameters_stay_right() -> None:
    layer = make("Conv2d", dtype=np.float32)
    parameters, gradients = layer.parameters(), layer.gradients()
    new = np.random.default_rng(3).standard_normal(layer.weight.shape)
    layer.weight, layer.bias = new, [1, 2, 3, 4, 5, 6]
    layer.weight_grad, layer.bias_grad = 2 * new, np.ones(6)
    for now, before in ((layer.parameters(), parameters), (layer.gradients(), gradients)):
        assert all(a is b for a, b in zip(now, before, strict=True))
    np.testing.assert_array_equal(parameters[0], new.astype(np.float32), strict=True)
    np.testing.assert_array_equal(gradients[0], (2 * new).astype(np.float32), strict=True)
    assert parameters[1].tolist() == [1, 2, 3, 4, 5, 6]
    new[...] = 0
    assert layer.weight.any()
    before = layer.weight
    layer.weight -= layer.weight_grad  # in place, and then assigned
    layer.weight = layer.weight[::-1]  # a view of itself
    assert layer.weight is before is parameters[0]


@pytest.mark.parametrize("name", ["weight", "weight_grad", "bias", "bias_grad"])
def test_wrong_parameters_are_refused_when_they_are_set(name: str) -> None:
    layer = make("Conv2d", rng=4)
    layer.weight_grad[...], layer.bias_grad[...] = 1, 2
    before = copy.deepcopy(layer)
    for wrong, error, message in (
        (np.zeros(3), convpp.ShapeError, rf"{name} has shape \(3,\), expected"),
        (getattr(layer, name).astype(complex), convpp.DTypeError, f"{name} has dtype complex128"),
        (None, (ValueError, convpp.DTypeError), f"{name} is None"),
        ("abc", convpp.DTypeError, f"{name} is"),
        (np.ma.masked_array(getattr(layer, name)), convpp.DTypeError, f"{name} is a masked array"),
    ):
        with pytest.raises(error, match=message):
            setattr(layer, name, wrong)
    for a, b in zip(
        (*layer.parameters(), *layer.gradients()), (*before.parameters(), *before.gradients()), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_a_layer_without_bias_takes_none() -> None:
    layer = make("Conv2d", bias=False)
    layer.bias = layer.bias_grad = None
    with pytest.raises(ValueError, match="bias is set, expected None: this layer was made with bias=False"):
        layer.bias = np.zeros(6)
    assert layer.bias is None


def test_state_dict_copies_both_ways() -> None:
    layer, other = make("Conv2d", rng=1), make("Conv2d", rng=2)
    state = layer.state_dict()
    assert list(state) == ["weight", "bias"]
    weight = other.weight
    other.load_state_dict(state)
    assert other.weight is weight
    np.testing.assert_array_equal(other.weight, layer.weight)
    state["weight"][...] = 0
    assert layer.weight.all()
    assert other.weight.all()
    assert list(make("Conv2d", bias=False).state_dict()) == ["weight"]


def test_load_state_dict_casts_and_takes_lists() -> None:
    layer = convpp.Conv1d(1, 1, 2)
    layer.load_state_dict({"weight": [[[1.0, 2.5]]], "bias": np.array([3])})
    assert layer.weight.tolist() == [[[1.0, 2.5]]]
    assert layer.bias.tolist() == [3.0]
    assert layer.weight.dtype == np.float32


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"bias": None}, KeyError, "weight.*bias"),
        ({"scale": np.ones(6)}, KeyError, "scale"),
        ({"bias": np.ones(5)}, convpp.ShapeError, r"bias.*\(5,\).*\(6,\)"),
        ({"weight": np.ones((6, 4, 3))}, convpp.ShapeError, r"weight.*\(6, 4, 3\).*\(6, 4, 3, 3\)"),
        ({"bias": np.ones(6, complex)}, convpp.DTypeError, "bias.*complex128"),
    ],
    ids=["missing", "unknown", "bias shape", "weight shape", "complex"],
)
def test_load_state_dict_is_strict_and_changes_all_or_nothing(
    change: dict[str, Any], error: type[Exception], message: str
) -> None:
    layer = make("Conv2d")
    before = layer.state_dict()
    state = {"weight": np.zeros((6, 4, 3, 3)), "bias": np.zeros(6)} | change
    state = {name: value for name, value in state.items() if value is not None}
    with pytest.raises(error, match=message):
        layer.load_state_dict(state)
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("padding_mode", ["zeros", "reflect"])
@pytest.mark.parametrize("name", LAYERS)
def test_state_dict_of_pytorch_itself(name: str, padding_mode: str) -> None:
    torch = pytest.importorskip("torch")
    if padding_mode != "zeros" and ("Transpose" in name or name == "Conv3d"):
        pytest.skip("PyTorch has no such layer, or newer versions only")
    theirs = getattr(torch.nn, name)(4, 6, 3, groups=2, padding_mode=padding_mode)
    for state in (theirs.state_dict(), dict(theirs.named_parameters())):
        layer = make(name, groups=2, dtype=np.float32)
        layer.load_state_dict(state)
        np.testing.assert_array_equal(layer.weight, theirs.weight.detach().numpy(), strict=True)
        np.testing.assert_array_equal(layer.bias, theirs.bias.detach().numpy(), strict=True)
    wide = make(name, groups=2)
    wide.load_state_dict(theirs.state_dict())
    assert wide.weight.dtype == np.float64
    if padding_mode == "zeros":
        x = an_input(name).astype(np.float32)
        with torch.no_grad():
            assert_near(layer(x), theirs(torch.from_numpy(x)).numpy())


def test_layers_can_be_copied_and_pickled() -> None:
    layer = make("ConvTranspose2d", stride=2)
    x = an_input("ConvTranspose2d")
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        np.testing.assert_array_equal(copied(x), layer(x))
        copied.weight[...] = 0
    assert layer.weight.all()
