"""Arguments: what users write becomes tuples of ints, or an error that names the argument.

In: ``stride=2``, ``padding=((0, 1), (2, 2))``, ``x_shape=[8, 3, 20, 20]`` ...
Out: an int or a tuple of ints (both hashable, so that a geometry can be recognised).
Next: ``options.py``, which makes one value of them.
"""

from __future__ import annotations

import itertools
import math
import operator
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, Literal, SupportsIndex, TypeVar

from convpp.errors import ShapeError

#: One number for all spatial axes, or one for each.
PerAxis = SupportsIndex | Sequence[SupportsIndex]
PaddingName = Literal["valid", "same", "same_lower", "full", "causal"]
#: A number, one for each axis, a (lo, hi) pair for each axis, or a name.
Padding = PaddingName | SupportsIndex | Sequence[SupportsIndex] | Sequence[Sequence[SupportsIndex]]
Layout = Literal["channels_first", "channels_last"]
PaddingModeName = Literal["zeros", "reflect", "replicate", "circular", "symmetric"]
#: A name, or one for each axis.
PaddingMode = PaddingModeName | Sequence[PaddingModeName]
Algorithm = Literal["auto", "direct", "winograd", "fft", "reference", "stream"]
Shape = tuple[int, ...]
ActivationName = Literal["relu", "leaky_relu", "silu", "gelu"]
#: A name, or a name with its numbers: the slope; lo and hi.
Activation = ActivationName | tuple[Literal["leaky_relu"], float] | tuple[Literal["clip"], float, float]
#: What the normalised forms look like: hashable, ints only.
Ints = int | Shape
Modes = PaddingModeName | tuple[PaddingModeName, ...]
Pads = PaddingName | int | tuple[int, ...] | tuple[tuple[int, int], ...]

#: The same names for those who ask at run time.
PADDINGS: tuple[PaddingName, ...] = ("valid", "same", "same_lower", "full", "causal")
PADDING_MODES: tuple[PaddingModeName, ...] = ("zeros", "reflect", "replicate", "circular", "symmetric")
LAYOUTS: tuple[Layout, ...] = ("channels_first", "channels_last")
ALGORITHMS: tuple[Algorithm, ...] = ("auto", "direct", "winograd", "fft", "reference", "stream")
ACTIVATIONS: tuple[ActivationName, ...] = ("relu", "leaky_relu", "silu", "gelu")
LEAKY_SLOPE = 0.01
#: As many axes as an array may have: nothing that is given for each axis is longer.
MOST_ENTRIES = 64

Name = TypeVar("Name", bound=str)

_REPR = reprlib.Repr()
_REPR.maxlist = _REPR.maxtuple = 2 * MOST_ENTRIES
_REPR.maxstring = _REPR.maxother = 300


def shown(value: Any) -> str:
    """``repr`` in a message: of what is long a part, and of what has none its type."""
    try:
        return _REPR.repr(value)
    except Exception:  # Whatever a user's class does, and integers of more digits than Python shows
        return f"of type {type(value).__name__}, which cannot be shown"


def attribute(value: Any, name: str) -> Any:
    """What an object says of itself; None where it has no such attribute, or fails to tell."""
    try:
        return getattr(value, name, None)
    except Exception:  # whatever a user's class does
        return None


