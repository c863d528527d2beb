"""Convolution layers with PyTorch's names, arguments and initial values, over NumPy arrays.

In: NumPy arrays.  Out: NumPy arrays, and gradients added to ``weight_grad`` and ``bias_grad``.  A layer holds
parameters (``parameters.py``) and a geometry; all arithmetic is in ``functional.py`` (`Conv1d`, `Conv2d`,
`Conv3d`) and ``transposed.py`` (`ConvTranspose1d`, `ConvTranspose2d`, `ConvTranspose3d`).

Read next: ``functional.py``; ``demo.py`` (a network made of these); ``testing.py`` (checking gradients).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from convpp.arguments import Padding, PaddingMode, PerAxis, as_int, padding_modes, pads, per_axis
from convpp.errors import ShapeError
from convpp.functional import conv, conv_bias_grad, conv_input_grad, conv_weight_grad
from convpp.geometry import explicit_pads, modes_of_axes
from convpp.parameters import Rng, WeightAndBias
from convpp.transposed import conv_transpose, conv_transpose_input_grad, conv_transpose_weight_grad
from convpp.validation import FLOAT32, HALVES, as_float, common_dtype

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

Array = npt.NDArray[Any]


class _Layer(WeightAndBias, ABC):
    """What all six layers share beside parameters: geometry, ``backward`` and ``repr``.

    The two classes below say how to compute.
    """

    _rank: ClassVar[int]
    _transposed: ClassVar[bool]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis,
        padding: Padding,
        dilation: PerAxis,
        groups: int,
        bias: bool,
        dtype: npt.DTypeLike,
        rng: Rng,
    ) -> None:
        self.in_channels = in_channels = as_int(in_channels, "in_channels")
        self.out_channels = out_channels = as_int(out_channels, "out_channels")
        self.groups = groups = as_int(groups, "groups")
        if groups < 1 or min(in_channels, out_channels) < 0 or in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"in_channels={in_channels} and out_channels={out_channels} with groups={groups}: expected "
                "a positive groups that divides both"
            )
        self.kernel_size = self._per_axis(kernel_size, "kernel_size", least=1)
        self.stride = self._per_axis(stride, "stride", least=1)
        self.dilation = self._per_axis(dilation, "dilation", least=1)
        padding = pads(padding)
        if not isinstance(padding, str):
            explicit_pads(padding, self._rank)  # only to fail here and not at the first forward
        self.padding = (padding,) * self._rank if isinstance(padding, int) else padding
        self._x: Array | None = None

        rows, columns = (in_channels, out_channels) if self._transposed else (out_channels, in_channels)
        shape = (rows, columns // groups, *self.kernel_size)
        super().__init__(shape, out_channels if bias else None, dtype, rng)

    def __call__(self, x: npt.ArrayLike) -> Array:
        """``forward(x)``."""
        return self.forward(x)

    @abstractmethod
    def forward(self, x: npt.ArrayLike) -> Array:
        """Return y and keep x (not a copy) for ``backward``."""

    def backward(self, dy: npt.ArrayLike) -> Array:
        """Return ``dx`` and add to ``weight_grad`` and ``bias_grad``, all for the last ``forward(x)``.

        Parameters
        ----------
        dy : the gradient of a scalar loss with respect to ``forward(x)``, of its shape.

        Returns
        -------
        dx : the gradient with respect to x, of its shape.

        Raises
        ------
        RuntimeError : there was no ``forward``.
        ShapeError, DTypeError : ``dy`` does not fit; the gradients are then as they were.
        """
        if self._x is None:
            raise RuntimeError(f"{type(self).__name__}.backward(dy) needs a forward(x) before it")
        dy = np.asarray(dy)
        dx = self._input_grad(dy, self._x)
        self._add_weight_grad(dy, self._x)
        if self.bias_grad is not None:
            _add_to(self.bias_grad, conv_bias_grad, dy, batched=dy.ndim == self._rank + 2)
        return dx

    @abstractmethod
    def _input_grad(self, dy: Array, x: Array) -> Array: ...

    @abstractmethod
    def _add_weight_grad(self, dy: Array, x: Array) -> None: ...

    def __repr__(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}"]
        parts += [f"kernel_size={self.kernel_size}", f"stride={self.stride}"]
        usual = {"padding": 0, "dilation": 1, "output_padding": 0, "groups": 1, "padding_mode": "zeros"}
        for name, default in usual.items():
            value = getattr(self, name, default)
            if value not in (default, (default,) * self._rank):
                parts.append(f"{name}={value!r}")
        if self.bias is None:
            parts.append("bias=False")
        if self.weight.dtype != np.float32:
            parts.append(f"dtype={self.weight.dtype}")
        return f"{type(self).__name__}({', '.join(parts)})"

    @classmethod
    def _per_axis(cls, value: PerAxis, argument: str, least: int) -> tuple[int, ...]:
        """One int for each spatial axis."""
        given = per_axis(value, argument)
        values = (given,) * cls._rank if isinstance(given, int) else given
        if len(values) != cls._rank or min(values) < least:
            raise ShapeError(
                f"{argument} is {value!r}, expected an integer or {cls._rank} integers, each {least} or more"
            )
        return values


def _add_to(total: Array, gradient: Callable[..., Array], *operands: Array, **arguments: Any) -> None:
    """``total += gradient(*operands)``; where the dtypes agree, without a temporary array."""
    dtype = common_dtype(*(as_float(operand, "dy").dtype for operand in operands))
    if dtype == total.dtype or (dtype.name in HALVES and total.dtype == FLOAT32):
        gradient(*operands, **arguments, out=total, accumulate=True)
    else:
        total += gradient(*operands, **arguments)


class _Conv(_Layer):
    """``y = conv(x, weight, bias)``."""

    _transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        """Take the arguments of PyTorch's layer of the same name, and ``dtype`` and ``rng``.

        Parameters
        ----------
        in_channels, out_channels : C and K.
        kernel_size : int, or one per spatial axis.
        stride, dilation : int, or one per spatial axis.
        padding : int, one per axis, one ``(lo, hi)`` pair per axis, "valid", "same", "same_lower", "full"
            or "causal"; negative values crop.
        groups : number of groups of channels that do not see each other.
        bias : whether there is a bias.
        padding_mode : "zeros", "reflect", "replicate", "circular" (as in PyTorch) or "symmetric", or one per
            spatial axis; see `convpp.conv`.
        dtype : of the parameters, float32 or float64.
        rng : seed or Generator for the initial values: U(-b, b) with ``b = 1 / sqrt(fan_in)`` for weight
            and bias, where ``fan_in = weight.shape[1] * prod(kernel_size)``, as in PyTorch.

        Raises
        ------
        ShapeError : channels that ``groups`` does not divide, or a wrong number of entries.
        DTypeError : another dtype.
        ValueError : an unknown padding or padding mode.
        """
        self.padding_mode = padding_modes(padding_mode)
        modes_of_axes(self.padding_mode, self._rank)  # only to fail here and not at the first forward
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, dtype, rng)

    def forward(self, x: npt.ArrayLike) -> Array:
        """Return ``conv(x, weight, bias)`` and keep x for ``backward``; ShapeError or DTypeError if x does not fit."""
        x = np.asarray(x)
        y = conv(x, self.weight, self.bias, **self._geometry())
        self._x = x
        return y

    def _input_grad(self, dy: Array, x: Array) -> Array:
        return conv_input_grad(dy, self.weight, x.shape, **self._geometry())

    def _add_weight_grad(self, dy: Array, x: Array) -> None:
        w_shape = self.weight.shape
        _add_to(self.weight_grad, conv_weight_grad, dy, x, w_shape=w_shape, **self._geometry())

    def _geometry(self) -> dict[str, Any]:
        names = ("stride", "padding", "dilation", "groups", "padding_mode")
        return {name: getattr(self, name) for name in names}


class _ConvTranspose(_Layer):
    """``y = conv_transpose(x, weight, bias)``."""

    _transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: Padding = 0,
        output_padding: PerAxis = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: PerAxis = 1,
        padding_mode: str = "zeros",
        *,
        dtype: npt.DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        """Take the arguments of PyTorch's layer of the same name (in its order), and ``dtype`` and ``rng``.

        Parameters
        ----------
        in_channels, out_channels : the channels of x and of y.
        kernel_size : int, or one per spatial axis.
        stride, dilation : int, or one per spatial axis.
        padding : the padding of the convolution that this one is the transpose of, in any of its forms: it
            crops y.
        output_padding : int, or one per spatial axis: so many more outputs at the high end.
        groups : number of groups of channels that do not see each other.
        bias : whether there is a bias.
        padding_mode : "zeros", the only one that exists here.
        dtype, rng : as for `convpp.Conv2d`; note that ``weight.shape[1]`` is ``out_channels / groups``.

        Raises
        ------
        ShapeError : channels that ``groups`` does not divide, or a wrong number of entries.
        DTypeError : another dtype.
        ValueError : another padding mode.
        """
        if padding_mode != "zeros":
            raise ValueError(f"a transposed layer knows padding_mode='zeros' only, got {padding_mode!r}")
        self.output_padding = self._per_axis(output_padding, "output_padding", least=0)
        self._output_size: Sequence[int] | None = None
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, dtype, rng)

    def forward(self, x: npt.ArrayLike, output_size: Sequence[int] | None = None) -> Array:
        """Return ``conv_transpose(x, weight, bias)`` and keep x for ``backward``.

        ``output_size``, one extent per spatial axis, sets the output's extents in place of
        ``output_padding``.  ShapeError, DTypeError or ValueError if x or it does not fit.
        """
        x = np.asarray(x)
        y = conv_transpose(x, self.weight, self.bias, **self._geometry(output_size))
        self._x, self._output_size = x, output_size
        return y

    def __call__(self, x: npt.ArrayLike, output_size: Sequence[int] | None = None) -> Array:
        """``forward(x, output_size)``."""
        return self.forward(x, output_size)

    def _input_grad(self, dy: Array, x: Array) -> Array:
        return conv_transpose_input_grad(dy, self.weight, x.shape, **self._geometry(self._output_size))

    def _add_weight_grad(self, dy: Array, x: Array) -> None:
        geometry = self._geometry(self._output_size)
        w_shape = self.weight.shape
        _add_to(self.weight_grad, conv_transpose_weight_grad, dy, x, w_shape=w_shape, **geometry)

    def _geometry(self, output_size: Sequence[int] | None) -> dict[str, Any]:
        names = ("stride", "padding", "dilation", "groups")
        geometry = {name: getattr(self, name) for name in names}
        if output_size is None:
            return geometry | {"output_padding": self.output_padding}
        return geometry | {"output_size": output_size}


class Conv1d(_Conv):
    """Convolution over a sequence: (N, C, L) to (N, K, L_out), weight (K, C/groups, taps).

    ``y[n, k, p] = bias[k] + sum over c, l of weight[k, c, l] * x[n, c, p * stride + l * dilation - lo]``.
    See `convpp.conv`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> layer = convpp.Conv1d(2, 3, kernel_size=5, padding="causal", rng=0)
    >>> layer(np.ones((8, 2, 100), np.float32)).shape
    (8, 3, 100)
    """

    _rank = 1


class Conv2d(_Conv):
    """Convolution over images: (N, C, H, W) to (N, K, P, Q), weight (K, C/groups, R, S).

    ``y[n, k, p, q] = bias[k] + sum over c, r, s of weight[k, c, r, s] * x[n, c, p + r - lo, q + s - lo]`` at
    stride and dilation 1.  See `convpp.conv`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> layer = convpp.Conv2d(3, 5, kernel_size=3, rng=0)
    >>> y = layer(np.ones((3, 20, 20), np.float32))
    >>> y.shape
    (5, 18, 18)
    >>> layer.backward(np.ones_like(y)).shape
    (3, 20, 20)
    >>> float(layer.bias_grad[0])
    324.0
    """

    _rank = 2


class Conv3d(_Conv):
    """Convolution over volumes or video: (N, C, D, H, W) to (N, K, O, P, Q).

    The equation of `Conv2d` with one more axis; weight (K, C/groups, T, R, S).  See `convpp.conv`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> layer = convpp.Conv3d(1, 4, kernel_size=(1, 3, 3), padding=(0, 1, 1), rng=0)
    >>> layer(np.ones((2, 1, 6, 10, 10), np.float32)).shape
    (2, 4, 6, 10, 10)
    """

    _rank = 3


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution over a sequence: (N, C_in, L) to (N, C_out, L_out).

    ``y[n, k, p * stride + l * dilation - lo] += weight[c, k, l] * x[n, c, p]`` for all c, p, l, plus the
    bias; weight (C_in, C_out/groups, taps).  See `convpp.conv_transpose`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> layer = convpp.ConvTranspose1d(2, 3, kernel_size=4, stride=2, padding=1, rng=0)
    >>> layer(np.ones((8, 2, 50), np.float32)).shape
    (8, 3, 100)
    """

    _rank = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution over images: (N, C_in, H, W) to (N, C_out, P, Q).

    The equation of `ConvTranspose1d` with one more axis; weight (C_in, C_out/groups, R, S).  See
    `convpp.conv_transpose`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> layer = convpp.ConvTranspose2d(16, 8, kernel_size=3, stride=2, padding=1, output_padding=1, rng=0)
    >>> layer(np.ones((4, 16, 7, 7), np.float32)).shape
    (4, 8, 14, 14)
    """

    _rank = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution over volumes or video: (N, C_in, D, H, W) to (N, C_out, O, P, Q).

    The equation of `ConvTranspose1d` with two more axes; weight (C_in, C_out/groups, T, R, S).  See
    `convpp.conv_transpose`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> layer = convpp.ConvTranspose3d(2, 1, kernel_size=2, stride=2, rng=0)
    >>> layer(np.ones((1, 2, 3, 4, 5), np.float32)).shape
    (1, 1, 6, 8, 10)
    """

    _rank = 3
