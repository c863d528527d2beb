"""One call in a canonical form: batch axes, convolved axes, trailing axes.

In: an array, a kernel, and options as users write them.   Out: a ``Problem``.
Next: ``blocks.py``, which computes it.

Canonical order is (\\*batch, \\*convolved, \\*trailing): the axes of the array that lie behind the last convolved one
trail, as the colours of a picture (H, W, 3) do.  They stay where they are in memory: a row of W pixels with 3 colours
is a row of W*3 numbers whose kernel has a dilation of 3.  The kernels are (kernels, \\*kernel), turned so that all is a
correlation; where the kernel has batch axes itself, (\\*batch, \\*kernel), and nothing trails.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp._call.arguments import Shape, as_int, entries, shown
from convpp._call.validation import Array
from convpp.errors import ShapeError
from convpp.plain.arguments import MODES, boundaries_of, name_of, one_for_each
from convpp.plain.axes import Axis, check_axes, make_axis

#: From so many trailing elements on, they are an axis of their own; fewer are part of the last convolved one.
TRAILING_AXIS = 16


@dataclass(frozen=True)
class Problem:
    """``order`` lists the axes of the array in canonical order; ``constant`` lies beyond "constant" ends."""

    axes: tuple[Axis, ...]
    order: tuple[int, ...]
    batch: Shape
    trailing: Shape
    #: Whether ``weights`` are (\\*batch, \\*kernel), and not (kernels, \\*kernel).
    own_kernels: bool
    #: Whether the result has a leading axis for several kernels.
    several: bool
    weights: Array
    constant: complex
    #: The axis of the kernel that each convolved axis belongs to, whether it was turned, its shape as users gave it.
    kernel_order: tuple[int, ...]
    turned: bool
    kernel_shape: Shape

    @property
    def kernels(self) -> int:
        """How many results each element has."""
        return 1 if self.own_kernels else self.weights.shape[0]

    @property
    def results(self) -> Shape:
        """Extents of the result along the convolved axes."""
        return tuple(axis.count for axis in self.axes)

    @property
    def columns(self) -> int:
        """Elements that trail."""
        return math.prod(self.trailing)

    @property
    def result_shape(self) -> Shape:
        """What users get."""
        canonical = (*self.batch, *self.results, *self.trailing)
        shape = [0] * len(canonical)
        for axis, extent in zip(self.order, canonical, strict=True):
            shape[axis] = extent
        return (self.kernels, *shape) if self.several else tuple(shape)

    def source(self, a: Array) -> Array:
        """A view of an array that is shaped like a, in canonical order."""
        extents = (*self.batch, *(axis.extent for axis in self.axes), *self.trailing)
        full = [0] * len(extents)
        for axis, extent in zip(self.order, extents, strict=True):
            full[axis] = extent
        return np.broadcast_to(a, full).transpose(self.order) if a.shape != tuple(full) else a.transpose(self.order)

    def result(self, y: Array) -> Array:
        """A view of the result as (kernels, \\*batch, \\*results, \\*trailing)."""
        stacked = y if self.several else y[None]
        return stacked.transpose((0, *(axis + 1 for axis in self.order)))


def make_problem(
    a: Array,
    kernel: Array,
    several: bool,
    turned: bool,
    axes: Any,
    mode: Any,
    boundary: Any,
    origin: Any,
    stride: Any,
    dilation: Any,
) -> Problem:
    """The problem of a call, or an error that names the argument."""
    rank = kernel.ndim - several
    numbers, given_order = axes_of(a, kernel, several, axes)
    count = len(numbers)
    own = rank != count
    if own and several:
        raise ShapeError(
            f"kernels has shape {kernel.shape}, expected (kernels, *kernel) with {count} kernel axes, one for each "
            "convolved axis"
        )
    if own and rank != a.ndim:
        raise ShapeError(
            f"kernel has shape {kernel.shape}, expected {count} axes, one for each convolved axis, or {a.ndim}, those "
            f"of a, whose shape is {a.shape}"
        )
    own_kernels, shape = False, a.shape
    batch_axes = tuple(i for i in range(a.ndim) if i not in numbers)
    if own:
        own_kernels = any(kernel.shape[i] != 1 for i in batch_axes)
        shape = _broadcast(a.shape, kernel.shape, batch_axes)
    trailing = () if own_kernels else tuple(i for i in batch_axes if i > numbers[-1])
    strides = one_for_each(stride, "stride", count, 1)
    dilations = one_for_each(dilation, "dilation", count, 1)
    origins = one_for_each(origin, "origin", count, None)
    names, constant = boundaries_of(boundary, count)
    checked = name_of(mode, "mode", MODES)
    if len(trailing) and (strides[given_order[-1]] != 1 and count >= 3):
        trailing = ()  # nothing of the engine's serves it in place: one more batch
    batch_axes = tuple(i for i in batch_axes if i not in trailing)
    kernel_axes = tuple(numbers) if own else given_order  # of the kernel without its leading axis
    if min(kernel.shape[several + from_] for from_ in kernel_axes) < 1:
        raise ShapeError(f"kernel has shape {kernel.shape[several:]}, expected extents of 1 or more")
    made = tuple(
        make_axis(
            a.shape[number],
            kernel.shape[several + from_],
            strides[k],
            dilations[k],
            checked,
            origins[k],
            names[k],
            turned,
        )
        for number, from_, k in zip(numbers, kernel_axes, given_order, strict=True)
    )
    check_axes(made, a.shape, kernel.shape[several:], numbers)
    lead = batch_axes if own_kernels else (0,) if several else ()
    kernel_order = (*lead, *(several + i for i in kernel_axes))
    if own and not own_kernels:
        weights = kernel.reshape(tuple(kernel.shape[i] for i in numbers))[None]
    else:
        weights = kernel.transpose(kernel_order)
        weights = weights if own_kernels or several else weights[None]
    if turned:
        flipped = tuple(range(weights.ndim - count, weights.ndim))
        weights = np.flip(weights, flipped)
    return Problem(
        made,
        (*batch_axes, *numbers, *trailing),
        tuple(shape[i] for i in batch_axes),
        tuple(shape[i] for i in trailing),
        own_kernels,
        several,
        weights,
        constant,
        kernel_order,
        turned,
        kernel.shape,
    )


def axes_of(a: Array, kernel: Array, several: bool, axes: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The convolved axes in their order in a, and the place of each among those that the user lists."""
    rank = kernel.ndim - several
    if rank < 1:
        expected = "(kernels, *kernel)" if several else "1 or more axes"
        raise ShapeError(f"{'kernels' if several else 'kernel'} has shape {kernel.shape}, expected {expected}")
    if axes is None:
        if rank > a.ndim:
            hint = "; for several kernels at once, kernels=" if rank == a.ndim + 1 and not several else ""
            raise ShapeError(
                f"kernel has shape {kernel.shape[several:]}, expected at most as many axes as a, whose shape is "
                f"{a.shape}{hint}"
            )
        return tuple(range(a.ndim - rank, a.ndim)), tuple(range(rank))
    listed = entries(axes, "axes")
    given = [as_int(axis, "axes") for axis in ((axes,) if listed is None else listed)]
    numbers = [axis + a.ndim if axis < 0 else axis for axis in given]
    if not numbers or any(not 0 <= axis < a.ndim for axis in numbers) or len(set(numbers)) != len(numbers):
        raise ValueError(
            f"axes is {shown(axes)}, expected different axes from {-a.ndim} to {a.ndim - 1}: a has shape {a.shape}"
        )
    order = sorted(range(len(numbers)), key=numbers.__getitem__)
    return tuple(numbers[i] for i in order), tuple(order)


def _broadcast(a: Shape, kernel: Shape, batch: tuple[int, ...]) -> Shape:
    """The shape of a with its batch axes broadcast over those of the kernel."""
    shape = list(a)
    for i in batch:
        if a[i] != kernel[i] and 1 not in (a[i], kernel[i]):
            raise ShapeError(
                f"kernel has shape {kernel} and a {a}, expected equal extents, or 1, along axis {i}, which is not "
                "convolved; for several kernels at once, kernels="
            )
        shape[i] = kernel[i] if a[i] == 1 else a[i]
    return tuple(shape)
