"""Tensors as arrays and arrays as tensors, without a copy wherever memory allows.

In: tensors on the CPU, contiguous, channels last or of any strides.   Out: C-contiguous arrays for one layout; tensors.
Next: ``operators.py``, which calls convpp with them.

A channels_last tensor is a contiguous (N, \\*spatial, C) array whose axes were permuted, and that is how it is read.
NumPy does not know bfloat16: the bits are handed over as whole numbers, and are called bfloat16 by ``ml_dtypes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from convpp._call.validation import Array, dtype_from

#: What convpp computes in, and what it calls that.
TYPES = {
    torch.float32: "float32",
    torch.float64: "float64",
    torch.bfloat16: "bfloat16",
    torch.float16: "float16",
}

_LAST = {2: torch.channels_last, 3: torch.channels_last_3d}


def is_last(*tensors: torch.Tensor) -> bool:
    """Whether the result should be channels last: if one of the operands is, as in PyTorch."""
    for tensor in tensors:
        memory_format = _LAST.get(tensor.dim() - 2)
        if memory_format is None:
            return False
        if tensor.is_contiguous(memory_format=memory_format) and not tensor.is_contiguous():
            return True
    return False


def as_array(tensor: torch.Tensor, last: bool = False) -> Array:
    """The numbers of a tensor (N, C, \\*spatial) as a C-contiguous array: if ``last``, (N, \\*spatial, C)."""
    if last:
        tensor = tensor.movedim(1, -1)
    if not tensor.is_contiguous():
        tensor = tensor.contiguous()
    array: Array
    if tensor.dtype is torch.bfloat16:
        array = tensor.detach().view(torch.int16).numpy().view(dtype_from("bfloat16"))
    else:
        array = tensor.numpy(force=True)  # detached, that is: on the CPU, nothing is copied
    return array


def as_tensor(array: Array, last: bool = False) -> torch.Tensor:
    """A new array as the tensor (N, C, \\*spatial) that it is; ``last``: as above.  Not of bfloat16.

    It is no view of another tensor: what comes after it may change it in place, which autograd forbids for views.
    """
    tensor: torch.Tensor = torch.from_numpy(np.moveaxis(array, -1, 1) if last else array)
    return tensor


def laid(shape: Sequence[int], last: bool) -> tuple[int, ...]:
    """The shape of such an array, for a tensor of this shape."""
    return (shape[0], *shape[2:], shape[1]) if last else tuple(shape)


def empty(shape: Any, like: torch.Tensor, last: bool) -> torch.Tensor:
    """A tensor of the strides that ``as_tensor`` gives: what tracing and compiling is told."""
    memory_format = _LAST[len(shape) - 2] if last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=memory_format)
