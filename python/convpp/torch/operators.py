"""The three passes of a convolution as operators of PyTorch, which is what ``torch.compile`` sees of them.

In: tensors of one type, a geometry in numbers.   Out: a new tensor; while tracing, its shape and strides.
Next: ``tensors.py``; ``derivatives.py``, which calls these; ``../_call/``, which plans and computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from convpp._call.arguments import check_shape
from convpp._call.default_algorithm import default_algorithm
from convpp._call.geometry import wrong_dy
from convpp._call.options import Options, conv_options
from convpp._call.planning import PLANS
from convpp._call.run import run
from convpp.torch.tensors import TYPES, as_array, as_tensor, empty, is_last, laid

#: stride, padding (lo and hi of each axis in turn), dilation, groups, padding_mode.
_GEOMETRY = "int[] stride, SymInt[] padding, int[] dilation, SymInt groups, str mode"


@lru_cache(maxsize=1024)
def _options(last: bool, algorithm: str, stride: Any, padding: Any, dilation: Any, groups: int, mode: str) -> Options:
    """The options of convpp's functions as one value."""
    pairs, layout = tuple(zip(padding[::2], padding[1::2], strict=True)), "channels_last" if last else "channels_first"
    return conv_options(stride, pairs, dilation, groups, mode, False, layout, False, algorithm)


def _computed(
    pass_: str, first: Tensor, second: Tensor, bias: Tensor | None, shape: Sequence[int] | None, geometry: Sequence[Any]
) -> Tensor:
    """One pass, of the two tensors that it takes; ``shape``: of the result of a gradient.

    What ``convpp.conv`` and its gradients do, without looking again at what is known of tensors: a small layer's call
    then takes half of the time.
    """
    last = is_last(first, second)
    stride, padding, dilation, groups, mode = geometry
    options = _options(last, default_algorithm(), tuple(stride), tuple(padding), tuple(dilation), groups, mode)
    forward, of_weights = pass_ == "forward", pass_ == "weight_grad"
    a, b = as_array(first, last), as_array(second, last and of_weights)
    x_shape, w_shape = a.shape, b.shape
    if shape is not None:
        x_shape, w_shape = (b.shape, tuple(shape)) if of_weights else (laid(shape, last), b.shape)
    planned = PLANS[pass_, TYPES[first.dtype], x_shape, w_shape, options]
    if not forward and a.shape != planned.y_shape:
        raise wrong_dy(a.shape, planned.y_shape, x_shape, w_shape, options)
    c = None if bias is None else as_array(bias)
    if c is not None:
        channels = planned.geometry.out_channels if forward else planned.geometry.in_channels
        check_shape(c.shape, (channels,), "bias", "one for each channel of the result")
    result_shape = planned.y_shape if forward else planned.w_shape if of_weights else planned.x_shape
    last = last and not of_weights
    if first.dtype is torch.bfloat16:  # an array of these would be a tensor of another type, and a view of that
        like = (result_shape[0], result_shape[-1], *result_shape[1:-1]) if last else result_shape
        target = empty(like, first, last)
        run(planned, a, b, c, result_shape, as_array(target, last), False, torch.get_num_threads())
        return target
    return as_tensor(run(planned, a, b, c, result_shape, None, False, torch.get_num_threads()), last)


def compute_conv(x: Tensor, w: Tensor, bias: Tensor | None, *geometry: Any) -> Tensor:
    """y, (N, K, \\*out)."""
    return _computed("forward", x, w, bias, None, geometry)


def compute_input_grad(dy: Tensor, w: Tensor, bias: Tensor | None, x_shape: Sequence[int], *geometry: Any) -> Tensor:
    """dx of this shape; with a bias for each of its channels, a transposed convolution."""
    return _computed("input_grad", dy, w, bias, x_shape, geometry)


def compute_weight_grad(dy: Tensor, x: Tensor, w_shape: Sequence[int], *geometry: Any) -> Tensor:
    """dw of this shape."""
    return _computed("weight_grad", dy, x, None, w_shape, geometry)


def _operator(name: str, arguments: str, function: Callable[..., Tensor]) -> Any:
    schema = f"({arguments}, {_GEOMETRY}) -> Tensor"
    return torch.library.custom_op(f"convpp::{name}", function, mutates_args=(), device_types="cpu", schema=schema)


CONV = _operator("conv", "Tensor x, Tensor w, Tensor? bias", compute_conv)
INPUT_GRAD = _operator("conv_input_grad", "Tensor dy, Tensor w, Tensor? bias, SymInt[] x_shape", compute_input_grad)
WEIGHT_GRAD = _operator("conv_weight_grad", "Tensor dy, Tensor x, SymInt[] w_shape", compute_weight_grad)


# ---------------------------------------------------------------- shapes and strides, for tracing


@CONV.register_fake
def _(
    x: Tensor, w: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: Any, mode: str
) -> Tensor:
    rank = len(stride)
    out = [
        (x.shape[2 + a] + padding[2 * a] + padding[2 * a + 1] - dilation[a] * (w.shape[2 + a] - 1) - 1) // stride[a] + 1
        for a in range(rank)
    ]
    return empty((x.shape[0], w.shape[0], *out), x, is_last(x, w))


@INPUT_GRAD.register_fake
def _(dy: Tensor, w: Tensor, bias: Tensor | None, x_shape: Any, *geometry: Any) -> Tensor:
    return empty(tuple(x_shape), dy, is_last(dy, w))


@WEIGHT_GRAD.register_fake
def _(dy: Tensor, x: Tensor, w_shape: Any, *geometry: Any) -> Tensor:
    return empty(tuple(w_shape), dy, False)
