"""numpydoc's own checks of every public docstring, but for those that have a reason to be off.

In: the names of `test_docstrings.py`, and the methods of classes.   What is in them: `test_docstrings.py`.
"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from test_docstrings import PUBLIC

pytest.importorskip("numpydoc")
from numpydoc.docscrape import get_doc_object
from numpydoc.validate import validate

#: Checks that are off, and why.
OFF = {
    "ES01": "a summary that says all needs no more",
    "SA01": "what to read next stands where it is spoken of",
    "SS05": "it takes each word with an s at its end for a verb",
    "EX01": "test_docstrings.py asks for examples, where they are to be",
    "PR01": "so it does for parameters: those that are another function's are not said again",
    "PR03": "which stand together, behind the function's own",
    "PR04": "and have no type of their own there",
    "PR07": "a shape says what an array is",
    "RT01": "a method's summary may say what it returns",
    "RT02": "what is returned is named, and its shape given",
    "RT03": "a shape says what an array is",
    "YD01": "a context manager, for NumPy a generator, yields nothing",
}


def documented() -> dict[str, Any]:
    """What is public, and the public methods and properties of what is a class."""
    found = dict(PUBLIC)
    for name, value in PUBLIC.items():
        if inspect.isclass(value) and not issubclass(value, BaseException):
            for member in dir(value):
                part = getattr(value, member)
                if not member.startswith("_") and (inspect.isfunction(part) or isinstance(part, property)):
                    found[f"{name}.{member}"] = part
    return found


DOCUMENTED = documented()


@pytest.mark.one_isa
@pytest.mark.parametrize("name", DOCUMENTED)
def test_numpydoc_has_no_complaint(name: str) -> None:
    found = validate(get_doc_object(DOCUMENTED[name]))["errors"]
    assert [(code, message) for code, message in found if code not in OFF] == []


@pytest.mark.one_isa
def test_checks_that_are_off_would_complain() -> None:
    """Of one that would not, the reason is gone."""
    found = {code for value in DOCUMENTED.values() for code, _ in validate(get_doc_object(value))["errors"]}
    assert set(OFF) <= found
