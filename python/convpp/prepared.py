"""Weights packed once, for repeated forward passes on inputs of one shape.

In: weights and a geometry.   Out: a ``PreparedWeights``, which ``conv`` takes in place of w.
Next: ``functional.py``; ``_call/planning.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import (
    Activation,
    Algorithm,
    Layout,
    Padding,
    PaddingMode,
    PerAxis,
    Shape,
    check_shape,
    shape,
)
from convpp._call.options import ConvOptions, conv_options
from convpp._call.planning import PLANS
from convpp._call.run import run
from convpp._call.validation import Array, as_float, plain
from convpp.errors import DTypeError, ShapeError
from convpp.runtime import threads_of_call

#: What a call without geometry arguments passes: all options but the last, the algorithm.
UNSAID = tuple(ConvOptions())[:-1]


class PreparedWeights:
    """Weights of ``conv`` as its kernels read them; made by ``prepare_weights``.

    It keeps its own copy: changing ``w`` afterwards has no effect.  ``nbytes`` is the memory it holds: the packed
    weights, and the plain ones.  It can be pickled: what is stored are the plain weights and the geometry, and they are
    prepared again where they are loaded, for the machine there.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> prepared = convpp.prepare_weights(np.ones((16, 8, 3, 3)), (1, 8, 7, 7))
    >>> prepared
    PreparedWeights(shape=(16, 8, 3, 3), x_shape=(1, 8, 7, 7), dtype=float64)
    >>> convpp.conv(np.ones((1, 8, 7, 7)), prepared).shape
    (1, 16, 5, 5)
    """

    def __init__(self, w: Array, x_shape: Shape, options: ConvOptions) -> None:
        self.dtype: np.dtype[Any] = w.dtype
        self._w = w.copy()  # for pickling, when the caller's may have changed
        self._options = options
        self.algorithm: Algorithm = options.algorithm
        self.geometry: tuple[Any, ...] = tuple(options)[:-1]
        self._planned = PLANS["forward", w.dtype.name, x_shape, w.shape, options]
        self._prepared = self._planned.convolution.prepare(self._w, threads_of_call(None))

    def __reduce__(self) -> tuple[Any, ...]:
        """As a call of ``prepare_weights``: what is public is there in later versions, too."""
        return partial(prepare_weights, **self._options.keywords()), (self._w, self.x_shape)

    def __copy__(self) -> PreparedWeights:
        return self  # nothing in it changes

    def __deepcopy__(self, memo: dict[int, Any]) -> PreparedWeights:
        return self

    @property
    def x_shape(self) -> tuple[int, ...]:
        """The shape of x that the weights were prepared for."""
        return self._planned.x_shape

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weights."""
        return self._planned.w_shape

    @property
    def nbytes(self) -> int:
        """The memory that the packed and the plain weights take."""
        return self._prepared.bytes + self._w.nbytes

    def __repr__(self) -> str:
        return f"PreparedWeights(shape={self.shape}, x_shape={self.x_shape}, dtype={self.dtype.name})"

    def run(
        self,
        x: npt.ArrayLike,
        bias: npt.ArrayLike | None,
        activation: Activation | None,
        add: npt.ArrayLike | None,
        options: ConvOptions,
        algorithm: str,
        out: Array | None,
        threads: int | None,
    ) -> Array:
        """``conv`` with these weights.  ``algorithm``: as it was called, whatever the default is by now."""
        geometry = tuple(options)[:-1]
        if geometry not in (UNSAID, self.geometry):
            raise ValueError(
                "w was prepared for the geometry (stride, padding, dilation, groups, flip, layout, per_sample, "
                f"padding_mode) = {self.geometry}, expected that or no geometry arguments, got {geometry}"
            )
        if algorithm not in ("auto", self.algorithm):
            raise ValueError(f"algorithm is {algorithm!r}, expected {self.algorithm!r}, which w was prepared for")
        x = self._plain(x, "x")
        if x.shape != self.x_shape:
            from convpp._call.guesses import shapes

            meant = shapes.of_result(x.shape, self.x_shape, "x") or ": prepare_weights(w, x.shape) is for this one"
            raise ShapeError(f"x has shape {x.shape}, expected {self.x_shape}, which w was prepared for{meant}")
        if bias is not None:
            bias = self._plain(bias, "bias")
            check_shape(bias.shape, (self._planned.geometry.out_channels,), "bias", "(K,), one for each filter")
        if add is not None:
            add = self._plain(add, "add")
        y_shape = self._planned.y_shape
        return run(self._planned, x, self._prepared, bias, y_shape, out, False, threads, activation, add)

    def _plain(self, value: npt.ArrayLike, argument: str) -> Array:
        array = as_float(value, argument)
        if array.dtype != self.dtype:
            raise DTypeError(
                f"{argument} has dtype {array.dtype}, expected {self.dtype}, which w was prepared in: use "
                f"{argument}.astype({self.dtype.name!r})"
            )
        return plain(array, array.dtype)


def prepare_weights(
    w: npt.ArrayLike,
    x_shape: Iterable[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
) -> PreparedWeights:
    """Packs or transforms the weights of ``conv`` once, for repeated calls: ``conv(x, prepared)``.

    Every call of ``conv`` packs its weights, or transforms them for Winograd's algorithm or the FFT; that is worth
    avoiding where they are many and the pixels few (the last layers of a network, small batches, chunks of a signal).
    ``explain(...).weight_share`` estimates the share of the time that it saves.  Results have the same bits as with w
    itself.

    Parameters
    ----------
    w : (K, C/groups, \\*kernel)
        Of any type that ``conv`` takes; x must then have the same one.
    x_shape : shape of x, in full
    stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm
        As in ``conv``; ``conv`` need not be told them again, and must not be told others.

    Returns
    -------
    PreparedWeights
        Changing ``w`` afterwards has no effect on it.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((1, 8, 7, 7)), np.ones((16, 8, 3, 3))
    >>> prepared = convpp.prepare_weights(w, x.shape, padding=1)
    >>> bool((convpp.conv(x, prepared) == convpp.conv(x, w, padding=1)).all())
    True
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    array = as_float(w, "w")
    return PreparedWeights(plain(array, array.dtype), shape(x_shape, "x_shape"), options)
