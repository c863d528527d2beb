"""Shapes: the least changes of x, w and options that make them fit each other.

In: shapes and options that were refused, and the function that says what fits.   Out: "Did you mean x[:, None] ...?"

Habits of other libraries are listed, each with a cost (``_of_x``, ``_of_w``, ``_options_of``); one or two of them
together are tried, the cheapest first, and what does not fit is not said.  Next: ``../geometry.py``; ``plain.py``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from convpp._call.guesses.plain import looks_like_hwio, of_plain
from convpp._call.options import Options, TransposeOptions

Shape = tuple[int, ...]
#: Computes a geometry, or raises ValueError.
Fits = Callable[[Shape, Shape, Options], Any]

#: Changes that are told of, and as many as are made together.
_MOST_TOLD = 2
_MOST_CHANGES = 2
#: Of weights that still look as if their axes were in another order.
_DOUBTFUL = 4


class Change(NamedTuple):
    """One change: what it costs, the expression, and the shape that it makes, or the options it sets."""

    cost: int = 0
    words: str = ""
    shape: Shape = ()
    options: dict[str, Any] | None = None


class Guess(NamedTuple):
    """Some changes together."""

    cost: int
    x: Shape
    w: Shape
    options: Options
    words: str


def of_shapes(x: Shape, w: Shape, options: Options, fits: Fits) -> str:
    """What was probably meant, as a sentence."""
    longer = len(x) == len(w) > 2 and all(2 * n <= k for n, k in zip(x[2:], w[2:], strict=True))
    if longer and _legal(fits, Guess(0, w, x, options, "")):
        same = _with(options, {"padding": "same"})
        padded = 'padding="same", or ' if _legal(fits, Guess(0, x, w, same, "")) else ""
        return f". Did you mean {padded}w and x in each other's place?"
    told = of_plain(x, w)
    if told and "axes=" in told[0]:  # a picture, whose last axis is no part of the plane
        return f". Did you mean {told[0]}?"
    cheapest = None
    for guess in sorted(_guesses(x, w, options), key=lambda guess: guess.cost):
        if len(told) == _MOST_TOLD or (cheapest is not None and guess.cost > cheapest):
            break
        if guess.words not in told and _legal(fits, guess):
            cheapest = guess.cost
            told.append(guess.words)
    return f". Did you mean {', or '.join(told)}?" if told else ""


def _legal(fits: Fits, guess: Guess) -> bool:
    try:
        fits(guess.x, guess.w, guess.options)
    except ValueError:
        return False
    return True


def _guesses(x: Shape, w: Shape, options: Options) -> Iterator[Guess]:
    """All that might be meant."""
    for layout in _layouts(options):
        with_layout = _with(options, layout.options)
        for of_w in _of_w(w, x, with_layout):
            if of_w.shape != w and _square(w[2:]) and not _square(of_w.shape[2:]):
                continue
            with_w = _with(with_layout, of_w.options)
            rank = len(of_w.shape) - 2 - options.conv.per_sample
            for of_x in _of_x(x, rank, with_w.conv.channels_last):
                for more in _options_of(of_x.shape, of_w.shape, with_w):
                    changes = [change for change in (layout, of_x, of_w, more) if change.words]
                    if 0 < len(changes) <= _MOST_CHANGES and not (of_w.options and more.options):
                        cost = sum(change.cost for change in changes) + _DOUBTFUL * looks_like_hwio(of_w.shape)
                        words = " with ".join(_told(change) for change in changes)
                        yield Guess(cost, of_x.shape, of_w.shape, _with(with_w, more.options), words)


def _told(change: Change) -> str:
    if not change.shape:
        return change.words
    array, *options = change.words.split(" with ")
    return " with ".join([f"{array} of shape {change.shape}", *options])


def _with(options: Options, *changes: dict[str, Any] | None) -> Options:
    """The options with others in place of some."""
    new = {name: value for change in changes if change for name, value in change.items()}
    if not new:
        return options
    conv = options.conv._replace(**new)
    return options._replace(conv=conv) if isinstance(options, TransposeOptions) else conv


def _square(kernel: Shape) -> bool:
    return len(set(kernel)) == 1 and kernel[0] > 1


def _layouts(options: Options) -> tuple[Change, Change]:
    other = "channels_first" if options.conv.channels_last else "channels_last"
    return Change(), Change(2, f'layout="{other}"', (), {"layout": other})


def _of_x(x: Shape, rank: int, last: bool) -> Iterator[Change]:
    """x as it is, and with axes or channels that it may lack or have too many of."""
    yield Change(0, "", x)
    if rank < 1:  # of a w that is none
        return
    if len(x) == rank:
        yield Change(2, "x[..., None]", (*x, 1)) if last else Change(2, "x[None]", (1, *x))
    elif len(x) == rank + 1:
        yield Change(2, "x[..., None]", (*x, 1)) if last else Change(2, "x[:, None]", (x[0], 1, *x[1:]))
    elif len(x) == rank + 3:
        if x[0] == 1:
            yield Change(2, "x[0]", x[1:])
        if x[-1] == 1:
            yield Change(3, "x[..., 0]", x[:-1])
        yield Change(3, "x.reshape(-1, *x.shape[2:])", (x[0] * x[1], *x[2:]))
    if len(x) in (rank + 1, rank + 2) and len(x) > 1:
        axis = -1 if last else len(x) - rank - 1
        if x[axis] == 4:  # red, green, blue and how much is seen
            words = "x[..., :3]" if last else "x[:, :3]" if axis else "x[:3]"
            yield Change(3, words, (*x[:-1], 3) if last else (*x[:axis], 3, *x[axis + 1 :]))


def _of_w(w: Shape, x: Shape, options: Options) -> Iterator[Change]:
    """w as it is, with axes that it may lack, from the orders of other libraries, and one kernel for each channel."""
    yield Change(0, "", w)
    transposed = isinstance(options, TransposeOptions)
    if options.conv.per_sample:
        return
    if 1 <= len(w) <= 3:
        yield Change(2, "w[None, None]", (1, 1, *w))
    if 2 <= len(w) <= 4 and (len(x) > len(w) or (len(x), len(w)) == (2, 3)):
        yield Change(2, "w[:, None]", (w[0], 1, *w[1:]))
        yield Change(3, "w[None]", (1, *w))
    if 3 <= len(w) <= 5:
        name = "from_hwoi" if transposed else "from_hwio"
        yield Change(3, f"convpp.conventions.{name}(w)", (w[-1], w[-2], *w[:-2]))
        yield Change(4, "w.swapaxes(0, 1)", (w[1], w[0], *w[2:]))
        if not transposed:
            yield Change(4, "convpp.conventions.from_ohwi(w)", (w[0], w[-1], *w[1:-1]))
            words = f"convpp.conventions.from_depthwise(w) with groups={w[-2]}"
            shape = (w[-2] * w[-1], 1, *w[:-2])
            if w[-2] > 1:
                yield Change(3 if w[-1] == 1 else 4, words, shape, {"groups": w[-2]})
            if w[0] == w[1] == 1 and len(x) >= len(w) - 1:
                channels = x[-1] if options.conv.channels_last else x[1 - len(w)]
                groups = "" if channels == options.conv.groups else f" with groups={channels}"
                words = f"np.repeat(w, {channels}, axis=0){groups}"
                yield Change(3, words, (channels, *w[1:]), {"groups": channels})
    if len(w) == 6 and w[0] == 1:
        yield Change(2, "w[0]", w[1:])


def _options_of(x: Shape, w: Shape, options: Options) -> Iterator[Change]:
    """The options as they are, and with the groups, or the weights for each sample, that the shapes speak for."""
    yield Change()
    conv = options.conv
    if conv.per_sample:
        yield Change(2, "per_sample=False", (), {"per_sample": False})
        return
    if len(w) == len(x) + 1 > 1 and w[0] == x[0]:
        yield Change(2, "per_sample=True", (), {"per_sample": True})
    rank = len(w) - 2
    if rank < 1 or len(x) not in (rank + 1, rank + 2) or isinstance(options, TransposeOptions):
        return
    channels, of_group = x[-1 if conv.channels_last else -rank - 1], w[1]
    if of_group and channels % of_group == 0 and channels // of_group not in (0, conv.groups):
        groups = channels // of_group
        yield Change(2, f"groups={groups}", (), {"groups": groups})


def of_result(given: Shape, expected: Shape, argument: str) -> str:
    """How an array of the shape of a result, a gradient or a bias is brought to the shape that it should have."""
    tries = [
        (f"{argument}[None]", (1, *given)),
        (f"{argument}[0]", given[1:] if given[:1] == (1,) else ()),
        (f"np.moveaxis({argument}, -1, 1)", (*given[:1], *given[-1:], *given[1:-1])),
        (f"np.moveaxis({argument}, 1, -1)", (*given[:1], *given[2:], *given[1:2])),
        (f"np.moveaxis({argument}, -1, 0)", (*given[-1:], *given[:-1])),
        (f"np.moveaxis({argument}, 0, -1)", (*given[1:], *given[:1])),
    ]
    for words, shape in tries:
        if shape == expected and len(given) > 1:
            return f". Did you mean {words}?"
    if math.prod(given) == math.prod(expected) and [e for e in given if e != 1] == [e for e in expected if e != 1]:
        return f". Did you mean {argument}.reshape({expected})?"
    if argument in ("bias", "add") and _broadcasts(given, expected):
        return f". Did you mean np.broadcast_to({argument}, {expected})?"
    return ""


def _broadcasts(given: Shape, to: Shape) -> bool:
    return len(given) <= len(to) and all(a in (1, b) for a, b in zip(given[::-1], to[::-1], strict=False))


def of_dy(dy: Shape, expected: Shape, x: Shape, w: Shape, options: Options, fits: Fits) -> str:
    """The stride and padding of the forward call, which the gradient was not told; or how to turn dy around."""
    if turned := of_result(dy, expected, "dy"):
        return turned
    conv = options.conv
    if isinstance(options, TransposeOptions):
        size = options._replace(output_padding=0, output_size=dy)
        if _gives(fits, x, w, size, dy):
            spatial = dy[-len(w) + 1 : -1] if conv.channels_last else dy[2 - len(w) :]
            return f". Did you mean output_size={spatial}, or the output_padding of the forward call?"
    most = max(w[len(w) - (len(x) - 1) :], default=1)
    paddings: list[Any] = [conv.padding, 0, *range(1, min(most, 16)), "same", "full"]
    strides: list[Any] = [conv.stride, 1, 2, 3, 4]
    for stride, padding in sorted(itertools.product(strides, paddings), key=lambda pair: pair[0] != conv.stride):
        changes = {n: v for n, v in (("stride", stride), ("padding", padding)) if v != getattr(conv, n)}
        if changes and _gives(fits, x, w, _with(options, changes), dy):
            words = " and ".join(f"{name}={value!r}" for name, value in changes.items())
            return f". Did you mean {words}, as in the forward call?"
    return ""


def _gives(fits: Fits, x: Shape, w: Shape, options: Options, result: Shape) -> bool:
    try:
        return bool(fits(x, w, options).result_shape == result)
    except ValueError:
        return False


def of_parameter(given: Shape, expected: Shape, name: str) -> str:
    """How a parameter of another library's layer becomes that of ours; converters that make this shape."""
    made = {
        f"convpp.conventions.from_hwio({name})": (*given[-1:], *given[-2:-1], *given[:-2]),
        f"convpp.conventions.from_ohwi({name})": (*given[:1], *given[-1:], *given[1:-1]),
        f"{name}.swapaxes(0, 1)": (*given[1:2], *given[:1], *given[2:]),
    }
    if len(given) >= 3:
        made[f"convpp.conventions.from_depthwise({name})"] = (given[-2] * given[-1], 1, *given[:-2])
        for words, shape in made.items():
            if shape == expected:
                return f". Did you mean {words}?"
    return of_result(given, expected, name)
