"""``conv_general_dilated``, with the arguments of ``jax.lax.conv_general_dilated``.

In: what JAX's takes.   Out: what JAX's returns, in float32 sums or better.
Next: ``functional.py``: a dilated lhs makes it a transposed convolution, anything else is a plain one.

Layouts: images whose channels are their second axis or their last one are taken as they are, and so are results;
weights are "OIHW" in the core, and others are transposed by XLA, as images of any other order are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from convpp._call.arguments import Layout, as_int, entries, pads, per_axis, shown
from convpp._call.geometry import axes_of, explicit_pads, geometry_of
from convpp._call.options import ConvOptions, Options, transpose_options
from convpp._call.validation import common_dtype, dtype_from, dtype_name
from convpp.errors import ShapeError
from convpp.jax.functional import arrays, convolution

Array = Any

PADDINGS = {"SAME": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}


def conv_general_dilated(
    lhs: Any,
    rhs: Any,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Array:
    """``jax.lax.conv_general_dilated`` by convpp: differentiable to any order, in both modes.

    ``out[n, k, p] = sum over c, r of lhs[n, c, p*stride - lo + r*rhs_dilation] * rhs[k, c, r]``, where lhs has
    ``lhs_dilation - 1`` zeros between its elements.

    Parameters
    ----------
    lhs, rhs : arrays with 1, 2 or 3 spatial axes
        float32, float64, bfloat16 or float16.
    window_strides : an int for each spatial axis
    padding : "SAME", "SAME_LOWER", "VALID", or a (lo, hi) pair for each spatial axis
    lhs_dilation : an int for each spatial axis, optional
        Above 1 this is a transposed convolution, which no zeros are inserted for; its window_strides are 1.
    rhs_dilation : an int for each spatial axis, optional
    dimension_numbers : None, three strings such as ("NHWC", "HWIO", "NHWC"), or ``jax.lax.ConvDimensionNumbers``
    feature_group_count : int
    batch_group_count : int
        1: gradients of weights, which JAX writes with it, are convpp's own here.
    precision : as in JAX
        All are met: nothing is computed in less than float32.
    preferred_element_type : a type, optional
        That of the result; sums of halves in float32 are then not rounded.
    out_sharding : None

    Returns
    -------
    array in the layout that dimension_numbers say

    Raises
    ------
    ShapeError, DTypeError, ValueError
        When the call is traced.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import convpp.jax
    >>> x, w = jnp.ones((1, 4, 4, 2)), jnp.ones((3, 3, 2, 5))
    >>> y = convpp.jax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    >>> y.shape, float(y[0, 1, 1, 0])
    ((1, 4, 4, 5), 18.0)
    """
    lhs, rhs = arrays(lhs=lhs, rhs=rhs)
    if lhs.ndim != rhs.ndim or lhs.ndim not in (3, 4, 5):
        raise ShapeError(
            f"lhs has shape {lhs.shape} and rhs has shape {rhs.shape}, expected as many axes of both, 3, 4 or 5: "
            "batch, features and 1, 2 or 3 spatial axes"
        )
    rank = lhs.ndim - 2
    _check_precision(precision)
    if as_int(batch_group_count, "batch_group_count") != 1:
        raise ValueError(
            f"batch_group_count is {batch_group_count}, expected 1: a batch group is a feature group whose lhs has "
            "its batch moved to its features, which feature_group_count convolves; gradients need neither"
        )
    strides, spread, dilation = (
        (1,) * rank if value is None else axes_of(per_axis(value, name), rank, name, 1)
        for value, name in (
            (window_strides, "window_strides"),
            (lhs_dilation, "lhs_dilation"),
            (rhs_dilation, "rhs_dilation"),
        )
    )
    dtype = common_dtype(np.dtype(lhs.dtype), np.dtype(rhs.dtype))
    if preferred_element_type is not None:
        dtype = dtype_from(dtype_name(preferred_element_type))
    if out_sharding is not None:
        raise ValueError(f"out_sharding is {shown(out_sharding)}, expected None: use jax.shard_map, or jax.reshard")
    numbers = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    first, last = tuple(range(rank + 2)), (0, rank + 1, *range(1, rank + 1))
    spec = next((s for s in (numbers.lhs_spec, numbers.out_spec) if tuple(s) in (first, last)), first)
    order = tuple(spec)  # where batch, features and spatial axes are in the core's arrays
    lhs = _transpose(lhs, [numbers.lhs_spec[order.index(axis)] for axis in range(rank + 2)])
    rhs = _transpose(rhs, numbers.rhs_spec)
    groups = as_int(feature_group_count, "feature_group_count")
    layout: Layout = "channels_last" if order == last else "channels_first"
    plain = ConvOptions(strides, _pads(padding), dilation, groups, False, layout, False, "zeros", "auto")
    if spread == (1,) * rank:
        result = _convolved("y", lhs, rhs, plain, dtype)
    else:
        result = _transposed(lhs, rhs, plain, spread, dtype)
    # From the core's order to that of out_spec: batch, features and spatial axes are at out_spec's places.
    return _transpose(result, [order[tuple(numbers.out_spec).index(axis)] for axis in range(rank + 2)])


def _transposed(lhs: Array, rhs: Array, plain: ConvOptions, spread: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """The sum over zeros that are spread in lhs: a transposed convolution with the kernel rotated.

    Of the padded output, ``conv_transpose`` crops what lhs is not padded by.
    """
    rank, groups = len(spread), plain.groups
    if plain.stride != (1,) * rank:
        raise ValueError(
            f"window_strides is {plain.stride} and lhs_dilation is {spread}, expected strides of 1 with it: take every "
            "window_strides-th element of the result for window_strides of 1"
        )
    if isinstance(plain.padding, str):
        raise ValueError(
            f"padding is {plain.padding.upper()!r} and lhs_dilation is {spread}, expected a (lo, hi) pair for each "
            "axis with it, as in jax.lax"
        )
    features = rhs.shape[0]
    if groups < 1 or features % groups:
        raise ShapeError(
            f"feature_group_count is {groups}, expected a divisor of the output features of rhs, whose shape as "
            f"(O, I, *spatial) is {rhs.shape}"
        )
    dilation = axes_of(plain.dilation, rank, "rhs_dilation", 1)
    reach = [d * (extent - 1) for d, extent in zip(dilation, rhs.shape[2:], strict=True)]
    crop = tuple((r - lo, r - hi) for r, (lo, hi) in zip(reach, explicit_pads(plain.padding, rank), strict=True))
    # (O, I/g, ...) becomes (I, O/g, ...): in each group, inputs and outputs trade places.
    kernel = rhs.shape[2:]
    w = rhs.reshape(groups, features // groups, *rhs.shape[1:]).swapaxes(1, 2)
    w = w.reshape(groups * rhs.shape[1], features // groups, *kernel)
    options = transpose_options(plain._replace(stride=spread, padding=crop, flip=True), 0, None)
    return _convolved("x", lhs, w, options, dtype)


def _convolved(role: str, lhs: Array, w: Array, options: Options, dtype: np.dtype[Any]) -> Array:
    try:
        geometry = geometry_of(lhs.shape, w.shape, options)
    except ShapeError as error:
        raise ShapeError(f"{error} (here x is lhs, w is rhs, and both are in convpp's order of axes)") from None
    return convolution(role, geometry, lhs, w, dtype=dtype)


def _transpose(array: Array, order: Sequence[int]) -> Array:
    return array if tuple(order) == tuple(range(array.ndim)) else jax.lax.transpose(array, tuple(order))


def _pads(padding: Any) -> Any:
    if isinstance(padding, str):
        if padding.upper() not in PADDINGS:
            raise ValueError(f"padding is {shown(padding)}, expected {', '.join(PADDINGS)} or (lo, hi) pairs")
        return PADDINGS[padding.upper()]
    return pads(padding)


def _check_precision(precision: Any) -> None:
    listed = entries(precision, "precision")
    for one in (precision,) if listed is None else listed:
        if one is None or isinstance(one, (jax.lax.Precision, jax.lax.DotAlgorithm, jax.lax.DotAlgorithmPreset)):
            continue
        try:
            jax.lax.Precision(one)
        except ValueError:
            names = ", ".join(str(level.name) for level in jax.lax.Precision)
            raise ValueError(f"precision is {shown(precision)}, expected None, {names}, or two of them") from None
