"""The six layers against values saved from PyTorch and against the functions: passes, gradients, options, padding.

Their parameters and what they are made of: test_layer_parameters.py.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convpp
from convpp.testing import gradcheck
from small_layers import LAYERS, an_input, assert_near, make

with np.load(Path(__file__).parent / "data" / "torch_layers.npz") as file:
    SAVED = {name: file[name] for name in file.files}
CASES: list[dict[str, Any]] = json.loads(str(SAVED["cases"]))


def load(number: int) -> tuple[Any, dict[str, Any]]:
    """The layer of a saved case with PyTorch's parameters, and the case's arrays."""
    case = CASES[number]
    prefix = f"{number}/"
    arrays = {key.removeprefix(prefix): a for key, a in SAVED.items() if key.startswith(prefix)}
    layer = getattr(convpp, case["layer"])(**case["arguments"], dtype=case["dtype"])
    layer.load_state_dict({key: arrays[key] for key in ("weight", "bias") if key in arrays})
    return layer, arrays


# ------------------------------------------------------------------------------- values from PyTorch


def test_saved_values_cover_every_layer_and_both_dtypes() -> None:
    covered = {(case["layer"], case["dtype"]) for case in CASES}
    assert covered >= {(name, dtype) for name in LAYERS for dtype in ("float32", "float64")}


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{i}-{CASES[i]['layer']}")
def test_pytorch_values(number: int) -> None:
    layer, saved = load(number)
    assert_near(layer(saved["x"]), saved["y"])
    assert_near(layer.backward(saved["dy"]), saved["dx"])
    assert_near(layer.weight_grad, saved["weight_grad"])
    if "bias" in saved:
        assert_near(layer.bias_grad, saved["bias_grad"])
    else:
        assert layer.bias is None
        assert layer.bias_grad is None


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{i}-{CASES[i]['layer']}")
def test_one_sample_is_a_batch_of_one(number: int) -> None:
    layer, saved = load(number)
    rank = int(CASES[number]["layer"][-2])
    batch = saved["x"] if saved["x"].ndim == rank + 2 else saved["x"][None]
    gradients = saved["dy"] if batch is saved["x"] else saved["dy"][None]
    x, dy = batch[:1], gradients[:1]
    y, dx = layer(x), layer.backward(dy)
    expected = [g.copy() for g in layer.gradients()]
    layer.zero_grad()
    np.testing.assert_array_equal(layer(x[0]), y[0], strict=True)
    np.testing.assert_array_equal(layer.backward(dy[0]), dx[0], strict=True)
    for got, want in zip(layer.gradients(), expected, strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


# -------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(
    "arguments",
    [{}, {"stride": 2, "padding": 1, "groups": 2}, {"dilation": 2, "bias": False, "padding": "full"}],
    ids=["plain", "strided", "dilated"],
)
def test_gradcheck(name: str, arguments: dict[str, Any]) -> None:
    layer = make(name, **arguments)
    extent = 7 if layer.dilation[0] == 2 else 4  # enough left where "full" padding crops a transposed layer
    assert gradcheck(layer, an_input(name, extent=extent), samples=40)


@pytest.mark.parametrize("name", LAYERS)
def test_backward_adds_and_zero_grad_resets(name: str) -> None:
    layer = make(name)
    arrays = layer.gradients()
    assert all(not g.any() for g in arrays)
    y = layer(an_input(name))
    dx = layer.backward(np.ones_like(y))
    once = [g.copy() for g in arrays]
    assert all(g.any() for g in once)
    np.testing.assert_array_equal(layer.backward(np.ones_like(y)), dx)
    for got, want in zip(arrays, once, strict=True):
        np.testing.assert_allclose(got, 2 * want, rtol=1e-13)
    layer.zero_grad()
    assert all(not g.any() for g in arrays)
    assert arrays[0] is layer.weight_grad
    assert arrays[1] is layer.bias_grad


def test_backward_belongs_to_the_last_forward() -> None:
    layer = make("Conv2d")
    layer(an_input("Conv2d", n=3))
    assert layer.backward(np.ones(layer(an_input("Conv2d", n=1)).shape)).shape[0] == 1


def test_inference_failing_keeps_the_last_good_input() -> None:
    layer = make("Conv2d")
    y = layer(an_input("Conv2d"))
    with pytest.raises(convpp.ShapeError):
        layer(np.ones((2, 3, 5, 5)))
    assert layer.backward(np.ones_like(y)).shape == (2, 4, 5, 5)


@pytest.mark.parametrize("name", LAYERS)
def test_backward_without_forward(name: str) -> None:
    with pytest.raises(RuntimeError, match=rf"{name}.*forward\(x\)"):
        make(name).backward(np.ones((1, 6) + (3,) * int(name[-2])))


@pytest.mark.parametrize("name", LAYERS)
def test_wrong_dy_leaves_the_gradients(name: str) -> None:
    layer = make(name)
    y = layer(an_input(name))
    with pytest.raises(convpp.ShapeError, match="dy"):
        layer.backward(np.ones((*y.shape[:-1], y.shape[-1] + 1)))
    with pytest.raises(convpp.DTypeError):
        layer.backward(np.ones(y.shape, dtype=np.int64))
    assert not layer.weight_grad.any()
    assert not layer.bias_grad.any()


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_a_layer_computes_in_its_own_dtype_and_says_so_once(name: str) -> None:
    layer, plain = (make(name, dtype=np.float32, rng=3) for _ in range(2))
    x, wide = an_input(name).astype(np.float32), an_input(name)
    with pytest.warns(UserWarning, match=rf"x has dtype float64 and is rounded to float32, .* this {name}") as said:
        y = layer(wide)
    assert [warning.filename for warning in said] == [__file__]
    dx = layer.backward(y.astype(np.float64))  # warnings are errors here: it has been said
    np.testing.assert_array_equal(y, plain(x), strict=True)
    np.testing.assert_array_equal(dx, plain.backward(y), strict=True)
    np.testing.assert_array_equal(layer.weight_grad, plain.weight_grad, strict=True)
    np.testing.assert_array_equal(layer.bias_grad, plain.bias_grad, strict=True)
    np.testing.assert_array_equal(layer(wide, add=np.ones(y.shape)), plain(x, add=np.ones_like(y)), strict=True)
    with pytest.warns(UserWarning, match="dy has dtype float64"):
        plain.backward(np.ones(y.shape))


def test_narrower_types_are_exact_in_a_layer_and_nothing_is_said() -> None:
    layer = make("Conv2d")
    x = an_input("Conv2d").astype(np.float16)
    y = layer(x)
    np.testing.assert_array_equal(y, layer(x.astype(np.float64)), strict=True)
    assert layer.backward(y.astype(np.float32)).dtype == np.float64


def test_output_size_is_another_way_to_say_output_padding() -> None:
    x = an_input("ConvTranspose2d")
    padded = make("ConvTranspose2d", stride=3, output_padding=(2, 1))
    sized = make("ConvTranspose2d", stride=3)
    y = padded(x)
    np.testing.assert_array_equal(sized(x, output_size=y.shape[2:]), y)
    np.testing.assert_array_equal(sized.backward(y), padded.backward(y))
    np.testing.assert_array_equal(sized.weight_grad, padded.weight_grad)


# --------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("name", LAYERS)
def test_options_reach_all_passes(name: str) -> None:
    """A channels-last layer that rotates its kernel is the usual one on moved axes, with a rotated kernel."""
    usual = make(name, stride=2, padding=1)
    other = make(name, stride=2, padding=1, flip=True, layout="channels_last", algorithm="direct", threads=1)
    taps = tuple(range(2, usual.weight.ndim))
    other.load_state_dict({"weight": np.flip(usual.weight, taps), "bias": usual.bias})
    x = np.round(4 * an_input(name))
    y = usual(x)
    np.testing.assert_allclose(np.moveaxis(other(np.moveaxis(x, 1, -1)), -1, 1), y, rtol=1e-12, atol=1e-12)
    dx = usual.backward(y)
    moved = other.backward(np.moveaxis(y, 1, -1))
    np.testing.assert_allclose(np.moveaxis(moved, -1, 1), dx, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(np.flip(other.weight_grad, taps), usual.weight_grad, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(other.bias_grad, usual.bias_grad, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize(
    ("option", "value"), [("flip", 2), ("layout", "NHWC"), ("algorithm", "fast"), ("threads", 0)], ids=str
)
def test_wrong_options_fail_at_once(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        make("Conv2d", **{option: value})


@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_backward_per_sample(name: str, bias: bool, layout: str) -> None:
    layer = make(name, stride=2, groups=2, bias=bias, layout=layout)
    x = np.round(4 * an_input(name, n=3))
    if layout == "channels_last":
        x = np.moveaxis(x, 1, -1)
    dy = np.round(layer(x))
    dx, gradients = layer.backward_per_sample(dy)
    assert not layer.weight_grad.any()
    assert [g.shape for g in gradients] == [(3, *p.shape) for p in layer.parameters()]
    np.testing.assert_array_equal(layer.backward(dy), dx)
    for each, total in zip(gradients, layer.gradients(), strict=True):
        np.testing.assert_array_equal(each.sum(axis=0), total)
    layer(x[0])
    with pytest.raises(convpp.ShapeError, match="shape"):
        layer.backward_per_sample(dy[0])
    with pytest.raises(RuntimeError, match="backward_per_sample"):
        make(name).backward_per_sample(dy)


# ------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "symmetric", ("zeros", "reflect")])
def test_padding_modes(mode: Any) -> None:
    layer, x = make("Conv2d", padding=2, padding_mode=mode), an_input("Conv2d")
    y = layer(x)
    geometry: dict[str, Any] = {"padding": 2, "padding_mode": mode}
    np.testing.assert_array_equal(y, convpp.conv(x, layer.weight, layer.bias, **geometry))
    dx = layer.backward(y)
    np.testing.assert_array_equal(dx, convpp.conv_input_grad(y, layer.weight, x.shape, **geometry))
    np.testing.assert_array_equal(layer.weight_grad, convpp.conv_weight_grad(y, x, layer.weight.shape, **geometry))
    assert f"padding_mode={mode!r}" in repr(layer)
    assert set(layer.state_dict()) == {"weight", "bias"}


def test_padding_modes_that_do_not_exist() -> None:
    with pytest.raises(ValueError, match="'mirror'"):
        make("Conv2d", padding_mode="mirror")
    with pytest.raises(ValueError, match="2 names"):
        make("Conv2d", padding_mode=("reflect", "zeros", "zeros"))
    with pytest.raises(ValueError, match="'mirror'"):
        make("ConvTranspose2d", padding_mode="mirror")


@pytest.mark.parametrize("padding", ["same", "same_lower", "full", "causal", "valid", 1, (1, 2), ((0, 1), (-1, 2))])
def test_every_form_of_padding_reaches_the_function(padding: Any) -> None:
    layer = make("Conv2d", padding=padding, stride=2)
    x = an_input("Conv2d")
    np.testing.assert_array_equal(layer(x), convpp.conv(x, layer.weight, layer.bias, padding=padding, stride=2))


@pytest.mark.parametrize("name", ["Conv2d", "ConvTranspose2d"])
def test_wrong_channels_are_told_in_the_words_of_a_layer(name: str) -> None:
    layer = getattr(convpp, name)(8, 3, 2)
    for shape in ((1, 3, 4, 4), (3, 4, 4)):
        with pytest.raises(convpp.ShapeError, match=rf"C = 3, expected 8, in_channels of this {name}$"):
            layer(np.ones(shape, np.float32))
    with pytest.raises(convpp.ShapeError, match=r'C = 4, expected 8, .* Did you mean layout="channels_last"\?$'):
        layer(np.ones((1, 4, 4, 8), np.float32))
    with pytest.raises(convpp.DTypeError, match=r"x has dtype int64, expected float32, .*: use x.astype\('float32'\)$"):
        layer(np.ones((1, 8, 4, 4), np.int64))


def test_the_gradient_of_a_bias_alone_wants_the_shape_of_y() -> None:
    layer = convpp.Conv1d(2, 2, 3, rng=0)
    layer(np.ones((1, 2, 10), np.float32))
    for needs in (("bias",), ()):
        with pytest.raises(convpp.ShapeError, match=r"dy has shape \(2, 2, 9\), expected \(1, 2, 8\)"):
            layer.backward(np.ones((2, 2, 9), np.float32), needs=needs)
    assert layer.bias_grad is not None
    assert not layer.bias_grad.any()
