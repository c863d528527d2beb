"""All gradients of a convolution, or of a transposed one, in one call.

In: dy, x, w, the geometry, which gradients are wanted, and arrays for them.   Out: (dx, dw, db).
What one gradient is, ``functional.py`` and ``transposed.py`` say; here they are put together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convpp.arguments import Layout, Padding, PaddingMode, PerAxis, check_algorithm, flag
from convpp.calls import geometry_key
from convpp.errors import ShapeError
from convpp.functional import conv_bias_grad, conv_input_grad, conv_weight_grad, wrong_dy
from convpp.planning import plan_conv
from convpp.transposed import (
    conv_transpose_input_grad,
    conv_transpose_weight_grad,
    plan_transpose,
    transpose_key,
    wrong_transposed_dy,
)
from convpp.validation import Array, as_float, check_out, common_dtype

NEEDS = ("x", "w", "bias")


def conv_backward(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    w: npt.ArrayLike,
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
    out: Sequence[Array | None] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """All gradients of ``conv`` at once: (dx, dw, db).

    Those of ``conv_input_grad``, ``conv_weight_grad`` and ``conv_bias_grad``, where the equations are.

    Parameters
    ----------
    dy : (N, K, \\*out)
    x : (N, C, \\*spatial)
    w : (K, C/groups, \\*kernel)
    per_sample : bool
        True with w of shape (N, K, C/groups, \\*kernel): filters for each sample, as in ``conv``.
        True with w of shape (K, C/groups, \\*kernel): dw and db are not summed over the samples, but have a leading N
        axis (what differential privacy needs).
    needs : any of "x", "w", "bias"
        What is left out comes back as None and costs nothing.
    out : (dx, dw, db), optional
        Arrays to write into, each as in the function for that gradient, or None for a new one.
    accumulate : bool
        True adds to the arrays of ``out``.
    stride, padding, dilation, groups, padding_mode, flip, layout, algorithm, threads
        As in ``conv``.

    Returns
    -------
    (dx, dw, db), shaped like x, w and (K,)
        None for what ``needs`` leaves out.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument.  All are checked before anything is written.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((2, 3, 8, 8)), np.ones((4, 3, 3, 3))
    >>> dx, dw, db = convpp.conv_backward(np.ones((2, 4, 6, 6)), x, w, needs=("x", "bias"))
    >>> dx.shape, dw, db
    ((2, 3, 8, 8), None, array([72., 72., 72., 72.]))
    """
    wanted = wanted_gradients(needs)
    dy, x, w = as_float(dy, "dy"), as_float(x, "x"), as_float(w, "w")
    geometry: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": padding_mode,
        "flip": flip,
        "layout": layout,
    }
    per_sample = flag(per_sample, "per_sample")
    each = per_sample and w.ndim > x.ndim  # filters for each sample: bias is shared
    key = geometry_key(**geometry, per_sample=each)
    planned = plan_conv(
        "input_grad", common_dtype(dy.dtype, w.dtype).name, check_algorithm(algorithm), x.shape, w.shape, *key
    )
    if dy.shape != planned.y_shape:
        raise wrong_dy(dy, planned)
    batch, k = planned.geometry.batch, planned.geometry.out_channels
    how: dict[str, Any] = {**geometry, "algorithm": algorithm, "threads": threads}
    passes = (conv_input_grad, conv_weight_grad)
    return _all_gradients(passes, wanted, out, accumulate, (dy, x, w), (batch, k), each, per_sample, how)


def conv_transpose_backward(
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    output_size: Iterable[int] | None = None,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    needs: Iterable[str] = NEEDS,
    algorithm: str = "auto",
    out: Sequence[Array | None] | None = None,
    accumulate: bool = False,
    threads: int | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """All gradients of ``conv_transpose`` at once: (dx, dw, db).

    Those of ``conv_transpose_input_grad``, ``conv_transpose_weight_grad`` and ``conv_bias_grad``, where the equations
    are.

    Parameters
    ----------
    dy : (N, C_out, \\*out)
    x : (N, C_in, \\*spatial)
    w : (C_in, C_out/groups, \\*kernel)
    per_sample : bool
        True with w of shape (N, C_in, C_out/groups, \\*kernel): filters for each sample, as in ``conv_transpose``.
        True with w of shape (C_in, C_out/groups, \\*kernel): dw and db are not summed over the samples, but have a
        leading N axis.
    needs : any of "x", "w", "bias"
        What is left out comes back as None and costs nothing.
    out : (dx, dw, db), optional
        Arrays to write into, each as in the function for that gradient, or None for a new one.
    accumulate : bool
        True adds to the arrays of ``out``.
    stride, padding, output_padding, output_size, dilation, groups, padding_mode, flip, layout, algorithm, threads
        As in ``conv_transpose``.

    Returns
    -------
    (dx, dw, db), shaped like x, w and (C_out,)
        None for what ``needs`` leaves out.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> dy, x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2))
    >>> dx, dw, db = convpp.conv_transpose_backward(dy, x, w, needs=("bias",))
    >>> dx, dw, db
    (None, None, array([9.]))
    """
    wanted = wanted_gradients(needs)
    dy, x, w = as_float(dy, "dy"), as_float(x, "x"), as_float(w, "w")
    geometry: dict[str, Any] = {
        "stride": stride,
        "padding": padding,
        "output_padding": output_padding,
        "output_size": output_size,
        "dilation": dilation,
        "groups": groups,
        "padding_mode": padding_mode,
        "flip": flip,
        "layout": layout,
    }
    per_sample = flag(per_sample, "per_sample")
    each = per_sample and w.ndim > x.ndim  # filters for each sample: bias is shared
    key = transpose_key(**geometry, per_sample=each)
    planned = plan_transpose("forward", common_dtype(dy.dtype, w.dtype).name, algorithm, x.shape, w.shape, key)
    if dy.shape != planned.x_shape:
        raise wrong_transposed_dy(dy, planned)
    batch, k = planned.geometry.batch, planned.geometry.in_channels
    how: dict[str, Any] = {**geometry, "algorithm": algorithm, "threads": threads}
    passes = (conv_transpose_input_grad, conv_transpose_weight_grad)
    return _all_gradients(passes, wanted, out, accumulate, (dy, x, w), (batch, k), each, per_sample, how)


#: (shape, operands that decide the dtype, function of ``out`` and ``accumulate``) of one gradient.
Gradient = tuple[tuple[int, ...], tuple[Array, ...], Callable[..., Array]]


def _all_gradients(
    passes: tuple[Callable[..., Array], Callable[..., Array]],
    wanted: tuple[Any, ...],
    out: Any,
    accumulate: Any,
    arrays: tuple[Array, Array, Array],
    samples_and_channels: tuple[int | None, int],
    each: bool,
    per_sample: bool,
    how: dict[str, Any],
) -> tuple[Array | None, Array | None, Array | None]:
    """What both functions do with checked arrays: ``passes`` are the input and the weight gradient."""
    input_grad, weight_grad = passes
    dy, x, w = arrays
    batch, channels = samples_and_channels
    apart = per_sample and not each  # dw and db are not summed over the samples
    gradients: dict[str, Gradient] = {
        "x": (x.shape, (dy, w), partial(input_grad, dy, w, x.shape, **how, per_sample=each)),
        "w": (
            with_samples(w.shape, batch, apart),
            (dy, x),
            partial(weight_grad, dy, x, w.shape, **how, per_sample=per_sample),
        ),
        "bias": (
            with_samples((channels,), batch, apart),
            (dy,),
            bias_gradient(dy, how["layout"], batch, apart, how["threads"]),
        ),
    }
    return gradients_of(wanted, out, accumulate, arrays, gradients)


def gradients_of(
    wanted: tuple[Any, ...], out: Any, accumulate: bool, inputs: tuple[Array, ...], gradients: dict[str, Gradient]
) -> tuple[Array | None, Array | None, Array | None]:
    """Several gradients: all arrays of ``out`` are checked first; those that overlap an input are written last."""
    accumulate = flag(accumulate, "accumulate")
    if out is None and accumulate:
        raise ValueError("out is None, expected arrays to add to: accumulate is True")
    given = dict.fromkeys(NEEDS) if out is None else _given(out)
    for name, array in given.items():
        if array is not None:
            if name not in wanted:
                raise ValueError(f"out has an array for {name!r}, expected None there: needs is {wanted}")
            shape, operands, _ = gradients[name]
            check_out(array, shape, common_dtype(*(a.dtype for a in operands)).name, f"out[{NEEDS.index(name)}]")
    results: dict[str, Array | None] = dict.fromkeys(NEEDS)
    last: list[tuple[Array, Array]] = []
    for name in NEEDS:
        if name not in wanted:
            continue
        array, compute = given[name], gradients[name][2]
        if array is None:
            results[name] = compute()
            continue
        results[name] = array
        others = (*inputs, *(a for other, a in given.items() if a is not None and other != name))
        if any(np.may_share_memory(array, other) for other in others):
            last.append((array, compute()))
        else:
            compute(out=array, accumulate=accumulate)
    for array, values in last:
        if accumulate:
            array += values
        else:
            array[...] = values
    return results["x"], results["w"], results["bias"]


def _given(out: Any) -> dict[str, Any]:
    if not isinstance(out, Sequence) or len(out) != len(NEEDS):
        raise ValueError(f"out is a {type(out).__name__}, expected (dx, dw, db), each an array or None")
    return dict(zip(NEEDS, out, strict=True))


def with_samples(expected: tuple[int, ...], batch: int | None, per_sample: bool) -> tuple[int, ...]:
    """The shape of a gradient, with the N axis in front of it if it is one for each sample."""
    if not per_sample:
        return expected
    if batch is None:
        raise ShapeError("x has no N axis, expected one: per_sample is True")
    return (batch, *expected)


def bias_gradient(
    dy: Array, layout: Layout, batch: int | None, per_sample: bool, threads: int | None
) -> Callable[..., Array]:
    """``conv_bias_grad`` of this dy, to be called with ``out`` and ``accumulate``."""
    how: dict[str, Any] = {"layout": layout, "batched": batch is not None, "per_sample": per_sample}
    return partial(conv_bias_grad, dy, **how, threads=threads)


def wanted_gradients(needs: Any) -> tuple[Any, ...]:
    """``needs`` as names that are known."""
    wanted = tuple(needs) if isinstance(needs, Iterable) and not isinstance(needs, str) else (needs,)
    for name in wanted:
        if name not in NEEDS:
            raise ValueError(f"needs is {needs!r}, expected any of {', '.join(NEEDS)}")
    return wanted
