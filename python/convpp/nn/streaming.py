"""A layer that goes on where its last chunk ended: ``Conv1d(..., streaming=True)``.

In: chunks of a signal.   Out: what ``forward`` of the whole signal returns, chunk by chunk, with the same bits.
Next: ``layers.py``; ``../streaming.py``, what a state is.
"""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Padding, PaddingMode, PerAxis, flag, per_axis, shown
from convpp._call.chunks import ALGORITHM, Chunk, chunk_of
from convpp._call.keywords import Needs, WithX
from convpp._call.options import conv_options
from convpp._call.validation import Array
from convpp._gradients import NEEDS
from convpp.forward import conv
from convpp.nn.conv_layer import ConvLayer
from convpp.streaming import FIRST, LAST, given_state


def streaming_of(
    streaming: Any, rank: int, padding: Padding, padding_mode: PaddingMode, stride: PerAxis, algorithm: str
) -> bool:
    """Whether a layer streams; an error if it could not."""
    if not flag(streaming, "streaming"):
        return False
    if rank != 1:
        raise ValueError(f"streaming is True, expected False of Conv{rank}d: a stream has one axis, as Conv1d has")
    if not (isinstance(padding, str) and padding == "causal") and not (type(padding) is int and padding == 0):
        raise ValueError(
            f"padding is {shown(padding)}, expected 'causal' (or nothing): streaming is True, and a result of a stream "
            "reads nothing behind it"
        )
    if padding_mode != "zeros":
        raise ValueError(
            f"padding_mode is {shown(padding_mode)}, expected 'zeros': streaming is True, and the chunk before lies in "
            "front of x"
        )
    if per_axis(stride, "stride") not in (1, (1,)):
        raise ValueError(
            f"stride is {shown(stride)}, expected 1: streaming is True, and a chunk may end within a stride"
        )
    if algorithm not in ("auto", "direct", ALGORITHM):
        raise ValueError(
            f"algorithm is {shown(algorithm)}, expected 'auto' or 'direct': streaming is True, and the bits of others "
            "depend on where a signal is cut"
        )
    return True


class Streaming(ConvLayer):
    """Of a layer with ``streaming=True``, what it keeps from chunk to chunk, and how that is passed on.

    Attributes
    ----------
    state : the last ``dilation*(k-1)`` elements of the signal, as ``conv`` returns it; None where one begins.
    """

    streaming: bool
    state: Array | None = None
    _chunk: Chunk | None = None  # of the last forward

    def reset(self) -> None:
        """Begin a signal: what was before the next chunk counts as zeros.

        >>> import numpy as np
        >>> import convpp
        >>> layer = convpp.Conv1d(1, 1, 3, streaming=True, rng=0)
        >>> first = layer(np.ones((1, 1, 4), np.float32))
        >>> layer.reset()
        >>> bool((layer(np.ones((1, 1, 4), np.float32)) == first).all())
        True
        """
        if not self.streaming:
            raise RuntimeError(f"{type(self).__name__}.reset() needs a layer made with streaming=True")
        self.state = None

    def _forward(self, x: npt.ArrayLike, add: npt.ArrayLike | None, keep: bool, own: dict[str, Any]) -> Array:
        if not self.streaming:
            return super()._forward(x, add, keep, own)
        x = self._own_type(x, "x")
        how = self._geometry(own)
        threads = how.pop("threads")
        chunk = chunk_of(x.shape, self.weight.shape, conv_options(**how, per_sample=False))
        before = "zeros" if self.state is None else self.state
        front = given_state(before, chunk.state_shape, x.dtype, LAST if self.layout == "channels_last" else FIRST)
        joined = np.empty(chunk.joined_shape, x.dtype)
        joined[chunk.before] = front
        joined[chunk.chunk] = x
        if chunk.empty_shape is not None:
            flag(keep, "keep")
            add = None if add is None else self._own_type(add, "add")
            arguments: dict[str, Any] = how | {"algorithm": "auto", "threads": threads, "add": add}
            y, _ = conv(x, self.weight, self.bias, activation=self.activation, state="zeros", **arguments)
            self._forget_batch()
        else:
            y = super()._forward(joined, add, keep, own | {"padding": 0, "algorithm": ALGORITHM})
        self.state, self._chunk = joined[chunk.last].copy(), chunk
        return y

    @overload
    def backward(self, dy: npt.ArrayLike, *, needs: WithX = NEEDS) -> Array: ...

    @overload
    def backward(self, dy: npt.ArrayLike, *, needs: Needs) -> Array | None: ...

    def backward(self, dy: npt.ArrayLike, *, needs: Needs = NEEDS) -> Array | None:
        """As of any layer.  With ``streaming=True``, for the last chunk: what was before it counts as given.

        So dx is the gradient with respect to the chunk, and that of the weights counts all the terms of the chunk's
        results; what the chunk adds to the gradient with respect to earlier ones is left out (as truncated
        backpropagation through time does).  RuntimeError, ShapeError, DTypeError as of any layer.
        """
        return self._of_chunk(super().backward(dy, needs=needs))

    def backward_per_sample(self, dy: npt.ArrayLike) -> tuple[Array, list[Array]]:
        """As of any layer; with ``streaming=True``, for the last chunk as in ``backward``."""
        dx, gradients = super().backward_per_sample(dy)
        of_chunk = self._of_chunk(dx)
        assert of_chunk is not None
        return of_chunk, gradients

    def _of_chunk(self, dx: Array | None) -> Array | None:
        if dx is None or not self.streaming or self._chunk is None:
            return dx
        return np.ascontiguousarray(dx[self._chunk.chunk])

    def __repr__(self) -> str:
        text = super().__repr__()
        return f"{text[:-1]}, streaming=True)" if self.streaming else text
