"""``vmap`` without loops: a batch is one larger convolution.

In: operands of a pass, some of them with one axis more, a batch of B.   Out: the result, with such an axis.
Next: ``call.py``, which says which indices an array has.

The batch becomes part of an index that those of x, w and y have in common which have it (the result among them):

    x, y       n   samples: they are independent
    w, y       k   filters: the same x meets B sets of them
    x, w       c   channels of x, whose weights' gradients are wanted
    x, w, y    g   groups; or n, where weights belong to samples (of a single sample, they may)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from convpp._call.validation import FLOAT32, HALVES
from convpp.jax.call import OPERANDS, Call

Array = Any
#: An array, and which of its axes is the batch; None: all have the same.
Mapped = tuple[Array, int | None]

INDEX = {frozenset("xy"): "n", frozenset("wy"): "k", frozenset("xw"): "c"}


def batch_bilinear(
    role: str,
    multiply: Callable[..., Array],
    operands: tuple[Array, Array],
    dims: tuple[int | None, int | None],
    *,
    call: Call,
    dtype: np.dtype[Any],
) -> tuple[Array, int]:
    """The rule of the primitive with this result."""
    given: dict[str, Mapped] = dict(zip(OPERANDS[role], zip(operands, dims, strict=True), strict=True))
    size = _size(operands, dims)
    index = _index(role, given, call)
    if index == "g" and call.x_shape[0] == 1:
        return _of_each_sample(role, multiply, given, call, dtype)
    larger = call.grown(index, size)
    first, second = (_merged(given[name], name, index, call, size) for name in OPERANDS[role])
    return _split(multiply(larger, first, second, dtype), role, index, call, size)


def batch_biased(
    role: str,
    multiply: Callable[..., Array],
    multiply_biased: Callable[..., Array],
    operands: tuple[Array, Array, Array],
    dims: tuple[int | None, int | None, int | None],
    *,
    call: Call,
    dtype: np.dtype[Any],
) -> tuple[Array, int]:
    """The rule of the primitive with a bias.  Where only samples become more, the core goes on adding it."""
    (*factors, bias), (*factor_dims, bias_dim) = operands, dims
    if bias_dim is None and factor_dims[1] is None and not call.options.per_sample:
        size = _size(factors, factor_dims)
        first = _merged((factors[0], factor_dims[0]), OPERANDS[role][0], "n", call, size)
        return _split(multiply_biased(call.grown("n", size), first, factors[1], bias, dtype), role, "n", call, size)
    wide = FLOAT32 if dtype.name in HALVES else dtype  # rounded once
    if any(dim is not None for dim in factor_dims):
        result, dim = batch_bilinear(
            role, multiply, (factors[0], factors[1]), (factor_dims[0], factor_dims[1]), call=call, dtype=wide
        )
        result = jnp.moveaxis(result, dim, 0)
    else:
        result = multiply(call, *factors, wide)[None]
    bias = bias[None] if bias_dim is None else jnp.moveaxis(bias, bias_dim, 0)
    ones = [1] * len(call.x_shape)
    ones[call.channel_axis(role)] = bias.shape[1]
    return (result + bias.astype(wide).reshape(bias.shape[0], *ones)).astype(dtype), 0


def _size(operands: Any, dims: Any) -> int:
    return next(int(array.shape[dim]) for array, dim in zip(operands, dims, strict=True) if dim is not None)


def _index(role: str, given: dict[str, Mapped], call: Call) -> str:
    roles = frozenset({role, *(name for name, (_, dim) in given.items() if dim is not None)})
    if call.options.per_sample and {"x", "y"} <= roles:
        return "n"
    return INDEX.get(roles, "g")


def _of_each_sample(
    role: str, multiply: Callable[..., Array], given: dict[str, Mapped], call: Call, dtype: np.dtype[Any]
) -> tuple[Array, int]:
    """Of one sample, where all three have the batch: B samples with weights for each.  Nothing is copied."""
    if "w" in given:
        w, dim = given["w"]
        assert dim is not None
        given = given | {"w": (w[None], dim + 1)}
    pairs = [given[name] for name in OPERANDS[role]]
    operands, dims = (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1])
    result, dim = batch_bilinear(role, multiply, operands, dims, call=call.of_each_sample(), dtype=dtype)
    if role == "w":
        result = jnp.moveaxis(result, dim, 0)[:, 0]
        dim = 0
    return result, dim


def _merged(of: Mapped, name: str, index: str, call: Call, size: int) -> Array:
    """An operand with its batch as the outer part of an index; the operand itself where it has neither."""
    array, dim = of
    axes = call.axes(name)
    flat = [entry for axis in axes for entry in axis]
    at = next((i for i, (label, _) in enumerate(flat) if label == index), None)
    if at is None:
        assert dim is None
        return array
    extents = tuple(extent for _, extent in flat)
    if dim is None:
        if not (name == "w" and index == "n"):  # (of the roles that have an index, others are mapped)
            raise AssertionError((name, index))
        array = jnp.broadcast_to(array, (size, *array.shape))
        dim = 0
    array = jnp.moveaxis(array, dim, 0).reshape(size, *extents)
    return jnp.moveaxis(array, 0, at).reshape(call.grown(index, size).shape(name))


def _split(array: Array, role: str, index: str, call: Call, size: int) -> tuple[Array, int]:
    """The result with its batch as an axis of its own again: where it lies, if it can be there."""
    axes = call.axes(role)
    place = next(i for i, axis in enumerate(axes) if index in [label for label, _ in axis])
    before = axes[place][: [label for label, _ in axes[place]].index(index)]
    shape = call.shape(role)
    if all(extent == 1 for _, extent in before):
        return array.reshape(*shape[:place], size, *shape[place:]), place
    flat = [entry for axis in axes for entry in axis]
    at = [label for label, _ in flat].index(index)
    extents = [extent for _, extent in flat]
    array = array.reshape(*extents[:at], size, *extents[at:])
    return jnp.moveaxis(array, at, 0).reshape(size, *shape), 0
