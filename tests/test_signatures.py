"""Every function has every option that makes sense for it: one that is missing needs a reason (ABSENT).

Its overloads, most of which name options by a ``TypedDict``, have the same ones.   What each does: test_options.py.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any, get_args, get_overloads

import pytest

import convpp
from signatures import CONV, FUNCTIONS, PLAIN, TILED, keywords_of
from small_layers import LAYERS

SEVERAL = "several results, each new"
NO_ARRAYS = "shapes only"
PLANNED = "describes or prepares a forward pass"
NO_GEOMETRY = "a sum over samples and pixels, whatever the geometry"
ONLY_TRANSPOSED = "of a transposed convolution's output"
GIVEN = "gradients take what activation_grad makes of dy"
ADD = "add= does it, and activation= after it"

#: Why a function has no single result to write to.
WITHOUT_OUT = {
    "conv_double_backward": SEVERAL,
    "conv_transpose_double_backward": SEVERAL,
    "conv_jvp": SEVERAL,
    "conv_transpose_jvp": SEVERAL,
    "conv_output_shape": NO_ARRAYS,
    "conv_transpose_output_shape": NO_ARRAYS,
    "prepare_weights": PLANNED,
    "explain": PLANNED,
}
#: Why a function does without an option.
ABSENT: dict[str, dict[str, str]] = {
    "activation": dict.fromkeys(set(FUNCTIONS) - {"conv", "conv_transpose"}, GIVEN),
    "add": dict.fromkeys(set(FUNCTIONS) - {"conv", "conv_transpose"}, GIVEN),
    "needs": dict.fromkeys(set(FUNCTIONS) - {"conv_backward", "conv_transpose_backward"}, "one result, or all needed"),
    "batched": dict.fromkeys(set(FUNCTIONS) - {"conv_bias_grad"}, "follows from the ranks of x and w"),
    "state": dict.fromkeys(set(FUNCTIONS) - {"conv"}, "signals come forward"),
    "op": dict.fromkeys(set(FUNCTIONS) - {"explain"}, "the function says it"),
    "dtype": dict.fromkeys(set(FUNCTIONS) - {"explain"}, "the arrays say it"),
    "output_padding": dict.fromkeys((*CONV, "conv_bias_grad"), ONLY_TRANSPOSED),
    "output_size": dict.fromkeys((*CONV, "conv_bias_grad"), ONLY_TRANSPOSED),
    "out": WITHOUT_OUT,
    "accumulate": {"conv": ADD, "conv_transpose": ADD, **WITHOUT_OUT},
    "threads": {
        "conv_output_shape": NO_ARRAYS,
        "conv_transpose_output_shape": NO_ARRAYS,
        "prepare_weights": "packing takes all there are",
    },
    "algorithm": {
        "conv_output_shape": NO_ARRAYS,
        "conv_transpose_output_shape": NO_ARRAYS,
        "conv_bias_grad": NO_GEOMETRY,
    },
    "layout": {},
    "per_sample": {},
    **{
        option: {"conv_bias_grad": NO_GEOMETRY}
        for option in ("stride", "padding", "dilation", "groups", "padding_mode", "flip")
    },
}
#: What layers take from the functions by other ways.
NOT_OF_LAYERS = {
    "per_sample": "backward_per_sample",
    "out": "gradients are the layer's own arrays",
    "accumulate": "backward always does",
    "needs": "backward computes all",
    "output_size": "of forward",
    "activation": "of the network",
    "add": "of the network",
    "batched": "follows from x",
    "state": "streaming=True of Conv1d",
    "op": "the method says it",
    "dtype": "has the parameters' meaning",
}


def test_all_functions_are_looked_at() -> None:
    public = {name for name in convpp.__all__ if name.startswith("conv") or name in ("prepare_weights", "explain")}
    assert public - set(PLAIN) - set(TILED) == set(FUNCTIONS) | (public & {"conventions"})


def test_plain_arrays_take_the_same_options() -> None:
    """convolve, correlate and their gradients, but for what has no gradient or is one."""
    forward = keywords_of("convolve")
    assert forward == keywords_of("correlate")
    assert keywords_of("convolve_backward") == (forward - {"out", "dtype", "state"}) | {"flip", "needs"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_option_is_lost(name: str) -> None:
    present = keywords_of(name)
    assert present <= set(ABSENT), f"unknown to this test: {present - set(ABSENT)}"
    for option, reasons in ABSENT.items():
        assert (option in present) != (name in reasons), f"{name} and {option}"


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_every_option(name: str) -> None:
    arguments = set(inspect.signature(getattr(convpp, name)).parameters)
    transposed = "Transpose" in name
    for option in set(ABSENT) - set(NOT_OF_LAYERS):
        if transposed or option not in ("output_padding", "output_size"):
            assert option in arguments, f"{name} and {option}"


def options_of(function: Callable[..., Any], names: dict[str, Any]) -> set[str]:
    """Keywords alone, and those of ``**how: Unpack[...]``, whose annotation is text."""
    found: set[str] = set()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            found.add(parameter.name)
        elif parameter.kind is parameter.VAR_KEYWORD:
            (how,) = get_args(eval(parameter.annotation, names))
            found |= how.__annotations__.keys()  # inherited ones are among them
    return found


OVERLOADED = [name for name in convpp.__all__ if inspect.isfunction(f := getattr(convpp, name)) and get_overloads(f)]


@pytest.mark.parametrize("name", OVERLOADED)
def test_no_overload_lacks_an_option(name: str) -> None:
    function = getattr(convpp, name)
    names = vars(sys.modules[function.__module__])
    for overload in get_overloads(function):
        assert options_of(overload, names) == options_of(function, names)


#: Options that have two defaults, and the functions with the second one.
TWO_DEFAULTS = {
    "stride": {name for name in convpp.__all__ if "pool" in name},  # None: the window's extent
    "flip": {"convolve_backward"},  # of convolve, which turns the kernel
    "needs": {"convolve_backward"},  # its operands have other names
    "dtype": {"explain"},  # which sees no array
}


def test_an_option_has_one_default() -> None:
    found: dict[str, dict[str, list[str]]] = {}
    for name in convpp.__all__:
        if inspect.isfunction(function := getattr(convpp, name)):
            for option in keywords_of(name):
                default = repr(inspect.signature(function).parameters[option].default)
                found.setdefault(option, {}).setdefault(default, []).append(name)
    several = {option: list(map(set, names.values())) for option, names in found.items() if len(names) > 1}
    assert several.keys() == TWO_DEFAULTS.keys()
    for option, (one, other) in several.items():
        second = TWO_DEFAULTS[option]
        assert one <= second or other <= second, f"{option}: {one} differ from {other}"
