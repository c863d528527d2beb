"""One checked description of a pooling, and the core's object for it.

In: the shape of x and the options of ``max_pool`` or ``avg_pool``.   Out: a ``Pooling``, remembered for the next call,
or an error that names the argument.
Next: ``../pooling.py``, which calls; ``_core`` (cpp/bindings/pool.hpp).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from convpp import _core
from convpp._call.arguments import (
    LAYOUTS,
    Ints,
    Layout,
    Padding,
    Pads,
    PerAxis,
    Shape,
    check_bits,
    choice,
    flag,
    pads,
    per_axis,
)
from convpp._call.geometry import GEOMETRIES_KEPT, LARGEST, MOST_TAPS, MisfitError, Pairs, _conv_pads, axes_of
from convpp.errors import ShapeError


class PoolOptions(NamedTuple):
    """What pooling is told beside arrays, in the one form that the rest of the package knows."""

    kernel_size: Ints
    stride: Ints | None = None
    padding: Pads = 0
    dilation: Ints = 1
    ceil_mode: bool = False
    layout: Layout = "channels_first"

    @property
    def channels_last(self) -> bool:
        """Whether channels are the last axis of x and y."""
        return self.layout == "channels_last"


class Pooling:
    """Extents of a pooling from x to y, and the core's object."""

    __slots__ = ("core", "output", "padding", "x_shape", "y_shape")

    def __init__(self, x_shape: Shape, output: Shape, padding: Pairs, core: _core.Pooling, channels_last: bool) -> None:
        rank = len(output)
        batch = x_shape[: len(x_shape) - rank - 1]
        self.x_shape = x_shape
        self.y_shape = (*batch, *output, x_shape[-1]) if channels_last else (*batch, x_shape[-rank - 1], *output)
        self.output = output
        self.padding = padding
        self.core = core


def pool_options(
    kernel_size: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
    layout: Layout,
) -> PoolOptions:
    """The options, or an error that names the wrong one."""
    return PoolOptions(
        per_axis(kernel_size, "kernel_size"),
        None if stride is None else per_axis(stride, "stride"),
        pads(padding),
        per_axis(dilation, "dilation"),
        flag(ceil_mode, "ceil_mode"),
        choice(layout, "layout", LAYOUTS),
    )


@lru_cache(maxsize=GEOMETRIES_KEPT)
def pooling_of(x_shape: Shape, options: PoolOptions) -> Pooling:
    """The pooling of an x of this shape."""
    for extent in x_shape:
        check_bits(extent, "x_shape")
    try:
        return _pooling(x_shape, options)
    except MisfitError as error:
        from convpp._call.guesses import pooling

        raise ShapeError(f"{error}{pooling.of_shape(x_shape, options, _pooling)}") from None


def _pooling(x_shape: Shape, options: PoolOptions) -> Pooling:
    rank, form = len(x_shape) - 2, "(N, *spatial, C)" if options.channels_last else "(N, C, *spatial)"
    if isinstance(options.kernel_size, tuple):
        rank = len(options.kernel_size)
        if rank not in (1, 2, 3):
            raise ValueError(f"kernel_size is {options.kernel_size}, expected an integer or 1 to 3 integers")
        if len(x_shape) not in (rank + 1, rank + 2):
            raise MisfitError(
                f"x has shape {x_shape}, expected {form} with {rank} spatial axes (kernel_size is "
                f"{options.kernel_size}), with or without N"
            )
    elif rank not in (1, 2, 3):
        raise MisfitError(
            f"x has shape {x_shape}, expected {form} with 1, 2 or 3 spatial axes (kernel_size is "
            f"{options.kernel_size}, for each of them)"
        )
    if any(extent < 0 for extent in x_shape):
        raise ShapeError(f"x has shape {x_shape}, expected extents of 0 or more")
    sample = x_shape[-rank - 1 :]
    channels, spatial = (sample[-1], sample[:-1]) if options.channels_last else (sample[0], sample[1:])
    kernel = axes_of(options.kernel_size, rank, "kernel_size", 1)
    stride = kernel if options.stride is None else axes_of(options.stride, rank, "stride", 1)
    dilation = axes_of(options.dilation, rank, "dilation", 1)
    if math.prod(kernel) > MOST_TAPS:
        raise ShapeError(f"kernel_size is {options.kernel_size}: too large, expected at most 2**24 elements")
    padding = _conv_pads(options.padding, spatial, kernel, stride, dilation)
    _check_pads(options, kernel, padding)
    output = []
    for axis, (extent, k, s, d, (lo, hi)) in enumerate(zip(spatial, kernel, stride, dilation, padding, strict=True)):
        if extent < 1:
            raise ShapeError(f"x has shape {x_shape}, expected 1 or more elements on spatial axis {axis}")
        span = d * (k - 1) + 1
        out = (extent + lo + hi - span + (s - 1 if options.ceil_mode else 0)) // s + 1
        if options.ceil_mode and (out - 1) * s >= extent + lo:  # a window that would begin behind x
            out -= 1
        if out < 1:
            raise MisfitError(
                f"the output would have no pixels on spatial axis {axis}: the kernel is longer than the padded input, "
                f"dilation * (kernel_size - 1) + 1 = {span}, input + padding = {extent} + {lo} + {hi} = "
                f"{extent + lo + hi} (x has shape {x_shape})"
            )
        output.append(out)
    batch = 1 if len(x_shape) == rank + 1 else x_shape[0]
    for argument, shape in (("x", (batch, channels, *spatial)), ("y", (batch, channels, *output))):
        if any(extent > LARGEST for extent in shape) or (0 not in shape and math.prod(shape) > LARGEST):
            raise ShapeError(f"{argument} would have shape {shape}: too large, at most 2**60 elements")

    def three(values: Shape, unused: int) -> Shape:
        return (unused,) * (3 - rank) + values

    lo_pads, hi_pads = zip(*padding, strict=True)
    core = _core.Pooling(
        rank,
        batch,
        channels,
        three(spatial, 1),
        three(kernel, 1),
        three(stride, 1),
        three(dilation, 1),
        three(lo_pads, 0),
        three(hi_pads, 0),
        options.ceil_mode,
        options.channels_last,
    )
    return Pooling(x_shape, tuple(output), padding, core, options.channels_last)


def _check_pads(options: PoolOptions, kernel: Shape, padding: Pairs) -> None:
    """No window may lie in padding alone."""
    if any(pad < 0 for pair in padding for pad in pair):
        raise ValueError(f"padding is {options.padding!r}, expected 0 or more: to crop, give a part of x")
    for k, pair in zip(kernel, padding, strict=True):
        if max(pair) > k // 2:
            raise ValueError(
                f"padding is {options.padding!r}, expected at most half of kernel_size ({options.kernel_size}): "
                f"{max(pair)} elements beside windows of {k}"
            )
