"""What all convolution layers share: arguments, ``backward``, per-sample gradients, ``repr``.

In: a layer's arguments.  Out: the base class of the layers in ``layers.py``, which say how to compute.

Next: ``layers.py``; ``parameters.py`` (weights, biases, and their gradients); ``base.py`` (what poolings have, too).
"""

from __future__ import annotations

import re
import warnings
from abc import abstractmethod
from typing import Any, ClassVar, overload

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import (
    ALGORITHMS,
    LAYOUTS,
    Activation,
    Algorithm,
    Layout,
    Padding,
    Pads,
    PerAxis,
    as_int,
    attribute,
    check_activation,
    check_shape,
    choice,
    flag,
    pads,
)
from convpp._call.geometry import explicit_pads
from convpp._call.keywords import Needs, WithX
from convpp._call.run import Passes
from convpp._call.validation import Array, as_float, common_dtype
from convpp._gradients import NEEDS, wanted_of
from convpp.activation import activate, activation_grad, needs_only_result
from convpp.backward import conv_backward, conv_transpose_backward
from convpp.errors import DTypeError, ShapeError
from convpp.functional import conv_bias_grad
from convpp.nn.base import KEEP, Keep, Layer
from convpp.nn.parameters import Rng, WeightAndBias
from convpp.runtime import threads_of_call


