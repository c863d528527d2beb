"""``convolve`` and ``correlate`` of a signal in chunks: what was before a chunk is put in front of it.

In: the arguments of ``convolve`` with a ``state``.   Out: the chunk's results, and the next state.
Next: ``forward.py``, which computes them; ``../streaming.py``, the same for ``conv``, says what a state is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convpp._call.arguments import Shape, shown
from convpp._call.validation import Array, delivered, is_masked, result
from convpp.errors import ShapeError
from convpp.plain.arguments import one_for_each
from convpp.plain.operands import as_operand, as_source
from convpp.plain.prepare import Options
from convpp.plain.problem import axes_of
from convpp.plain.seen import Seen, key_of, seen
from convpp.streaming import given_state

Index = tuple[slice, ...]
#: What computes a whole: a, kernel, kernels, mask, dtype, out, options.
Run = Callable[[Any, Any, Any, Any, Any, Any, Options], Array]

#: What a state is, in messages.
OF_A = ("that of a", "a's, but for (kernel - 1) * dilation elements along its axis: what it was before the chunk")
#: They are small, and all forgotten when there are more.
MOST_KEPT = 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk along one axis, with the state in front of it."""

    joined_shape: Shape
    state_shape: Shape
    before: Index
    chunk: Index
    last: Index

    def joined(self, a: Array, state: Array | int) -> Array:
        """What the results read."""
        joined = np.empty(self.joined_shape, a.dtype)
        joined[self.before] = state
        joined[self.chunk] = a
        return joined


#: Chunks and calls of the engine that were seen before.
_SEEN: dict[Any, tuple[Chunk, Seen]] = {}


def run_chunk(
    a: Any, kernel: Any, kernels: Any, mask: Any, dtype: Any, out: Any, options: Options, state: Any, run: Run
) -> tuple[Array, Array]:
    """Results and the next state."""
    key = key_of(a, kernel, (kernels, mask, dtype, out), options)
    if key is not None and (before := _SEEN.get(key)) is not None:
        chunk, call = before
        joined = chunk.joined(a, given_state(state, chunk.state_shape, a.dtype, OF_A))
        return call.call(joined, kernel, options.threads), joined[chunk.last].copy()
    _check(a, mask, options)
    array, _, _ = as_source(a, None)
    native = array.dtype.newbyteorder("=") if array.dtype.kind != "V" else array.dtype
    chunk = _chunk_of(array, kernel, kernels, options)
    joined = chunk.joined(array.astype(native, copy=False), given_state(state, chunk.state_shape, native, OF_A))
    whole = replace(options, mode="valid", method="direct", stream=True)
    axis = len(chunk.chunk) - 1
    if array.shape[axis] == 0:
        one = np.zeros(tuple(e + (i == axis) for i, e in enumerate(chunk.joined_shape)), native)
        y = run(one, kernel, kernels, None, dtype, None, whole)
        shape = list(y.shape)
        shape[axis + (kernels is not None)] = 0
        return delivered(*result(out, tuple(shape), y.dtype, False, ())), joined[chunk.last].copy()
    y = run(joined, kernel, kernels, None, dtype, out, whole)
    if key is not None and (call_seen := seen(key_of(joined, kernel, (None,) * 4, whole))) is not None:
        if len(_SEEN) >= MOST_KEPT:
            _SEEN.clear()
        _SEEN[key] = chunk, call_seen
    return y, joined[chunk.last].copy()


def _check(a: Any, mask: Any, options: Options) -> None:
    """What a stream cannot have."""
    if options.mode != "causal":
        raise ValueError(
            f"mode is {shown(options.mode)}, expected 'causal': state is given, and a result of a stream reads nothing "
            "behind it"
        )
    if not isinstance(options.boundary, str) or options.boundary != "zeros":
        raise ValueError(
            f"boundary is {shown(options.boundary)}, expected 'zeros': state is given, which is what lies in front of a"
        )
    if options.method not in ("auto", "direct"):
        raise ValueError(
            f"method is {shown(options.method)}, expected 'auto' or 'direct': state is given, and the bits of other "
            "methods depend on where a signal is cut"
        )
    if mask is not None or is_masked(a):
        raise ValueError("mask is given, expected none with a state, which has no mask: use NaN and nan='ignore'")


def _chunk_of(array: Array, kernel: Any, kernels: Any, options: Options) -> Chunk:
    """The chunk of a call; what else is wrong with its arguments, the call itself says."""
    several = kernels is not None
    if several == (kernel is not None):
        raise ValueError(
            f"kernel and kernels are {'both' if several else 'not'} given, expected one of them: state is given"
        )
    w = as_operand(kernels if several else kernel, "kernels" if several else "kernel")
    numbers, _ = axes_of(array, w, several, options.axes)
    if len(numbers) != 1:
        raise ShapeError(
            f"{'kernels' if several else 'kernel'} has shape {w.shape}, expected one convolved axis: state is given, "
            "and a stream has one"
        )
    if one_for_each(options.stride, "stride", 1, 1) != (1,):
        raise ValueError(
            f"stride is {shown(options.stride)}, expected 1: state is given, which does not say where in a stride a "
            "chunk ends"
        )
    axis, length = numbers[0], array.shape[numbers[0]]
    taps = w.shape[several + axis] if w.ndim - several == array.ndim else w.shape[-1]
    reach = one_for_each(options.dilation, "dilation", 1, 1)[0] * max(taps - 1, 0)
    along = (slice(None),) * axis

    def of_length(extent: int) -> Shape:
        return (*array.shape[:axis], extent, *array.shape[axis + 1 :])

    return Chunk(
        of_length(reach + length),
        of_length(reach),
        (*along, slice(0, reach)),
        (*along, slice(reach, None)),
        (*along, slice(length, None)),
    )
