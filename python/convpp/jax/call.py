"""One convolution as its primitives know it: shapes and options, with every number written out.

In: a ``Geometry`` of ``conv`` or ``conv_transpose``.   Out: a ``Call``, hashable: what JAX recognises a computation by.
Next: ``primitives.py``.

A convolution is a trilinear form in x, w and y, ``sum of y[n, (g k), p] * w[(n), (g k), c, r] * x[n, (g c), p + r]``;
a pass leaves out one of the three, its result.  A transposed convolution is the pass whose result is x.
"""

from __future__ import annotations

from typing import NamedTuple

from convpp._call.arguments import Shape
from convpp._call.geometry import Geometry, geometry_of
from convpp._call.options import ConvOptions

#: The two operands of the pass with this result, in the order in which the core takes them.
OPERANDS = {"y": ("x", "w"), "x": ("y", "w"), "w": ("y", "x")}
#: And its name.
PASSES = {"y": "forward", "x": "input_grad", "w": "weight_grad"}

#: An axis of an array, as the extents that it is made of: those of its indices, by name.
Axis = tuple[tuple[str, int], ...]


class Call(NamedTuple):
    """A convolution of x, which has its N axis, with w."""

    x_shape: Shape
    w_shape: Shape
    options: ConvOptions

    @property
    def geometry(self) -> Geometry:
        """What the core is told; remembered."""
        return geometry_of(self.x_shape, self.w_shape, self.options)

    def shape(self, role: str) -> Shape:
        """The shape of "x", "w" or "y"."""
        geometry = self.geometry
        return {"x": geometry.x_shape, "w": geometry.w_shape, "y": geometry.y_shape}[role]

    def channel_axis(self, role: str) -> int:
        """The axis of channels, of "x" or "y"."""
        return len(self.x_shape) - 1 if self.options.channels_last else 1

    def axes(self, role: str) -> tuple[Axis, ...]:
        """The axes of "x", "w" or "y", each as the indices that run along it; spatial ones have no name."""
        groups, per_sample = self.options.groups, self.options.per_sample
        k, c = self.w_shape[per_sample] // groups, self.w_shape[per_sample + 1]
        n: Axis = (("n", self.x_shape[0]),)
        if role == "w":
            kernel = tuple((("", extent),) for extent in self.w_shape[per_sample + 2 :])
            return (*((n,) if per_sample else ()), (("g", groups), ("k", k)), (("c", c),), *kernel)
        shape = self.shape(role)
        channels: Axis = (("g", groups), ("c", c) if role == "x" else ("k", k))
        if self.options.channels_last:
            return (n, *((("", extent),) for extent in shape[1:-1]), channels)
        return (n, channels, *((("", extent),) for extent in shape[2:]))

    def of_each_sample(self) -> Call:
        """The same, of one sample, with weights for each sample."""
        assert self.x_shape[0] == 1
        assert not self.options.per_sample
        return Call(self.x_shape, (1, *self.w_shape), self.options.with_per_sample(True))

    def grown(self, index: str, times: int) -> Call:
        """The convolution whose index "n", "g", "k" or "c" runs over so many times as many values."""
        x, w, options = list(self.x_shape), list(self.w_shape), self.options
        per_sample = options.per_sample
        if index == "n":
            x[0] *= times
            if per_sample:
                w[0] *= times
        if index in "gc":
            x[self.channel_axis("x")] *= times
        if index in "gk":
            w[per_sample] *= times
        if index == "c":
            w[per_sample + 1] *= times
        if index == "g":
            options = options._replace(groups=options.groups * times)
        return Call(tuple(x), tuple(w), options)


def call_of(geometry: Geometry) -> Call:
    """The convolution that a geometry of ``conv`` or ``conv_transpose`` describes; a single sample gets its N axis."""
    conv = geometry.options.conv
    options = conv._replace(
        stride=geometry.stride,
        padding=geometry.padding,
        dilation=geometry.dilation,
        padding_mode=geometry.padding_mode,
    )
    sample = (1,) if geometry.batch is None else ()
    return Call((*sample, *geometry.x_shape), geometry.w_shape, options)
