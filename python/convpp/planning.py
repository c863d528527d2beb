"""Planned passes: a geometry that was seen before is recognised in constant time.

In: pass, dtype, algorithm, shapes and normalised arguments.   Out: a ``Planned`` pass, kept in a bounded cache.
Next: ``_core`` (cpp/bindings/module.cpp), the compiled core.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from convpp import _core
from convpp.arguments import Ints, Modes, Pads, Shape, check_algorithm, choice
from convpp.geometry import Geometry, conv_geometry, conv_transpose_geometry

#: Plans are a few kilobytes each.
PLANS_KEPT = 512

PASSES = ("forward", "input_grad", "weight_grad")


class Planned:
    """One pass of one geometry, ready to run: shapes for the checks, and the core's plan."""

    __slots__ = ("convolution", "execute", "geometry", "w_shape", "x_shape", "y_shape")

    def __init__(self, geometry: Geometry, pass_: str, dtype: str, algorithm: str) -> None:
        self.geometry = geometry
        self.convolution = _core.Convolution(pass_, dtype, check_algorithm(algorithm), *geometry.core_arguments())
        self.execute = self.convolution.execute
        self.x_shape = geometry.x_shape
        self.w_shape = geometry.w_shape
        self.y_shape = geometry.y_shape


@lru_cache(maxsize=PLANS_KEPT)
def plan_conv(
    pass_: str,
    dtype: str,
    algorithm: str,
    x_shape: Shape,
    w_shape: Shape,
    stride: Ints,
    padding: Pads,
    dilation: Ints,
    groups: int,
    flip: bool,
    layout: str,
    per_sample: bool,
    padding_mode: Modes,
) -> Planned:
    """A pass of ``conv``."""
    geometry = conv_geometry(
        x_shape, w_shape, stride, padding, dilation, groups, flip, _is_last(layout), per_sample, padding_mode
    )
    return Planned(geometry, pass_, dtype, algorithm)


@lru_cache(maxsize=PLANS_KEPT)
def plan_conv_transpose(
    pass_: str,
    dtype: str,
    algorithm: str,
    x_shape: Shape,
    w_shape: Shape,
    stride: Ints,
    padding: Pads,
    output_padding: Ints,
    output_size: Shape | None,
    dilation: Ints,
    groups: int,
    flip: bool,
    layout: str,
    per_sample: bool,
) -> Planned:
    """A pass of the convolution that ``conv_transpose`` is the adjoint of."""
    geometry = conv_transpose_geometry(
        x_shape,
        w_shape,
        stride,
        padding,
        output_padding,
        output_size,
        dilation,
        groups,
        flip,
        _is_last(layout),
        per_sample,
    )
    return Planned(geometry, pass_, dtype, algorithm)


def _is_last(layout: Any) -> bool:
    return choice(layout, "layout", ("channels_first", "channels_last")) == "channels_last"


def forget_plans() -> None:
    """Empties the caches: plans are made for one instruction set and number of threads."""
    plan_conv.cache_clear()
    plan_conv_transpose.cache_clear()