def entries(value: Any, argument: str) -> tuple[Any, ...] | None:
    """What ``value`` lists; None if it is a single thing: a number, a name, an array or a tensor without axes."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        return None
    if isinstance(ndim := attribute(value, "ndim"), int) and ndim == 0:
        return None
    try:
        listed = tuple(itertools.islice(value, MOST_ENTRIES + 1))
    except Exception as error:
        raise ValueError(f"{argument} is {shown(value)}, expected integers: they cannot be read ({error})") from error
    if len(listed) > MOST_ENTRIES:
        raise ValueError(f"{argument} has more than {MOST_ENTRIES} entries, expected at most one for each axis")
    return listed


def as_int(value: Any, argument: str) -> int:
    """``value`` as an int; bools, floats and strings are refused."""
    if type(value) is int:
        return check_bits(value, argument)
    try:
        integer = None if is_bool(value) else operator.index(value)
    except Exception:  # TypeError, or whatever an array of another library raises
        integer = None
    if integer is None:
        from convpp._call.guesses import words

        raise ValueError(f"{argument} is {shown(value)}, expected an integer{words.of_integer(value, argument)}")
    return check_bits(integer, argument)


def is_bool(value: Any) -> bool:
    """Whether it is True or False, or an array of them, of NumPy or another library."""
    return isinstance(value, bool) or str(attribute(value, "dtype")).endswith("bool")


def check_bits(value: int, argument: str) -> int:
    """An int that is not too long to be shown in a message; whoever uses it says what is too large."""
    if value.bit_length() > 128:
        raise ShapeError(f"{argument} has an integer of {value.bit_length()} bits, expected at most 2**60")
    return value


def per_axis(value: Any, argument: str) -> Ints:
    """An int, or a tuple of ints."""
    listed = entries(value, argument)
    return as_int(value, argument) if listed is None else tuple(as_int(v, argument) for v in listed)


def pads(value: Any) -> Pads:
    """A name, an int, a tuple of ints or a tuple of pairs."""
    if isinstance(value, str):
        if value not in PADDINGS:
            from convpp._call.guesses import words

            meant = words.of_padding(value, PADDINGS)
            raise ValueError(f"padding is {shown(value)}, expected an integer or one of {', '.join(PADDINGS)}{meant}")
        return PADDINGS[PADDINGS.index(value)]
    listed = entries(value, "padding")
    if listed is None:
        return as_int(value, "padding")
    pairs = [entries(entry, "padding") for entry in listed]
    if all(pair is None for pair in pairs):
        return tuple(as_int(entry, "padding") for entry in listed)
    if any(pair is None or len(pair) != 2 for pair in pairs):
        raise ValueError(f"padding is {shown(value)}, expected a (lo, hi) pair for each axis")
    return tuple((as_int(pair[0], "padding"), as_int(pair[1], "padding")) for pair in pairs if pair is not None)


def shape(value: Any, argument: str) -> Shape:
    """A tuple of extents."""
    if type(value) is tuple and set(map(type, value)) == {int}:  # faster than all(...)
        return value
    if isinstance(ndim := attribute(value, "ndim"), int) and ndim > 1:  # whose elements would be a long message
        given = shown(attribute(value, "shape"))
        meant = f": did you mean {argument.removesuffix('_shape')}.shape?" if argument.endswith("_shape") else ""
        raise ValueError(f"{argument} is an array of shape {given}, expected a shape (a tuple of integers){meant}")
    listed = entries(value, argument)
    if listed is None:
        raise ValueError(f"{argument} is {shown(value)}, expected a shape (a tuple of integers)")
    return tuple(as_int(v, argument) for v in listed)


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
    from convpp._call.guesses import words

    raise ValueError(f"{argument} is {shown(value)}, expected True or False{words.of_flag(value, argument)}")


def choice(value: Any, argument: str, choices: tuple[Name, ...]) -> Name:
    """One of some names."""
    if isinstance(value, str) and value in choices:
        return choices[choices.index(value)]
    from convpp._call.guesses import words

    meant = words.of_name(value, argument, choices)
    raise ValueError(f"{argument} is {shown(value)}, expected one of {', '.join(choices)}{meant}")


def padding_modes(value: Any) -> Modes:
    """A name, or a tuple of names."""
    listed = entries(value, "padding_mode")
    if listed is None:
        return choice(value, "padding_mode", PADDING_MODES)
    return tuple(choice(v, "padding_mode", PADDING_MODES) for v in listed)


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
        except Exception:  # an int that is too large, a tensor that lies elsewhere ...
            values = [math.nan]
        if not isinstance(kind, str):  # an array would be compared element by element
            kind = ""
        if kind == "leaky_relu" and len(values) == 1 and math.isfinite(values[0]):
            return ("leaky_relu", values[0], 0.0)
        if kind == "clip" and len(values) == 2:
            if values[0] <= values[1]:
                return ("clip", values[0], values[1])
            raise ValueError(f"activation is {shown(activation)}, expected ('clip', lo, hi) with lo <= hi")
    from convpp._call.guesses import words

    names = ", ".join(map(repr, ACTIVATIONS))
    raise ValueError(
        f'activation is {shown(activation)}, expected None, {names}, ("leaky_relu", slope) or ("clip", lo, hi)'
        f"{words.of_activation(activation, ACTIVATIONS)}"
    )


def check_shape(actual: Shape, expected: Shape, argument: str, meaning: str) -> None:
    """The shape of an array whose shape follows from the others."""
    if actual != expected:
        from convpp._call.guesses import shapes

        meant = shapes.of_result(actual, expected, argument)
        raise ShapeError(f"{argument} has shape {actual}, expected {expected} ({meaning}){meant}")
