"""Convolution layers with PyTorch's names, arguments and initial values, over NumPy arrays.

In: NumPy arrays.  Out: NumPy arrays, and gradients added to ``weight_grad`` and ``bias_grad``.  A layer holds
parameters (``parameters.py``) and a geometry (``conv_layer.py``); all arithmetic is in ``functional.py`` (`Conv1d`,
`Conv2d`, `Conv3d`) and ``transposed.py`` (`ConvTranspose1d`, `ConvTranspose2d`, `ConvTranspose3d`).

Next: ``conv_layer.py``; ``_cli/demo.py`` (a network made of these); ``testing/gradcheck.py`` (checking gradients).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Activation, Algorithm, Layout, Modes, Padding, PaddingMode, PerAxis, padding_modes
from convpp._call.geometry import modes_of_axes
from convpp._call.validation import Array
from convpp.functional import CONV
from convpp.nn.base import Keep
from convpp.nn.conv_layer import ConvLayer
from convpp.nn.parameters import Rng
from convpp.nn.streaming import Streaming, streaming_of
from convpp.transposed import TRANSPOSE

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]


class _Conv(ConvLayer):
    """``y = conv(x, weight, bias)``."""

    _transposed = False
    _passes = CONV

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
        flip: bool = False,
        layout: Layout = "channels_first",
        activation: Activation | None = None,
        algorithm: Algorithm = "auto",
        threads: int | None = None,
        keep: Keep = "reference",
        streaming: bool = False,
        dtype: npt.DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        """Take the arguments of PyTorch's layer of the same name, options of ``conv``, ``dtype`` and ``rng``.

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
        flip, layout, algorithm, threads : as in `convpp.conv`, in all passes.
        activation : as in `convpp.conv`: of the output; ``backward`` begins with its derivative.
        keep : how x, and y with an activation, are kept for ``backward``.  "reference": the arrays themselves, at no
            cost; whoever changes one before ``backward`` gets the gradients of what it then holds.  "copy": copies,
            so that they may be changed, or written over by the next batch.
        streaming : of `convpp.Conv1d`, with ``padding="causal"`` (or none given): each x is the next chunk of a signal
            (or of a batch of signals), until ``reset()``.  Results have the same bits however a signal is cut.
        dtype : of the parameters and their gradients, float32, float64, float16 or bfloat16.
            The layer computes in it: x, ``add`` and dy are cast to it.  Where that rounds (NumPy's numbers are float64
            unless one says otherwise), a warning says so, once for each layer.
        rng : seed or Generator for the initial values: U(-b, b) with ``b = 1 / sqrt(fan_in)`` for weight
            and bias, where ``fan_in = weight.shape[1] * prod(kernel_size)``, as in PyTorch.

        Raises
        ------
        ShapeError : channels that ``groups`` does not divide, or a wrong number of entries.
        DTypeError : another dtype.
        ValueError : an unknown padding or padding mode.
        """
        self.streaming: bool = streaming_of(streaming, self._rank, padding, padding_mode, stride, algorithm)
        padding = "causal" if self.streaming else padding
        self.padding_mode: Modes = padding_modes(padding_mode)
        modes_of_axes(self.padding_mode, self._rank)  # only to fail here and not at the first forward
        options: dict[str, Any] = {
            "flip": flip,
            "layout": layout,
            "activation": activation,
            "algorithm": algorithm,
            "threads": threads,
            "keep": keep,
        }
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, options, dtype, rng
        )

    def forward(self, x: npt.ArrayLike, *, add: npt.ArrayLike | None = None, keep: bool = True) -> Array:
        """Return ``activation(conv(x, weight, bias) + add)``, and keep what ``backward`` needs.

        That is x itself, and y with an activation: leave both as they are until ``backward``, or make the layer with
        ``keep="copy"``.  ``add``, a residual shaped like y, may be left out; ``backward`` leaves its gradient in
        ``add_grad``.  ``keep=False`` keeps nothing, and lets go of what was kept: for inference.  ShapeError or
        DTypeError if an array does not fit.
        """
        return self._forward(x, add, keep, {"padding_mode": self.padding_mode})


class _ConvTranspose(ConvLayer):
    """``y = conv_transpose(x, weight, bias)``."""

    _transposed = True
    _passes = TRANSPOSE

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
        padding_mode: PaddingMode = "zeros",
        *,
        flip: bool = False,
        layout: Layout = "channels_first",
        activation: Activation | None = None,
        algorithm: Algorithm = "auto",
        threads: int | None = None,
        keep: Keep = "reference",
        dtype: npt.DTypeLike = np.float32,
        rng: Rng = None,
    ) -> None:
        """Take the arguments of PyTorch's layer of the same name (in its order), options, ``dtype`` and ``rng``.

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
        padding_mode : what becomes of the part of y that padding crops; see `convpp.conv_transpose`.
        flip, layout, algorithm, threads : as in `convpp.conv_transpose`, in all passes.
        activation : as in `convpp.conv`: of the output; ``backward`` begins with its derivative.
        keep : how x, and y with an activation, are kept for ``backward``.  "reference": the arrays themselves, at no
            cost; whoever changes one before ``backward`` gets the gradients of what it then holds.  "copy": copies,
            so that they may be changed, or written over by the next batch.
        dtype, rng : as for `convpp.Conv2d`; note that ``weight.shape[1]`` is ``out_channels / groups``.

        Raises
        ------
        ShapeError : channels that ``groups`` does not divide, or a wrong number of entries.
        DTypeError : another dtype.
        ValueError : another padding mode.
        """
        self.padding_mode: Modes = padding_modes(padding_mode)
        modes_of_axes(self.padding_mode, self._rank)  # only to fail here and not at the first forward
        self.output_padding: tuple[int, ...] = self._per_axis(output_padding, "output_padding", least=0)
        options: dict[str, Any] = {
            "flip": flip,
            "layout": layout,
            "activation": activation,
            "algorithm": algorithm,
            "threads": threads,
            "keep": keep,
        }
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, options, dtype, rng
        )

    def forward(
        self,
        x: npt.ArrayLike,
        output_size: Sequence[int] | None = None,
        *,
        add: npt.ArrayLike | None = None,
        keep: bool = True,
    ) -> Array:
        """Return ``activation(conv_transpose(x, weight, bias) + add)``, and keep what ``backward`` needs.

        That is x itself, and y with an activation: leave both as they are until ``backward``, or make the layer with
        ``keep="copy"``.  ``output_size``, one extent per spatial axis, sets the output's extents in place of
        ``output_padding``.  ``add`` and ``keep`` as in `convpp.Conv2d`.  ShapeError, DTypeError or ValueError if one
        does not fit.
        """
        size = {"output_padding": self.output_padding} if output_size is None else {"output_size": output_size}
        return self._forward(x, add, keep, {"padding_mode": self.padding_mode, **size})

    def __call__(
        self,
        x: npt.ArrayLike,
        output_size: Sequence[int] | None = None,
        *,
        add: npt.ArrayLike | None = None,
        keep: bool = True,
    ) -> Array:
        """``forward(x, output_size, add=add, keep=keep)``."""
        return self.forward(x, output_size, add=add, keep=keep)


class Conv1d(Streaming, _Conv):
    """Convolution over a sequence: (N, C, L) to (N, K, L_out), weight (K, C/groups, taps).

    ``y[n, k, p] = bias[k] + sum over c, l of weight[k, c, l] * x[n, c, p * stride + l * dilation - lo]``.
    See `convpp.conv`.

    ``backward`` reads the x of the last ``forward`` again, and its y if there is an activation: leave them as they are
    till then, or give ``keep="copy"``.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> layer = convpp.Conv1d(2, 3, kernel_size=5, padding="causal", rng=0)
    >>> layer(np.ones((8, 2, 100), np.float32)).shape
    (8, 3, 100)

    With ``streaming=True`` each call goes on where the last one ended (see ``reset``):

    >>> stream = convpp.Conv1d(2, 3, kernel_size=5, streaming=True, rng=0)
    >>> chunks = [stream(np.ones((8, 2, 30), np.float32)), stream(np.ones((8, 2, 70), np.float32))]
    >>> bool((np.concatenate(chunks, axis=2) == layer(np.ones((8, 2, 100), np.float32))).all())
    True
    """

    _rank = 1


class Conv2d(_Conv):
    """Convolution over images: (N, C, H, W) to (N, K, P, Q), weight (K, C/groups, R, S).

    ``y[n, k, p, q] = bias[k] + sum over c, r, s of weight[k, c, r, s] * x[n, c, p + r - lo, q + s - lo]`` at
    stride and dilation 1.  See `convpp.conv`.

    ``backward`` reads the x of the last ``forward`` again, and its y if there is an activation: leave them as they are
    till then, or give ``keep="copy"``.

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

    ``backward`` reads the x of the last ``forward`` again, and its y if there is an activation: leave them as they are
    till then, or give ``keep="copy"``.

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

    ``backward`` reads the x of the last ``forward`` again, and its y if there is an activation: leave them as they are
    till then, or give ``keep="copy"``.

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

    ``backward`` reads the x of the last ``forward`` again, and its y if there is an activation: leave them as they are
    till then, or give ``keep="copy"``.

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

    ``backward`` reads the x of the last ``forward`` again, and its y if there is an activation: leave them as they are
    till then, or give ``keep="copy"``.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> layer = convpp.ConvTranspose3d(2, 1, kernel_size=2, stride=2, rng=0)
    >>> layer(np.ones((1, 2, 3, 4, 5), np.float32)).shape
    (1, 1, 6, 8, 10)
    """

    _rank = 3
