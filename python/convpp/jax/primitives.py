"""Three bilinear primitives of JAX, a pass of a convolution each, and their derivatives, which are the same three.

In: JAX arrays (or tracers) and a ``Call``.   Out: y = x * w, dx = y * w or dw = y * x, in the ``Call``'s sense.
Next: ``batching.py`` (vmap), ``lowering.py`` (what is computed).

Of the trilinear form ``T(x, w, y)``, a pass is the gradient with respect to its result.  So the derivative of a pass in
one operand is the pass itself, with a tangent for that operand; and its transpose is the pass whose result is that
operand.  Nothing else is needed for both modes, in any order.

Two more primitives, y and dx with a bias, are there because the core adds it while the sums are in registers.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from convpp._call.planning import PLANS
from convpp._call.validation import FLOAT32, HALVES, common_dtype
from convpp.jax.batching import batch_biased, batch_bilinear
from convpp.jax.call import OPERANDS, PASSES, Call
from convpp.jax.lowering import compute

Array = Any

#: Algorithms that do not serve all geometries.
MAY_REFUSE = ("winograd", "fft")

#: By the role of the result: "y", "x", "w".
BILINEAR: dict[str, Any] = {role: Primitive(f"convpp_{PASSES[role]}") for role in OPERANDS}
BIASED: dict[str, Any] = {role: Primitive(f"convpp_{PASSES[role]}_bias") for role in "yx"}


def multiply(role: str, call: Call, first: Array, second: Array, dtype: np.dtype[Any] | None = None) -> Array:
    """The pass with this result, computed in the operands' common type and rounded to ``dtype`` (or that type)."""
    first, second, computed, dtype = _in_types(first, second, dtype)
    result = BILINEAR[role].bind(*_alike(first, second), call=call, dtype=computed)
    return _in_type(result, dtype)


def multiply_biased(
    role: str, call: Call, first: Array, second: Array, bias: Array, dtype: np.dtype[Any] | None = None
) -> Array:
    """The same, plus a bias for each channel of the result; one that is wider than the operands widens them."""
    first = _in_type(first, common_dtype(np.dtype(first.dtype), np.dtype(bias.dtype)))
    first, second, computed, dtype = _in_types(first, second, dtype)
    operands = _alike(first, second, _in_type(bias, first.dtype))
    result = BIASED[role].bind(*operands, call=call, dtype=computed)
    return _in_type(result, dtype)


def along_channels(role: str, call: Call, bias: Array) -> Array:
    """A bias as an array of the result's shape."""
    return jax.lax.broadcast_in_dim(bias, call.shape(role), (call.channel_axis(role),))


def _in_types(
    first: Array, second: Array, dtype: np.dtype[Any] | None
) -> tuple[Array, Array, np.dtype[Any], np.dtype[Any]]:
    """Both operands in the type to compute in, the type of the core's result, and that of the final result.

    The core's results have the type of its operands, or are those of halves in float32.
    """
    common = common_dtype(np.dtype(first.dtype), np.dtype(second.dtype))
    dtype = common if dtype is None else np.dtype(dtype)
    if common == dtype:
        computed = dtype
    elif common.name in HALVES:  # never rounded to anything but ``dtype``
        computed = FLOAT32
        if dtype.itemsize > FLOAT32.itemsize:
            common = computed = dtype
    elif dtype.name not in HALVES and dtype.itemsize > common.itemsize:
        common = computed = dtype
    else:
        computed = common
    return _in_type(first, common), _in_type(second, common), computed, dtype


def _in_type(array: Array, dtype: np.dtype[Any]) -> Array:
    return array if array.dtype == dtype else array.astype(dtype)


