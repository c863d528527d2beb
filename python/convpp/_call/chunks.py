"""A chunk of a signal, with what the signal was before it in front: shapes, and the call of the core.

In: the shape of a chunk, that of w, options.   Out: a ``Chunk``, or the error that says what a stream cannot have.
Next: ``planning.py``, which remembers it with its plan; ``../streaming.py``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from convpp._call.arguments import Shape, shown
from convpp._call.geometry import axes_of, geometry_of
from convpp._call.options import ConvOptions
from convpp.errors import ShapeError

#: Direct sums, whose order does not look at the length of x.
ALGORITHM: Final = "stream"

#: Chunks that are remembered: some hundred bytes each.
KEPT = 1024

Index = tuple[slice, ...]


class Chunk(NamedTuple):
    """What follows from shapes and options; ``joined`` is the chunk with the state in front of it."""

    joined_shape: Shape
    state_shape: Shape
    #: Of ``joined``: the state, the chunk, and the next state.
    before: Index
    chunk: Index
    last: Index
    #: The call of the core: with ``joined``; for an empty chunk, which needs none, with one element more.
    options: ConvOptions
    planned_shape: Shape
    #: Of an empty chunk, the result.
    empty_shape: Shape | None


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
        of_length(reach + max(length, 1)),
        (*y_axis, 0, *geometry.y_shape[axis + 1 :]) if empty else None,
    )
