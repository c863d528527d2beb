"""Activations: what ``conv`` can apply to its results before it writes them, and their derivatives.

In: the ``activation`` argument as users write it, arrays.   Out: its checked form; arrays.
Used by ``functional.py``, ``transposed.py`` and ``layers.py``; computed by the core (cpp/src/activation.cpp).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from convpp import _core
from convpp.arguments import check_shape
from convpp.calls import copied
from convpp.planning import Planned
from convpp.runtime import threads_of_call
from convpp.validation import Array, as_float, common_dtype, dtype_from, operands, plain, result

#: A name, or a name with its numbers: ("leaky_relu", slope), ("clip", lo, hi).
Activation = str | tuple[Any, ...]
#: What the core takes: the name and two numbers.
Checked = tuple[str, float, float]

NAMES = ("relu", "leaky_relu", "silu", "gelu")
LEAKY_SLOPE = 0.01
NONE: Checked = ("none", 0.0, 0.0)

_FORMS = f'None, {", ".join(repr(name) for name in NAMES)}, ("leaky_relu", slope) or ("clip", lo, hi)'


def check_activation(activation: Any) -> Checked:
    """The activation's name and numbers, or a ValueError that lists the forms."""
    if activation is None:
        return NONE
    if isinstance(activation, str) and activation in NAMES:
        return (activation, LEAKY_SLOPE if activation == "leaky_relu" else 0.0, 0.0)
    if isinstance(activation, Sequence) and not isinstance(activation, str) and len(activation) in (2, 3):
        kind, *numbers = activation
        try:
            values = [float(number) for number in numbers]
        except (TypeError, ValueError):
            values = [math.nan]
        if kind == "leaky_relu" and len(values) == 1 and math.isfinite(values[0]):
            return ("leaky_relu", values[0], 0.0)
        if kind == "clip" and len(values) == 2:
            if values[0] <= values[1]:
                return ("clip", values[0], values[1])
            raise ValueError(f"activation is {activation!r}, expected ('clip', lo, hi) with lo <= hi")
    raise ValueError(f"activation is {activation!r}, expected {_FORMS}")


def needs_only_result(activation: Activation | None) -> bool:
    """Whether ``activation_grad`` can do with y: all but silu, gelu, and leaky_relu with a negative slope."""
    return _core.derivative_needs_only_result(*check_activation(activation))


def activate(
    z: npt.ArrayLike, activation: Activation | None, *, out: Array | None = None, threads: int | None = None
) -> Array:
    """An activation of a whole array: what ``conv(..., activation=...)`` applies to its results.

    ================  ====================================================
    "relu"            ``max(z, 0)``
    "leaky_relu"      ``z`` where ``z >= 0``, else ``0.01 * z``; ``("leaky_relu", slope)``
    "silu"            ``z / (1 + exp(-z))``, also called swish
    "gelu"            ``z * (1 + erf(z / sqrt(2))) / 2`` (the exact form)
    ("clip", lo, hi)  ``min(max(z, lo), hi)``; relu6 is ``("clip", 0, 6)``
    None              ``z``
    ================  ====================================================

    Parameters
    ----------
    z : array of any shape, of one of the four types
    activation : as above
    out : array of z's shape and dtype, C-contiguous, optional
        It may be ``z``.
    threads : int, optional

    Returns
    -------
    array of z's shape and dtype; NaN where z is NaN

    Raises
    ------
    ShapeError, DTypeError, ValueError
        Each names the argument; ``out`` is then untouched.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.activate(np.array([-2.0, 0.5, 9.0]), ("clip", 0, 6))
    array([0. , 0.5, 6. ])

    References
    ----------
    Hendrycks and Gimpel, Gaussian error linear units, arXiv:1606.08415 (gelu, silu).
    """
    checked = check_activation(activation)
    z = as_float(z, "z")
    z = plain(z, z.dtype)
    dtype = z.dtype.name
    # Element by element: only an ``out`` that is not z itself but overlaps it has to be computed elsewhere.
    target, copy_to = result(out, z.shape, dtype, False, () if out is z else (z,))
    _core.apply_activation(None, z, *checked, target, threads_of_call(threads))
    return target if copy_to is None else copied(target, copy_to)


