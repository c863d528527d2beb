"""The options of a convolution as one value: made once from what users write, and what plans are remembered by.

In: ``stride=2``, ``padding=((0, 1), (2, 2))``, ``layout="channels_last"`` ...   Out: a ``ConvOptions`` or a
``TransposeOptions``, which are immutable and hashable.   Next: ``geometry.py``.

They are named tuples because a call makes one each time: building and comparing them takes a fraction of what a
dataclass takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from convpp._call.arguments import (
    ALGORITHMS,
    LAYOUTS,
    PADDINGS,
    Algorithm,
    Ints,
    Layout,
    Modes,
    Padding,
    Pads,
    PerAxis,
    Shape,
    as_int,
    choice,
    flag,
    padding_modes,
    pads,
    per_axis,
    shape,
)
from convpp._call.default_algorithm import default_algorithm


class ConvOptions(NamedTuple):
    """What ``conv`` and its gradients are told beside arrays, in the one form that the rest of the package knows."""

    stride: Ints = 1
    padding: Pads = 0
    dilation: Ints = 1
    groups: int = 1
    flip: bool = False
    layout: Layout = "channels_first"
    per_sample: bool = False
    padding_mode: Modes = "zeros"
    algorithm: Algorithm = "auto"

    @property
    def conv(self) -> ConvOptions:
        """The options of the convolution that is planned: these."""
        return self

    @property
    def channels_last(self) -> bool:
        """Whether channels are the last axis of x and y."""
        return self.layout == "channels_last"

    def keywords(self) -> dict[str, Any]:
        """The options as arguments of ``conv`` and of its gradients."""
        return self._asdict()

    def with_per_sample(self, per_sample: bool) -> ConvOptions:
        """The same options, but for this one."""
        return self._replace(per_sample=per_sample)


class TransposeOptions(NamedTuple):
    """The same for ``conv_transpose``: the options of the convolution that it is the adjoint of, and two of its own."""

    conv: ConvOptions
    output_padding: Ints = 0
    output_size: Shape | None = None

    def keywords(self) -> dict[str, Any]:
        """The options as arguments of ``conv_transpose`` and of its gradients."""
        return self.conv.keywords() | {"output_padding": self.output_padding, "output_size": self.output_size}

    def with_per_sample(self, per_sample: bool) -> TransposeOptions:
        """The same options, but for this one."""
        return self._replace(conv=self.conv.with_per_sample(per_sample))


Options = ConvOptions | TransposeOptions


def conv_options(
    stride: PerAxis,
    padding: str | Padding,
    dilation: PerAxis,
    groups: int,
    padding_mode: str | Sequence[str],
    flip: bool,
    layout: str,
    per_sample: bool,
    algorithm: str = "auto",
) -> ConvOptions:
    """The options of ``conv``, or an error that names the wrong one; what most calls pass is recognised first.

    The algorithm "auto" is the default in force (``set_algorithm``): so all that one call does is by the same one.
    """
    normalised = (
        stride if type(stride) is int else per_axis(stride, "stride"),
        padding if type(padding) is int or (type(padding) is str and padding in PADDINGS) else pads(padding),
        dilation if type(dilation) is int else per_axis(dilation, "dilation"),
        groups if type(groups) is int else as_int(groups, "groups"),
        flip if flip is False else flag(flip, "flip"),
        layout if type(layout) is str and layout == "channels_first" else choice(layout, "layout", LAYOUTS),
        per_sample if per_sample is False else flag(per_sample, "per_sample"),
        padding_mode if type(padding_mode) is str and padding_mode == "zeros" else padding_modes(padding_mode),
        default_algorithm()
        if type(algorithm) is str and algorithm == "auto"
        else choice(algorithm, "algorithm", ALGORITHMS),
    )
    return tuple.__new__(ConvOptions, normalised)  # ConvOptions(*normalised), but three times as fast


def transpose_options(
    conv: ConvOptions, output_padding: PerAxis, output_size: Iterable[int] | None
) -> TransposeOptions:
    """The options of ``conv_transpose``, or an error that names the wrong one."""
    normalised = (
        conv,
        per_axis(output_padding, "output_padding"),
        None if output_size is None else shape(output_size, "output_size"),
    )
    return tuple.__new__(TransposeOptions, normalised)  # as above
