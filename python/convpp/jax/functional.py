"""``conv`` and ``conv_transpose`` of JAX arrays, with the arguments of convpp's functions of the same names.

In: JAX arrays, or what becomes such, and the geometry.   Out: a JAX array.
Next: ``call.py``, ``primitives.py``.

What is checked is checked when JAX traces the call, by what checks NumPy's: the same errors, before anything runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from convpp._call.arguments import Algorithm, Layout, Padding, PaddingMode, PerAxis, attribute, check_shape
from convpp._call.geometry import Geometry, geometry_of
from convpp._call.options import conv_options, transpose_options
from convpp._call.validation import NAMES, common_dtype
from convpp.errors import DTypeError
from convpp.jax.call import OPERANDS, call_of
from convpp.jax.primitives import multiply, multiply_biased

Array = Any


def conv(
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
) -> Array:
    """``convpp.conv`` for JAX arrays: differentiable in x, w and bias, to any order, in both modes.

    ``y[n, k, p] = bias[k] + sum over c, r of x[n, c, p*stride - lo + r*dilation] * w[k, c, r]``

    Parameters
    ----------
    x : (N, C, \\*spatial), or (C, \\*spatial) for one sample
        float32, float64 (where JAX is told to have it), bfloat16 or float16.
    w : (K, C/groups, \\*kernel)
    bias : (K,), optional
    stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm
        As in ``convpp.conv``.  They are static: numbers and names, no traced values.  The number of threads is
        ``convpp.set_num_threads``'s.

    Returns
    -------
    (N, K, \\*out), without N if x has none

    Raises
    ------
    ShapeError, DTypeError, ValueError
        When the call is traced.

    Examples
    --------
    >>> import jax, jax.numpy as jnp
    >>> import convpp.jax
    >>> x, w = jnp.ones((1, 1, 4)), jnp.ones((1, 1, 2))
    >>> jax.grad(lambda w: (convpp.jax.conv(x, w) ** 2).sum())(w)
    Array([[[12., 12.]]], dtype=float32)
    """
    x, w, bias = arrays(x=x, w=w, bias=bias)
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    geometry = geometry_of(x.shape, w.shape, options)
    if bias is not None:
        check_shape(bias.shape, (geometry.out_channels,), "bias", "(K,), one for each filter")
    return convolution("y", geometry, x, w, bias)


def conv_transpose(
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    output_size: Iterable[int] | None = None,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
) -> Array:
    """``convpp.conv_transpose`` for JAX arrays: differentiable in x, w and bias, to any order, in both modes.

    ``y[n, k, h] = bias[k] + sum over c, p, r with p*stride - lo + r*dilation = h  of  x[n, c, p] * w[c, k, r]``

    Parameters
    ----------
    x : (N, C_in, \\*spatial), or without N for one sample
    w : (C_in, C_out/groups, \\*kernel)
    bias : (C_out,), optional
    stride, padding, output_padding, output_size, dilation, groups, padding_mode, flip, layout, per_sample, algorithm
        As in ``convpp.conv_transpose``; static, as in ``conv``.

    Returns
    -------
    (N, C_out, \\*out), without N if x has none

    Raises
    ------
    ShapeError, DTypeError, ValueError
        When the call is traced.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import convpp.jax
    >>> convpp.jax.conv_transpose(jnp.ones((1, 1, 2)), jnp.ones((1, 1, 2)), stride=2)
    Array([[[1., 1., 1., 1.]]], dtype=float32)
    """
    x, w, bias = arrays(x=x, w=w, bias=bias)
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    geometry = geometry_of(x.shape, w.shape, transpose_options(shared, output_padding, output_size))
    if bias is not None:
        check_shape(bias.shape, (geometry.in_channels,), "bias", "(C_out,), one for each output channel")
    return convolution("x", geometry, x, w, bias)


def arrays(**given: Any) -> list[Array]:
    """The arguments as JAX arrays of types that convpp has; None stays None."""
    return [None if value is None else _array(value, argument) for argument, value in given.items()]


def convolution(
    role: str, geometry: Geometry, first: Array, w: Array, bias: Array = None, dtype: np.dtype[Any] | None = None
) -> Array:
    """The pass with this result, "y" or "x", in the operands' common type or in ``dtype``; of one sample without N."""
    assert OPERANDS[role][1] == "w"
    call = call_of(geometry)
    if geometry.batch is None:
        first = first[None]
    if dtype is None:
        dtype = common_dtype(*(np.dtype(array.dtype) for array in (first, w, bias) if array is not None))
    if bias is None:
        result = multiply(role, call, first, w, dtype)
    else:
        result = multiply_biased(role, call, first, w, bias, dtype)
    return result[0] if geometry.batch is None else result


def _array(value: Any, argument: str) -> Array:
    try:
        array = value if isinstance(value, jax.Array) else jnp.asarray(value)
    except TypeError as error:
        raise DTypeError(f"{argument} is not an array: {error}") from error
    if attribute(array.dtype, "name") not in NAMES:
        raise DTypeError(
            f"{argument} has dtype {array.dtype}, expected {', '.join(NAMES[:-1])} or {NAMES[-1]}: "
            f"use {argument}.astype(jnp.float32)"
        )
    return array