def activation_grad(
    dy: npt.ArrayLike,
    activation: Activation | None,
    *,
    y: npt.ArrayLike | None = None,
    z: npt.ArrayLike | None = None,
    out: Array | None = None,
    threads: int | None = None,
) -> Array:
    """Gradient of a loss with respect to z, where ``y = activate(z, activation)``: ``dz = dy * activation'(z)``.

    For ``y = conv(x, w, bias, activation=a, add=r)``, dz is what the gradients of the convolution start from:
    ``conv_backward(dz, x, w)``; it is also the gradient of ``r``.

    Parameters
    ----------
    dy : gradient with respect to y
    activation : as in ``activate``
    y : the stored output
        Enough for "relu", ``("clip", lo, hi)`` and "leaky_relu" (with a slope of 0 or more).
    z : what the activation was applied to
        Needed by "silu" and "gelu": ``conv`` without activation, and ``activate``, keep it.  Give y or z.
    out : array of dy's shape and dtype, C-contiguous, optional
        It may be ``dy``.
    threads : int, optional

    Returns
    -------
    array of dy's shape
        At the corners of relu, leaky_relu and clip: 0, slope and 0, as in PyTorch's ReLU, LeakyReLU and Hardtanh
        (``torch.clamp`` has 1).

    Raises
    ------
    ShapeError, DTypeError, ValueError
        Each names the argument; ``out`` is then untouched.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> y = convpp.activate(np.array([-2.0, 0.5, 9.0]), "relu")
    >>> convpp.activation_grad(np.ones(3), "relu", y=y)
    array([0., 1., 1.])
    """
    checked = check_activation(activation)
    if (y is None) == (z is None):
        raise ValueError(f"y and z are {'both' if y is not None else 'not'} given, expected one of them")
    if y is not None and not _core.derivative_needs_only_result(*checked):
        raise ValueError(f"z is None, expected what the activation was applied to: {activation!r} cannot do with y")
    name = "z" if y is None else "y"
    first, value, _, dtype = operands(dy, z if y is None else y, None, ("dy", name))
    check_shape(value.shape, first.shape, name, "the shape of dy")
    target, copy_to = result(out, first.shape, dtype, False, (None if out is dy else first, value))
    _core.apply_activation(first, value, *checked, target, threads_of_call(threads))
    return target if copy_to is None else copied(target, copy_to)


def with_residual(
    first: Array, second: Array, bias: Array | None, add: Any, dtype: str
) -> tuple[Array, Array, Array | None, Array, str]:
    """The operands and the residual in their common type."""
    add = as_float(add, "add")
    common = common_dtype(dtype_from(dtype), add.dtype)
    if common.name != dtype:
        first, second = plain(first, common), plain(second, common)
        bias = None if bias is None else plain(bias, common)
    return first, second, bias, plain(add, common), common.name


def run_fused(
    planned: Planned,
    first: Array,
    second: Array | _core.PreparedWeights,
    bias: Array | None,
    add: Array | None,
    activation: Any,
    result_shape: tuple[int, ...],
    dtype: str,
    out: Array | None,
    threads: int | None,
) -> Array:
    """Executes a planned pass whose results are ``activation(sums + bias + add)``."""
    checked = check_activation(activation)
    if add is not None:
        check_shape(add.shape, result_shape, "add", "the shape of the result")
    count = threads_of_call(threads)
    weights = None if isinstance(second, _core.PreparedWeights) else second
    target, copy_to = result(out, result_shape, dtype, False, (first, weights, bias, add))
    if isinstance(second, _core.PreparedWeights):
        planned.convolution.execute_prepared(first, second, bias, add, *checked, target, count)
    else:
        planned.convolution.execute_fused(first, second, bias, add, *checked, target, count)
    return target if copy_to is None else copied(target, copy_to)
