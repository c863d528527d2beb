"""``convolve_tiled``: ``convolve`` for arrays that do not fit in memory.

In: anything that is sliced like an array, a kernel, options.   Out: an array, a .npy or a .zarr file.
Next: ``plain.py``, its blocks; ``start.py``, ``loop.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from convpp._call.validation import is_masked
from convpp.errors import DTypeError
from convpp.plain.arguments import Axes, Boundary, Method, Mode, PerAxis
from convpp.plain.operands import as_operand
from convpp.plain.prepare import Options
from convpp.runtime import threads_of_call
from convpp.tiling.loop import Work
from convpp.tiling.plain import PlainCall
from convpp.tiling.start import How, carry_out, words_of, words_of_chunks
from convpp.tiling.stores import sliceable


def convolve_tiled(
    a: Any,
    kernel: npt.ArrayLike | Sequence[npt.ArrayLike] | None = None,
    *,
    kernels: npt.ArrayLike | None = None,
    axes: Axes | None = None,
    mode: Mode = "full",
    boundary: Boundary | Sequence[Boundary] = "zeros",
    origin: PerAxis = 0,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    method: Method = "auto",
    nan: str = "propagate",
    mask: Any = None,
    min_weight: float = 0.0,
    fill_value: complex = np.nan,
    dtype: npt.DTypeLike | None = None,
    chunks: Any = "64 MiB",
    out: Any = None,
    resume: bool = False,
    progress: bool = False,
    threads: int | None = None,
) -> Any:
    """``convolve`` of an array that does not fit in memory, block by block.

    ``y[p] = sum over r of kernel[r] * a[p - r]``, where p is counted from the first result of "full" on

    Parameters
    ----------
    a : anything that is sliced like an array, of numbers
        ``np.memmap``, a dataset of h5py, an array of Zarr, a NumPy array; none that is masked.
    kernel, kernels : arrays in memory
    axes, mode, boundary, origin, stride, dilation, nan, min_weight, fill_value, dtype, threads
        As in ``convolve``.
    method : as in ``convolve``
        "auto" goes axis by axis where ``convolve`` does so (large kernels that are products), and is "direct"
        elsewhere, in an order of the sums that looks at no extent: the bits do not depend on the chunks.  By other
        methods, last bits may.
    mask : as a, of its shape; or an array in memory that is broadcast to it
    chunks : int or str; tuple of ints; or tuple of tuples of ints
        Memory of a block's parts of all arrays, in bytes or as "64 MiB"; or the shape of a block of the result, or the
        extents of all blocks along each axis.
    out, resume, progress
        As in ``conv_tiled``.

    Returns
    -------
    ``out``, opened, or a new array

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError, OSError
        As ``convolve`` and ``conv_tiled``.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> picture = np.ones((500, 300, 3), np.float32)
    >>> blurred = convpp.convolve_tiled(
    ...     picture, convpp.gaussian(2.0, ndim=2), axes=(0, 1), mode="same", boundary="reflect", chunks="100 KiB"
    ... )
    >>> blurred.shape, bool(np.allclose(blurred, 1))
    ((500, 300, 3), True)
    """
    how = How(chunks, out, resume, progress, threads)
    threads_of_call(threads)
    if is_masked(a):
        raise DTypeError("a is a masked array, expected a plain one: give a.data, and mask=a.mask")
    a = sliceable(a, "a", as_operand)
    options = Options(
        axes, mode, boundary, origin, stride, dilation, method, nan, min_weight, fill_value, True, threads
    )
    call = PlainCall(a, kernel, kernels, mask, dtype, options)
    blocks = call.tiles(chunks)

    def words() -> dict[str, str]:
        geometry = ("axes", "mode", "boundary", "origin", "stride", "dilation")
        names = (*geometry, "method", "nan", "min_weight", "fill_value")
        return {
            "function": "convolve",
            "a": words_of(a, "a", small=False),
            **{name: words_of(kernel, name, small=True) for name, kernel in call.kernels.items()},
            "kernels": str(call.several),
            "mask": words_of(call.mask, "mask", small=False),
            **{name: str(getattr(options, name)) for name in names},
            "chunks": words_of_chunks(blocks.chunks),
            "result": str(call.result_shape),
        }

    return carry_out(
        how,
        {"a": a, "mask": call.mask, **call.kernels},
        blocks,
        call.result_shape,
        call.dtype,
        words,
        lambda store, record: Work(blocks, call.read, call.compute, store, record),
    )
