"""A layer or a function with its arrays, in the one form that ``gradcheck.py`` needs.

In: what the user has: a layer with ``forward`` and ``backward``, or a function that returns y and its backward.
Out: ``Differentiable``: named arrays that may be changed, y for what they hold, and the gradients for a dy.

Next: ``gradcheck.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import shown
from convpp._call.validation import FLOAT64, as_array, as_real, check_real, is_masked
from convpp.errors import DTypeError

FloatArray = npt.NDArray[np.float64]
Array = npt.NDArray[Any]


@runtime_checkable
class Layer(Protocol):
    """What `gradcheck` needs of a layer; `convpp.Conv2d` and its siblings have it, and so can your own.

    A layer with parameters also has ``parameters()`` and ``gradients()``: two equally long lists (or dicts with the
    same keys) of the layer's own arrays.  Without ``gradients()``, the gradient of the attribute ``weight`` is the
    attribute ``weight_grad``, and so on.  `gradcheck` changes the parameters in place and puts them back;
    ``backward`` adds to the gradients.

    >>> import convpp
    >>> from convpp.testing import Layer
    >>> isinstance(convpp.Conv2d(1, 1, 3), Layer)
    True
    """

    def forward(self, *arrays: Any, **options: Any) -> Any:
        """Return y, and keep what ``backward`` needs."""

    def backward(self, dy: Any, /) -> Any:
        """Return dx (for several arrays a tuple), and add to the parameters' gradients."""


Function = Callable[..., tuple[Any, Callable[..., Any]]]


class Differentiable:
    """``targets`` are the arrays by name; ``forward`` and ``gradients`` are for what they hold now."""

    def __init__(self, layer_or_function: Layer | Function, arrays: tuple[npt.ArrayLike, ...]) -> None:
        if not arrays:
            raise ValueError("gradcheck needs at least one array, got none")
        names = ["x"] if len(arrays) == 1 else [f"array {i}" for i in range(len(arrays))]
        self._inputs = [np.array(as_real(array, name)) for array, name in zip(arrays, names, strict=True)]
        self._layer: Any = layer_or_function if isinstance(layer_or_function, Layer) else None
        self._function: Any = layer_or_function
        self._parameters = {} if self._layer is None else _parameters(self._layer)
        self.targets: dict[str, Array] = dict(zip(names, self._inputs, strict=True)) | self._parameters

    def forward(self) -> FloatArray:
        """y, as an array of its own."""
        return _result(self._layer.forward(*self._inputs) if self._layer is not None else self._call()[0])

    def _call(self) -> tuple[Any, Callable[[Any], Any]]:
        """What the function returns, which must be y and its backward."""
        if not callable(self._function):
            raise ValueError(f"gradcheck is given {shown(self._function)}, expected a layer or a function")
        returned = self._function(*self._inputs)
        if not (isinstance(returned, tuple) and len(returned) == 2 and callable(returned[1])):
            raise ValueError(
                f"the function returned {shown(returned)}, expected (y, backward), where backward(dy) returns a "
                "gradient for each array"
            )
        return returned

    def gradients(self, dy: FloatArray) -> list[Array | None]:
        """The gradient of each target, in their order; those that the layer keeps are left as they were."""
        before = [array.copy() for array in self.targets.values()]
        if self._layer is None:
            found = self._backward(self._call()[1], dy)
        else:
            with _Kept(self._layer, self._parameters) as kept:
                kept.fill(0)
                self._layer.forward(*self._inputs)
                found = self._backward(self._layer.backward, dy)
                found += [gradient.copy() for gradient in kept.now()]
        for (name, target), old in zip(self.targets.items(), before, strict=True):
            if not np.array_equal(target, old, equal_nan=True):
                raise AssertionError(f"{name} was changed by the forward or backward pass: work on a copy")
        for (name, target), gradient in zip(self.targets.items(), found, strict=True):
            if gradient is not None and gradient.shape != target.shape:
                raise AssertionError(f"the gradient of {name} has shape {gradient.shape}, expected {target.shape}")
        return found

    def check_accumulation(self, dy: FloatArray) -> None:
        """A second backward must add: PyTorch's rule, by which gradients of several batches are summed."""
        if not self._parameters:
            return
        with _Kept(self._layer, self._parameters) as kept:
            kept.fill(0)
            self._layer.forward(*self._inputs)
            self._layer.backward(dy.copy())
            once = [gradient.copy() for gradient in kept.now()]
            self._layer.forward(*self._inputs)
            self._layer.backward(dy.copy())
            for name, first, twice in zip(self._parameters, once, kept.now(), strict=True):
                # Twice the same number is exact; a sum that is added term by term rounds differently.
                bound = 64 * np.finfo(first.dtype).eps * np.max(np.abs(first), initial=0)
                wrong = ~(np.abs(twice - 2 * first) <= bound)
                if np.any(wrong):
                    index = tuple(int(i) for i in np.argwhere(wrong)[0])
                    raise AssertionError(
                        f"backward does not add to the gradient of {name}: after two, {name}{list(index)} has "
                        f"{float(twice[index]):.9g}, expected {2 * float(first[index]):.9g} "
                        "(accumulates=False allows that)"
                    )

    def _backward(self, backward: Callable[[Any], Any], dy: FloatArray) -> list[Array | None]:
        """What backward returns: one gradient for each input."""
        returned = backward(dy.copy())
        several = list(returned) if isinstance(returned, (tuple, list)) else [returned]
        if len(several) != len(self._inputs):
            raise AssertionError(f"backward returned {len(several)} gradients, expected {len(self._inputs)}")
        named = zip(self.targets, several, strict=False)  # the inputs come first
        return [None if gradient is None else _gradient(gradient, name) for name, gradient in named]


