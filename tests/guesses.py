"""What the tests of guesses share: the advice of an error message, read from the message and followed.

In: a call that is refused, or its message.   Out: what is suggested, as Python that runs.
Read next: test_guesses_of_shapes.py, test_guesses_of_arrays.py, test_guesses_of_words.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import Array


def message_of(call: Callable[[], Any], error: type[Exception] = ValueError) -> str:
    with pytest.raises(error) as caught:
        call()
    return str(caught.value)


def suggestions(message: str) -> list[str]:
    """The alternatives of ". Did you mean A, or B?"."""
    match = re.search(r"\. Did you mean (.*)\?$", message)
    return match[1].split(", or ") if match else []


def is_plain(suggestion: str) -> bool:
    return suggestion.startswith("convpp.convolve")


def follow(suggestion: str, function: Callable[..., Any], x: Array, w: Array, **options: Any) -> Any:
    """``function(x, w, **options)`` with what is suggested in place of what was given."""
    names = {"np": np, "convpp": convpp, "x": x, "w": w}
    if is_plain(suggestion):
        return eval(suggestion.removesuffix(", for arrays without channels"), names)
    if suggestion == "w and x in each other's place":
        return function(w, x, **options)
    for part in suggestion.split(" with "):
        expression, _, shape = part.partition(" of shape ")
        if keyword := re.match(r"(\w+)=", expression):
            options[keyword[1]] = eval(expression[keyword.end() :])
            continue
        value = eval(expression, {**names, "x": x, "w": w})
        assert str(value.shape) == shape
        if re.search(r"\bx\b", expression):
            names["x"] = value
        else:
            names["w"] = value
    return function(names["x"], names["w"], **options)
