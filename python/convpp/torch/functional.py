"""The functions of ``torch.nn.functional``, by convpp.

In: what PyTorch's functions of the same names take.   Out: what they return.
Next: ``derivatives.py``, which they call; ``models.py``, models that call them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from convpp.errors import DTypeError, ShapeError
from convpp.torch import derivatives
from convpp.torch.tensors import TYPES

Ints = int | Sequence[int]


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv1d`` for input (N, C, L) or (C, L); see `conv2d`."""
    return conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv2d``: the same arguments, result, memory format and gradients, by convpp.

    ``y[n, k, p, q] = bias[k] + sum over c, r, s of weight[k, c, r, s] * input[n, c, p + r - lo, q + s - lo]`` at stride
    and dilation 1.

    Parameters
    ----------
    input : (N, C, H, W), or (C, H, W), a tensor on the CPU
        float32, float64, bfloat16 or float16; contiguous and channels_last tensors are not copied.
    weight : (K, C/groups, R, S), of the same type
    bias : (K,), of the same type, optional
    stride, padding, dilation : int, or one for each axis; ``padding`` also "valid", or "same" at stride 1
    groups : int

    Returns
    -------
    (N, K, P, Q), channels_last if input or weight is

    Raises
    ------
    ShapeError, DTypeError, ValueError
        Also for what convpp does not compute: tensors on another device, complex and whole numbers.

    Examples
    --------
    >>> import torch
    >>> import convpp.torch
    >>> x, w = torch.ones(1, 3, 20, 20, requires_grad=True), torch.ones(5, 3, 3, 3)
    >>> y = convpp.torch.conv2d(x, w)
    >>> y.shape
    torch.Size([1, 5, 18, 18])
    >>> y.sum().backward()
    >>> x.grad.shape
    torch.Size([1, 3, 20, 20])
    """
    return conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    groups: int = 1,
) -> Tensor:
    """``torch.nn.functional.conv3d`` for input (N, C, D, H, W) or (C, D, H, W); see `conv2d`."""
    return conv(3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose1d`` for input (N, C, L) or (C, L); see `conv_transpose2d`."""
    return conv_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose2d``: the same arguments, result, memory format and gradients, by convpp.

    ``y[n, k, p + r - lo, q + s - lo] += weight[c, k, r, s] * input[n, c, p, q]`` for all c, p, q, r, s, at stride and
    dilation 1, plus the bias.

    Parameters
    ----------
    input : (N, C, H, W), or (C, H, W), as of `conv2d`
    weight : (C, K/groups, R, S), of the same type
    bias : (K,), of the same type, optional
    stride, padding, output_padding, dilation : int, or one for each axis
    groups : int

    Returns
    -------
    (N, K, P, Q), with ``P = stride*(H - 1) + dilation*(R - 1) + 1 + output_padding - 2*padding``

    Raises
    ------
    ShapeError, DTypeError, ValueError
        As `conv2d`.

    Examples
    --------
    >>> import torch
    >>> import convpp.torch
    >>> convpp.torch.conv_transpose2d(torch.ones(1, 4, 7, 7), torch.ones(4, 2, 4, 4), stride=2, padding=1).shape
    torch.Size([1, 2, 14, 14])
    """
    return conv_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose3d`` for input (N, C, D, H, W) or (C, D, H, W); see `conv_transpose2d`."""
    return conv_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv(
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints | str | tuple[tuple[int, int], ...],
    dilation: Ints,
    groups: int,
    mode: str = "zeros",
) -> Tensor:
    """The three of ``conv``; ``padding`` also as a (lo, hi) pair for each axis, ``mode`` says what it holds."""
    input, weight, bias, one = _operands(rank, input, weight, bias)
    kernel = weight.shape[2:] if padding == "same" else None  # whose extents may be symbols: not to be looked up
    plain = kernel is None and all(type(value) in _REMEMBERED for value in (stride, padding, dilation))
    make = _remembered if plain and not torch.compiler.is_compiling() else _geometry
    strides, pads, dilations = make(rank, kernel, stride, padding, dilation)
    if weight.shape[1] * groups != input.shape[1]:
        raise ShapeError(
            f"weight has shape {tuple(weight.shape)} and groups is {groups}, so input must have "
            f"{weight.shape[1] * groups} channels, but it has shape {tuple(input.shape)}"
        )
    y = derivatives.conv(input, weight, bias, strides, pads, dilations, groups, mode)
    return y[0] if one else y