def _abstract(role: str, first: Array, second: Array, *_: Array, call: Call, dtype: np.dtype[Any]) -> Array:
    operands = tuple(call.shape(operand) for operand in OPERANDS[role])
    assert (first.shape, second.shape) == operands, (first.shape, second.shape, operands)
    if call.options.algorithm in MAY_REFUSE:  # then now, and not when the program runs
        PLANS[PASSES[role], np.dtype(first.dtype).name, call.x_shape, call.w_shape, call.options]
    shape, mesh = call.shape(role), first.sharding.mesh
    if mesh.empty:
        return jax.core.ShapedArray(shape, dtype)
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*(None for _ in shape)))
    return first.update(shape=shape, dtype=dtype, weak_type=False, sharding=whole)


def _alike(*operands: Array) -> list[Array]:
    """Within ``shard_map``: all operands varying over the same axes of the mesh, so that gradients are summed there."""
    varying = [_varying(jax.typeof(operand)) for operand in operands]
    if not any(varying):
        return list(operands)
    axes = frozenset().union(*varying)
    return [
        jax.lax.pcast(operand, tuple(axes - own), to="varying") if axes - own else operand
        for operand, own in zip(operands, varying, strict=True)
    ]


def _varying(aval: Any) -> frozenset[Any]:
    """The axes of a mesh that an array varies over (what JAX calls ``vma`` in its documentation)."""
    of_aval = getattr(aval, "manual_axis_type", None)
    return frozenset(getattr(aval, "vma", ()) if of_aval is None else of_aval.varying)


def _transposed(wanted: str, role: str, cotangent: Array, *operands: Array, call: Call, dtype: np.dtype[Any]) -> Array:
    """The gradient with respect to the operand ``wanted`` of the pass whose result is ``role``."""
    del dtype
    given = dict(zip(OPERANDS[role], operands, strict=True)) | {role: cotangent}
    first, second = (given[operand] for operand in OPERANDS[wanted])
    return multiply(wanted, call, first, second, given[wanted].aval.dtype)


def _jvp_biased(role: str, primals: Any, tangents: Any, *, call: Call, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    first, second, bias = primals
    first_dot, second_dot, bias_dot = (None if type(tangent) is ad.Zero else tangent for tangent in tangents)
    result = BIASED[role].bind(first, second, bias, call=call, dtype=dtype)
    terms = []
    if first_dot is not None:
        terms.append(BILINEAR[role].bind(first_dot, second, call=call, dtype=dtype))
    if second_dot is not None:
        terms.append(BILINEAR[role].bind(first, second_dot, call=call, dtype=dtype))
    if bias_dot is not None:
        terms.append(along_channels(role, call, bias_dot.astype(dtype)))
    return result, sum(terms[1:], terms[0])


def _define(role: str) -> None:
    first, second = OPERANDS[role]
    primitive = BILINEAR[role]
    _define_computation(primitive, role)
    ad.defbilinear(primitive, partial(_transposed, first, role), partial(_transposed, second, role))
    batching.primitive_batchers[primitive] = partial(batch_bilinear, role, partial(multiply, role))


def _define_biased(role: str) -> None:
    primitive = BIASED[role]
    _define_computation(primitive, role)
    ad.primitive_jvps[primitive] = partial(_jvp_biased, role)
    batching.primitive_batchers[primitive] = partial(
        batch_biased, role, partial(multiply, role), partial(multiply_biased, role)
    )


def _define_computation(primitive: Any, role: str) -> None:
    primitive.def_abstract_eval(partial(_abstract, role))
    # Outside of jit: compiled for each shape, and remembered; also where JAX is told to compile no user's function.
    compiled = jax.jit(primitive.bind, static_argnames=("call", "dtype"))

    def run(*operands: Array, call: Call, dtype: np.dtype[Any]) -> Array:
        with jax.disable_jit(disable=False):
            return compiled(*operands, call=call, dtype=dtype)

    primitive.def_impl(run)
    lowering = mlir.lower_fun(partial(compute, role), multiple_results=False)
    mlir.register_lowering(primitive, lowering, platform="cpu")


for _role in BILINEAR:
    _define(_role)
for _role in BIASED:
    _define_biased(_role)
