"""Activations: what ``conv`` can apply to its results before it writes them, and their derivatives.

In: an array and the ``activation`` argument as users write it.   Out: an array.
Next: ``_call/arguments.py`` (the argument's forms); the core, which computes them.
"""

from __future__ import annotations

from typing import overload

import numpy.typing as npt

from convpp import _core
from convpp._call.arguments import Activation, check_activation, check_shape
from convpp._call.keywords import F
from convpp._call.validation import Array, as_float, delivered, operands, plain, result
from convpp.runtime import threads_of_call


def needs_only_result(activation: Activation | None) -> bool:
    """Whether ``activation_grad`` can do with y: all but silu, gelu, and leaky_relu with a negative slope."""
    return _core.derivative_needs_only_result(check_activation(activation))


@overload
def activate(
    z: npt.NDArray[F],
    activation: Activation | None,
    *,
    out: npt.NDArray[F] | None = None,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def activate(
    z: npt.ArrayLike, activation: Activation | None, *, out: Array | None = None, threads: int | None = None
) -> Array: ...
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

    References
    ----------
    Hendrycks and Gimpel, Gaussian error linear units, arXiv:1606.08415 (gelu, silu).

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.activate(np.array([-2.0, 0.5, 9.0]), ("clip", 0, 6))
    array([0. , 0.5, 6. ])
    """
    checked = check_activation(activation)
    z = as_float(z, "z")
    z = plain(z, z.dtype)
    # Element by element: only an ``out`` that is not z itself but overlaps it has to be computed elsewhere.
    target, copy_to = result(out, z.shape, z.dtype, False, () if out is z else (z,))
    _core.apply_activation(None, z, checked, target, threads_of_call(threads))
    return delivered(target, copy_to)


@overload
def activation_grad(
    dy: npt.NDArray[F],
    activation: Activation | None,
    *,
    y: npt.NDArray[F] | None = None,
    z: npt.NDArray[F] | None = None,
    out: npt.NDArray[F] | None = None,
    threads: int | None = None,
) -> npt.NDArray[F]: ...
@overload
def activation_grad(
    dy: npt.ArrayLike,
    activation: Activation | None,
    *,
    y: npt.ArrayLike | None = None,
    z: npt.ArrayLike | None = None,
    out: Array | None = None,
    threads: int | None = None,
) -> Array: ...
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
    if y is not None and not _core.derivative_needs_only_result(checked):
        raise ValueError(f"z is None, expected what the activation was applied to: {activation!r} cannot do with y")
    name = "z" if y is None else "y"
    first, value, _, _ = operands(dy, z if y is None else y, None, ("dy", name))
    check_shape(value.shape, first.shape, name, "the shape of dy")
    target, copy_to = result(out, first.shape, first.dtype, False, (None if out is dy else first, value))
    _core.apply_activation(first, value, checked, target, threads_of_call(threads))
    return delivered(target, copy_to)
