"""Weights packed once, for repeated forward passes on inputs of one shape.

In: weights and a geometry.   Out: a ``PreparedWeights``, which ``conv`` takes in place of w.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from convpp.activation import Activation, run_fused
from convpp.arguments import Layout, Padding, PerAxis, check_algorithm, check_shape, shape
from convpp.calls import geometry_key
from convpp.errors import DTypeError, ShapeError
from convpp.planning import plan_conv
from convpp.runtime import threads_of_call
from convpp.validation import Array, as_float, plain

#: What a call without geometry arguments passes.
_UNSAID = geometry_key(1, 0, 1, 1, "zeros", False, "channels_first", False)


class PreparedWeights:
    """Weights of ``conv`` as its kernels read them; made by ``prepare_weights``.

    It keeps its own copy: changing ``w`` afterwards has no effect.  ``nbytes`` is the memory it holds.
    """

    def __init__(self, w: Array, x_shape: tuple[int, ...], geometry: tuple[Any, ...], algorithm: str) -> None:
        self.dtype = w.dtype
        self.geometry = geometry
        self.algorithm = algorithm
        self._planned = plan_conv("forward", w.dtype.name, check_algorithm(algorithm), x_shape, w.shape, *geometry)
        self._prepared = self._planned.convolution.prepare(w, threads_of_call(None))

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
        """The memory that the packed weights take."""
        return self._prepared.bytes

    def __repr__(self) -> str:
        return f"PreparedWeights(shape={self.shape}, x_shape={self.x_shape}, dtype={self.dtype.name})"

    def run(
        self,
        x: npt.ArrayLike,
        bias: npt.ArrayLike | None,
        activation: Activation | None,
        add: npt.ArrayLike | None,
        geometry: tuple[Any, ...],
        algorithm: str,
        out: Array | None,
        threads: int | None,
    ) -> Array:
        """``conv`` with these weights."""
        if geometry not in (_UNSAID, self.geometry):
            raise ValueError(
                f"w was prepared for the geometry (stride, padding, dilation, groups, flip, layout, per_sample) = "
                f"{self.geometry}, expected that or no geometry arguments, got {geometry}"
            )
        if check_algorithm(algorithm) not in ("auto", self.algorithm):
            raise ValueError(f"algorithm is {algorithm!r}, expected {self.algorithm!r}, which w was prepared for")
        x = self._same_dtype(x, "x")
        if x.shape != self.x_shape:
            raise ShapeError(f"x has shape {x.shape}, expected {self.x_shape}, which w was prepared for")
        x = plain(x, self.dtype)
        if bias is not None:
            bias = plain(self._same_dtype(bias, "bias"), self.dtype)
            check_shape(bias.shape, (self._planned.geometry.out_channels,), "bias", "(K,), one for each filter")
        if add is not None:
            add = plain(self._same_dtype(add, "add"), self.dtype)
        y_shape, dtype = self._planned.y_shape, self.dtype.name
        return run_fused(self._planned, x, self._prepared, bias, add, activation, y_shape, dtype, out, threads)

    def _same_dtype(self, value: npt.ArrayLike, argument: str) -> Array:
        array = as_float(value, argument)
        if array.dtype != self.dtype:
            raise DTypeError(f"{argument} has dtype {array.dtype}, expected {self.dtype}, which w was prepared in")
        return array


def prepare_weights(
    w: npt.ArrayLike,
    x_shape: Iterable[int],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: str = "auto",
) -> PreparedWeights:
    """Packs or transforms the weights of ``conv`` once, for repeated calls: ``conv(x, prepared)``.

    Every call of ``conv`` packs its weights, or transforms them for Winograd's algorithm; that is worth avoiding where
    they are many and the pixels few (the last layers of a network, small batches).  ``explain(...).weight_share``
    estimates the share of the time that it saves.  Results have the same bits as with w itself.

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
    geometry = geometry_key(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample)
    array = as_float(w, "w")
    return PreparedWeights(plain(array, array.dtype), shape(x_shape, "x_shape"), geometry, algorithm)
