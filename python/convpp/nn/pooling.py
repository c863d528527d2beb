"""Pooling layers with PyTorch's names and arguments, over NumPy arrays.

In: NumPy arrays.  Out: NumPy arrays.  A layer holds its options and what ``backward`` needs of the last batch; all
arithmetic is in ``../pooling.py``.  There is nothing to learn: ``parameters()`` is empty.

Next: ``layers.py`` (convolutions); ``_cli/demo.py`` (a network made of both).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, overload

import numpy.typing as npt

from convpp._call.arguments import LAYOUTS, Layout, Padding, Pads, PerAxis, choice, flag, pads
from convpp._call.keywords import Needs, WithX
from convpp._call.pooling import pool_options, pooling_of
from convpp._call.validation import Array, as_float
from convpp._gradients import NEEDS, wanted_of
from convpp.nn.base import KEEP, Keep, Layer
from convpp.pooling import avg_pool, avg_pool_input_grad, check_divisor, max_pool, max_pool_input_grad
from convpp.runtime import threads_of_call

__all__ = ["AvgPool1d", "AvgPool2d", "AvgPool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d"]


class _Pool(Layer):
    """What all six layers share: geometry, the shape of the last x, and that there are no parameters."""

    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None,
        padding: Padding,
        dilation: PerAxis,
        ceil_mode: bool,
        layout: Layout,
        threads: int | None,
    ) -> None:
        self.kernel_size: tuple[int, ...] = self._per_axis(kernel_size, "kernel_size")
        self.stride: tuple[int, ...] = self.kernel_size if stride is None else self._per_axis(stride, "stride")
        self.dilation: tuple[int, ...] = self._per_axis(dilation, "dilation")
        self.padding: Pads = pads(padding)
        self.ceil_mode: bool = flag(ceil_mode, "ceil_mode")
        self.layout: Layout = choice(layout, "layout", LAYOUTS)
        self.threads: int | None = threads
        threads_of_call(threads)  # only to fail here and not at the first forward
        # So is this: of an x that is as large as the kernel.
        span = tuple(d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel_size, strict=True))
        options = pool_options(self.kernel_size, self.stride, self.padding, self.dilation, ceil_mode, "channels_first")
        pooling_of((1, *span), options)
        self._forget_batch()

    def _forget_batch(self) -> None:
        self._x: Array | None = None  # of the last forward; of an average only its shape counts
        self._x_shape: tuple[int, ...] | None = None

    def __call__(self, x: npt.ArrayLike, *, keep: bool = True) -> Any:
        """``forward(x, keep=keep)``."""
        return self.forward(x, keep=keep)

    @abstractmethod
    def forward(self, x: npt.ArrayLike, *, keep: bool = True) -> Any:
        """Return y, and keep what ``backward`` needs."""

    @overload
    def backward(self, dy: npt.ArrayLike, *, needs: WithX = NEEDS) -> Array: ...

    @overload
    def backward(self, dy: npt.ArrayLike, *, needs: Needs) -> Array | None: ...

    def backward(self, dy: npt.ArrayLike, *, needs: Needs = NEEDS) -> Array | None:
        """Return dx, the gradient of a scalar loss with respect to the x of the last ``forward``.

        Parameters
        ----------
        dy : the gradient with respect to ``forward(x)``, of its shape
        needs : None is returned, and nothing computed, if "x" is not among them

        Raises
        ------
        RuntimeError : there was no ``forward``.
        ShapeError, DTypeError : ``dy`` does not fit.
        """
        if self._x_shape is None:
            raise RuntimeError(f"{type(self).__name__}.backward(dy) needs a forward(x) before it")
        return self._backward(dy, self._x_shape) if "x" in wanted_of(needs) else None

    @abstractmethod
    def _backward(self, dy: npt.ArrayLike, x_shape: tuple[int, ...]) -> Array: ...

    def _geometry(self) -> dict[str, Any]:
        names = ("kernel_size", "stride", "padding", "ceil_mode", "layout", "threads")
        return {name: getattr(self, name) for name in names}

    def parameters(self) -> list[Array]:
        """Nothing is learned: an empty list, as a network asks for one of each layer.

        >>> import convpp
        >>> convpp.MaxPool2d(2).parameters()
        []
        """
        return []

    def gradients(self) -> list[Array]:
        """An empty list.

        >>> import convpp
        >>> convpp.MaxPool2d(2).gradients()
        []
        """
        return []

    def zero_grad(self) -> None:
        """Do nothing: there are no gradients of parameters.

        >>> import convpp
        >>> convpp.MaxPool2d(2).zero_grad()
        """

    def state_dict(self) -> dict[str, Array]:
        """An empty dict.

        >>> import convpp
        >>> convpp.MaxPool2d(2).state_dict()
        {}
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take an empty dict; KeyError for another one.

        >>> import convpp
        >>> convpp.MaxPool2d(2).load_state_dict({})
        """
        if len(state):
            raise KeyError(f"{type(self).__name__} has no parameters, got {list(state)}")

    def __repr__(self) -> str:
        parts = [f"kernel_size={self.kernel_size}", f"stride={self.stride}"]
        usual: dict[str, Any] = {"padding": 0, "dilation": 1, "return_indices": False, "ceil_mode": False}
        usual |= {
            "count_include_pad": True,
            "divisor_override": None,
            "layout": "channels_first",
            "threads": None,
            "keep": "reference",
        }
        return f"{type(self).__name__}({', '.join(parts + self._unusual(usual))})"


class _MaxPool(_Pool):
    """``y = max_pool(x)``."""

    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
        *,
        layout: Layout = "channels_first",
        threads: int | None = None,
        keep: Keep = "reference",
    ) -> None:
        """Take the arguments of PyTorch's layer of the same name, and options of ``max_pool``.

        Parameters
        ----------
        kernel_size, stride, padding, dilation, return_indices, ceil_mode, layout, threads : as in `convpp.max_pool`
        keep : how x is kept for ``backward``: "reference", the array itself, or "copy"

        Raises
        ------
        ShapeError : a wrong number of entries.
        ValueError : another value that cannot be.
        """
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode, layout, threads)
        self.return_indices: bool = flag(return_indices, "return_indices")
        self.keep: Keep = choice(keep, "keep", KEEP)

    def forward(self, x: npt.ArrayLike, *, keep: bool = True) -> Any:
        """Return the largest elements, with ``return_indices`` a pair, and keep x for ``backward``.

        That is x itself: leave it as it is until ``backward``, or make the layer with ``keep="copy"``.  ``keep=False``
        keeps nothing, and lets go of what was kept.  ShapeError or DTypeError if x does not fit.
        """
        x = as_float(x, "x")
        keep = flag(keep, "keep")
        how = self._geometry() | {"dilation": self.dilation, "return_indices": self.return_indices}
        y: Any = max_pool(x, **how)
        self._forget_batch()
        if keep:
            self._x, self._x_shape = x.copy() if self.keep == "copy" else x, x.shape
        return y

    def _backward(self, dy: npt.ArrayLike, x_shape: tuple[int, ...]) -> Array:
        assert self._x is not None
        return max_pool_input_grad(dy, self._x, **self._geometry(), dilation=self.dilation)


class _AvgPool(_Pool):
    """``y = avg_pool(x)``."""

    def __init__(
        self,
        kernel_size: PerAxis,
        stride: PerAxis | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
        *,
        layout: Layout = "channels_first",
        threads: int | None = None,
    ) -> None:
        """Take the arguments of PyTorch's layer of the same name, and options of ``avg_pool``.

        Parameters
        ----------
        kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override, layout, threads : as in
            `convpp.avg_pool`.

        Raises
        ------
        ShapeError : a wrong number of entries.
        ValueError : another value that cannot be.
        """
        super().__init__(kernel_size, stride, padding, 1, ceil_mode, layout, threads)
        self.count_include_pad: bool = flag(count_include_pad, "count_include_pad")
        self.divisor_override: int | None = divisor_override
        check_divisor(divisor_override)  # only to fail here and not at the first forward

    def forward(self, x: npt.ArrayLike, *, keep: bool = True) -> Array:
        """Return the means, and keep the shape of x for ``backward``; ``keep=False`` keeps nothing.

        ShapeError or DTypeError if x does not fit.
        """
        x = as_float(x, "x")
        keep = flag(keep, "keep")
        y = avg_pool(x, **self._how())
        self._forget_batch()
        if keep:
            self._x_shape = x.shape
        return y

    def _backward(self, dy: npt.ArrayLike, x_shape: tuple[int, ...]) -> Array:
        return avg_pool_input_grad(dy, x_shape, **self._how())

    def _how(self) -> dict[str, Any]:
        own = {"count_include_pad": self.count_include_pad, "divisor_override": self.divisor_override}
        return self._geometry() | own


class MaxPool1d(_MaxPool):
    """The largest of each window of a sequence: (N, C, L) to (N, C, L_out).  See `convpp.max_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.MaxPool1d(3, stride=2)(np.arange(7.0).reshape(1, 1, 7))
    array([[[2., 4., 6.]]])
    """

    _rank = 1


class MaxPool2d(_MaxPool):
    """The largest of each window of an image: (N, C, H, W) to (N, C, P, Q).  See `convpp.max_pool`.

    ``backward`` reads the x of the last ``forward`` again: leave it as it is till then, or give ``keep="copy"``.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> layer = convpp.MaxPool2d(2)
    >>> y = layer(np.arange(16.0).reshape(1, 1, 4, 4))
    >>> y[0, 0]
    array([[ 5.,  7.],
           [13., 15.]])
    >>> layer.backward(np.ones_like(y))[0, 0, 1]
    array([0., 1., 0., 1.])
    """

    _rank = 2


class MaxPool3d(_MaxPool):
    """The largest of each window of a volume: (N, C, D, H, W) to (N, C, O, P, Q).  See `convpp.max_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.MaxPool3d((1, 2, 2))(np.ones((2, 3, 4, 6, 6), np.float32)).shape
    (2, 3, 4, 3, 3)
    """

    _rank = 3


class AvgPool1d(_AvgPool):
    """The mean of each window of a sequence: (N, C, L) to (N, C, L_out).  See `convpp.avg_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.AvgPool1d(3, stride=2)(np.arange(7.0).reshape(1, 1, 7))
    array([[[1., 3., 5.]]])
    """

    _rank = 1


class AvgPool2d(_AvgPool):
    """The mean of each window of an image: (N, C, H, W) to (N, C, P, Q).  See `convpp.avg_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> layer = convpp.AvgPool2d(2)
    >>> y = layer(np.arange(16.0).reshape(1, 1, 4, 4))
    >>> y[0, 0]
    array([[ 2.5,  4.5],
           [10.5, 12.5]])
    >>> layer.backward(np.ones_like(y))[0, 0, 1]
    array([0.25, 0.25, 0.25, 0.25])
    """

    _rank = 2


class AvgPool3d(_AvgPool):
    """The mean of each window of a volume: (N, C, D, H, W) to (N, C, O, P, Q).  See `convpp.avg_pool`.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> convpp.AvgPool3d(2, padding=1)(np.ones((2, 3, 4, 6, 6), np.float32)).shape
    (2, 3, 3, 4, 4)
    """

    _rank = 3
