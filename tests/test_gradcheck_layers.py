"""`gradcheck` of layers: right ones are accepted and left as they were, wrong ones are caught where they are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from convpp import DTypeError
from convpp.testing import GradientError, Layer, gradcheck

X = np.array([[1.0, 2.0], [-1.5, 0.5], [0.25, -3.0]])


class Scale:
    """``y = scale * x**2``, a layer with one parameter; ``wrong`` spoils one entry of one gradient."""

    def __init__(self, wrong: str = "", dtype: Any = np.float64) -> None:
        self.scale: Any = np.array([2.0, -3.0], dtype)
        self.scale_grad: Any = np.array([7.0, 7.0], dtype)
        self.wrong = wrong

    def forward(self, x: Any) -> Any:
        self.x = x.copy()
        return self.scale * x**2

    def backward(self, dy: Any) -> Any:
        dx = 2 * dy * self.scale * self.x
        dscale = np.sum(dy * self.x**2, axis=0)
        if self.wrong == "x":
            dx[1, 0] *= 1.001
        if self.wrong == "scale":
            dscale[1] += 0.01
        self.scale_grad += dscale
        return dx

    def parameters(self) -> list[Any]:
        return [self.scale]

    def gradients(self) -> list[Any]:
        return [self.scale_grad]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_right_layer_is_accepted_and_left_as_it_was(dtype: Any) -> None:
    layer, x = Scale(dtype=dtype), X.copy()
    assert gradcheck(layer, x) is True
    assert gradcheck(layer, x, jacobian=True) is True
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(layer.scale, [2.0, -3.0])
    np.testing.assert_array_equal(layer.scale_grad, [7.0, 7.0])


@pytest.mark.parametrize(("wrong", "place"), [("x", r"x\[1, 0\]"), ("scale", r"scale\[1\]")])
def test_the_message_says_where_a_layer_is_wrong(wrong: str, place: str) -> None:
    with pytest.raises(AssertionError, match=rf"worst at {place}: backward gives .* differences give"):
        gradcheck(Scale(wrong), X)


def test_a_layer_is_left_as_it_was_by_a_failure(rng: np.random.Generator) -> None:
    layer = Scale("scale")
    with pytest.raises(GradientError):
        gradcheck(layer, X)
    np.testing.assert_array_equal(layer.scale, [2.0, -3.0])
    np.testing.assert_array_equal(layer.scale_grad, [7.0, 7.0])


def test_the_error_holds_the_worst_entry_and_the_counts() -> None:
    with pytest.raises(GradientError) as caught:
        gradcheck(Scale("scale"), X)
    worst = caught.value.worst
    assert (worst.argument, worst.index, worst.output) == ("scale", (1,), None)
    assert worst.error == pytest.approx(0.01, rel=1e-5)
    assert abs(worst.analytic - worst.numeric) == worst.error > worst.bound > 0
    assert caught.value.counts == {"x": (0, 6), "scale": (1, 2)}
    assert "scale  1 of 2 wrong" in str(caught.value)


class Affine(convpp.Conv2d):
    """convpp's own layer in float64, for others to spoil."""

    def __init__(self) -> None:
        super().__init__(2, 4, 3, padding=1, stride=(2, 1), groups=2, dtype=np.float64, rng=0)


class MissingFlip(Affine):
    def backward(self, dy: Any) -> Any:
        super().backward(dy)
        return convpp.conv_input_grad(dy, self.weight, self._x.shape, **self._geometry() | {"flip": True})


class WrongPadding(Affine):
    def backward(self, dy: Any) -> Any:
        super().backward(dy)
        return np.roll(convpp.conv_input_grad(dy, self.weight, self._x.shape, **self._geometry()), 1, axis=-1)


class MissingFactor(Affine):
    def _add_weight_grad(self, dy: Any, x: Any) -> None:
        super()._add_weight_grad(dy / 2, x)


class WrongGroup(Affine):
    def _add_weight_grad(self, dy: Any, x: Any) -> None:
        super()._add_weight_grad(dy, x[:, ::-1])


class OneWrongEntry(Affine):
    def _add_weight_grad(self, dy: Any, x: Any) -> None:
        super()._add_weight_grad(dy, x)
        self.weight_grad[2, 0, 1, 2] *= 1 + 1e-4


class WrongBias(Affine):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        self.bias_grad += np.sum(dy[0], axis=(1, 2))  # the first sample twice
        return dx


