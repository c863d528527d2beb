"""``conv_tiled`` and its gradients: ``conv`` for arrays that do not fit in memory.

In: anything that is sliced like an array, the geometry, and how much memory there is.   Out: an array, a .npy or a
.zarr file.   Next: ``start.py`` (arguments become a job), ``loop.py`` (blocks); ``tiles.py`` says what a block is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy.typing as npt

from convpp._call.arguments import Activation, Algorithm, Layout, Padding, PaddingMode, PerAxis, shape, shape_of_weights
from convpp._call.options import conv_options
from convpp._call.validation import as_float
from convpp.tiling.start import How, given_dy, start
from convpp.tiling.stores import shape_of_array, sliceable

#: An array, a path that ends in .npy or .zarr, or None: a new array in memory.
Out = Any


def conv_tiled(
    x: Any,
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    activation: Activation | None = None,
    add: Any = None,
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    chunks: Any = "64 MiB",
    out: Out | str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
    threads: int | None = None,
) -> Any:
    """``conv`` of arrays that do not fit in memory, block by block.

    ``y[n, k, p] = bias[k] + sum over c, r of x[n, c, p*stride - lo + r*dilation] * w[k, c, r]``

    Parameters
    ----------
    x : anything that is sliced like an array
        ``np.memmap``, a dataset of h5py, an array of Zarr, a NumPy array.
    w, bias : arrays in memory
    add : as x, of the result's shape
    stride, padding, dilation, groups, padding_mode, flip, layout, activation, per_sample, threads
        As in ``conv``.
    algorithm : as in ``conv``
        "auto" and "direct" are "stream", direct sums whose order looks at no extent: y has the bits of
        ``conv(..., algorithm="stream")``, whatever the chunks.  By "winograd" and "fft", last bits depend on them.
    chunks : int or str; tuple of ints; or tuple of tuples of ints
        Memory of a block's parts of all arrays, in bytes or as "64 MiB"; or the shape of a block of y, or the extents
        of all blocks along each axis: as in ``tiles``.  Beside a block there is what the next one reads, and what
        the core takes (``explain``).
    out : a path, or an array, optional
        A path that ends in .npy or .zarr is made, or made anew (Zarr: ``pip install zarr``), with the blocks as its
        chunks; or anything that takes slices of a result of this shape and dtype.  It must not overlap x.
        By default a new array in memory.
    resume : bool
        True goes on with the blocks that an interrupted call with the same arguments did not finish, if ``out`` is a
        path: with all of them, if there is no such file.  Beside it, ``out`` with ``.convpp-record`` added lists what
        is finished and safe on disk, and of which call: its arguments, w and bias, and samples of x and ``add`` (so
        numbers between these may change unnoticed).  Without ``resume`` the file is made anew.
    progress : bool
        True shows a bar (tqdm).

    Returns
    -------
    ``out``, opened, or a new array

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument.
    OSError
        What cannot be read or written, with the block that it was for.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((1, 3, 50, 60), np.float32), np.ones((2, 3, 5, 5), np.float32)
    >>> y = convpp.conv_tiled(x, w, padding=2, chunks="20 KiB")
    >>> bool(np.array_equal(y, convpp.conv(x, w, padding=2)))
    True
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    x, w = sliceable(x, "x"), as_float(w, "w")
    arrays = {"x": x, "w": w}
    bias = None if bias is None else as_float(bias, "bias")
    add = None if add is None else sliceable(add, "add")
    how = How(chunks, out, resume, progress, threads)
    return start("forward", arrays, shape_of_array(x), w.shape, options, how, bias, activation, add)


def conv_input_grad_tiled(
    dy: Any,
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
    chunks: Any = "64 MiB",
    out: Out | str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
    threads: int | None = None,
) -> Any:
    """``conv_input_grad`` of arrays that do not fit in memory, block by block of dx.

    ``dx[n, c, h] = sum over k, p, r with p*stride - lo + r*dilation = h  of  dy[n, k, p] * w[k, c, r]``

    A block gathers the dy of all results that have read it, and is written once: so nothing is added at its borders.

    Parameters
    ----------
    dy : anything that is sliced like an array
    w : array in memory
    x_shape : shape of x, in full
    stride, padding, dilation, groups, padding_mode, flip, layout, per_sample
        As in ``conv``.
    algorithm, chunks, out, resume, progress, threads
        As in ``conv_tiled``, of dx.  It has the bits of ``conv_input_grad(..., algorithm="stream")``.

    Returns
    -------
    ``out``, opened, or a new array

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError, OSError
        As ``conv_tiled``.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> dy, w = np.ones((1, 2, 40, 50)), np.ones((2, 3, 3, 3))
    >>> dx = convpp.conv_input_grad_tiled(dy, w, (1, 3, 40, 50), padding=1, chunks=(1, 3, 16, 50))
    >>> bool(np.array_equal(dx, convpp.conv_input_grad(dy, w, (1, 3, 40, 50), padding=1)))
    True
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    dy, w = sliceable(dy, "dy"), as_float(w, "w")
    arrays = {"dy": dy, "w": w}
    how = How(chunks, out, resume, progress, threads)
    shape_of_x = shape(x_shape, "x_shape")
    given_dy(shape_of_array(dy), shape_of_x, w.shape, options)
    return start("input_grad", arrays, shape_of_x, w.shape, options, how)


def conv_weight_grad_tiled(
    dy: Any,
    x: Any,
    w_shape: Iterable[int],
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
    chunks: Any = "64 MiB",
    out: Out | str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: bool = False,
    threads: int | None = None,
) -> Any:
    """``conv_weight_grad`` of arrays that do not fit in memory: the sum of what blocks of dy give.

    ``dw[k, c, r] = sum over n, p of dy[n, k, p] * x[n, c, p*stride - lo + r*dilation]``

    Parameters
    ----------
    dy, x : anything that is sliced like an array
    w_shape : shape of w, (K, C/groups, \\*kernel)
    stride, padding, dilation, groups, padding_mode, flip, layout, per_sample
        As in ``conv``.
    chunks : as in ``conv_tiled``
        Of dy.  Blocks are added in the order of ``tiles(...).tree``: so dw has the same bits for the same chunks,
        whatever the threads, and whether the work was interrupted or not.
    algorithm, out, resume, progress, threads
        As in ``conv_tiled``; with ``resume=True``, sums that are not whole are in a file beside ``out``, too.

    Returns
    -------
    ``out``, opened, or a new array

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError, OSError
        As ``conv_tiled``.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> dy, x = np.ones((4, 2, 40, 50)), np.ones((4, 3, 42, 52))
    >>> dw = convpp.conv_weight_grad_tiled(dy, x, (2, 3, 3, 3), chunks=(1, 2, 10, -1))
    >>> dw[0, 0, 0]
    array([8000., 8000., 8000.])
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    dy, x = sliceable(dy, "dy"), sliceable(x, "x")
    arrays = {"dy": dy, "x": x}
    how = How(chunks, out, resume, progress, threads)
    shape_of_x = shape_of_array(x)
    of_w = shape_of_weights(w_shape, shape_of_x, per_sample) if per_sample else shape(w_shape, "w_shape")
    given_dy(shape_of_array(dy), shape_of_x, of_w, options)
    return start("weight_grad", arrays, shape_of_x, of_w, options, how)
