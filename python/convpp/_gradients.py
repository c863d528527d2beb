"""Several gradients in one call: what ``conv_backward`` and ``conv_transpose_backward`` do.

In: dy, x, w, options, which gradients are wanted, and arrays for them.   Out: (dx, dw, db) with None for others.
Next: ``backward.py``, which says what this is; ``functional.py`` and ``transposed.py``, whose gradients these are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import entries, flag, shown
from convpp._call.geometry import geometry_of, wrong_dy
from convpp._call.options import Options
from convpp._call.run import Passes
from convpp._call.validation import Array, as_float, check_out, common_dtype
from convpp.errors import ShapeError
from convpp.functional import conv_bias_grad

NEEDS: tuple[Literal["x"], Literal["w"], Literal["bias"]] = ("x", "w", "bias")

#: (shape, operands that decide the dtype, function of ``out`` and ``accumulate``) of one gradient.
Gradient = tuple[tuple[int, ...], tuple[Array, ...], Callable[..., Array]]


def backward(
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
