"""Planned passes: a geometry that was seen before is recognised in constant time.

In: pass, dtype, shapes and options.   Out: a ``Planned`` pass, kept in a bounded cache.
Next: ``run.py``; ``_core`` (cpp/bindings/module.cpp), the compiled core.
"""

from __future__ import annotations

from functools import lru_cache

from convpp import _core
from convpp._call.arguments import Shape
from convpp._call.geometry import Geometry, geometry_of
from convpp._call.options import Options

#: Plans are a few kilobytes each.
PLANS_KEPT = 1024

PASSES = ("forward", "input_grad", "weight_grad")


class Planned:
    """One pass of one geometry, ready to run: shapes for the checks, and the core's plan."""

    __slots__ = ("convolution", "execute", "geometry", "w_shape", "x_shape", "y_shape")

    def __init__(self, pass_: str, dtype: str, geometry: Geometry) -> None:
        self.geometry = geometry
        self.convolution = _core.Convolution(pass_, dtype, geometry.options.conv.algorithm, *geometry.core_arguments())
        self.execute = self.convolution.execute
        self.x_shape = geometry.x_shape
        self.w_shape = geometry.w_shape
        self.y_shape = geometry.y_shape


@lru_cache(maxsize=PLANS_KEPT)
def plan(pass_: str, dtype: str, x_shape: Shape, w_shape: Shape, options: Options) -> Planned:
    """A pass of ``conv``, or of the convolution that ``conv_transpose`` is the adjoint of."""
    return Planned(pass_, dtype, geometry_of(x_shape, w_shape, options))


def forget_plans() -> None:
    """Empties the cache: plans are made for one instruction set and number of threads."""
    plan.cache_clear()
