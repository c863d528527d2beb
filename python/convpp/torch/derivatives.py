"""Derivatives of the three passes of any order, ``vmap`` over them, and who is called when.

In: tensors of one type, a geometry in numbers.   Out: a new tensor, which autograd knows.
Next: ``operators.py``, which computes; ``functional.py``, which calls ``conv`` and ``input_grad``.

Each pass is linear in both of its tensors, and its derivatives are the two others:

    pass                       derivative in the first, for g     derivative in the second
    y  = conv(x, w)            input_grad(g, w)                   weight_grad(g, x)
    dx = input_grad(dy, w)     conv(g, w)                         weight_grad(dy, g)
    dw = weight_grad(dy, x)    conv(x, g)                         input_grad(dy, g)

so gradients of gradients need nothing new.  A transposed convolution is ``input_grad`` with a bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from convpp.torch import operators
from convpp.torch.operators import CONV, INPUT_GRAD, WEIGHT_GRAD

Gradients = tuple[Tensor | None, ...]


def _bias_grad(dy: Tensor) -> Tensor:
    return dy.sum((0, *range(2, dy.dim())))


def _setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """What all three keep: their two tensors and the geometry."""
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.geometry = inputs[-5:]


def _of_conv(ctx: Any, dy: Tensor) -> Gradients:
    (x, w), needs = ctx.saved_tensors, ctx.needs_input_grad
    dx = input_grad(dy, w, None, x.shape, *ctx.geometry) if needs[0] else None
    dw = weight_grad(dy, x, w.shape, *ctx.geometry) if needs[1] else None
    return (dx, dw, _bias_grad(dy) if needs[2] else None, *[None] * 5)


def _of_input_grad(ctx: Any, g: Tensor) -> Gradients:
    (dy, w), needs = ctx.saved_tensors, ctx.needs_input_grad
    ddy = conv(g, w, None, *ctx.geometry) if needs[0] else None
    dw = weight_grad(dy, g, w.shape, *ctx.geometry) if needs[1] else None
    return (ddy, dw, _bias_grad(g) if needs[2] else None, *[None] * 6)


def _of_weight_grad(ctx: Any, g: Tensor) -> Gradients:
    (dy, x), needs = ctx.saved_tensors, ctx.needs_input_grad
    ddy = conv(x, g, None, *ctx.geometry) if needs[0] else None
    dx = input_grad(dy, g, None, x.shape, *ctx.geometry) if needs[1] else None
    return (ddy, dx, *[None] * 6)


CONV.register_autograd(_of_conv, setup_context=_setup)
INPUT_GRAD.register_autograd(_of_input_grad, setup_context=_setup)
WEIGHT_GRAD.register_autograd(_of_weight_grad, setup_context=_setup)


# ---------------------------------------------------------------- vmap: many convolutions as one
#
# A mapped axis of the samples alone is more samples.  Where weights are mapped too, each entry of the axis becomes
# groups of its own, whose channels stand beside those of the others.


def _more_samples(tensor: Tensor, dim: int) -> Tensor:
    return tensor.movedim(dim, 0).flatten(0, 1)


def _more_channels(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """(N, size * C, \\*spatial)."""
    if dim is None:
        tensor, dim = tensor.unsqueeze(0).expand(size, *tensor.shape), 0
    return tensor.movedim(dim, 1).flatten(1, 2)


def _more_filters(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """(size * K, ...), also of a bias."""
    if dim is None:
        tensor, dim = tensor.unsqueeze(0).expand(size, *tensor.shape), 0
    return tensor.movedim(dim, 0).flatten(0, 1)


def _apart(tensor: Tensor, dim: int, size: int) -> Tensor:
    return tensor.unflatten(dim, (size, tensor.shape[dim] // size))


def _grouped(geometry: Sequence[Any], size: int) -> tuple[Any, ...]:
    *start, groups, mode = geometry
    return (*start, groups * size, mode)


def _map_conv(info: Any, in_dims: Any, x: Tensor, w: Tensor, bias: Tensor | None, *geometry: Any) -> tuple[Tensor, int]:
    size, (of_x, of_w, of_bias) = info.batch_size, in_dims[:3]
    if of_w is None and of_bias is None:
        return _apart(conv(_more_samples(x, of_x), w, bias, *geometry), 0, size), 0
    one = of_x is None and geometry[-2] == 1  # the same x for all: more filters, no groups
    own = x if one else _more_channels(x, of_x, size)
    b = None if bias is None else _more_filters(bias, of_bias, size)
    y = conv(own, _more_filters(w, of_w, size), b, *(geometry if one else _grouped(geometry, size)))
    return _apart(y, 1, size), 1


def _map_input_grad(
    info: Any, in_dims: Any, dy: Tensor, w: Tensor, bias: Tensor | None, x_shape: Any, *geometry: Any
) -> tuple[Tensor, int]:
    size, (of_dy, of_w, of_bias) = info.batch_size, in_dims[:3]
    n, c, *spatial = x_shape
    if of_w is None and of_bias is None:
        dx = input_grad(_more_samples(dy, of_dy), w, bias, (size * n, c, *spatial), *geometry)
        return _apart(dx, 0, size), 0
    b = None if bias is None else _more_filters(bias, of_bias, size)
    own, filters = _more_channels(dy, of_dy, size), _more_filters(w, of_w, size)
    dx = input_grad(own, filters, b, (n, size * c, *spatial), *_grouped(geometry, size))
    return _apart(dx, 1, size), 1


def _map_weight_grad(
    info: Any, in_dims: Any, dy: Tensor, x: Tensor, w_shape: Any, *geometry: Any
) -> tuple[Tensor, int]:
    size, (of_dy, of_x) = info.batch_size, in_dims[:2]
    k, *rest = w_shape
    one = of_x is None and geometry[-2] == 1
    own = x if one else _more_channels(x, of_x, size)
    how = geometry if one else _grouped(geometry, size)
    dw = weight_grad(_more_channels(dy, of_dy, size), own, (size * k, *rest), *how)
    return _apart(dw, 0, size), 0


CONV.register_vmap(_map_conv)
INPUT_GRAD.register_vmap(_map_input_grad)
WEIGHT_GRAD.register_vmap(_map_weight_grad)


# ---------------------------------------------------------------- calls
#
# An operator is what tracing and compiling see.  Transforms of torch.func take a Function, which has a vmap and a jvp.
# Where nobody looks on, a call need not pass the dispatcher and its Python kernels, which take longer than all the rest
# of a small layer's call (54 us of 75): it computes at once, or records one node.


def _called(
    operator: Any,
    compute: Callable[..., Tensor],
    backward: Callable[[Any, Tensor], Gradients],
    mapped: Callable[..., tuple[Tensor, int]],
) -> Callable[..., Tensor]:
    """One of the three passes, for all callers."""

    class Node(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *arguments: Any) -> Tensor:
            result = compute(*arguments)
            (_setup if forward_ad._current_level < 0 else _keep)(ctx, arguments, result)
            return result

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Gradients:
            return backward(ctx, grad)

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Tensor:
            """The rule of products; the derivative of a bias is added to each pixel."""
            a, b = ctx.saved_tensors
            a_dot, b_dot, bias_dot = (*tangents[:2], tangents[2] if isinstance(tangents[2], Tensor) else None)
            between = ctx.arguments[2:] if backward is _of_weight_grad else (None, *ctx.arguments[3:])
            parts = [call(a_dot, b, *between)] if a_dot is not None else []
            parts += [call(a, b_dot, *between)] if b_dot is not None else []
            if bias_dot is not None:
                shape = (-1, *[1] * (a.dim() - 2))
                parts.append(bias_dot.reshape(shape).expand(ctx.result_shape).clone())
            return sum(parts[1:], parts[0])

    class Transformed(Node):
        @staticmethod
        def forward(*arguments: Any) -> Tensor:
            return compute(*arguments)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
            _keep(ctx, inputs, output)

        @staticmethod
        def vmap(info: Any, in_dims: Any, *arguments: Any) -> tuple[Tensor, int]:
            return mapped(info, in_dims, *arguments)

    def call(*arguments: Any) -> Tensor:
        result: Tensor
        if torch._C._are_functorch_transforms_active():
            result = Transformed.apply(*arguments)
        elif not arguments[0].is_cpu or _is_watched() or not all(_is_plain(t) for t in arguments[:3]):
            result = operator(*arguments)
        elif forward_ad._current_level >= 0 or (
            torch.is_grad_enabled() and any(isinstance(t, Tensor) and t.requires_grad for t in arguments[:3])
        ):
            result = Node.apply(*arguments)
        else:
            result = compute(*arguments)
        return result

    return call


def _is_watched() -> bool:
    """Whether a compiler traces, or a mode intercepts operators."""
    return bool(torch.compiler.is_compiling() or torch._C._len_torch_dispatch_stack())


def _keep(ctx: Any, arguments: tuple[Any, ...], result: Tensor) -> None:
    """For ``jvp`` as well."""
    _setup(ctx, arguments, result)
    ctx.save_for_forward(arguments[0], arguments[1])
    ctx.result_shape = result.shape
    ctx.arguments = tuple(None if isinstance(a, Tensor) else a for a in arguments)


def _is_plain(argument: Any) -> bool:
    """A tensor with memory of its own, or no tensor: no subclass, and none that autograd's older vmap has made."""
    if isinstance(argument, Tensor):
        return type(argument) in (Tensor, torch.nn.Parameter) and not _is_mapped(argument)
    return True


_is_mapped = torch._C._functorch.is_legacy_batchedtensor

conv: Callable[..., Any] = _called(CONV, operators.compute_conv, _of_conv, _map_conv)
input_grad: Callable[..., Any] = _called(INPUT_GRAD, operators.compute_input_grad, _of_input_grad, _map_input_grad)
weight_grad: Callable[..., Any] = _called(WEIGHT_GRAD, operators.compute_weight_grad, _of_weight_grad, _map_weight_grad)
