"""Checks for convolutions and for any code with a backward pass: references, finite differences, adjoints.

In: arrays, a layer, or functions.  Out: ``True``, or an ``AssertionError`` that says which entry is wrong.
The references (``reference.py``) are plain NumPy; nothing here needs the compiled core.

Read next: ``reference.py`` (a convolution and its gradients by definition), ``layers.py`` (what
``gradcheck`` is for), ``examples/custom_layer_gradcheck.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from convpp.errors import DTypeError
from convpp.reference import reference_conv, reference_input_grad, reference_weight_grad

__all__ = [
    "Layer",
    "adjoint_test",
    "gradcheck",
    "reference_conv",
    "reference_input_grad",
    "reference_weight_grad",
]

FloatArray = npt.NDArray[np.float64]


@runtime_checkable
class Layer(Protocol):
    """What `gradcheck` needs of a layer; `convpp.Conv2d` and its siblings have it, and so can your own.

    A layer with parameters also has ``parameters()`` and ``gradients()``: two equally long lists of the
    layer's own arrays.  `gradcheck` changes the parameters in place and puts them back; ``backward`` adds
    to the gradients in place.
    """

    def forward(self, x: Any, /) -> Any:
        """Return y, and keep what ``backward`` needs."""

    def backward(self, dy: Any, /) -> Any:
        """Return dx, and add to the parameters' gradients."""


Function = Callable[..., tuple[Any, Callable[..., Any]]]


def gradcheck(
    layer_or_function: Layer | Function,
    *arrays: npt.ArrayLike,
    step: float | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-6,
    samples: int | None = None,
    rng: int | np.random.Generator | None = 0,
) -> Literal[True]:
    """Compare an analytic backward pass with central differences, in float64.

    With a random ``dy``, the scalar ``L = sum(dy * y)`` has the gradients that the backward pass must
    return.  Each checked entry ``v`` must satisfy ``|analytic - numeric| <= atol + rtol * |numeric|`` with
    ``numeric = (L(v + step) - L(v - step)) / (2 * step)``.

    Parameters
    ----------
    layer_or_function : either of

        * a layer: ``y = layer.forward(x)``, then ``dx = layer.backward(dy)``, which also adds to the
          gradients of the parameters (see `Layer`).  ``dx`` and every parameter's gradient are checked;
          parameters and gradients are left as they were.
        * a function: ``y, backward = function(*arrays)``, where ``backward(dy)`` returns the gradient of
          each array in order: a tuple or list, or for a single array just the gradient.  ``None`` in the
          place of a gradient leaves that array unchecked.

    *arrays : the inputs; exactly one for a layer.  They are copied to float64, never changed.
    step : half the width of a difference; by default the cube root of the machine epsilon of the changed
        array's dtype, times ``max(1, |v|)``.
    rtol, atol : the bounds above.
    samples : check at most this many entries of each array, chosen at random; by default all.
    rng : seed or Generator for ``dy`` and the chosen entries.

    Returns
    -------
    True, so that ``assert gradcheck(...)`` reads well.

    Raises
    ------
    AssertionError : a gradient is wrong; the message has the worst entry, its array and its index.
    DTypeError : the result is not float64: differences in float32 would be noise.
    ValueError : no array, or more than one for a layer.

    Notes
    -----
    At a kink (ReLU at 0) no difference equals the derivative: keep inputs away from it.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.testing import gradcheck
    >>> def product(a, b):
    ...     return a * b, lambda dy: (dy * b, dy * a)
    >>> gradcheck(product, np.arange(3.0), np.ones(3))
    True
    """
    if not arrays:
        raise ValueError("gradcheck needs at least one array, got none")
    random = np.random.default_rng(rng)
    inputs = [np.array(a, dtype=np.float64) for a in arrays]
    targets = {f"array {i}" if len(inputs) > 1 else "x": a for i, a in enumerate(inputs)}
    if isinstance(layer_or_function, Layer):
        if len(inputs) != 1:
            raise ValueError(f"a layer takes one array, got {len(inputs)}")
        forward: Callable[..., Any] = layer_or_function.forward
        targets |= _parameters(layer_or_function)
        dy = _random_like(forward(*inputs), random)
        analytic = _layer_gradients(layer_or_function, inputs[0], dy)
    else:

        def forward(*inputs: FloatArray) -> Any:
            return layer_or_function(*inputs)[0]

        y, backward = layer_or_function(*inputs)
        dy = _random_like(y, random)
        returned = backward(dy)
        analytic = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    if len(analytic) != len(targets):
        raise AssertionError(f"backward returned {len(analytic)} gradients, expected {len(targets)}")

    def loss() -> float:
        return float(np.sum(dy * forward(*inputs)))

    worst, message = 0.0, ""
    for (name, target), gradient in zip(targets.items(), analytic, strict=True):
        if gradient is None:
            continue
        gradient = np.asarray(gradient)
        if gradient.shape != target.shape:
            raise AssertionError(f"the gradient of {name} has shape {gradient.shape}, expected {target.shape}")
        chosen = np.arange(target.size)
        if samples is not None and samples < target.size:
            chosen = np.sort(random.choice(target.size, samples, replace=False))
        for flat in chosen:
            index = tuple(int(i) for i in np.unravel_index(flat, target.shape))
            got, numeric = float(gradient[index]), _central_difference(loss, target, index, step)
            error, bound = abs(got - numeric), atol + rtol * abs(numeric)
            excess = error / bound if math.isfinite(error) else math.inf
            if excess > worst:
                worst = excess
                message = (
                    f"wrong gradient, worst at {name}{list(index)}: backward gives {got:.9g}, "
                    f"differences give {numeric:.9g}; error {error:.3g}, allowed {bound:.3g}"
                )
    if worst > 1:
        raise AssertionError(message)
    return True