class Overwrites(Affine):
    def _add_weight_grad(self, dy: Any, x: Any) -> None:
        self.weight_grad[...] = convpp.conv_weight_grad(dy, x, self.weight.shape, **self._geometry())


@pytest.mark.parametrize(
    ("layer", "argument", "index"),
    [
        (MissingFlip, "x", None),
        (WrongPadding, "x", None),
        (MissingFactor, "weight", None),
        (WrongGroup, "weight", None),
        (OneWrongEntry, "weight", (2, 0, 1, 2)),
        (WrongBias, "bias", None),
    ],
)
@pytest.mark.parametrize("jacobian", [False, True])
def test_broken_layers_are_caught(layer: Any, argument: str, index: Any, jacobian: bool) -> None:
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 4))
    assert gradcheck(Affine(), x, jacobian=jacobian)
    with pytest.raises(GradientError) as caught:
        gradcheck(layer(), x, jacobian=jacobian)
    error = caught.value
    assert error.worst.argument == argument
    assert index in (None, error.worst.index)
    wrong = {name for name, (count, _) in error.counts.items() if count}
    assert wrong == {argument}  # and nothing else is blamed
    if index is not None:
        assert error.counts[argument][0] == 1
    assert (error.worst.output is not None) == jacobian


def test_gradients_that_are_overwritten_are_caught() -> None:
    x = np.random.default_rng(0).standard_normal((2, 2, 5, 4))
    with pytest.raises(
        AssertionError, match=r"does not add to the gradient of weight: after two, weight\[0, 0, 0, 0\]"
    ):
        gradcheck(Overwrites(), x)
    assert gradcheck(Overwrites(), x, accumulates=False)


class Weighted:
    """Two inputs, a part of its own, gradients that are new arrays each time, and no ``gradients()``."""

    def __init__(self) -> None:
        self.gain = np.array([1.0, 2.0, -0.5])
        self.gain_grad = np.zeros(3)

    def forward(self, a: Any, b: Any) -> Any:
        self.inputs = a, b
        return self.gain * a * b

    def backward(self, dy: Any) -> Any:
        a, b = self.inputs
        self.gain_grad = self.gain_grad + dy * a * b
        return dy * self.gain * b, dy * self.gain * a

    def parameters(self) -> list[Any]:
        return [self.gain]


def test_a_layer_may_take_several_arrays_and_keep_gradients_beside_parameters() -> None:
    layer = Weighted()
    assert isinstance(layer, Layer)
    assert gradcheck(layer, [1.0, 2.0, 3.0], [-1.0, 0.5, 2.0])
    np.testing.assert_array_equal(layer.gain_grad, 0)


def test_parameters_may_be_a_dict_or_belong_to_parts() -> None:
    class Twice:
        def __init__(self, spoil: float) -> None:
            self.inner, self.spoil = Scale(), spoil

        def forward(self, x: Any) -> Any:
            return self.inner.forward(x)

        def backward(self, dy: Any) -> Any:
            dx = self.inner.backward(dy)
            self.inner.scale_grad *= self.spoil
            return dx

        def parameters(self) -> Any:
            return self.inner.parameters()

    class Named(Twice):
        def parameters(self) -> Any:
            return {"factor": self.inner.scale}

        def gradients(self) -> Any:
            return {"factor": self.inner.scale_grad}

    assert gradcheck(Twice(1), X)
    assert gradcheck(Named(1), X)
    with pytest.raises(GradientError, match=r"worst at inner\.scale\["):
        gradcheck(Twice(2), X)
    with pytest.raises(GradientError, match=r"worst at factor\["):
        gradcheck(Named(2), X)


def test_parameters_without_gradients_are_said() -> None:
    class Bare:
        def __init__(self) -> None:
            self.gain = np.ones(2)

        def forward(self, x: Any) -> Any:
            return self.gain * x

        def backward(self, dy: Any) -> Any:
            return dy * self.gain

        def parameters(self) -> Any:
            return [self.gain]

    with pytest.raises(ValueError, match=r"gradient of gain is None.*attribute gain_grad"):
        gradcheck(Bare(), np.ones(2))


def test_a_layer_of_halves_is_refused() -> None:
    with pytest.raises(DTypeError, match=r"scale is float16.*build the layer in float64"):
        gradcheck(Scale(dtype=np.float16), X)
