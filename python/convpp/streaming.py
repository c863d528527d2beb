"""Signals in a stream: causal convolutions of one part after the other.

In: a chunk, and what the signal was before it (``state``).   Out: the chunk's results, and the state for the next one.
Used by ``conv`` (``forward.py``) and ``convolve`` (``plain/stream.py``); next: ``_call/planning.py``.

The state is the part of x that the next results still read: its last ``(kernel - 1) * dilation`` elements, which are
put in front of the chunk.  So a result is the sum of the same elements wherever the signal was cut; and it has the same
bits, because the sums' order is chosen without a look at the length (``Algorithm::stream`` of the core).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Activation, Shape, check_activation, check_shape, shown
from convpp._call.geometry import axes_of, geometry_of
from convpp._call.options import ConvOptions
from convpp._call.planning import PLANS
from convpp._call.run import run
from convpp._call.validation import Array, as_array, delivered, operands, result, with_residual
from convpp.errors import DTypeError, ShapeError
from convpp.prepared import PreparedWeights

#: "zeros" where a signal begins, or what the call before returned.
State = str | npt.ArrayLike

#: Direct sums, whose order does not look at the length of x.
ALGORITHM = "stream"
#: Geometries that are remembered: some hundred bytes each.
KEPT = 1024

#: What the type and the shape of a state are, in messages.
FIRST = ("as of x and w together", "(N, C, reach), reach = (kernel - 1) * dilation: what x was before the chunk")
LAST = (FIRST[0], "(N, reach, C), reach = (kernel - 1) * dilation: what x was before the chunk")

Index = tuple[slice, ...]


class Chunk(NamedTuple):
    """What follows from shapes and options; ``joined`` is the chunk with the state in front of it."""

    joined_shape: Shape
    state_shape: Shape
    #: Of ``joined``: the state, the chunk, and the next state.
    before: Index
    chunk: Index
    last: Index
    #: The call of the core; for an empty chunk, of one element, whose result has none along its axis then.
    options: ConvOptions
    empty_shape: Shape | None


def conv_chunk(
    x: Any,
    w: Any,
    bias: Any,
    state: State,
    options: ConvOptions,
    activation: Activation | None,
    add: Any,
    asked: str,
    out: Array | None,
    threads: int | None,
) -> tuple[Array, Array]:
    """``conv`` of a chunk, and the next state.  ``asked``: the algorithm as the call says it."""
    if isinstance(w, PreparedWeights):
        raise ValueError("w was prepared for one shape of x, expected plain weights: state is given")
    if asked not in ("auto", "direct", ALGORITHM):
        raise ValueError(
            f"algorithm is {asked!r}, expected 'auto' or 'direct': state is given, and the bits of other algorithms "
            "depend on where a signal is cut"
        )
    x, w, bias, dtype = operands(x, w, bias, ("x", "w"))
    if add is not None:
        x, w, bias, add, dtype = with_residual(x, w, bias, add, dtype)
    chunk = chunk_of(x.shape, w.shape, options)
    front = given_state(state, chunk.state_shape, x.dtype, LAST if options.channels_last else FIRST)
    joined = np.empty(chunk.joined_shape, x.dtype)
    joined[chunk.before] = front
    joined[chunk.chunk] = x
    if chunk.empty_shape is not None:
        return _nothing(joined, bias, chunk.empty_shape, activation, add, out), joined[chunk.last].copy()
    planned = PLANS["forward", dtype, chunk.joined_shape, w.shape, chunk.options]
    if bias is not None:
        check_shape(bias.shape, (planned.geometry.out_channels,), "bias", "(K,), one for each filter")
    y = run(planned, joined, w, bias, planned.y_shape, out, False, threads, activation, add)
    return y, joined[chunk.last].copy()


@lru_cache(maxsize=KEPT)
def chunk_of(x_shape: Shape, w_shape: Shape, options: ConvOptions) -> Chunk:
    """The chunk of a call, or the error that says what a stream cannot have."""
    if options.padding != "causal":
        raise ValueError(
            f"padding is {shown(options.padding)}, expected 'causal': state is given, and a result of a stream reads "
            "nothing behind it"
        )
    if options.padding_mode not in ("zeros", ("zeros",)):
        raise ValueError(
            f"padding_mode is {shown(options.padding_mode)}, expected 'zeros': state is given, which is what lies in "
            "front of x"
        )
    if len(w_shape) - options.per_sample > 3:
        raise ShapeError(
            f"w has shape {w_shape}, expected (K, C/groups, taps): state is given, and a stream has one axis"
        )
    axis = len(x_shape) - (2 if options.channels_last else 1)
    empty = axis >= 0 and x_shape[axis] == 0
    shape = (*x_shape[:axis], 1, *x_shape[axis + 1 :]) if empty else x_shape
    geometry = geometry_of(shape, w_shape, options)
    if axes_of(options.stride, 1, "stride", 1) != (1,):
        raise ValueError(
            f"stride is {shown(options.stride)}, expected 1: state is given, which does not say where in a stride a "
            "chunk ends; y[..., ::stride] has every so many results"
        )
    reach, length = geometry.dilation[0] * (geometry.kernel[0] - 1), x_shape[axis]
    along = (slice(None),) * axis

    def of_length(extent: int) -> Shape:
        return (*x_shape[:axis], extent, *x_shape[axis + 1 :])

    y_axis = geometry.y_shape[:axis]
    return Chunk(
        of_length(reach + length),
        of_length(reach),
        (*along, slice(0, reach)),
        (*along, slice(reach, None)),
        (*along, slice(length, None)),
        options._replace(padding=0, algorithm=ALGORITHM),
        (*y_axis, 0, *geometry.y_shape[axis + 1 :]) if empty else None,
    )


def given_state(state: Any, shape: Shape, dtype: np.dtype[Any], meaning: tuple[str, str] = FIRST) -> Array | int:
    """The elements in front of a chunk, in its type; 0 where a signal begins."""
    if type(state) is np.ndarray and state.dtype is dtype and state.shape == shape:
        return state
    if isinstance(state, str) or (array := as_array(state, "state")).ndim == 0:
        if isinstance(state, str) and state == "zeros":
            return 0
        raise ValueError(
            f"state is {shown(state)}, expected 'zeros', where a signal begins, or the state that the call before "
            "returned"
        )
    if array.dtype.newbyteorder("=") != dtype:
        raise DTypeError(
            f"state has dtype {array.dtype}, expected {dtype}, {meaning[0]}: use state.astype({dtype.name!r})"
        )
    check_shape(array.shape, shape, "state", meaning[1])
    return array


def _nothing(
    joined: Array, bias: Array | None, shape: Shape, activation: Any, add: Array | None, out: Array | None
) -> Array:
    """The result of an empty chunk; what is wrong is an error all the same."""
    check_activation(activation)
    if bias is not None:
        channels = shape[-1] if shape[-2:-1] == (0,) else shape[-2]
        check_shape(bias.shape, (channels,), "bias", "(K,), one for each filter")
    if add is not None:
        check_shape(add.shape, shape, "add", "the shape of the result")
    return delivered(*result(out, shape, joined.dtype, False, ()))
