"""One checked description of a convolution: the only place where extents are computed.

In: shapes and options (``options.py``).   Out: a ``Geometry``, or a ``ShapeError`` that shows the shapes.
Next: ``planning.py``, which hands it to the compiled core.

A transposed convolution is described by the convolution that it is the adjoint of: its input is that
convolution's output.  So there is one description, and one engine, for both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from convpp._call.arguments import Ints, Modes, PaddingModeName, Pads, Shape, check_bits
from convpp._call.options import ConvOptions, Options, TransposeOptions
from convpp.errors import ShapeError

#: Sizes beyond this cannot exist; the core checks 64-bit products again.
LARGEST = 2**60
#: Elements of one kernel: a direct sum over more would take hours.
MOST_TAPS = 2**24

#: Geometries that are remembered: some hundred bytes each.
GEOMETRIES_KEPT = 1024

Pairs = tuple[tuple[int, int], ...]


class MisfitError(ShapeError):
    """Shapes that do not fit each other, though each is legal; ``geometry_of`` adds what was probably meant."""


@dataclass(frozen=True)
class Geometry:
    """Extents of a convolution from x (N, C, \\*input) with w (K, C/groups, \\*kernel) to y (N, K, \\*output).

    ``batch`` is None for a single sample without an N axis.  Of a transposed convolution, x here is the result.
    """

    batch: int | None
    in_channels: int
    out_channels: int
    input: Shape
    kernel: Shape
    output: Shape
    stride: Shape
    dilation: Shape
    padding: Pairs
    padding_mode: tuple[PaddingModeName, ...]
    options: Options
    #: Shapes of x and dx, of y and dy, of w and dw.
    x_shape: Shape = field(init=False)
    y_shape: Shape = field(init=False)
    w_shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        sample = (self.batch or 0,) if self.options.conv.per_sample else ()
        w_shape = (*sample, self.out_channels, self.in_channels // self.options.conv.groups, *self.kernel)
        object.__setattr__(self, "x_shape", self._shape(self.in_channels, self.input))
        object.__setattr__(self, "y_shape", self._shape(self.out_channels, self.output))
        object.__setattr__(self, "w_shape", w_shape)

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    @property
    def result_shape(self) -> Shape:
        """Shape of what ``conv`` or ``conv_transpose`` returns."""
        return self.x_shape if isinstance(self.options, TransposeOptions) else self.y_shape

    @property
    def result_channels(self) -> int:
        """The channels of that: as many as a bias has elements."""
        return self.in_channels if isinstance(self.options, TransposeOptions) else self.out_channels

    def _shape(self, channels: int, spatial: Shape) -> Shape:
        sample = () if self.batch is None else (self.batch,)
        return (*sample, *spatial, channels) if self.options.conv.channels_last else (*sample, channels, *spatial)

    def core_arguments(self) -> tuple[Any, ...]:
        """What ``_core.Convolution`` takes after pass, dtype and algorithm: three axes, unused ones leading."""

        def three(values: Shape, unused: int) -> Shape:
            return (unused,) * (3 - len(values)) + values

        lo, hi = zip(*self.padding, strict=True)
        return (
            self.rank,
            1 if self.batch is None else self.batch,
            self.in_channels,
            self.out_channels,
            self.options.conv.groups,
            three(self.input, 1),
            three(self.kernel, 1),
            three(self.stride, 1),
            three(self.dilation, 1),
            three(lo, 0),
            three(hi, 0),
            self.options.conv.flip,
            self.options.conv.per_sample,
            self.options.conv.channels_last,
            ("zeros",) * (3 - self.rank) + self.padding_mode,
        )


@lru_cache(maxsize=GEOMETRIES_KEPT)
def geometry_of(x_shape: Shape, w_shape: Shape, options: Options) -> Geometry:
    """The geometry of ``conv`` or ``conv_transpose`` on an x of this shape, and of their gradients."""
    _check_bits({"x_shape": x_shape, "w_shape": w_shape} | options.keywords())
    try:
        return _geometry(x_shape, w_shape, options)
    except MisfitError as error:
        from convpp._call.guesses import shapes

        meant = shapes.of_shapes(x_shape, w_shape, options, _geometry)
        raise ShapeError(f"{error}{meant}") from None


def wrong_dy(dy: Shape, y: Shape, x: Shape, w: Shape, options: Options) -> ShapeError:
    """The error for a dy that is not shaped like the output."""
    from convpp._call.guesses import shapes

    meant = shapes.of_dy(dy, y, x, w, options, _geometry)
    return ShapeError(f"dy has shape {dy}, expected {y}: the output of x {x} with w {w}{meant}")


def _geometry(x_shape: Shape, w_shape: Shape, options: Options) -> Geometry:
    if isinstance(options, TransposeOptions):
        geometry = _transpose_geometry(x_shape, w_shape, options)
    else:
        geometry = _conv_geometry(x_shape, w_shape, options)
    for argument, shape in (("x", geometry.x_shape), ("w", geometry.w_shape), ("y", geometry.y_shape)):
        if 0 not in shape and math.prod(shape) > LARGEST:
            raise ShapeError(f"{argument} would have shape {shape}: too large, at most 2**60 elements")
        if any(extent > LARGEST for extent in shape):
            raise ShapeError(f"{argument} would have shape {shape}: too large, at most 2**60 along an axis")
    return geometry


def _check_bits(given: Any, argument: str = "") -> None:
    """Of all integers: what passed as a plain int or tuple was not looked at."""
    if isinstance(given, dict):
        for name, value in given.items():
            _check_bits(value, name)
    elif isinstance(given, tuple):
        for value in given:
            _check_bits(value, argument)
    elif isinstance(given, int):
        check_bits(given, argument)


def _conv_geometry(x_shape: Shape, w_shape: Shape, options: ConvOptions) -> Geometry:
    kernel, batch, channels, spatial = _split(x_shape, w_shape, options, "(N, K, C/groups, *kernel)")
    rank, groups = len(kernel), options.groups
    out_channels, per_group = w_shape[-rank - 2], w_shape[-rank - 1]
    _check_groups(groups, channels, out_channels, f"x of shape {x_shape} and w of shape {w_shape}")
    if per_group * groups != channels:
        raise MisfitError(
            f"w has shape {w_shape}, so x must have C = {per_group} * groups = {per_group * groups} channels, "
            f"but x has shape {x_shape}: C = {channels}"
        )
    strides = axes_of(options.stride, rank, "stride", 1)
    dilations = axes_of(options.dilation, rank, "dilation", 1)
    pairs = _conv_pads(options.padding, spatial, kernel, strides, dilations)
    modes = modes_of_axes(options.padding_mode, rank)
    output = []
    for axis, (extent, k, s, d, (lo, hi)) in enumerate(zip(spatial, kernel, strides, dilations, pairs, strict=True)):
        span = d * (k - 1) + 1
        if span > extent + lo + hi:
            raise MisfitError(
                f"the kernel is longer than the padded input on spatial axis {axis}, expected at most as long: "
                f"dilation * (kernel - 1) + 1 = {span}, input + padding = {extent} + {lo} + {hi} = {extent + lo + hi} "
                f"(x has shape {x_shape}, w has shape {w_shape})"
            )
        if extent == 0 and modes[axis] != "zeros":
            raise ShapeError(
                f"x has shape {x_shape}, expected 1 or more elements on spatial axis {axis}: its padding_mode is "
                f"{modes[axis]!r}, and there is nothing to pad it with"
            )
        output.append((extent + lo + hi - span) // s + 1)
    extents = (spatial, kernel, tuple(output))
    return Geometry(batch, channels, out_channels, *extents, strides, dilations, pairs, modes, options)


def _transpose_geometry(x_shape: Shape, w_shape: Shape, options: TransposeOptions) -> Geometry:
    """The geometry of the convolution whose input gradient is this transposed convolution.

    In it, x of the transposed convolution is y, and the weights (C_in, C_out/groups, \\*kernel) are its
    (K, C/groups, \\*kernel) as they stand.
    """
    conv, output_size = options.conv, options.output_size
    kernel, batch, channels, spatial = _split(x_shape, w_shape, conv, "(N, C_in, C_out/groups, *kernel)")
    rank, groups = len(kernel), conv.groups
    if w_shape[-rank - 2] != channels:
        raise MisfitError(
            f"w has shape {w_shape} (C_in, C_out/groups, *kernel), so x must have {w_shape[-rank - 2]} channels, "
            f"but x has shape {x_shape}: C = {channels}"
        )
    out_channels = w_shape[-rank - 1] * groups
    _check_groups(groups, channels, out_channels, f"x of shape {x_shape} and w of shape {w_shape}")
    strides = axes_of(conv.stride, rank, "stride", 1)
    dilations = axes_of(conv.dilation, rank, "dilation", 1)
    extra = list(axes_of(options.output_padding, rank, "output_padding", 0))
    if output_size is not None:
        if any(extra):
            raise ValueError(
                f"output_padding is {options.output_padding} and output_size is {output_size}, expected one of them"
            )
        sizes = output_size[-rank:] if not conv.channels_last else output_size[len(output_size) - rank - 1 : -1]
        sizes = output_size if len(output_size) == rank else sizes
        if len(output_size) not in (rank, rank + 1, rank + 2) or len(sizes) != rank:
            raise ValueError(f"output_size is {output_size}, expected {rank} spatial extents")
    spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True))
    pairs, output = [], []
    for axis in range(rank):
        bound = max(strides[axis], dilations[axis])
        full = strides[axis] * (spatial[axis] - 1) + spans[axis]
        if isinstance(conv.padding, str):  # "same" gives in * stride outputs
            lo, hi = _named_pads(conv.padding, full + extra[axis] - spatial[axis] * strides[axis], spans[axis] - 1)
        else:
            lo, hi = explicit_pads(conv.padding, rank)[axis]
        if output_size is not None:
            extra[axis] = sizes[axis] - (full - lo - hi)
        if not 0 <= extra[axis] < bound:
            if output_size is None:
                raise ValueError(
                    f"output_padding is {extra[axis]} on spatial axis {axis}, expected 0 or more and less than "
                    f"stride ({strides[axis]}) or dilation ({dilations[axis]})"
                )
            raise ValueError(
                f"output_size is {sizes[axis]} on spatial axis {axis}, expected {full - lo - hi} to "
                f"{full - lo - hi + bound - 1} (x has shape {x_shape}); ONNX's output_shape, which may be any, is "
                "padding=convpp.conventions.onnx_transpose_padding(output_shape, x.shape, w.shape, strides=stride)"
            )
        extent = full + extra[axis] - lo - hi
        if extent < 1 or spatial[axis] == 0:
            raise ShapeError(
                f"the output would have extent {extent} on spatial axis {axis}: stride * (in - 1) + dilation * "
                f"(kernel - 1) + 1 + output_padding - padding = {strides[axis]} * ({spatial[axis]} - 1) + "
                f"{spans[axis]} + {extra[axis]} - {lo} - {hi} (x has shape {x_shape}, w has shape {w_shape})"
            )
        output.append(extent)
        pairs.append((lo, hi - extra[axis]))
    extents = (tuple(output), kernel, spatial)
    modes = modes_of_axes(conv.padding_mode, rank)
    return Geometry(batch, out_channels, channels, *extents, strides, dilations, tuple(pairs), modes, options)


def _kernel(w_shape: Shape, per_sample: bool) -> Shape:
    rank = len(w_shape) - 2 - per_sample
    if rank not in (1, 2, 3):
        form = "(N, K, C/groups, *kernel)" if per_sample else "(K, C/groups, *kernel)"
        raise MisfitError(f"w has shape {w_shape}, expected {form} with 1, 2 or 3 kernel axes")
    kernel = w_shape[-rank:]
    if any(k < 1 for k in kernel):
        raise ShapeError(f"w has shape {w_shape}, expected kernel extents of 1 or more, got {kernel}")
    if math.prod(kernel) > MOST_TAPS:
        raise ShapeError(f"w has shape {w_shape}: too large, expected kernels of at most 2**24 elements, got {kernel}")
    if any(extent < 0 for extent in w_shape):
        raise ShapeError(f"w has shape {w_shape}, expected extents of 0 or more")
    return kernel


def _split(
    x_shape: Shape, w_shape: Shape, options: ConvOptions, form_of_w: str
) -> tuple[Shape, int | None, int, Shape]:
    """Extents of the kernel, and N (None for one sample), channels and spatial extents of x."""
    kernel = _kernel(w_shape, options.per_sample)
    rank = len(kernel)
    if len(x_shape) not in (rank + 1, rank + 2):
        form = "(N, *spatial, C)" if options.channels_last else "(N, C, *spatial)"
        n = ", with its N in front: per_sample is True" if options.per_sample else ""
        raise MisfitError(
            f"x has shape {x_shape}, expected {form} with {rank} spatial axes (w has shape {w_shape}{n}), "
            "with or without N"
        )
    if any(extent < 0 for extent in x_shape):
        raise ShapeError(f"x has shape {x_shape}, expected extents of 0 or more")
    batch = x_shape[0] if len(x_shape) == rank + 2 else None
    if options.per_sample and (batch is None or batch != w_shape[0]):
        raise MisfitError(
            f"w has shape {w_shape}, expected {form_of_w} with the N of x, whose shape is {x_shape}: "
            "per_sample means a set of weights for each sample"
        )
    sample = x_shape[-rank - 1 :]
    channels, spatial = (sample[-1], sample[:-1]) if options.channels_last else (sample[0], sample[1:])
    return kernel, batch, channels, spatial


def _check_groups(groups: int, channels: int, out_channels: int, given: str) -> None:
    if groups < 1:
        raise ValueError(f"groups is {groups}, expected 1 or more")
    if channels % groups or out_channels % groups:
        raise MisfitError(
            f"groups is {groups}, expected a divisor of the channels of x and of the filters: C = {channels} and "
            f"K = {out_channels} are to be multiples of it ({given})"
        )


def _for_axes(value: Any, rank: int, argument: str, forms: str) -> tuple[Any, ...]:
    """What is given once or for each axis, for each axis."""
    values: tuple[Any, ...] = value if isinstance(value, tuple) else (value,)
    if len(values) == 1:
        values *= rank
    if len(values) != rank:
        from convpp._call.guesses import words

        meant = words.of_entries(value, rank, argument)
        raise ValueError(f"{argument} is {value}, expected {forms} (one for each axis){meant}")
    return values


def axes_of(value: Ints, rank: int, argument: str, lowest: int) -> Shape:
    """An integer for each axis."""
    values = _for_axes(value, rank, argument, f"an integer or {rank} integers")
    for v in values:
        if v < lowest:
            raise ValueError(f"{argument} is {value}, expected {lowest} or more")
        if v > LARGEST:
            raise ShapeError(f"{argument} is {value}, expected at most 2**60")
    return values


def modes_of_axes(value: Modes, rank: int) -> tuple[PaddingModeName, ...]:
    """A padding mode for each axis."""
    return _for_axes(value, rank, "padding_mode", f"a name or {rank} names")


def explicit_pads(padding: int | tuple[int, ...] | tuple[tuple[int, int], ...], rank: int) -> Pairs:
    """Padding in numbers as a (lo, hi) pair for each axis."""
    if isinstance(padding, int):
        padding = (padding,) * rank
    values = _for_axes(padding, rank, "padding", f"an integer, {rank} integers or {rank} (lo, hi) pairs")
    pairs = tuple((p, p) if isinstance(p, int) else p for p in values)
    if any(abs(p) > LARGEST for pair in pairs for p in pair):
        raise ShapeError(f"padding is {padding}, expected at most 2**60")
    return pairs


def _named_pads(name: str, total: int, reach: int) -> tuple[int, int]:
    """The (lo, hi) pair of a name; ``total`` is what "same" adds or crops, ``reach`` is from first to last tap."""
    if not name.startswith("same"):
        return {"valid": (0, 0), "full": (reach, reach), "causal": (reach, 0)}[name]
    small = max(total, 0) // 2
    return (small, total - small) if name == "same" or total < 0 else (total - small, small)


def _conv_pads(padding: Pads, extents: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> Pairs:
    if not isinstance(padding, str):
        return explicit_pads(padding, len(kernel))
    pairs = []
    for n, k, s, d in zip(extents, kernel, stride, dilation, strict=True):
        reach = d * (k - 1)
        # "same" gives ceil(n / s) outputs.
        total = max((math.ceil(n / s) - 1) * s + reach + 1 - n, 0) if n < LARGEST else 0
        pairs.append(_named_pads(padding, total, reach))
    return tuple(pairs)