def _parameters(layer: Any) -> dict[str, npt.NDArray[Any]]:
    """The layer's parameters, named as its attributes where it keeps them in attributes."""
    if not hasattr(layer, "parameters"):
        return {}
    names = {id(value): name for name, value in vars(layer).items()}
    return {names.get(id(p), f"parameter {i}"): p for i, p in enumerate(layer.parameters())}


def _layer_gradients(layer: Any, x: FloatArray, dy: FloatArray) -> list[npt.NDArray[Any]]:
    """dx and the gradients of the parameters for one backward pass; the layer's own are put back."""
    gradients = list(layer.gradients()) if hasattr(layer, "parameters") else []
    before = [g.copy() for g in gradients]
    for g in gradients:
        g[...] = 0
    layer.forward(x)
    dx = layer.backward(dy)
    found = [g.copy() for g in gradients]
    for g, old in zip(gradients, before, strict=True):
        g[...] = old
    return [dx, *found]


def _central_difference(
    loss: Callable[[], float], target: npt.NDArray[Any], index: tuple[int, ...], step: float | None
) -> float:
    """``dL / d target[index]``, divided by the step really made: float32 targets round it."""
    value = target[index]
    if step is None:
        step = float(np.finfo(target.dtype).eps) ** (1 / 3) * max(1.0, abs(float(value)))
    target[index] = value + step
    above, loss_above = float(target[index]), loss()
    target[index] = value - step
    below, loss_below = float(target[index]), loss()
    target[index] = value
    return (loss_above - loss_below) / (above - below)


def _random_like(y: Any, random: np.random.Generator) -> FloatArray:
    y = np.asarray(y)
    if y.dtype != np.float64:
        raise DTypeError(f"gradcheck needs a float64 result, got {y.dtype}: build the layer in float64")
    dy: FloatArray = random.standard_normal(y.shape)
    return dy


def adjoint_test(
    forward: Callable[[Any], Any],
    adjoint: Callable[[Any], Any],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    *,
    rtol: float | None = None,
) -> Literal[True]:
    """Check that ``adjoint`` is the transpose of the linear map ``forward``.

    ``<forward(x), y> == <x, adjoint(y)>`` within ``rtol * (|forward(x)| |y| + |x| |adjoint(y)|)``, with
    Euclidean norms.  For a convolution, ``forward`` maps ``x`` (or ``w``) to the output and ``adjoint`` is
    the input (or weight) gradient.  No oracle is needed and no step size.

    Parameters
    ----------
    forward : maps an array like ``x`` to one like ``y``; linear (no bias).
    adjoint : maps an array like ``y`` to one like ``x``.
    x, y : random arrays; ``y`` has the shape of ``forward(x)``.
    rtol : by default 64 times the machine epsilon of the least precise of the four arrays.

    Returns
    -------
    True.

    Raises
    ------
    AssertionError : the two sides differ, or the shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.testing import adjoint_test
    >>> a = np.arange(6.0).reshape(2, 3)
    >>> adjoint_test(lambda x: a @ x, lambda y: a.T @ y, np.ones(3), np.ones(2))
    True
    """
    x, y = np.asarray(x), np.asarray(y)
    ax, aty = np.asarray(forward(x)), np.asarray(adjoint(y))
    if ax.shape != y.shape or aty.shape != x.shape:
        raise AssertionError(
            f"forward maps shape {x.shape} to {ax.shape}, adjoint maps {y.shape} to {aty.shape}: "
            "each must return the shape that the other takes"
        )
    if rtol is None:
        floats = [a.dtype for a in (x, y, ax, aty) if np.issubdtype(a.dtype, np.floating)]
        rtol = 64 * max(float(np.finfo(d).eps) for d in (np.dtype(np.float64), *floats))
    left, right = _dot(ax, y), _dot(x, aty)
    bound = rtol * (math.sqrt(_dot(ax, ax) * _dot(y, y)) + math.sqrt(_dot(x, x) * _dot(aty, aty)))
    if not abs(left - right) <= bound:  # written so that NaN fails
        raise AssertionError(
            f"<forward(x), y> = {left!r}, but <x, adjoint(y)> = {right!r}: "
            f"they differ by {abs(left - right):.3g}, allowed {bound:.3g}"
        )
    return True


def _dot(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    return float(np.sum(a.astype(np.float64) * b.astype(np.float64)))