class _Kept:
    """The gradients that a layer keeps; as they were when the block ends."""

    def __init__(self, layer: Any, parameters: Mapping[str, Array]) -> None:
        self._layer = layer
        self._names = list(parameters)
        self._before: list[Array] = []

    def __enter__(self) -> _Kept:
        self._before = [gradient.copy() for gradient in self.now()]
        return self

    def __exit__(self, *error: object) -> None:
        for gradient, old in zip(self.now(), self._before, strict=True):
            gradient[...] = old

    def fill(self, value: float) -> None:
        """Every gradient is set to this."""
        for gradient in self.now():
            gradient[...] = value

    def now(self) -> list[Array]:
        """Asked for anew each time: a layer may keep its gradients in new arrays."""
        if not self._names:
            return []
        if hasattr(self._layer, "gradients"):
            given = self._layer.gradients()
            gradients = [given[name] for name in self._names] if isinstance(given, Mapping) else list(given)
        else:
            gradients = [_attribute(self._layer, f"{name}_grad") for name in self._names]
        if len(gradients) != len(self._names):
            raise ValueError(f"gradients() returns {len(gradients)} arrays, expected {len(self._names)}: {self._names}")
        for name, gradient in zip(self._names, gradients, strict=True):
            if not isinstance(gradient, np.ndarray) or is_masked(gradient):
                raise ValueError(
                    f"the gradient of {name} is {shown(gradient)}, expected a plain array: gradcheck needs gradients() "
                    f"of the layer, or its attribute {name}_grad"
                )
        return gradients


def _parameters(layer: Any) -> dict[str, Array]:
    """The layer's parameters, named as its attributes (or those of its parts) where it keeps them there."""
    if not hasattr(layer, "parameters"):
        return {}
    given = layer.parameters()
    if not isinstance(given, Mapping):
        names = {id(array): name for name, array in _attributes(layer)}
        given = {names.get(id(array), f"parameter {i}"): array for i, array in enumerate(given)}
    for name, array in given.items():
        plain = isinstance(array, np.ndarray) and not is_masked(array)
        if not plain or array.dtype not in (np.float64, np.float32):
            kind = array.dtype if plain else f"a {type(array).__name__}"
            raise DTypeError(f"{name} is {kind}, expected an array of float64 (or float32): build the layer in float64")
    return dict(given)


def _attributes(layer: Any, prefix: str = "", depth: int = 3) -> Iterator[tuple[str, Array]]:
    """The arrays that an object and its parts hold, as ``name`` and ``part.name``."""
    for name, value in getattr(layer, "__dict__", {}).items():
        if isinstance(value, np.ndarray):
            public = name.removeprefix("_")  # of a property, if it returns this array
            yield prefix + (public if getattr(layer, public, None) is value else name), value
        elif hasattr(value, "parameters") and depth:
            yield from _attributes(value, f"{prefix}{name}.", depth - 1)


def _attribute(layer: Any, path: str) -> Any:
    for name in path.split("."):
        layer = getattr(layer, name, None)
    return layer


def _gradient(gradient: Any, name: str) -> Array:
    array = as_array(gradient, f"the gradient of {name}")
    check_real(array, FLOAT64, f"the gradient of {name}")
    return array.copy()


def _result(y: Any) -> FloatArray:
    if isinstance(y, (tuple, list)):
        raise DTypeError(f"the result is a {type(y).__name__}, expected one array: check its members one by one")
    result = as_array(y, "the result")
    if result.dtype != np.float64:
        raise DTypeError(f"gradcheck needs a float64 result, got {result.dtype}: build the layer in float64")
    return result.copy()