class ConvLayer(WeightAndBias, Layer):
    """What all six layers share beside parameters: geometry, ``backward`` and ``repr``."""

    _transposed: ClassVar[bool]
    _passes: ClassVar[Passes]

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
        options: dict[str, Any],
        dtype: npt.DTypeLike,
        rng: Rng,
    ) -> None:
        in_channels, out_channels = as_int(in_channels, "in_channels"), as_int(out_channels, "out_channels")
        self.in_channels: int = in_channels
        self.out_channels: int = out_channels
        self.groups: int = as_int(groups, "groups")
        groups = self.groups
        if groups < 1 or min(in_channels, out_channels) < 0 or in_channels % groups or out_channels % groups:
            raise ShapeError(
                f"in_channels={in_channels} and out_channels={out_channels} with groups={groups}: expected "
                "a positive groups that divides both"
            )
        self.kernel_size: tuple[int, ...] = self._per_axis(kernel_size, "kernel_size")
        self.stride: tuple[int, ...] = self._per_axis(stride, "stride")
        self.dilation: tuple[int, ...] = self._per_axis(dilation, "dilation")
        given = pads(padding)
        if not isinstance(given, str):
            explicit_pads(given, self._rank)  # only to fail here and not at the first forward
        self.padding: Pads = (given,) * self._rank if isinstance(given, int) else given
        self.flip: bool = flag(options["flip"], "flip")
        self.layout: Layout = choice(options["layout"], "layout", LAYOUTS)
        self.algorithm: Algorithm = choice(options["algorithm"], "algorithm", ALGORITHMS)
        self.threads: int | None = options["threads"]
        threads_of_call(self.threads)  # only to fail here and not at the first forward
        self.keep: Keep = choice(options["keep"], "keep", KEEP)
        self.activation: Activation | None = options["activation"]
        check_activation(self.activation)
        self._said = False  # that an argument is rounded
        self._forget_batch()
        rows, columns = (in_channels, out_channels) if self._transposed else (out_channels, in_channels)
        shape = (rows, columns // groups, *self.kernel_size)
        super().__init__(shape, out_channels if bias else None, dtype, rng)

    def __call__(self, x: npt.ArrayLike, *, add: npt.ArrayLike | None = None, keep: bool = True) -> Array:
        """``forward(x, add=add, keep=keep)``."""
        return self.forward(x, add=add, keep=keep)

    @abstractmethod
    def forward(self, x: npt.ArrayLike, *, add: npt.ArrayLike | None = None, keep: bool = True) -> Array:
        """Return y and keep x for ``backward``, with an activation y too, or what it was applied to."""

    def _forget_batch(self) -> None:
        """As before the first ``forward``."""
        #: After ``backward``: the gradient with respect to ``add``, if the last forward had one.
        self.add_grad: Array | None = None
        self._x: Array | None = None  # of the last forward, as are the next three
        self._own: dict[str, Any] = {}
        self._y_shape: tuple[int, ...] = ()
        self._kept: dict[str, Array] = {}  # y or z, for the derivative of the activation
        self._added = False

    def _own_type(self, value: npt.ArrayLike, argument: str) -> Array:
        """``value`` in the dtype of the layer, which is the one it computes in; where that rounds, it is said once."""
        dtype = self._weight.dtype
        try:
            array = as_float(value, argument)
        except DTypeError:
            given = attribute(value, "dtype")
            if not isinstance(given, np.dtype) or given.kind not in "biu":
                raise
            raise DTypeError(
                f"{argument} has dtype {given}, expected {dtype}, the dtype of this {type(self).__name__}: use "
                f"{argument}.astype({dtype.name!r})"
            ) from None
        if array.dtype == dtype:
            return array
        if not self._said and common_dtype(array.dtype, dtype) != dtype:
            from convpp._call.guesses.callers import files_of_package

            self._said = True
            name = type(self).__name__
            warnings.warn(
                f"{argument} has dtype {array.dtype} and is rounded to {dtype}, the dtype of this {name}: give "
                f"{argument}.astype({dtype.name!r}), or make the layer by {name}(..., dtype={array.dtype.name!r})",
                stacklevel=len(files_of_package()) + 1,
            )
        return array.astype(dtype)

    @overload
    def backward(self, dy: npt.ArrayLike, *, needs: WithX = NEEDS) -> Array: ...

    @overload
    def backward(self, dy: npt.ArrayLike, *, needs: Needs) -> Array | None: ...

    def backward(self, dy: npt.ArrayLike, *, needs: Needs = NEEDS) -> Array | None:
        """Return ``dx`` and add to ``weight_grad`` and ``bias_grad``, all for the last ``forward(x)``.

        They are computed from ``weight`` as it is now, and from x as it is now (with an activation from y, too), unless
        the layer was made with ``keep="copy"``.

        Parameters
        ----------
        dy : the gradient of a scalar loss with respect to ``forward(x)``, of its shape
        needs : any of "x", "w", "bias"
            What is left out is not computed, and costs nothing: a first layer needs no "x", one that is not trained no
            "w" and "bias".

        Returns
        -------
        dx : the gradient with respect to x, of its shape; None if ``needs`` leaves "x" out.

        Raises
        ------
        RuntimeError : there was no ``forward``.
        ShapeError, DTypeError : ``dy`` does not fit; the gradients are then as they were.
        """
        if self._x is None:
            raise RuntimeError(f"{type(self).__name__}.backward(dy) needs a forward(x) before it")
        wanted = wanted_of(needs)
        dy = self._before_activation(dy)
        if not {"x", "w"} & set(wanted):  # whose passes look at it
            check_shape(dy.shape, self._y_shape, "dy", "the shape of the result")
        dx = self._passes.input_grad(dy, self._weight, self._x.shape, **self._geometry()) if "x" in wanted else None
        if "w" in wanted:
            self._add_weight_grad(dy, self._x)
        if self._bias_grad is not None and "bias" in wanted:
            how: dict[str, Any] = {"batched": dy.ndim == self._rank + 2, "layout": self.layout, "threads": self.threads}
            conv_bias_grad(dy, out=self._bias_grad, accumulate=True, **how)
        owned = self.activation is not None  # else it is the caller's
        self.add_grad = None if not self._added else dy if owned or self.keep == "reference" else dy.copy()
        return dx

    def backward_per_sample(self, dy: npt.ArrayLike) -> tuple[Array, list[Array]]:
        """Return ``dx`` and the gradients of the parameters for each sample, for the last ``forward(x)``.

        For differential privacy, which clips the gradient of each sample before they are added, and for the statistics
        of gradients.  ``weight_grad`` and ``bias_grad`` stay as they are.

        Parameters
        ----------
        dy : as in ``backward``; with an N axis

        Returns
        -------
        dx : as from ``backward``.
        gradients : in the order of ``parameters()``, each with a leading N axis: weights', and biases' (N, K).

        Raises
        ------
        RuntimeError : there was no ``forward``.
        ShapeError, DTypeError : ``dy`` does not fit, or has no N axis.

        Examples
        --------
        >>> import numpy as np
        >>> import convpp
        >>> layer = convpp.Conv2d(3, 5, kernel_size=3, rng=0)
        >>> y = layer(np.ones((8, 3, 20, 20), np.float32))
        >>> dx, gradients = layer.backward_per_sample(np.ones_like(y))
        >>> [g.shape for g in gradients]
        [(8, 5, 3, 3, 3), (8, 5)]
        """
        if self._x is None:
            raise RuntimeError(f"{type(self).__name__}.backward_per_sample(dy) needs a forward(x) before it")
        needs = ("x", "w") if self.bias is None else ("x", "w", "bias")
        dy = self._before_activation(dy)
        how: dict[str, Any] = self._geometry() | {"needs": needs, "per_sample": True}
        backward = conv_transpose_backward if self._transposed else conv_backward
        dx, *gradients = backward(dy, self._x, self.weight, **how)
        assert dx is not None
        return dx, [g for g in gradients if g is not None]

    def _forward(self, x: npt.ArrayLike, add: npt.ArrayLike | None, keep: bool, own: dict[str, Any]) -> Array:
        """``forward`` with these options of the subclass, keeping what ``backward`` needs; only if it succeeds."""
        x = self._own_type(x, "x")
        how = self._geometry(own) | {"add": None if add is None else self._own_type(add, "add")}
        self._check_channels(x, how)
        if not flag(keep, "keep"):
            y = self._passes.forward(x, self._weight, self._bias, activation=self.activation, **how)
            self._forget_batch()
            return y
        if self.keep == "copy":
            x = x.copy()
        if self.activation is None or needs_only_result(self.activation):
            y = self._passes.forward(x, self._weight, self._bias, activation=self.activation, **how)
            kept = {} if self.activation is None else {"y": y.copy() if self.keep == "copy" else y}
        else:
            z = self._passes.forward(x, self._weight, self._bias, **how)
            kept = {"z": z}
            y = activate(z, self.activation, threads=self.threads)
        self._x, self._own, self._kept, self._added = x, own, kept, add is not None
        self._y_shape = y.shape
        return y

    def _check_channels(self, x: Array, how: dict[str, Any]) -> None:
        """In the words of the layer, whose user has given no w; what may have been meant, the call itself knows."""
        if x.ndim not in (self._rank + 1, self._rank + 2):
            return
        channels = x.shape[-1 if self.layout == "channels_last" else -self._rank - 1]
        if channels == self.in_channels:
            return
        meant = ""
        try:
            self._passes.forward(x, self._weight, self._bias, **how)
        except ShapeError as error:
            _, asks, guess = str(error).rpartition(". Did you mean ")
            meant = asks + guess if asks and not re.search(r"\bw\b", guess) else ""
        raise ShapeError(
            f"x has shape {x.shape}: C = {channels}, expected {self.in_channels}, in_channels of this "
            f"{type(self).__name__}{meant}"
        )

    def _geometry(self, own: dict[str, Any] | None = None) -> dict[str, Any]:
        """Arguments of the passes: with these options of the subclass, or with those of the last forward."""
        names = ("stride", "padding", "dilation", "groups", "flip", "layout", "algorithm", "threads")
        return {name: getattr(self, name) for name in names} | (self._own if own is None else own)

    def _add_weight_grad(self, dy: Array, x: Array) -> None:
        how = self._geometry() | {"out": self._weight_grad, "accumulate": True}
        self._passes.weight_grad(dy, x, self._weight.shape, **how)

    def _before_activation(self, dy: npt.ArrayLike) -> Array:
        """The gradient with respect to what the activation was applied to."""
        dy = self._own_type(dy, "dy")
        if self.activation is None:
            return dy
        return activation_grad(dy, self.activation, **self._kept, threads=self.threads)

    def __repr__(self) -> str:
        parts = [f"{self.in_channels}, {self.out_channels}"]
        parts += [f"kernel_size={self.kernel_size}", f"stride={self.stride}"]
        usual = {"padding": 0, "dilation": 1, "output_padding": 0, "groups": 1, "padding_mode": "zeros"}
        usual |= {"flip": False, "layout": "channels_first", "activation": None, "algorithm": "auto", "threads": None}
        usual |= {"keep": "reference"}
        parts += self._unusual(usual)
        if self.bias is None:
            parts.append("bias=False")
        if self.weight.dtype != np.float32:
            parts.append(f"dtype={self.weight.dtype}")
        return f"{type(self).__name__}({', '.join(parts)})"
