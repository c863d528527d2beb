"""Arguments: what users write becomes tuples of ints, or an error that names the argument.

In: ``stride=2``, ``padding=((0, 1), (2, 2))``, ``x_shape=[8, 3, 20, 20]`` ...
Out: an int or a tuple of ints (both hashable, so that a geometry can be recognised).
Next: ``options.py``, which makes one value of them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any, Literal, SupportsIndex

from convpp.errors import ShapeError

#: One number for all spatial axes, or one for each.
PerAxis = SupportsIndex | Sequence[SupportsIndex]
#: A number, one for each axis, a (lo, hi) pair for each axis, or a name.
Padding = str | SupportsIndex | Sequence[SupportsIndex] | Sequence[Sequence[SupportsIndex]]
Layout = Literal["channels_first", "channels_last"]
#: A name of PADDING_MODES, or one for each axis.
PaddingMode = str | Sequence[str]
Shape = tuple[int, ...]
#: A name, or a name with its numbers: ("leaky_relu", slope), ("clip", lo, hi).
Activation = str | tuple[Any, ...]
#: What the normalised forms look like: hashable, ints only.
Ints = int | Shape
Modes = str | tuple[str, ...]
Pads = str | int | tuple[int, ...] | tuple[tuple[int, int], ...]

PADDINGS = ("valid", "same", "same_lower", "full", "causal")
PADDING_MODES = ("zeros", "reflect", "replicate", "circular", "symmetric")
LAYOUTS = ("channels_first", "channels_last")
ALGORITHMS = ("auto", "direct", "winograd", "reference")
ACTIVATIONS = ("relu", "leaky_relu", "silu", "gelu")
LEAKY_SLOPE = 0.01


def as_int(value: Any, argument: str) -> int:
    """``value`` as an int; bools, floats and strings are refused."""
    if type(value) is int:
        return value
    if not isinstance(value, bool):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise ValueError(f"{argument} is {value!r}, expected an integer")


def per_axis(value: Any, argument: str) -> Ints:
    """An int, or a tuple of ints."""
    if type(value) is int:
        return value
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return tuple(as_int(v, argument) for v in value)
    return as_int(value, argument)


def pads(value: Any) -> Pads:
    """A name, an int, a tuple of ints or a tuple of pairs."""
    if type(value) is int:
        return value
    if isinstance(value, str):
        if value not in PADDINGS:
            raise ValueError(f"padding is {value!r}, expected an integer or one of {', '.join(PADDINGS)}")
        return str(value)
    if not isinstance(value, Iterable) or isinstance(value, bytes):
        return as_int(value, "padding")
    entries = tuple(value)
    if not any(isinstance(e, Iterable) and not isinstance(e, str) for e in entries):
        return tuple(as_int(e, "padding") for e in entries)
    pairs = [tuple(e) if isinstance(e, Iterable) else (e,) for e in entries]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"padding is {value!r}, expected a (lo, hi) pair for each axis")
    return tuple((as_int(lo, "padding"), as_int(hi, "padding")) for lo, hi in pairs)


def shape(value: Any, argument: str) -> Shape:
    """A tuple of extents."""
    if type(value) is tuple and set(map(type, value)) == {int}:  # faster than all(...)
        return value
    if getattr(value, "ndim", 1) > 1:  # whose elements would be a long message
        raise ValueError(
            f"{argument} is an array of shape {tuple(value.shape)}, expected a shape (a tuple of integers)"
        )
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
        raise ValueError(f"{argument} is {value!r}, expected a shape (a tuple of integers)")
    return tuple(as_int(v, argument) for v in value)


def shape_of_weights(w_shape: Any, x_shape: Shape, per_sample: bool) -> Shape:
    """The shape of w, whose N may be left out where ``per_sample`` asks for weights for each sample."""
    given = shape(w_shape, "w_shape")
    return (*x_shape[:1], *given) if per_sample and len(given) == len(x_shape) else given


def flag(value: Any, argument: str) -> bool:
    """True or False, NumPy's included."""
    if value is True or value is False:
        return bool(value)
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value)
    raise ValueError(f"{argument} is {value!r}, expected True or False")


def choice(value: Any, argument: str, choices: tuple[str, ...]) -> str:
    """One of some names."""
    if isinstance(value, str) and value in choices:
        return str(value)
    raise ValueError(f"{argument} is {value!r}, expected one of {', '.join(choices)}")


def padding_modes(value: Any) -> Modes:
    """A name, or a tuple of names."""
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes)):
        return tuple(choice(v, "padding_mode", PADDING_MODES) for v in value)
    return choice(value, "padding_mode", PADDING_MODES)


def check_activation(activation: Any) -> tuple[str, float, float] | None:
    """The name and two numbers, as the core takes them; None is no activation."""
    if activation is None:
        return None
    if isinstance(activation, str) and activation in ACTIVATIONS:
        return (activation, LEAKY_SLOPE if activation == "leaky_relu" else 0.0, 0.0)
    if isinstance(activation, Sequence) and not isinstance(activation, str) and len(activation) in (2, 3):
        kind, *numbers = activation
        try:
            values = [float(number) for number in numbers]
        except (TypeError, ValueError):
            values = [math.nan]
        if kind == "leaky_relu" and len(values) == 1 and math.isfinite(values[0]):
            return ("leaky_relu", values[0], 0.0)
        if kind == "clip" and len(values) == 2:
            if values[0] <= values[1]:
                return ("clip", values[0], values[1])
            raise ValueError(f"activation is {activation!r}, expected ('clip', lo, hi) with lo <= hi")
    names = ", ".join(map(repr, ACTIVATIONS))
    raise ValueError(f'activation is {activation!r}, expected None, {names}, ("leaky_relu", slope) or ("clip", lo, hi)')


def check_shape(actual: Shape, expected: Shape, argument: str, meaning: str) -> None:
    """The shape of an array whose shape follows from the others."""
    if actual != expected:
        raise ShapeError(f"{argument} has shape {actual}, expected {expected} ({meaning})")


def wrong_dy(dy: Shape, y: Shape, x: Shape, w: Shape) -> ShapeError:
    """The error for a dy that is not shaped like the output."""
    return ShapeError(f"dy has shape {dy}, expected {y}: the output of x {x} with w {w}")
