"""ONNX's operators on convpp: classes for ``onnx.reference.ReferenceEvaluator(model, new_ops=convpp.onnx.ops)``.

In: models as they are.   Out: what ``Conv``, ``ConvTranspose``, ``ConvInteger``, ``QLinearConv``, ``MaxPool``,
``AveragePool`` and, where the installed onnx knows it, ``CausalConvWithState`` are defined to give.
Next: ``conventions/``, which translates attributes; ``prepared.py``.

Weights that are initializers are prepared once for each shape of x: see ``_Kept``.  onnx is imported here, and nowhere
else in the package: ``pip install onnx``.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

try:
    from onnx.defs import has as has_operator
    from onnx.reference.op_run import OpRun
except ImportError as _error:
    raise ImportError("convpp.onnx needs onnx: pip install onnx") from _error

from convpp._call.arguments import Shape, choice
from convpp._call.default_algorithm import default_algorithm
from convpp._call.geometry import _conv_pads as named_or_explicit_pads
from convpp._call.validation import FLOAT32, FLOAT64, HALVES, Array
from convpp.conventions.arguments import ceil_padding, onnx_padding, onnx_transpose_padding
from convpp.errors import DTypeError, ShapeError
from convpp.forward import conv
from convpp.pooling import avg_pool, max_pool
from convpp.prepared import PreparedWeights, prepare_weights
from convpp.transposed import conv_transpose

__all__ = ["ops"]

#: Shapes of x for which a node keeps prepared weights; of others the oldest is forgotten.
SHAPES_KEPT = 4
#: Whole numbers up to here, and sums of them, are exact in float32.
EXACT = 2**24

Ints = Sequence[int]


class _Kept:
    """What was made of weights, for as long as they stay what they are.

    A node is not told which of its inputs are initializers.  But an initializer is the same array in each run, and
    mostly one that cannot change: a view of the model's bytes.  Any other array (one that was given as numbers, or that
    a caller feeds again and again) is taken for one when it comes again, and is held to a copy each time.
    """

    def __init__(self) -> None:
        #: The arrays; their bits, once they have come again or if they cannot change; what was made of them.
        self._state: tuple[tuple[Any, ...], list[bytes | None] | None, dict[Hashable, Any]] = (), None, {}

    def recall(self, arrays: tuple[Array, ...], key: Hashable, make: Callable[[], Any]) -> Any:
        """What ``make`` gave for the same arrays and key; None if they must be expected to change."""
        if not all(isinstance(a, np.ndarray) for a in arrays):
            return None
        known, held, made = self._state  # replaced as a whole: several threads may run a model
        again = len(known) == len(arrays) and all(r() is a for r, a in zip(known, arrays, strict=True))
        bits = [_bits(a) for a in arrays] if again or all(map(_cannot_change, arrays)) else None
        if not again or bits != held:
            made = {}
            self._state = tuple(weakref.ref(a) for a in arrays), bits, made
        if bits is None:
            return None
        if (found := made.get(key)) is None:
            found = made[key] = make()
            for oldest in list(made)[:-SHAPES_KEPT]:
                made.pop(oldest, None)
        return found


def _bits(array: Array) -> bytes | None:
    """A copy of an array that may change."""
    return None if _cannot_change(array) else array.tobytes()


def _cannot_change(array: Any) -> bool:
    """Whether it is a view of bytes."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return False
        array = array.base
    return isinstance(array, bytes)


class _Node(OpRun):
    """A node of the default domain, with the weights that it keeps."""

    op_domain = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._kept = _Kept()


