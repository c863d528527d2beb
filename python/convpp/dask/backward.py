"""All gradients of a convolution, or of a transposed one, of dask arrays; and that of the bias.

In: dask arrays dy and x, w, the geometry.   Out: (dx, dw, db), dask arrays that are not computed yet: ``dask.compute``
takes all three at once, and reads each chunk once.   Next: ``functional.py``, ``transposed.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from dask.array import Array as DaskArray
from dask.base import tokenize

from convpp._call.arguments import LAYOUTS, Layout, Padding, PaddingMode, PerAxis, Shape, choice, flag
from convpp._call.validation import FLOAT64, Array
from convpp._gradients import NEEDS, wanted_of
from convpp.dask.arrays import any_array, chunked
from convpp.dask.chunks import check_groups, ends_of
from convpp.dask.functional import conv_input_grad, conv_weight_grad
from convpp.dask.layer import SumLayer, array_on
from convpp.dask.plan import Operand, Plan
from convpp.dask.transposed import conv_transpose_input_grad, conv_transpose_weight_grad
from convpp.errors import ShapeError

#: dx, dw and db; None where it was not asked for.
Gradients = tuple[DaskArray | None, DaskArray | None, DaskArray | None]


def conv_backward(
    dy: DaskArray,
    x: DaskArray,
    w: Any,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    needs: Iterable[str] = NEEDS,
    algorithm: str = "auto",
    threads: int | None = 1,
) -> Gradients:
    """All gradients of ``conv`` at once: (dx, dw, db), those of ``conv_input_grad``, ``conv_weight_grad`` and
    ``conv_bias_grad``, where the equations are.

    Parameters
    ----------
    dy : dask array (N, K, \\*out)
    x : dask array (N, C, \\*spatial)
        dx has its chunks.
    w : array (K, C/groups, \\*kernel)
        NumPy's or dask's.
    per_sample : bool
        As in ``convpp.conv_backward``: with a w of shape (K, C/groups, \\*kernel), dw and db of each sample.
    needs : any of "x", "w", "bias"
        What is left out comes back as None.
    stride, padding, dilation, groups, padding_mode, flip, layout, algorithm, threads
        As in ``convpp.dask.conv``.

    Returns
    -------
    (dx, dw, db), dask arrays

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import dask
    >>> import dask.array as da
    >>> import numpy as np
    >>> import convpp.dask
    >>> x, dy = da.ones((2, 3, 8, 8), chunks=4), da.ones((2, 4, 6, 6), chunks=(1, 4, 3, 3))
    >>> dx, dw, db = dask.compute(*convpp.dask.conv_backward(dy, x, np.ones((4, 3, 3, 3))))
    >>> dx.shape, dw[0, 0, 0, 0], db
    ((2, 3, 8, 8), np.float64(72.0), array([72., 72., 72., 72.]))
    """
    geometry = {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": padding_mode,
        "flip": flip, "layout": layout, "per_sample": per_sample, "algorithm": algorithm, "threads": threads,
    }  # fmt: skip
    return _backward((conv_input_grad, conv_weight_grad), dy, x, w, needs, geometry)


def conv_transpose_backward(
    dy: DaskArray,
    x: DaskArray,
    w: Any,
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
    needs: Iterable[str] = NEEDS,
    algorithm: str = "auto",
    threads: int | None = 1,
) -> Gradients:
    """All gradients of ``conv_transpose`` at once: (dx, dw, db).

    Those of ``conv_transpose_input_grad``, ``conv_transpose_weight_grad`` and ``conv_bias_grad``, where the equations
    are.

    Parameters
    ----------
    dy : dask array (N, C_out, \\*out)
    x : dask array (N, C_in, \\*spatial)
        dx has its chunks.
    w : array (C_in, C_out/groups, \\*kernel)
    per_sample : bool
        As in ``convpp.conv_transpose_backward``.
    needs : any of "x", "w", "bias"
    stride, padding, output_padding, output_size, dilation, groups, padding_mode, flip, layout, algorithm, threads
        As in ``convpp.dask.conv_transpose``.

    Returns
    -------
    (dx, dw, db), dask arrays

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import dask.array as da
    >>> import numpy as np
    >>> import convpp.dask
    >>> dy, x = da.ones((1, 1, 3, 3), chunks=2), da.ones((1, 1, 2, 2), chunks=1)
    >>> dx, dw, db = convpp.dask.conv_transpose_backward(dy, x, np.ones((1, 1, 2, 2)), needs=("bias",))
    >>> dx, dw, db.compute()
    (None, None, array([9.]))
    """
    geometry = {
        "stride": stride, "padding": padding, "output_padding": output_padding, "output_size": output_size,
        "dilation": dilation, "groups": groups, "padding_mode": padding_mode, "flip": flip, "layout": layout,
        "per_sample": per_sample, "algorithm": algorithm, "threads": threads,
    }  # fmt: skip
    return _backward((conv_transpose_input_grad, conv_transpose_weight_grad), dy, x, w, needs, geometry)


def _backward(functions: Any, dy: DaskArray, x: DaskArray, w: Any, needs: Any, geometry: dict[str, Any]) -> Gradients:
    """What both do: an array of a type that is wider than the others' widens all gradients, as in ``convpp``."""
    wanted = wanted_of(needs)
    input_grad, weight_grad = functions
    shape = chunked(x, "x").shape
    weights = any_array(w, "w")
    per_sample = flag(geometry.pop("per_sample"), "per_sample")
    own = per_sample and len(weights.shape) > len(shape)  # filters for each sample; the bias is shared
    batched = own or len(shape) == len(weights.shape)
    apart = per_sample and not own  # dw and db are not summed over the samples
    if apart and not batched:
        raise ShapeError("x has no N axis, expected one: per_sample is True")
    dx = dw = db = None
    if "x" in wanted:
        axis = len(shape) - 1 if geometry["layout"] == "channels_last" else int(batched)
        if isinstance(groups := geometry["groups"], int) and groups > 0 and axis < len(shape):
            check_groups(x.chunks[axis], max(shape[axis] // groups, 1), "x", axis)
        dx = input_grad(dy, w, shape, chunks=x.chunks, per_sample=own, **geometry)
    if "w" in wanted:
        dw = weight_grad(dy, x, weights.shape, per_sample=per_sample, **geometry)
    if "bias" in wanted:
        db = conv_bias_grad(dy, layout=geometry["layout"], batched=batched, per_sample=apart)
    return dx, dw, db


class _BiasPlan(Plan):
    """Sums over a chunk's pixels, of which each chunk is one block; in float64."""

    def __init__(self, operand: Operand, axes: tuple[int, ...]) -> None:
        super().__init__(tuple(map(len, operand.chunks)), (operand,), {})
        self.axes = axes
        self._ends = tuple(ends_of(extents) for extents in operand.chunks)

    def reads(self, name: str, axis: int, number: int) -> list[slice]:
        """The chunk itself."""
        start, stop = self._ends[axis][number : number + 2]
        return [slice(start, stop)] if start < stop else []

    def compute(self, index: Shape, sources: Mapping[str, Any]) -> Array:
        """Zeros of a chunk that is empty."""
        [operand] = self.operands
        shape = tuple(extents[at] for extents, at in zip(operand.chunks, index, strict=True))
        if 0 in shape:
            return np.zeros([extent for axis, extent in enumerate(shape) if axis not in self.axes], FLOAT64)
        chunk = sources[operand.name][
            tuple(slice(*ends[at : at + 2]) for ends, at in zip(self._ends, index, strict=True))
        ]
        total: Array = chunk.sum(axis=self.axes, dtype=FLOAT64)
        return total


def conv_bias_grad(
    dy: DaskArray, *, layout: Layout = "channels_first", batched: bool = True, per_sample: bool = False
) -> DaskArray:
    """Gradient of a loss with respect to bias: ``db[k] = sum over n, p of dy[n, k, p]``.

    The sums of the chunks are added in a tree over their numbers, all in float64, and rounded once.

    Parameters
    ----------
    dy : dask array (N, K, \\*out)
        With ``batched=False``: (K, \\*out), one sample.  1 to 3 spatial axes.
    per_sample : bool
        True: not summed over the samples.
    layout : "channels_first" or "channels_last"

    Returns
    -------
    dask array (K,), or (N, K) with ``per_sample=True``, chunked as dy is

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import dask.array as da
    >>> import convpp.dask
    >>> convpp.dask.conv_bias_grad(da.ones((2, 3, 4, 4), chunks=2)).compute()
    array([32., 32., 32.])
    """
    last = choice(layout, "layout", LAYOUTS) == "channels_last"
    lead, each = int(flag(batched, "batched")), flag(per_sample, "per_sample")
    given = chunked(dy, "dy")
    if each and not lead:
        raise ValueError("per_sample is True, expected batched=True with it: the samples of an N axis")
    if len(given.shape) - 1 - lead not in (1, 2, 3):
        form = "(N, K, *out)" if lead else "(K, *out)"
        raise ShapeError(f"dy has shape {given.shape}, expected {form} with 1, 2 or 3 spatial axes")
    channel = len(given.shape) - 1 if last else lead
    kept: tuple[int, ...] = (0, channel) if each else (channel,)
    assert given.chunks is not None
    axes = tuple(range(len(given.shape)))
    plan = _BiasPlan(
        Operand("dy", given.array.name, given.chunks, axes, given.dtype), tuple(a for a in axes if a not in kept)
    )
    name = f"convpp-conv-bias-grad-{tokenize(given.array.name, kept)}"
    return array_on(SumLayer(name, plan, kept, given.dtype), tuple(given.chunks[a] for a in kept), given.dtype, [dy])
