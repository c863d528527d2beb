"""The three passes of a convolution by their definition: plain NumPy, float64, made to be read.

In: arrays, and the geometry in any form that ``convpp.conv`` takes.  Out: float64 arrays.  Nothing here is
shared with the fast path but the reading of arguments, not even the arithmetic of paddings: so it can be its oracle.

One line describes all three passes.  Along each spatial axis, tap ``l`` of the kernel lets output ``p`` read

    input  i = p * stride + l * dilation - lo              (``lo``: padding in front)

and for each tap, with ``w_l`` the (K, C/groups) matrix of that tap,

    forward           y[out] += w_l   @ x[in]
    input gradient   dx[in]  += w_l.T @ dy[out]
    weight gradient  dw_l     = dy[out] @ x[in].T

where ``in`` and ``out`` are the positions that the tap connects.  Positions whose input lies in the padding
are left out, not multiplied by zero: padding can not make a NaN out of an infinite weight.

A ``padding_mode`` other than "zeros" is a step before that: x is extended, position by position, by the elements that
its index function names (`_folded`), and then there is no padding.  The adjoint of that step adds each position of the
extended dx to the element that it was read from.

Next: ``adjoint.py`` and ``gradcheck.py`` (checks without a reference), ``functional.py`` (the same operations, fast).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from types import EllipsisType
from typing import Literal

import numpy as np
import numpy.typing as npt

from convpp._call import arguments as given
from convpp._call.arguments import as_int, shape
from convpp._call.validation import as_real
from convpp.errors import ShapeError

Array = npt.NDArray[np.float64]
PerAxis = int | Sequence[int]
Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]
PaddingMode = str | Sequence[str]
Layout = Literal["channels_first", "channels_last"]
MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")
Index = tuple[EllipsisType | slice | int, ...]


def reference_conv(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
) -> Array:
    """Convolution by its definition, in float64.

    ``y[n, k, p] = bias[k] + sum over c, l of w[k, c, l] * x[n, c, p * stride + l * dilation - lo]``,
    where ``c`` runs over the channels of the group of ``k`` and inputs outside the array add nothing.

    Parameters
    ----------
    x : (N, C, \\*spatial), or (N, \\*spatial, C) for ``layout="channels_last"``; without N: one sample
    w : (K, C/groups, \\*kernel) with 1, 2 or 3 kernel axes
    bias : (K,) or None
    stride, dilation : int, or one per axis
    padding : int, one per axis, one ``(lo, hi)`` pair per axis, or "valid", "same", "same_lower",
        "full" or "causal".
    groups : number of groups; both C and K are multiples of it
    padding_mode : "zeros", "reflect", "replicate", "circular" or "symmetric", or one per axis
    flip : True for true convolution (kernel rotated), False for cross-correlation
    layout : of ``x`` and ``y``

    Returns
    -------
    y : float64, (N, K, \\*out) in the layout of ``x``.

    Raises
    ------
    ShapeError : shapes that do not fit, or a kernel longer than the padded input.
    DTypeError : something is no array of real numbers, or a masked one.
    ValueError : an unknown padding, layout or padding mode.

    Examples
    --------
    >>> from convpp.testing import reference_conv
    >>> reference_conv([[[1, 2, 3, 4]]], [[[1, 0, -1]]]).tolist()
    [[[-2.0, -2.0]]]
    """
    x, w = as_real(x, "x"), as_real(w, "w")
    geometry = _Geometry(x.shape, w.shape, stride, padding, dilation, groups, padding_mode, flip, layout)
    xg, wg = geometry.split_x(x), geometry.split_w(w)
    y = np.zeros(geometry.split_y_shape)
    with np.errstate(over="ignore", invalid="ignore"):  # Inf and NaN are values like others here
        for tap, out, inp in geometry.taps():
            y[out] += np.einsum("gkc,ngc...->ngk...", wg[tap], xg[inp])
        if bias is not None:
            bias = as_real(bias, "bias")
            if bias.shape != (geometry.k,):
                raise ShapeError(f"bias has shape {bias.shape}, expected ({geometry.k},)")
            y += bias.reshape(geometry.split_y_shape[1:3] + (1,) * geometry.rank)
    return geometry.join(y)


def reference_input_grad(
    dy: npt.ArrayLike,
    w: npt.ArrayLike,
    x_shape: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
) -> Array:
    """Gradient with respect to ``x`` of ``sum(dy * reference_conv(x, w))``, in float64.

    ``dx[n, c, i] = sum of w[k, c, l] * dy[n, k, p] over k, l, p with p * stride + l * dilation - lo = i``.
    A transposed convolution with weights ``w`` and an output of shape ``x_shape`` is the same map.

    Parameters
    ----------
    dy : (N, K, \\*out) in ``layout``: exactly the shape of ``reference_conv``'s result
    w : (K, C/groups, \\*kernel)
    x_shape : the full shape of ``x``
    stride, padding, dilation, groups, padding_mode, flip, layout : as in `reference_conv`

    Returns
    -------
    dx : float64, of shape ``x_shape``; 0 where no output reads the input.

    Raises
    ------
    ShapeError, DTypeError, ValueError : as in `reference_conv`; ``dy`` is not shaped like its result.

    Examples
    --------
    >>> from convpp.testing import reference_input_grad
    >>> reference_input_grad([[[1, 10]]], [[[1, 0, -1]]], (1, 1, 4)).tolist()
    [[[1.0, 10.0, -1.0, -10.0]]]
    """
    dy, w, x_shape = as_real(dy, "dy"), as_real(w, "w"), shape(x_shape, "x_shape")
    geometry = _Geometry(x_shape, w.shape, stride, padding, dilation, groups, padding_mode, flip, layout)
    dyg, wg = geometry.split_y(dy), geometry.split_w(w)
    dx = geometry.split_x(np.zeros(x_shape))
    with np.errstate(over="ignore", invalid="ignore"):
        for tap, out, inp in geometry.taps():
            dx[inp] += np.einsum("gkc,ngk...->ngc...", wg[tap], dyg[out])
        return geometry.join_x(dx)


def reference_weight_grad(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    w_shape: Sequence[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
) -> Array:
    """Gradient with respect to ``w`` of ``sum(dy * reference_conv(x, w))``, in float64.

    ``dw[k, c, l] = sum over n, p of dy[n, k, p] * x[n, c, p * stride + l * dilation - lo]``.

    Parameters
    ----------
    dy : (N, K, \\*out) in ``layout``: exactly the shape of ``reference_conv``'s result
    x : (N, C, \\*spatial) in ``layout``
    w_shape : the full shape (K, C/groups, \\*kernel)
    stride, padding, dilation, groups, padding_mode, flip, layout : as in `reference_conv`

    Returns
    -------
    dw : float64, of shape ``w_shape``.

    Raises
    ------
    ShapeError, DTypeError, ValueError : as in `reference_conv`; ``dy`` is not shaped like its result.

    Examples
    --------
    >>> from convpp.testing import reference_weight_grad
    >>> reference_weight_grad([[[1, 10]]], [[[1, 2, 3, 4]]], (1, 1, 3)).tolist()
    [[[21.0, 32.0, 43.0]]]
    """
    dy, x, w_shape = as_real(dy, "dy"), as_real(x, "x"), shape(w_shape, "w_shape")
    geometry = _Geometry(x.shape, w_shape, stride, padding, dilation, groups, padding_mode, flip, layout)
    dyg, xg = geometry.split_y(dy), geometry.split_x(x)
    dw = np.zeros(w_shape)
    dwg = geometry.split_w(dw)  # a view: what is written here is written into dw
    equation = "ngk{0},ngc{0}->gkc".format("pqr"[: geometry.rank])
    for tap, out, inp in geometry.taps():
        dwg[tap] = np.einsum(equation, dyg[out], xg[inp])
    return dw


class _Geometry:
    """One convolution's shapes and taps; ``split_*`` are views with the channels divided into groups."""

    def __init__(
        self,
        x_shape: tuple[int, ...],
        w_shape: tuple[int, ...],
        stride: PerAxis,
        padding: Padding,
        dilation: PerAxis,
        groups: int,
        padding_mode: PaddingMode,
        flip: bool,
        layout: str,
    ) -> None:
        given.choice(layout, "layout", given.LAYOUTS)
        self.rank = rank = len(w_shape) - 2
        if rank not in (1, 2, 3):
            raise ShapeError(f"w must have shape (K, C/groups, *kernel) of 3 to 5 axes, got {w_shape}")
        if len(x_shape) not in (rank + 1, rank + 2):
            raise ShapeError(f"x must have {rank + 2} axes ({rank + 1} for one sample), got shape {x_shape}")
        self.batched = len(x_shape) == rank + 2
        self.last = layout == "channels_last"
        self.flip = flip

        n, *extents = x_shape if self.batched else (1, *x_shape)
        c = extents.pop(-1 if self.last else 0)
        self.k, group_c, *kernel = w_shape
        self.groups = groups = as_int(groups, "groups")
        if groups < 1 or self.k % groups or group_c * groups != c:
            raise ShapeError(f"groups={groups} does not fit x with {c} channels and w of shape {w_shape}")
        if min(kernel) < 1:
            raise ShapeError(f"w has a kernel extent of 0: shape {w_shape}")

        strides, dilations = per_axis_of(stride, rank, "stride"), per_axis_of(dilation, rank, "dilation")
        pads = pads_of(padding, extents, kernel, strides, dilations)
        self.split_x_shape = (n, groups, group_c, *extents)
        self.extension: list[tuple[int, npt.NDArray[np.int64]]] = []  # axes that are extended, and by which elements
        for axis, mode in enumerate(_modes(padding_mode, rank)):
            if mode == "zeros":
                continue
            lo, hi = pads[axis]
            if extents[axis] == 0 and max(lo, hi) > 0:
                raise ShapeError(f"x of shape {x_shape} has nothing to pad spatial axis {axis} with ({mode!r})")
            positions = np.arange(-lo, extents[axis] + hi)
            self.extension.append((axis - rank, _folded(positions, extents[axis], mode)))
            extents[axis], pads[axis] = len(positions), (0, 0)
        self.axes = [_Axis(*axis) for axis in zip(extents, kernel, strides, dilations, pads, strict=True)]
        self.split_y_shape = (n, groups, self.k // groups, *(axis.out for axis in self.axes))

    def taps(self) -> Iterator[tuple[Index, Index, Index]]:
        """For each tap, as indices: its place in w, the outputs it reaches, the inputs that they read."""
        for reach in itertools.product(*(axis.taps() for axis in self.axes)):
            taps, outs, inputs = zip(*reach, strict=True)
            yield (..., *taps), (..., *outs), (..., *inputs)

    def split_x(self, x: Array) -> Array:
        """(N, groups, C/groups, *spatial), extended as ``padding_mode`` says."""
        split = self._channels_first(x).reshape(self.split_x_shape)
        for axis, elements in self.extension:
            split = np.take(split, elements, axis)
        return split

    def join_x(self, extended: Array) -> Array:
        """The adjoint of ``split_x``: each position is added to the element that it was read from."""
        for axis, elements in reversed(self.extension):
            shape = list(extended.shape)
            shape[axis] = self.split_x_shape[axis]
            dx = np.zeros(shape)
            np.add.at(np.moveaxis(dx, axis, 0), elements, np.moveaxis(extended, axis, 0))
            extended = dx
        return self.join(extended)

    def split_y(self, dy: Array) -> Array:
        """(N, groups, K/groups, *out)."""
        n, _, _, *out = self.split_y_shape
        sample = (*out, self.k) if self.last else (self.k, *out)
        expected = (n, *sample) if self.batched else sample
        if dy.shape != expected:
            raise ShapeError(f"dy has shape {dy.shape}, expected {expected}")
        return self._channels_first(dy).reshape(self.split_y_shape)

    def split_w(self, w: Array) -> Array:
        """(groups, K/groups, C/groups, *kernel), rotated if ``flip``."""
        if self.flip:
            w = np.flip(w, axis=tuple(range(2, w.ndim)))
        return w.reshape(self.groups, self.k // self.groups, *w.shape[1:])

    def join(self, grouped: Array) -> Array:
        """(N, groups, channels/groups, *spatial) back to the caller's layout."""
        n, groups, channels, *spatial = grouped.shape
        array = grouped.reshape(n, groups * channels, *spatial)
        if self.last:
            array = np.ascontiguousarray(np.moveaxis(array, 1, -1))
        return array if self.batched else array[0]

    def _channels_first(self, array: Array) -> Array:
        if not self.batched:
            array = array[None]
        return np.moveaxis(array, -1, 1) if self.last else array


class _Axis:
    """One spatial axis: extents, and which outputs and inputs each tap connects."""

    def __init__(self, extent: int, kernel: int, stride: int, dilation: int, pad: tuple[int, int]) -> None:
        lo, hi = pad
        self.extent, self.kernel, self.stride, self.dilation, self.lo = extent, kernel, stride, dilation, lo
        span = dilation * (kernel - 1) + 1
        self.out = (extent + lo + hi - span) // stride + 1
        if self.out < 1:
            raise ShapeError(
                f"kernel extent {kernel} with dilation {dilation} spans {span}, longer than "
                f"the padded input: {extent} with padding {pad}"
            )

    def taps(self) -> Iterator[tuple[int, slice, slice]]:
        """(tap, outputs, inputs): the outputs ``p`` with ``0 <= p * stride + start < extent``."""
        for tap in range(self.kernel):
            start = tap * self.dilation - self.lo  # what output 0 reads
            first = max(0, -(start // self.stride))
            stop = min(self.out, (self.extent - 1 - start) // self.stride + 1)
            if first >= stop:  # this tap reads padding only
                yield tap, slice(0, 0), slice(0, 0)
                continue
            begin = first * self.stride + start
            end = (stop - 1) * self.stride + start + 1
            yield tap, slice(first, stop), slice(begin, end, self.stride)


def pads_of(padding: Padding, *axes: Sequence[int]) -> list[tuple[int, int]]:
    """Any form of ``padding`` as one ``(lo, hi)`` pair per axis of these extents, kernels, strides and dilations."""
    rank, pads = len(axes[0]), given.pads(padding)
    if isinstance(pads, str):
        return [_named_pad(pads, *axis) for axis in zip(*axes, strict=True)]
    if isinstance(pads, int):
        return [(pads, pads)] * rank
    if len(pads) != rank:
        raise ShapeError(f"padding must be an int or have {rank} entries, one an axis, got {pads}")
    return [(p, p) if isinstance(p, int) else p for p in pads]


def _named_pad(name: str, extent: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    reach = dilation * (kernel - 1)  # from the first tap to the last
    total = max(0, (-(-extent // stride) - 1) * stride + reach + 1 - extent)  # so that there are ceil(extent / stride)
    return {
        "valid": (0, 0),
        "full": (reach, reach),
        "causal": (reach, 0),
        "same": (total // 2, total - total // 2),  # an odd rest goes behind
        "same_lower": (total - total // 2, total // 2),
    }[name]


def _modes(value: PaddingMode, rank: int) -> Sequence[str]:
    modes = given.padding_modes(value)
    listed = [modes] * rank if isinstance(modes, str) else list(modes)
    if len(listed) != rank:
        raise ValueError(f"padding_mode is {modes}, expected one of {', '.join(MODES)}, or {rank} of them")
    return listed


def _folded(positions: npt.NDArray[np.int64], extent: int, mode: str) -> npt.NDArray[np.int64]:
    """The elements of an axis that the positions of its extension read; [0, extent) reads itself."""
    there = np.arange(extent)
    if mode == "replicate":
        return np.clip(positions, 0, extent - 1)
    cycle = {
        "circular": there,
        "symmetric": np.concatenate([there, there[::-1]]),
        "reflect": np.concatenate([there, there[-2:0:-1]]),
    }[mode]
    return cycle[positions % max(len(cycle), 1)]


def per_axis_of(value: PerAxis, rank: int, name: str) -> list[int]:
    """One positive int for each axis."""
    ints = given.per_axis(value, name)
    values = [ints] * rank if isinstance(ints, int) else list(ints)
    if len(values) != rank:
        raise ShapeError(f"{name} must be an int or have {rank} entries, one an axis, got {ints}")
    if min(values) < 1:
        raise ValueError(f"{name} must be positive, got {ints}")
    return values
