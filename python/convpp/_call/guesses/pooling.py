"""Pooling: what was probably meant by a shape and a kernel size that do not fit each other.

In: the shape of x, options.   Out: the end of the message; only what fits is said.   Next: ``../pooling.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from convpp._call.guesses.arrays import looks_like_picture

if TYPE_CHECKING:
    from convpp._call.pooling import PoolOptions

Shape = tuple[int, ...]


def of_shape(x: Shape, options: PoolOptions, fits: Callable[[Shape, PoolOptions], Any]) -> str:
    """Another layout, a sample without N, a plane without channels."""

    def legal(shape: Shape, like: PoolOptions) -> bool:
        try:
            fits(shape, like)
        except ValueError:
            return False
        return True

    other = options._replace(layout="channels_first" if options.channels_last else "channels_last")
    if legal(x, other) and not isinstance(options.kernel_size, int):
        return f". Did you mean layout={other.layout!r}?"
    size = options.kernel_size
    if isinstance(size, int) and looks_like_picture(x) and not options.channels_last:
        kernel = options._replace(kernel_size=(size, size), layout="channels_last")
        if legal(x, kernel):
            named = "" if len(x) == 4 else f"kernel_size={(size, size)} and "
            return f". Did you mean {named}layout='channels_last'?"
    if legal(x, other):
        return f". Did you mean layout={other.layout!r}?"
    rank = len(x)
    if rank in (1, 2, 3) and (isinstance(size, int) or len(size) == rank):
        planes = (*((1,) if options.channels_last else (1, 1)), *x, *((1,) if options.channels_last else ()))
        if legal(planes, options):
            return ". Did you mean x[None, ..., None]?" if options.channels_last else ". Did you mean x[None, None]?"
    return ""
