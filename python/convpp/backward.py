"""All gradients of a convolution, or of a transposed one, in one call.

In: dy, x, w, the geometry, which gradients are wanted, and arrays for them.   Out: (dx, dw, db).
Next: ``functional.py`` and ``transposed.py``, which say what each gradient is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Layout, Padding, PaddingMode, PerAxis, entries, flag, shown
from convpp._call.geometry import geometry_of, wrong_dy
from convpp._call.options import Options, conv_options, transpose_options
from convpp._call.run import Passes
from convpp._call.validation import Array, as_float, check_out, common_dtype
from convpp.errors import ShapeError
from convpp.functional import CONV, conv_bias_grad
from convpp.transposed import TRANSPOSE

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
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    return _backward(CONV, options, (dy, x, w), needs, out, accumulate, threads)


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
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    options = transpose_options(shared, output_padding, output_size)
    return _backward(TRANSPOSE, options, (dy, x, w), needs, out, accumulate, threads)


#: (shape, operands that decide the dtype, function of ``out`` and ``accumulate``) of one gradient.
Gradient = tuple[tuple[int, ...], tuple[Array, ...], Callable[..., Array]]


def _backward(
    passes: Passes,
    options: Options,
    given: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    needs: Any,
    out: Any,
    accumulate: Any,
    threads: int | None,
) -> tuple[Array | None, Array | None, Array | None]:
    """What both functions do; ``given`` is dy, x and w."""
    wanted = wanted_of(needs)
    dy, x, w = (as_float(array, name) for array, name in zip(given, ("dy", "x", "w"), strict=True))
    own_filters = options.conv.per_sample and w.ndim > x.ndim  # filters for each sample; the bias is shared
    geometry = geometry_of(x.shape, w.shape, options.with_per_sample(own_filters))
    if dy.shape != geometry.result_shape:
        raise wrong_dy(dy.shape, geometry.result_shape, x.shape, w.shape, geometry.options)
    batched = geometry.batch is not None
    apart = options.conv.per_sample and not own_filters  # dw and db are not summed over the samples
    if apart and not batched:
        raise ShapeError("x has no N axis, expected one: per_sample is True")
    samples = x.shape[:1] if apart else ()
    how = options.keywords() | {"threads": threads}
    bias_grad = partial(conv_bias_grad, dy, layout=how["layout"], batched=batched, per_sample=apart, threads=threads)
    gradients: dict[str, Gradient] = {
        "x": (x.shape, (dy, w), partial(passes.input_grad, dy, w, x.shape, **how | {"per_sample": own_filters})),
        "w": ((*samples, *w.shape), (dy, x), partial(passes.weight_grad, dy, x, w.shape, **how)),
        "bias": ((*samples, geometry.result_channels), (dy,), bias_grad),
    }
    return _gradients(wanted, out, accumulate, (dy, x, w), gradients)


def _gradients(
    wanted: tuple[Any, ...], out: Any, accumulate: bool, inputs: tuple[Array, ...], gradients: dict[str, Gradient]
) -> tuple[Array | None, Array | None, Array | None]:
    """Several gradients: all arrays of ``out`` are checked first; those that overlap an input are written last."""
    accumulate = flag(accumulate, "accumulate")
    if out is None and accumulate:
        raise ValueError("out is None, expected arrays to add to: accumulate is True")
    if out is None:
        out = (None, None, None)
    if not isinstance(out, Sequence) or len(out) != len(NEEDS):
        raise ValueError(f"out is a {type(out).__name__}, expected (dx, dw, db), each an array or None")
    given: dict[str, Any] = dict(zip(NEEDS, out, strict=True))
    for name, array in given.items():
        if array is not None:
            if name not in wanted:
                raise ValueError(f"out has an array for {name!r}, expected None there: needs is {wanted}")
            shape, operands, _ = gradients[name]
            check_out(array, shape, common_dtype(*(a.dtype for a in operands)), f"out[{NEEDS.index(name)}]")
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


def wanted_of(needs: Any) -> tuple[str, ...]:
    """``needs`` as names that are known."""
    listed = entries(needs, "needs")
    wanted = (needs,) if listed is None else listed
    for name in wanted:
        if not isinstance(name, str) or name not in NEEDS:
            from convpp._call.guesses import words

            meant = words.of_name(name, "needs", NEEDS)
            raise ValueError(f"needs is {shown(needs)}, expected any of {', '.join(NEEDS)}{meant}")
    return wanted
