"""A weight and a bias with their gradients: what a layer learns.

In: a shape, a dtype, a generator.  Out: arrays with PyTorch's initial values, which an optimiser changes in
place, and which can be saved and loaded.

Next: ``layers.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import attribute
from convpp._call.validation import Array, as_array, check_real, dtype_from, dtype_name, generator
from convpp.errors import ShapeError

#: Elements of a weight: more cannot exist, which NumPy would say in its own way.
LARGEST = 2**56

#: Quoted: looking at np.random imports it, which takes as long as the rest of convpp.
Rng: TypeAlias = "int | np.random.Generator | None"


class WeightAndBias:
    """The parameters of one layer: arrays that stay the same ones for as long as it lives.

    What is assigned is checked, and copied into them: shapes and dtypes stay, and so does what ``parameters()`` and
    ``gradients()`` returned before.  (So two layers do not share a weight by ``one.weight = other.weight``; use one
    layer twice.)

    Attributes
    ----------
    weight : of the given shape.
    bias : (biases,), or None.
    weight_grad, bias_grad : like ``weight`` and ``bias``; zero at first, a layer's ``backward`` adds to them.

    Raises
    ------
    ShapeError, DTypeError, ValueError : what is assigned has another shape, is not of real numbers, or is for a bias
        that the layer does not have; nothing has been changed.

    Examples
    --------
    >>> import convpp
    >>> layer = convpp.Conv1d(1, 2, 3)
    >>> listed = layer.parameters()
    >>> layer.bias = [1, 2]
    >>> listed[1]
    array([1., 2.], dtype=float32)
    """

    def __init__(self, weight_shape: tuple[int, ...], biases: int | None, dtype: npt.DTypeLike, rng: Rng) -> None:
        dtype = dtype_from(dtype_name(dtype))
        if math.prod(weight_shape) > LARGEST:
            raise ShapeError(f"weight would have shape {weight_shape}, expected at most 2**56 elements")
        fan_in = math.prod(weight_shape[1:])
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0  # PyTorch's kaiming_uniform with a = sqrt(5)
        random = generator(rng)
        self._weight: Array = random.uniform(-bound, bound, weight_shape).astype(dtype)
        self._weight_grad: Array = np.zeros_like(self._weight)
        biased = biases is not None
        self._bias: Array | None = random.uniform(-bound, bound, biases).astype(dtype) if biased else None
        self._bias_grad: Array | None = np.zeros_like(self._bias) if biased else None

    @property
    def weight(self) -> Array:
        """The filters."""
        return self._weight

    @weight.setter
    def weight(self, value: npt.ArrayLike) -> None:
        _assign(self._weight, value, "weight")

    @property
    def weight_grad(self) -> Array:
        """The gradient with respect to ``weight``."""
        return self._weight_grad

    @weight_grad.setter
    def weight_grad(self, value: npt.ArrayLike) -> None:
        _assign(self._weight_grad, value, "weight_grad")

    @property
    def bias(self) -> Array | None:
        """One number for each filter, or None."""
        return self._bias

    @bias.setter
    def bias(self, value: npt.ArrayLike | None) -> None:
        _assign(self._bias, value, "bias")

    @property
    def bias_grad(self) -> Array | None:
        """The gradient with respect to ``bias``."""
        return self._bias_grad

    @bias_grad.setter
    def bias_grad(self, value: npt.ArrayLike | None) -> None:
        _assign(self._bias_grad, value, "bias_grad")

    def parameters(self) -> list[Array]:
        """``[weight, bias]``, or ``[weight]``: the layer's own arrays, to be changed in place.

        One step of gradient descent is
        ``for p, g in zip(layer.parameters(), layer.gradients()): p -= rate * g``.

        >>> import convpp
        >>> [p.shape for p in convpp.Conv2d(3, 8, (3, 5)).parameters()]
        [(8, 3, 3, 5), (8,)]
        """
        return [self.weight] if self.bias is None else [self.weight, self.bias]

    def gradients(self) -> list[Array]:
        """``[weight_grad, bias_grad]``, or ``[weight_grad]``, in the order of ``parameters()``.

        >>> import convpp
        >>> layer = convpp.Conv2d(3, 8, 3)
        >>> layer.gradients()[1] is layer.bias_grad
        True
        """
        return [self.weight_grad] if self.bias_grad is None else [self.weight_grad, self.bias_grad]

    def zero_grad(self) -> None:
        """Set the gradients to zero, in place.

        >>> import convpp
        >>> layer = convpp.Conv1d(1, 2, 3)
        >>> layer.bias_grad += 5
        >>> layer.zero_grad()
        >>> layer.bias_grad
        array([0., 0.], dtype=float32)
        """
        for gradient in self.gradients():
            gradient[...] = 0

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters, ``{"weight": ..., "bias": ...}``; no "bias" for ``bias=False``.

        >>> import convpp
        >>> sorted(convpp.Conv1d(1, 2, 3).state_dict())
        ['bias', 'weight']
        """
        return {name: parameter.copy() for name, parameter in self._named_parameters().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy parameters into the layer's arrays, cast to the layer's dtype.

        Parameters
        ----------
        state : a mapping of exactly the layer's parameter names to anything that ``np.asarray`` takes: what
            ``state_dict()`` of this layer, or of PyTorch's layer of the same name, returned.

        Raises
        ------
        ValueError : ``state`` is no mapping.
        KeyError : a name is missing or unknown.
        ShapeError, DTypeError : an array has another shape, or is not of real numbers, or masked.

        Nothing has been changed when an error is raised.

        >>> import convpp
        >>> old, new = convpp.Conv1d(1, 2, 3), convpp.Conv1d(1, 2, 3)
        >>> new.load_state_dict(old.state_dict())
        >>> bool((new.weight == old.weight).all())
        True
        """
        if not isinstance(state, Mapping):
            pair = isinstance(state, (list, tuple)) and len(state) == len(self.parameters())
            meant = ": did you mean dict(zip(('weight', 'bias'), state))?" if pair else ""
            raise ValueError(f"state is a {type(state).__name__}, expected a mapping of names to arrays{meant}")
        parameters = self._named_parameters()
        missing, unknown = [n for n in parameters if n not in state], [n for n in state if n not in parameters]
        if missing or unknown:
            from convpp._call.guesses import words

            meant = words.of_state(state, parameters, "Transpose" in type(self).__name__)
            raise KeyError(
                f"{type(self).__name__} has the parameters {list(parameters)}, got {list(state)}: "
                f"missing {missing}, unknown {unknown}{meant}"
            )
        arrays = {name: _fitting(state[name], parameter, name) for name, parameter in parameters.items()}
        for name, parameter in parameters.items():
            parameter[...] = arrays[name]

    def _named_parameters(self) -> dict[str, Array]:
        return dict(zip(("weight", "bias"), self.parameters(), strict=False))


def _assign(own: Array | None, value: Any, name: str) -> None:
    """Copies ``value`` into the layer's own array; after ``layer.weight -= step`` it is there already."""
    if value is own:
        return
    if own is None:
        raise ValueError(f"{name} is set, expected None: this layer was made with bias=False")
    if value is None and name == "bias":
        raise ValueError("bias is None, expected an array: a layer without one is made with bias=False")
    own[...] = _fitting(value, own, name)


def _fitting(value: Any, own: Array, name: str) -> Array:
    """``value`` as an array that can be copied into ``own``; of a PyTorch parameter, its values."""
    detach = attribute(value, "detach")
    array = as_array(detach() if callable(detach) else value, name)
    if array.shape != own.shape:
        from convpp._call.guesses import shapes

        meant = shapes.of_parameter(array.shape, own.shape, name)
        raise ShapeError(f"{name} has shape {array.shape}, expected {own.shape}{meant}")
    check_real(array, own.dtype, name)
    return array