def _geometry(
    x: Array,
    w: Array,
    *,
    auto_pad: str | None = None,
    dilations: Ints | None = None,
    group: int | None = None,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> dict[str, Any]:
    """The attributes of a convolution as arguments of ``conv``."""
    if x.ndim < 3 or x.ndim != w.ndim:
        raise ShapeError(f"X has shape {x.shape} and W {w.shape}, expected (N, C, *spatial) and as many axes of both")
    if kernel_shape and tuple(kernel_shape) != w.shape[2:]:
        raise ShapeError(f"kernel_shape is {tuple(kernel_shape)}, expected that of W, whose shape is {w.shape}")
    return {
        "stride": tuple(strides or (1,)),
        "padding": _padding(auto_pad, pads),
        "dilation": tuple(dilations or (1,)),
        "groups": 1 if group is None else group,
    }


def _padding(auto_pad: str | None, pads: Ints | None) -> Any:
    """(Zeros beside an ``auto_pad`` are harmless, and written by some exporters.)"""
    return onnx_padding(pads if pads and (any(pads) or auto_pad == "NOTSET") else None, auto_pad or "NOTSET")


class Conv(_Node):
    """``conv``."""

    def _run(self, X: Array, W: Array, B: Array | None = None, **attributes: Any) -> tuple[Array, ...]:
        how = _geometry(X, W, **attributes)
        return (_conv(self._kept, X, W, B, how).astype(X.dtype, copy=False),)


def _conv(kept: _Kept, x: Array, w: Array, bias: Array | None, how: dict[str, Any], **more: Any) -> Array:
    """``conv``, with weights that are prepared where they stay the same."""
    weights: Array | PreparedWeights = w
    if x.dtype == w.dtype and (bias is None or bias.dtype == w.dtype):
        key = (x.shape, default_algorithm(), *how.values())
        weights = kept.recall((w,), key, lambda: prepare_weights(w, x.shape, **how)) or w
    y: Array = conv(x, weights, bias, **({} if isinstance(weights, PreparedWeights) else how), **more)
    return y


class ConvTranspose(_Node):
    """``conv_transpose``."""

    def _run(
        self,
        X: Array,
        W: Array,
        B: Array | None = None,
        output_padding: Ints | None = None,
        output_shape: Ints | None = None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        if output_shape:
            attributes["pads"] = None  # which are ignored
        how = _geometry(X, W, **attributes)
        extra = tuple(output_padding or (0,))
        if output_shape:
            how["padding"] = onnx_transpose_padding(
                output_shape, X.shape, W.shape, strides=how["stride"], dilations=how["dilation"], output_padding=extra,
                auto_pad=attributes.get("auto_pad") or "NOTSET",
            )  # fmt: skip
            extra = (0,)
        return (conv_transpose(X, W, B, output_padding=extra, **how).astype(X.dtype, copy=False),)


class ConvInteger(_Node):
    """``conv`` of whole numbers, exactly."""

    def _run(
        self,
        x: Array,
        w: Array,
        x_zero_point: Array | None = None,
        w_zero_point: Array | None = None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        how = _geometry(x, w, **attributes)
        return (_whole(self._kept, x, x_zero_point, w, w_zero_point, how).astype(np.int32),)


class QLinearConv(_Node):
    """``conv`` of quantized numbers: the sums are exact, and rounded once, to the nearest."""

    def _run(
        self,
        x: Array,
        x_scale: Array,
        x_zero_point: Array | None,
        w: Array,
        w_scale: Array,
        w_zero_point: Array | None,
        y_scale: Array,
        y_zero_point: Array | None = None,
        B: Array | None = None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        how = _geometry(x, w, **attributes)
        sums = _whole(self._kept, x, x_zero_point, w, w_zero_point, how)
        behind = (1,) * (w.ndim - 2)
        if B is not None:
            sums += B.astype(np.int64).reshape(-1, *behind)
        scale = x_scale * _of_filters(w_scale, w, "w_scale").reshape(-1, *behind) / y_scale
        kind = x.dtype if y_zero_point is None else y_zero_point.dtype
        limits = np.iinfo(kind)
        # Rounded before the zero point is added, as QuantizeLinear does: a half goes to the even multiple.
        y = np.rint(sums * scale.astype(np.float64)) + _zero(y_zero_point, "y_zero_point")
        return (np.clip(y, limits.min, limits.max).astype(kind),)


def _whole(kept: _Kept, x: Array, x_zero: Array | None, w: Array, w_zero: Array | None, how: dict[str, Any]) -> Array:
    """``conv(x - x_zero, w - w_zero)`` in int64: float32 serves where its sums are exact, and float64 where not."""
    zero = _zero(x_zero, "x_zero_point")
    for array, name in ((x, "x"), (w, "w")):
        if array.dtype not in (np.int8, np.uint8):
            raise DTypeError(f"{name} has dtype {array.dtype}, expected int8 or uint8")

    def weights() -> Array:
        shifted = w.astype(FLOAT64)
        if w_zero is not None:
            shifted -= _of_filters(w_zero, w, "w_zero_point").astype(FLOAT64).reshape(-1, *(1,) * (w.ndim - 1))
        limits = np.iinfo(x.dtype)
        largest = max(abs(limits.min - zero), abs(limits.max - zero))
        most = np.abs(shifted).sum(tuple(range(1, w.ndim))).max(initial=0)
        return shifted.astype(FLOAT32 if most * largest <= EXACT else FLOAT64)

    key = (x.shape, x.dtype, zero, *how.values())
    sources = (w,) if w_zero is None else (w, w_zero)
    options = how | {"algorithm": "direct"}  # transforms round
    prepared = kept.recall(sources, key, lambda: prepare_weights(weights(), x.shape, **options))
    given = weights() if prepared is None else prepared
    shifted = x.astype(given.dtype)
    if zero:
        shifted -= zero
    sums: Array = conv(shifted, given, **(options if prepared is None else {}))
    return sums.astype(np.int64)


def _zero(zero_point: Array | None, name: str) -> int:
    """The zero point of a whole tensor."""
    if zero_point is None:
        return 0
    if np.size(zero_point) != 1:
        raise ShapeError(f"{name} has shape {np.shape(zero_point)}, expected a scalar")
    return int(np.reshape(zero_point, ()))


def _of_filters(value: Array, w: Array, name: str) -> Array:
    """A number for all filters, or one for each."""
    if np.size(value) != 1 and np.shape(value) != w.shape[:1]:
        raise ShapeError(
            f"{name} has shape {np.shape(value)}, expected a scalar or ({w.shape[0]},), one for each filter"
        )
    return np.reshape(value, -1)


class CausalConvWithState(_Node):
    """``conv`` of each channel with its own kernel, which goes on where the last call ended."""

    def _run(
        self,
        input: Array,
        weight: Array,
        bias: Array | None = None,
        past_state: Array | None = None,
        activation: str | None = None,
    ) -> tuple[Array, ...]:
        name = choice(activation or "none", "activation", ("none", "silu", "swish"))
        if input.ndim != 3 or weight.ndim != 3 or weight.shape[1] != 1:
            raise ShapeError(
                f"input has shape {input.shape} and weight {weight.shape}, expected (N, C, length) and (C, 1, k)"
            )
        before: Shape = (*input.shape[:2], weight.shape[2] - 1)
        state = np.zeros(before, input.dtype) if past_state is None else past_state
        if state.shape != before:
            raise ShapeError(f"past_state has shape {state.shape}, expected {before}: (N, C, k - 1)")
        whole = np.concatenate([state, input], axis=2) if before[2] else input
        how = {"groups": input.shape[1]}
        y = _conv(self._kept, whole, weight, bias, how, activation=None if name == "none" else "silu")
        return y.astype(input.dtype, copy=False), whole[:, :, whole.shape[2] - before[2] :].copy()


class MaxPool(_Node):
    """``max_pool``, and where in the whole of X the elements of Y lie."""

    def _run(self, x: Array, storage_order: int | None = None, **attributes: Any) -> tuple[Array, ...]:
        how, inside = _pooling(x, **attributes)
        values = x.astype(FLOAT32) if x.dtype in (np.int8, np.uint8) else x  # exactly
        before = [0] * (x.ndim - 2)
        if not inside:
            ends = _as_padding(x, how)
            before = [lo for lo, _ in ends]
            values = np.pad(values, [(0, 0), (0, 0), *ends], constant_values=-np.inf)
            how |= {"padding": 0, "ceil_mode": False}
        if len(self.output) < 2 or not self.output[1]:
            return (max_pool(values, **how).astype(x.dtype, copy=False),)
        y, places = max_pool(values, **how, return_indices=True)
        return y.astype(x.dtype, copy=False), _in_the_whole(places, x.shape, values.shape, before, storage_order)


def _in_the_whole(places: Array, shape: Shape, padded: Shape, before: list[int], storage_order: int | None) -> Array:
    """Places in padded planes as places in all of X; -1 where there is none."""
    spatial = shape[2:]
    at = [p - lo for p, lo in zip(np.unravel_index(np.maximum(places, 0), padded[2:]), before, strict=True)]
    there = places >= 0
    for p, extent in zip(at, spatial, strict=True):
        there &= (p >= 0) & (p < extent)
    order: Any = "F" if storage_order else "C"
    in_plane = np.ravel_multi_index(tuple(at), spatial, mode="clip", order=order)
    planes = np.arange(math.prod(shape[:2])).reshape(*shape[:2], *(1,) * len(spatial)) * math.prod(spatial)
    return np.where(there, planes + in_plane, -1)


class AveragePool(_Node):
    """``avg_pool``; with dilations, a convolution."""

    def _run(self, x: Array, count_include_pad: int | None = None, **attributes: Any) -> tuple[Array, ...]:
        how, inside = _pooling(x, **attributes)
        include = bool(count_include_pad)
        if inside and set(how["dilation"]) == {1}:
            del how["dilation"]
            return (avg_pool(x, **how, count_include_pad=include),)
        own, ends = how["padding"], _as_padding(x, how)  # what counts as padding, and with what ceil_mode adds
        steps = {"stride": how["stride"], "dilation": how["dilation"], "algorithm": "direct"}
        channels, kernel = x.shape[1], how["kernel_size"]
        values = x.astype(FLOAT32) if x.dtype.name in HALVES else x
        sums = conv(values, np.ones((channels, 1, *kernel), values.dtype), padding=ends, groups=channels, **steps)
        plane = np.ones(x.shape[2:])
        if include:
            plane = np.pad(plane, own, constant_values=1.0)
            ends = tuple((lo - a, hi - b) for (lo, hi), (a, b) in zip(ends, own, strict=True))
        counts = conv(plane[None], np.ones((1, 1, *kernel)), padding=ends, **steps)[0]
        with np.errstate(invalid="ignore"):  # nothing divided by nothing
            return ((sums / counts.astype(sums.dtype)).astype(x.dtype, copy=False),)


def _pooling(
    x: Array,
    *,
    kernel_shape: Ints,
    auto_pad: str | None = None,
    ceil_mode: int | None = None,
    dilations: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> tuple[dict[str, Any], bool]:
    """The attributes as arguments of ``max_pool``, and whether its padding may be so wide."""
    kernel = tuple(kernel_shape)
    if x.ndim != len(kernel) + 2:
        raise ShapeError(f"X has shape {x.shape}, expected (N, C, *spatial) with an axis for each of {kernel}")
    ones = (1,) * len(kernel)
    stride, dilation = tuple(strides or ones), tuple(dilations or ones)
    padding = named_or_explicit_pads(_padding(auto_pad, pads), x.shape[2:], kernel, stride, dilation)
    named = auto_pad not in (None, "", "NOTSET")  # whose extents are those of convolutions, rounded by themselves
    how = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation}
    inside = all(max(pair) <= k // 2 for pair, k in zip(padding, kernel, strict=True))
    return how | {"ceil_mode": bool(ceil_mode) and not named}, inside


def _as_padding(x: Array, how: dict[str, Any]) -> tuple[tuple[int, int], ...]:
    """All that lies beside x, with what ``ceil_mode`` adds."""
    rest = {name: how[name] for name in ("stride", "padding", "dilation")}
    return ceil_padding(x.shape[2:], how["kernel_size"], **rest) if how["ceil_mode"] else how["padding"]


#: For ``ReferenceEvaluator(model, new_ops=ops)``.
ops: list[type[OpRun]] = [Conv, ConvTranspose, ConvInteger, QLinearConv, MaxPool, AveragePool]
if has_operator("CausalConvWithState"):
    ops.append(CausalConvWithState)
