"""Docstrings of everything public: an example that runs, the errors, what comes back, each parameter, the equation.

In: what `convpp`, `convpp.testing` and `convpp.conventions` list in `__all__`, and the layers' methods.
"""

from __future__ import annotations

import builtins
import doctest
import inspect
import re
from typing import Any

import pytest

import convpp
from convpp import conventions, testing

MODULES = (convpp, testing, conventions)
PUBLIC = {
    f"{module.__name__}.{name}": value
    for module in MODULES
    for name in module.__all__
    if not inspect.ismodule(value := getattr(module, name))
}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
METHODS = {
    f"{layer.__name__}.{name}": getattr(layer, name)
    for layer in (convpp.Conv2d, convpp.ConvTranspose2d)
    for name in dir(layer)
    if not name.startswith("_") and not isinstance(getattr(layer, name), property)
}
#: They take nothing, or nothing that could be wrong.
CANNOT_FAIL = {"convpp.get_num_threads", "convpp.runtime_info", "convpp.show_config"}
#: Their equations are those of the functions they call.
WITHOUT_EQUATION = {
    "convpp.conv_backward": "conv_input_grad",
    "convpp.conv_transpose_backward": "conv_transpose_input_grad",
}


def documentation(value: Any) -> str:
    """Of a class, its own and its constructor's."""
    text = inspect.getdoc(value) or ""
    return f"{text}\n{inspect.getdoc(value.__init__)}" if inspect.isclass(value) else text


def section(text: str, title: str) -> str:
    """What stands below a heading, up to the next."""
    match = re.search(rf"^{title}\n-+\n(.*?)(?=^\w[\w ]*\n---|\Z)", text, re.MULTILINE | re.DOTALL)
    return match[1] if match else ""


@pytest.mark.parametrize("name", PUBLIC)
def test_there_is_an_example_and_it_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = inspect.getdoc(PUBLIC[name]) or ""
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples, f"{name} has no example"
    failed = doctest.DocTestRunner().run(example).failed
    assert not failed, capsys.readouterr().out


@pytest.mark.parametrize("name", METHODS)
def test_examples_of_methods_run(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The class has one; those of its methods that it does not show have their own."""
    method = METHODS[name]
    text = inspect.getdoc(method) or ""
    assert text, f"{name} has no docstring"
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    assert example.examples or name.endswith((".forward", ".backward"))
    assert not doctest.DocTestRunner().run(example).failed, capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(FUNCTIONS.keys() - CANNOT_FAIL))
def test_errors_are_named(name: str) -> None:
    raises = section(documentation(FUNCTIONS[name]), "Raises")
    heads = [line for line in raises.splitlines() if line and not line.startswith(" ")]
    named = [error.strip() for head in heads for error in head.split(":")[0].split(",")]
    assert named, f"{name} says nothing of errors"
    for error in named:
        kind = getattr(builtins, error, None) or getattr(convpp, error, None) or getattr(testing, error, None)
        assert kind, f"{name} names {error}"
        assert issubclass(kind, Exception), f"{name} names {error}"


@pytest.mark.parametrize("layer", [value for value in PUBLIC.values() if hasattr(value, "forward")], ids=str)
def test_layers_name_their_errors(layer: Any) -> None:
    if layer is testing.Layer:
        return
    for part in (layer.__init__, layer.forward, layer.backward):
        assert "ShapeError" in (inspect.getdoc(part) or ""), part


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_and_results_are_described(name: str) -> None:
    function = FUNCTIONS[name]
    text = documentation(function)
    signature = inspect.signature(function)
    if "arameters are those of" not in text:  # or the other arguments
        for parameter in signature.parameters:
            assert re.search(rf"(?<!\w){parameter}(?!\w)", text), f"{name} does not speak of {parameter}"
    if len(signature.parameters) > 1 and str(signature.return_annotation) not in ("None", "Iterator[None]"):
        assert "Returns\n---" in text, f"{name} does not say what it returns"


@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS if re.search(r"\.(conv|from|to|adjoint|reference)(_[a-z]+)*$", name)]
)
def test_equations_are_there(name: str) -> None:
    text = documentation(FUNCTIONS[name])
    if name in WITHOUT_EQUATION:
        assert WITHOUT_EQUATION[name] in text
    else:
        assert re.search(r"``[^`]* = [^`]*``|``<[^`]*==[^`]*``", text), f"{name} has no equation"