def _geometry(rank: int, kernel: Any, stride: Any, padding: Any, dilation: Any) -> tuple[tuple[int, ...], ...]:
    """Stride, padding (lo and hi of each axis in turn) and dilation; ``kernel``: extents, which "same" depends on."""
    strides, dilations = (tuple(_per_axis(rank, *of)) for of in ((stride, "stride"), (dilation, "dilation")))
    if padding == "same":
        if any(s != 1 for s in strides):
            raise ValueError(f"padding is 'same' and stride is {stride}, expected stride 1 with it, as in PyTorch")
        reach = [d * (k - 1) for d, k in zip(dilations, kernel, strict=True)]
        return strides, tuple(pad for total in reach for pad in (total // 2, total - total // 2)), dilations
    if isinstance(padding, str):
        if padding != "valid":
            raise ValueError(f"padding is {padding!r}, expected numbers, 'valid' or 'same'")
        return strides, (0,) * (2 * rank), dilations
    if isinstance(padding, tuple) and padding and isinstance(padding[0], tuple):
        return strides, tuple(pad for pair in padding for pad in pair), dilations
    return strides, tuple(pad for pad in _padding(rank, padding) for _ in range(2)), dilations


#: Of most calls, whose geometry is looked up: it takes a third of a small layer's call to make.
_remembered = lru_cache(maxsize=1024)(_geometry)
_REMEMBERED = (int, tuple, str)


def conv_transpose(
    rank: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
) -> Tensor:
    """The three of ``conv_transpose``."""
    input, weight, bias, one = _operands(rank, input, weight, bias)
    strides, dilations = _per_axis(rank, stride, "stride"), _per_axis(rank, dilation, "dilation")
    pads, extra = _padding(rank, padding), _per_axis(rank, output_padding, "output_padding")
    for axis in range(rank):
        if not 0 <= extra[axis] < max(strides[axis], dilations[axis]):
            raise ValueError(
                f"output_padding is {output_padding}, expected 0 or more and less than stride ({stride}) or dilation "
                f"({dilation})"
            )
    if weight.shape[0] != input.shape[1]:
        raise ShapeError(
            f"weight has shape {tuple(weight.shape)}, (C, K/groups, *kernel), so input must have {weight.shape[0]} "
            f"channels, but it has shape {tuple(input.shape)}"
        )
    out = [
        strides[a] * (input.shape[2 + a] - 1) + dilations[a] * (weight.shape[2 + a] - 1) + 1 + extra[a] - 2 * pads[a]
        for a in range(rank)
    ]
    both = [pad for a in range(rank) for pad in (pads[a], pads[a] - extra[a])]
    shape = [input.shape[0], weight.shape[1] * groups, *out]
    y: Tensor = derivatives.input_grad(input, weight, bias, shape, strides, both, dilations, groups, "zeros")
    return y[0] if one else y


def _operands(
    rank: int, input: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None, bool]:
    """Checked tensors of one type, with an N axis, and whether there was none."""
    if (
        type(input) is Tensor
        and isinstance(weight, Tensor)
        and input.is_cpu
        and weight.is_cpu
        and (dtype := input.dtype) in TYPES
        and weight.dtype is dtype
        and (bias is None or (isinstance(bias, Tensor) and bias.dtype is dtype and bias.is_cpu))
        and input.dim() == weight.dim() == rank + 2
        and not torch.is_autocast_enabled("cpu")
    ):
        return input, weight, bias, False
    if torch.is_autocast_enabled("cpu"):
        to = torch.get_autocast_dtype("cpu")
        input, weight, bias = (
            t.to(to) if t is not None and t.is_floating_point() else t for t in (input, weight, bias)
        )
    for name, tensor in (("input", input), ("weight", weight), ("bias", bias)):
        if tensor is None and name == "bias":
            continue
        if not isinstance(tensor, Tensor):
            raise DTypeError(f"{name} is a {type(tensor).__name__}, expected a tensor: convpp.conv is for NumPy arrays")
        if tensor.device.type not in ("cpu", "meta"):
            raise ValueError(f"{name} is on {tensor.device}, expected a tensor on the CPU: convpp computes there")
        if tensor.dtype not in TYPES:
            raise DTypeError(
                f"{name} has dtype {tensor.dtype}, expected float32, float64, bfloat16 or float16: for others there is "
                "torch.nn.functional"
            )
        if tensor.dtype != input.dtype:
            raise DTypeError(f"{name} has dtype {tensor.dtype}, expected {input.dtype}, which input has")
    if weight.dim() != rank + 2:
        raise ShapeError(f"weight has shape {tuple(weight.shape)}, expected {rank} axes behind those of channels")
    if input.dim() not in (rank + 1, rank + 2):
        raise ShapeError(f"input has shape {tuple(input.shape)}, expected (N, C, *spatial) with {rank} spatial axes")
    one = input.dim() == rank + 1
    return input.unsqueeze(0) if one else input, weight, bias, one


def _per_axis(rank: int, value: Any, argument: str) -> list[int]:
    """One int for each axis."""
    values = [value] * rank if isinstance(value, (int, torch.SymInt)) else list(value)
    if len(values) == 1:
        values *= rank
    if len(values) != rank:
        raise ValueError(f"{argument} is {value}, expected an integer or {rank} of them")
    return values


def _padding(rank: int, value: Any) -> list[int]:
    """For each axis; less than nothing is refused, as by PyTorch."""
    pads = _per_axis(rank, value, "padding")
    if any(pad < 0 for pad in pads):
        raise ValueError(f"padding is {value}, expected 0 or more: to crop a tensor, slice it")
    return pads
