"""One door for arrays: whatever stands for an array in any place of the API is read rightly, or refused by name.

The places, and fakes of other libraries' arrays: array_arguments.py.  Shapes and dtypes: test_errors*.py.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convpp
from array_arguments import PLACES, B, Fake, Hostile, Place, W, X, layer, raises, recording_gradients
from convpp import conventions, testing
from geometry import Array
from scripts import succeed

#: One for each array of each place.
EACH = [(name, argument) for name, place in PLACES.items() for argument in place.arrays]
every_array = pytest.mark.parametrize(("name", "argument"), EACH, ids=lambda value: str(value))


def call(name: str, argument: str, spoil: Callable[[Array], Any]) -> Any:
    place: Place = PLACES[name]
    return place.call(place.arrays | {argument: spoil(place.arrays[argument])})


def test_every_function_that_takes_arrays_is_here() -> None:
    taking = {
        name
        for module in (convpp, testing, conventions)
        for name in module.__all__
        if inspect.isfunction(function := getattr(module, name)) and "ArrayLike" in str(inspect.signature(function))
    }
    assert taking <= set(PLACES)


@every_array
def test_valid_arrays_are_taken(name: str, argument: str) -> None:
    call(name, argument, lambda array: array)


MASKED: dict[str, Callable[[Array], Any]] = {
    "masked": lambda a: np.ma.masked_equal(a, 1),
    "masked nowhere": np.ma.masked_array,
    "a list of masked ones": lambda a: [np.ma.masked_array(row) for row in a],
    "another library's": lambda a: Fake(a, np.ma.masked_array),
}


@every_array
@pytest.mark.parametrize("kind", MASKED)
def test_masked_arrays_are_refused(name: str, argument: str, kind: str) -> None:
    """Their mask would be lost, and what it hides come into the sums."""
    if "list" in kind and name.startswith("gradcheck of"):
        pytest.skip("a list of results is a mistake there")
    if argument in PLACES[name].masked and kind in ("masked", "masked nowhere"):
        call(name, argument, MASKED[kind])
        return
    with pytest.raises(convpp.DTypeError) as caught:
        call(name, argument, MASKED[kind])
    assert argument in str(caught.value)
    assert "masked" in str(caught.value)


def test_a_masked_array_need_not_be_looked_for_where_there_is_none() -> None:
    """numpy.ma takes as long to import as a quarter of convpp."""
    script = """
    import sys, numpy, convpp
    convpp.conv([[1.0, 2.0]], [[[1.0]]])
    print("numpy.ma" in sys.modules)
    """
    if succeed("import sys, numpy; print('numpy.ma' in sys.modules)").strip() == "False":
        assert succeed(script).strip() == "False"


ERRORS = [RuntimeError("cannot be read"), TypeError("cannot be read"), ValueError("cannot be read"), KeyError("cannot")]


@every_array
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_arrays_that_cannot_be_converted(name: str, argument: str, error: Exception) -> None:
    with pytest.raises(convpp.DTypeError, match=r"is not an array: .*cannot") as caught:
        call(name, argument, lambda array: Fake(array, raises(error)))
    assert argument in str(caught.value)
    assert caught.value.__cause__ is error


def test_tensors_that_record_gradients() -> None:
    for name, argument in EACH:
        if name == "load_state_dict":
            call(name, argument, recording_gradients)
        else:
            with pytest.raises(convpp.DTypeError, match=r"detach\(\)"):
                call(name, argument, recording_gradients)


def test_out_of_memory_stays_that() -> None:
    with pytest.raises(MemoryError):
        convpp.conv(Fake(X, raises(MemoryError())), W)


NOT_NUMBERS: dict[str, Callable[[Array], Any]] = {
    "objects": lambda a: a.astype(object),
    "strings": lambda a: a.astype(str),
    "bytes": lambda a: a.astype("S8"),
    "complex": lambda a: a.astype(complex),
    "dates": lambda a: a.astype("M8[s]"),
    "spans of time": lambda a: a.astype("m8[s]"),
    "a record": lambda a: a.astype([("f", float)]),
}


@every_array
@pytest.mark.parametrize("kind", NOT_NUMBERS)
def test_what_is_no_real_number(name: str, argument: str, kind: str) -> None:
    """Refused by name where there is arithmetic; what only moves elements moves any."""
    if PLACES[name].any_dtype:
        moved = call(name, argument, NOT_NUMBERS[kind])
        assert moved.dtype == NOT_NUMBERS[kind](PLACES[name].arrays[argument]).dtype
        return
    if kind == "complex" and argument in PLACES[name].complex_numbers:
        call(name, argument, NOT_NUMBERS[kind])
        return
    with pytest.raises(convpp.DTypeError) as caught:
        call(name, argument, NOT_NUMBERS[kind])
    assert argument in str(caught.value)


@every_array
def test_lists_are_arrays(name: str, argument: str) -> None:
    if name.startswith("gradcheck of"):
        pytest.skip("a list of results is a mistake there")
    call(name, argument, lambda array: array.tolist())


@every_array
def test_views_of_any_kind_are_arrays(name: str, argument: str) -> None:
    def backwards(array: Array) -> Array:  # negative strides
        return np.flip(np.flip(array).copy())

    call(name, argument, backwards)
    call(name, argument, lambda array: Fake(array, backwards))


@every_array
@pytest.mark.parametrize(
    "wrong", [None, object(), "text", {1: 2}, {1.0}, 3.0, np.float64(3), Fake(np.array(3.0), abs), Hostile()]
)
def test_what_is_no_array_at_all(name: str, argument: str, wrong: Any) -> None:
    """Either it has a meaning there (no bias, a number to activate), or the error names the argument."""
    try:
        call(name, argument, lambda array: wrong)
    except Exception as error:
        said = error
    else:
        return
    assert isinstance(said, (convpp.ShapeError, convpp.DTypeError, ValueError, AssertionError))
    assert argument in str(said) or "maps shape" in str(said)


@pytest.mark.parametrize("kind", MASKED)
def test_out_that_is_masked(kind: str) -> None:
    out = np.ma.masked_array(np.full((2, 3, 4, 4), 7.0))
    for function in (
        lambda: convpp.conv(X, W, out=out),
        lambda: convpp.conv_backward(out.data, X, W, needs=("w",), out=(None, np.ma.masked_array(W.copy()), None)),
        lambda: convpp.activate(out.data.copy(), "relu", out=out),
    ):
        with pytest.raises(convpp.DTypeError, match=r"out.* is a masked array"):
            function()
    assert np.all(out.data == 7)


def test_parameters_that_are_masked() -> None:
    made = layer()
    before = made.weight.copy()
    with pytest.raises(convpp.DTypeError, match="weight is a masked array"):
        made.weight = np.ma.masked_array(made.weight)
    np.testing.assert_array_equal(made.weight, before)


# ---------------------------------------------------------------- numbers


def tensor(value: Any) -> Fake:
    return Fake(np.asarray(value), lambda array: array)


@pytest.mark.parametrize("form", [tensor, np.asarray], ids=["tensor", "array"])
def test_arrays_of_integers_are_integers(form: Callable[[Any], Any]) -> None:
    """One without axes is a number, others are lists; they are what ``operator.index`` makes of them."""
    want = convpp.conv(X, W, stride=2, padding=(1, 0), dilation=1, groups=1)
    got = convpp.conv(X, W, stride=form(2), padding=form([1, 0]), dilation=form([1, 1]), groups=form(1))
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(
        convpp.conv(X, W, padding=form([[1, 0], [0, 2]])), convpp.conv(X, W, padding=[(1, 0), (0, 2)])
    )
    shape = form([2, 2, 5, 5])
    np.testing.assert_array_equal(
        convpp.conv_input_grad(convpp.conv(X, W), W, shape), convpp.conv_input_grad(convpp.conv(X, W), W, X.shape)
    )
    made = convpp.Conv2d(form(2), form(3), form([2, 2]), stride=form(1), padding=form(0))
    assert made.weight.shape == (3, 2, 2, 2)
    np.testing.assert_array_equal(testing.reference_conv(X, W, stride=form(2)), testing.reference_conv(X, W, stride=2))


GIANT = 10**5000
BAD_NUMBERS: list[Any] = [
    1.5, "2", None, True, np.True_, tensor(1.5), tensor([1.5, 2.5]), tensor([[[1]]]), np.zeros((2, 2, 2), int),
    GIANT, -GIANT, (GIANT, 1), itertools.repeat(1), list(range(1000)), object(), Hostile(),
    recording_gradients(np.asarray(1.0)),
]  # fmt: skip


@pytest.mark.parametrize("wrong", BAD_NUMBERS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("argument", ["stride", "padding", "dilation", "groups", "threads", "x_shape", "kernel_size"])
def test_what_is_no_integer(argument: str, wrong: Any) -> None:
    """Nothing hangs, and every message names the argument, even where the value cannot be shown."""
    if argument == "threads" and wrong is None:
        pytest.skip("the default")
    calls: dict[str, Callable[[], Any]] = {
        "x_shape": lambda: convpp.conv_output_shape(wrong, W.shape),
        "kernel_size": lambda: convpp.Conv2d(2, 3, wrong)(X),
    }
    with pytest.raises(ValueError, match=argument) as caught:
        calls.get(argument, lambda: convpp.conv(X, W, **{argument: wrong}))()
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("activation", ("clip", 0, GIANT)),
        ("activation", (np.ones(2), 0, 1)),
        ("activation", ("leaky_relu", recording_gradients(np.asarray(1.0)))),
        ("activation", "x" * 10**6),
        ("layout", np.ones(2)),
        ("algorithm", object()),
        ("algorithm", Hostile()),
        ("activation", Hostile()),
        ("activation", ("clip", Hostile(), 1)),
        ("padding_mode", Hostile()),
        ("flip", np.ones(2)),
        ("padding_mode", [np.ones(2)]),
        ("padding_mode", itertools.repeat("zeros")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_name(argument: str, wrong: Any) -> None:
    with pytest.raises(ValueError, match=argument) as caught:
        convpp.conv(X, W, **{argument: wrong})
    assert len(str(caught.value)) < 2000


def test_a_generator_that_is_none() -> None:
    for wrong in ("seed", -1, {1: 2}, Hostile()):
        with pytest.raises(ValueError, match="rng is"):
            convpp.Conv2d(1, 1, 3, rng=wrong)
        with pytest.raises(ValueError, match="rng is"):
            testing.gradcheck(lambda x: (x, lambda dy: dy), B, rng=wrong)


def test_weights_that_cannot_exist() -> None:
    with pytest.raises(convpp.ShapeError, match=r"weight would have shape .* at most 2\*\*56"):
        convpp.Conv2d(2, 3, 2**30)


def test_transposed_padding_modes() -> None:
    for wrong in ("mirror", np.ones(2), Hostile(), None):
        with pytest.raises(ValueError, match="padding_mode is"):
            convpp.conv_transpose(X, W, padding_mode=wrong)
        with pytest.raises(ValueError, match="padding_mode is"):
            convpp.ConvTranspose2d(1, 1, 3, padding_mode=wrong)


def test_needs_that_are_no_names() -> None:
    for wrong in (np.ones(3), [np.ones(2)], itertools.repeat("x"), 3, GIANT, Hostile()):
        with pytest.raises(ValueError, match="needs"):
            convpp.conv_backward(convpp.conv(X, W), X, W, needs=wrong)


def test_a_state_that_is_no_mapping() -> None:
    for wrong in (None, 3, [("weight", W), ("bias", B)]):
        with pytest.raises(ValueError, match="state is a"):
            layer().load_state_dict(wrong)
