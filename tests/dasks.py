"""The functions of `convpp.dask` on arrays that are chunked at random, for the tests.

In: a random generator and a `Geometry`.   Out: `Chunked`, one pass with its operands as dask arrays.
Next: test_dask.py (values and bits), test_dask_graph.py (what tasks read).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np

import convpp.dask
from geometry import Array, pick
from tilings import Tiled, cut

CONV = {
    "forward": convpp.dask.conv,
    "input_grad": convpp.dask.conv_input_grad,
    "weight_grad": convpp.dask.conv_weight_grad,
}
TRANSPOSE = {
    "forward": convpp.dask.conv_transpose,
    "input_grad": convpp.dask.conv_transpose_input_grad,
    "weight_grad": convpp.dask.conv_transpose_weight_grad,
}


def randomly_chunked(rng: np.random.Generator, array: Array) -> da.Array:
    """Up to four chunks along each axis."""
    return da.from_array(array, chunks=tuple(cut(rng, extent) for extent in array.shape))


def lazy_result(rng: np.random.Generator, tiled: Tiled, arrays: dict[str, Array]) -> da.Array:
    """A pass of dask arrays: the grid, and chunks of the result where they are asked for, are cut as `tiled` says; the
    other operands at random.
    """
    function: Callable[..., da.Array] = (TRANSPOSE if tiled.transposed else CONV)[tiled.op]
    chunked: dict[str, Any] = {name: randomly_chunked(rng, array) for name, array in arrays.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    options = dict(tiled.keywords)
    if tiled.op == "weight_grad":
        of_grid = "x" if tiled.transposed else "dy"
        chunked[of_grid] = da.from_array(arrays[of_grid], chunks=tiled.chunks)
        return function(chunked["dy"], chunked["x"], shapes["w"], **options)
    w = arrays["w"]
    if rng.random() < 0.5:
        options["chunks"] = tiled.chunks
        w = pick(rng, (arrays["w"], chunked["w"]))
    if tiled.op == "forward":
        return function(chunked["x"], w, **options)
    return function(chunked["dy"], w, shapes["x"], **options)
