"""``tiles``: which part of which array each block of a result needs.  Indices, no arrays.

In: a pass, shapes, geometry, and how the result is to be cut.   Out: ``Tiles``, a sequence of ``Block``.
Next: ``grid.py``, which makes them; ``tiled.py``, where all blocks are computed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from convpp._call.arguments import Layout, Padding, PaddingMode, PerAxis, as_int, choice, flag, per_axis, shape
from convpp._call.geometry import Geometry, geometry_of
from convpp._call.options import Options, conv_options, transpose_options
from convpp._call.planning import PASSES
from convpp.errors import ShapeError
from convpp.tiling.chunks import bytes_of, chunks_of
from convpp.tiling.grid import OF_TRANSPOSED, Tiles, grid_of
from convpp.tiling.memory import block_of_memory


def tiles(
    pass_: str,
    x_shape: Iterable[int],
    w_shape: Iterable[int],
    chunks: Any,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    output_size: Iterable[int] | None = None,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    transposed: bool = False,
    itemsize: int = 4,
) -> Tiles:
    """Which parts of which arrays each block of a result needs: for arrays that do not fit in memory, or are cut.

    Parameters
    ----------
    pass_ : "forward", "input_grad" or "weight_grad"
    x_shape, w_shape : shapes of x and w, in full
    chunks : int or str; tuple of ints; or tuple of tuples of ints
        Memory of the parts of the arrays that a block reads and writes: bytes, or "64 MiB".  Or the shape of a block
        (-1: the whole axis), or the extents of all blocks along each axis, as dask has them.  What is cut is the
        result; of the weight gradient it is dy (transposed: x), and each block is a sum over its pixels.
        Channels are cut between groups, or within them, but no block has parts of two groups.
    stride, padding, dilation, groups, padding_mode, flip, layout, per_sample
        As in ``conv``.
    transposed : bool
        True: of ``conv_transpose``, with its shapes; ``output_padding`` and ``output_size`` are for it alone.
    itemsize : int
        Bytes of an element, if ``chunks`` is memory.

    Returns
    -------
    Tiles
        A sequence of blocks, made when they are asked for: ``tiles[number]``, or ``tiles[i, j, ...]`` with a place in
        the grid.  A block says where its ``result`` lies, and which ``sources`` it reads: for each axis of each array,
        slices.  Each result is added up within one block, so that blocks of y and dx have the bits of the whole
        by ``algorithm="stream"``.  Partial sums of dw are added in the order of ``tiles.tree``.

    Raises
    ------
    ShapeError, ValueError

    Examples
    --------
    >>> import convpp
    >>> t = convpp.tiles("forward", (1, 3, 100, 100), (8, 3, 3, 3), (1, 8, 32, 100), padding=1)
    >>> len(t), t.numblocks, t.chunks[2]
    (4, (1, 1, 4, 1), (32, 32, 32, 4))
    >>> block = t[0, 0, 1, 0]
    >>> block.result[2], block.sources["x"][2].slices, block.call.options.padding
    (slice(32, 64, None), (slice(31, 65, None),), ((0, 0), (1, 1)))
    """
    choice(pass_, "pass_", PASSES)
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, "stream")
    options: Options = shared
    if flag(transposed, "transposed"):
        options = transpose_options(shared, output_padding, output_size)
    elif output_size is not None or per_axis(output_padding, "output_padding") != 0:
        raise ValueError("output_padding or output_size is given, expected transposed=True with it")
    geometry = geometry_of(shape(x_shape, "x_shape"), shape(w_shape, "w_shape"), options)
    return tiles_of(pass_, geometry, chunks, transposed, itemsize)


def tiles_of(op: str, geometry: Geometry, chunks: Any, transposed: bool, itemsize: int) -> Tiles:
    """The same, of a geometry."""
    core = OF_TRANSPOSED[op] if transposed else op
    grid, names = grid_of(geometry, core)
    if (limit := bytes_of(chunks)) is not None:
        itemsize = as_int(itemsize, "itemsize")
        if itemsize < 1:
            raise ValueError(f"itemsize is {itemsize}, expected 1 or more")
        chunks = block_of_memory(core, geometry, limit, itemsize)
    cut = chunks_of(chunks, grid, names)
    if math.prod(map(len, cut)) == 0:
        raise ShapeError(f"chunks is {chunks}, expected at least one block along each axis")
    return Tiles(op, geometry, cut, transposed)
