"""Signals in a stream: causal convolutions of one part after the other.

In: a chunk, and what the signal was before it (``state``).   Out: the chunk's results, and the state for the next one.
Used by ``conv`` (``forward.py``) and ``convolve`` (``plain/stream.py``); next: ``_call/planning.py``.

The state is the part of x that the next results still read: its last ``(kernel - 1) * dilation`` elements, which are
put in front of the chunk.  So a result is the sum of the same elements wherever the signal was cut; and it has the same
bits, because the sums' order is chosen without a look at the length (``Algorithm::stream`` of the core).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Activation, Shape, check_activation, check_shape, shown
from convpp._call.chunks import ALGORITHM
from convpp._call.options import ConvOptions
from convpp._call.planning import CHUNK, PLANS
from convpp._call.run import run
from convpp._call.validation import Array, as_array, delivered, operands, result, with_residual
from convpp.errors import DTypeError
from convpp.prepared import PreparedWeights
from convpp.runtime import threads_of_call

#: "zeros" where a signal begins, or what the call before returned.
State = str | npt.ArrayLike

#: What the type and the shape of a state are, in messages.
FIRST = ("as of x and w together", "(N, C, reach), reach = (kernel - 1) * dilation: what x was before the chunk")
LAST = (FIRST[0], "(N, reach, C), reach = (kernel - 1) * dilation: what x was before the chunk")


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
    planned = PLANS[CHUNK, dtype, x.shape, w.shape, options]
    chunk = planned.chunk
    assert chunk is not None
    front = given_state(state, chunk.state_shape, x.dtype, LAST if options.channels_last else FIRST)
    joined = np.empty(chunk.joined_shape, x.dtype)
    joined[chunk.before] = front
    joined[chunk.chunk] = x
    if chunk.empty_shape is not None:
        threads_of_call(threads)  # only to fail as with other chunks
        return _nothing(joined, bias, chunk.empty_shape, activation, add, out), joined[chunk.last].copy()
    if bias is not None:
        check_shape(bias.shape, (planned.geometry.out_channels,), "bias", "(K,), one for each filter")
    y = run(planned, joined, w, bias, planned.y_shape, out, False, threads, activation, add)
    return y, joined[chunk.last].copy()


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
