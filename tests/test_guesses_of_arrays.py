"""What is no array of numbers that convpp computes in: the message says what to do, and doing so keeps the values.

In every place of the API that takes arrays (array_arguments.py).
Read next: guesses.py; python/convpp/_call/guesses/arrays.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

import convpp
from array_arguments import PLACES, Fake, raises
from convpp import testing
from geometry import Array
from guesses import message_of

conv = convpp.conv
PREPARED = convpp.prepare_weights(np.ones((1, 1, 2)), (1, 6))
LAYER = convpp.Conv1d(1, 1, 2, dtype=float, rng=0)
#: A kernel that changes nothing.
ONE = np.ones((1, 1, 1))


class Case(NamedTuple):
    """What is given, the message without its beginning, the advice, and the numbers that are meant (None: no array)."""

    value: Any
    message: str
    advice: str = ""
    meant: Any = None


FOUR = "float32, float64, float16 or bfloat16"
NUMBERS = np.array([[1, -2, 3, 2**24 + 1]])
SECONDS = np.array([[0, 60, 3600]])
CASES = {
    "int8": Case(
        NUMBERS[:, :3].astype("i1"), f"has dtype int8, expected {FOUR}: use x.astype(np.float32), which is exact"
    ),
    "bool": Case(NUMBERS[:, :3] > 0, f"has dtype bool, expected {FOUR}: use x.astype(np.float32), which is exact"),
    "uint16": Case(
        np.array([[65535]], "u2"), f"has dtype uint16, expected {FOUR}: use x.astype(np.float32), which is exact"
    ),
    "int32": Case(NUMBERS.astype("i4"), f"has dtype int32, expected {FOUR}: use x.astype(np.float64), which is exact"),
    "2**24 + 1": Case(NUMBERS, f"has dtype int64, expected {FOUR}: use x.astype(np.float64), which is exact"),
    "2**53": Case(np.array([[2**53]]), f"has dtype int64, expected {FOUR}: use x.astype(np.float64), which is exact"),
    "2**53 + 1": Case(
        np.array([[-(2**53) - 1]]),
        f"has dtype int64, expected {FOUR}: use x.astype(np.float64), which rounds: some are beyond 2**53",
    ),
    "none of int64": Case(
        np.zeros((0, 1, 3), int), f"has dtype int64, expected {FOUR}: use x.astype(np.float64), which is exact"
    ),
    "big-endian int32": Case(
        NUMBERS.astype(">i4"), f"has dtype >i4, expected {FOUR}: use x.astype(np.float64), which is exact"
    ),
    "a list": Case([[1, 2]], f"has dtype int64, expected {FOUR}: use np.asarray(x, np.float64), which is exact"),
    "a tuple of bool": Case(
        ((True, False),), f"has dtype bool, expected {FOUR}: use np.asarray(x, np.float32), which is exact"
    ),
    "long double": Case(
        np.array([[1.5, 2]], np.longdouble),
        f"has dtype {np.dtype(np.longdouble)}, expected {FOUR}: use x.astype(np.float64), which rounds",
    ),
    "float8": Case(
        np.array([[1.5, 2]], ml_dtypes.float8_e4m3fn),
        f"has dtype float8_e4m3fn, expected {FOUR}: use x.astype(np.float32)",
    ),
    "int4": Case(np.array([[1, 2]], ml_dtypes.int4), f"has dtype int4, expected {FOUR}: use x.astype(np.float32)"),
    "complex without an imaginary part": Case(
        NUMBERS + 0j,
        f"has dtype complex128, expected {FOUR}: use x.real, the imaginary part is 0 everywhere",
        "x.real",
        NUMBERS,
    ),
    "a list of complex": Case(
        [[1 + 0j]],
        f"has dtype complex128, expected {FOUR}: use np.real(x), the imaginary part is 0 everywhere",
        "np.real(x)",
        [[1]],
    ),
    "decimals": Case(
        np.array([[Decimal("0.5")]]), f"has dtype object, expected {FOUR}: use x.astype(np.float64), which rounds"
    ),
    "fractions": Case(
        [[Fraction(1, 4), 1]], f"has dtype object, expected {FOUR}: use np.asarray(x, np.float64), which rounds"
    ),
    "large integers": Case(
        [[2**70]], f"has dtype object, expected {FOUR}: use np.asarray(x, np.float64), which rounds"
    ),
    "complex objects": Case(
        np.array([[1j, 1]], object),
        f"has dtype object, expected {FOUR}: it holds complex numbers: x.astype(np.complex128) is an array of them",
    ),
    "None among numbers": Case(
        [[1.0, None]],
        f"has dtype object, expected {FOUR}: it holds None, which np.asarray(x, np.float64) makes NaN",
        "np.asarray(x, np.float64)",
        [[1.0, np.nan]],
    ),
    "numbers as text": Case(
        [["1.5", "-2"]], f"has dtype <U3, expected {FOUR}: use np.asarray(x, np.float64), which reads the numbers"
    ),
    "numbers as bytes": Case(
        np.array([[b"1.5"]]), f"has dtype |S3, expected {FOUR}: use x.astype(np.float64), which reads the numbers"
    ),
    "words": Case([["one"]], f"has dtype <U3, expected {FOUR}: 'one' is no number"),
    "objects": Case([[object()]], f"has dtype object, expected {FOUR}: it holds a object, which is no number"),
    "dates": Case(
        SECONDS.astype("M8[s]"),
        f"has dtype datetime64[s], expected {FOUR}: moments are no numbers, spans are: "
        "(x - x.min()) / np.timedelta64(1, 's')",
        "(x - x.min()) / np.timedelta64(1, 's')",
        SECONDS,
    ),
    "spans of time": Case(
        SECONDS.astype("m8[s]"),
        f"has dtype timedelta64[s], expected {FOUR}: did you mean x / np.timedelta64(1, 's'), in seconds?",
        "x / np.timedelta64(1, 's')",
        SECONDS,
    ),
    "a record": Case(
        np.array([[(1.5, 2)]], [("flux", float), ("n", int)]),
        f"has dtype [('flux', '<f8'), ('n', '<i8')], expected {FOUR}: it has the fields flux, n: "
        "did you mean x['flux']?",
        "x['flux']",
        [[1.5]],
    ),
    "arrays in an array": Case(
        np.array([np.ones(2), None], object)[:1],
        f"has dtype object, expected {FOUR}: it holds arrays of shape (2,): did you mean np.stack(x)?",
        "np.stack(x)",
        [[1, 1]],
    ),
    "None": Case(None, "is None, expected an array"),
    "a file's name": Case("a.png", "is the text 'a.png', expected an array: what is in a file is to be loaded first"),
    "a generator": Case(
        ([1.0] for _ in range(1)),
        "is a generator, expected an array: did you mean np.array(list(x))?",
        "np.array(list(x))",
    ),
    "a set": Case({1.0}, "is a set, expected an array: did you mean np.array(list(x))?"),
    "a shape": Case(
        (1, 3, 9),
        f"has dtype int64, expected {FOUR}: a shape comes last, conv_input_grad(dy, w, x_shape) and "
        "conv_weight_grad(dy, x, w_shape)",
    ),
    "a mapping": Case({"x": 1}, "is a dict, expected an array: did you mean one of its values?"),
    "a layer": Case(LAYER, "is a Conv1d, expected an array: did you mean x.weight?", "x.weight[0]", LAYER.weight[0]),
    "prepared weights": Case(PREPARED, "is a PreparedWeights, expected an array: it comes second, conv(x, prepared)"),
    "a masked array": Case(
        np.ma.masked_equal([[1.0, 2.0]], 2.0),
        "is a masked array, expected a plain one: use x.filled(0); convpp.convolve leaves out what is masked",
        "x.filled(0)",
        [[1.0, 0.0]],
    ),
}


#: Of all functions that compute in real numbers: those of plain arrays take complex ones.  (What gradcheck is given as
#: a result says what to do with the function instead.)
OTHERS = ("gradcheck of a result", "convolve", "correlate")
COMPUTING = {n: p for n, p in PLACES.items() if not p.any_dtype and not n.startswith(OTHERS)}
every_array = pytest.mark.parametrize(("name", "argument"), [(n, a) for n, p in COMPUTING.items() for a in p.arrays])


@pytest.mark.parametrize("name", CASES)
def test_what_to_do(name: str) -> None:
    """The message, word for word; what it advises is taken, with the values that were given."""
    case = CASES[name]
    message = message_of(lambda: conv(case.value, ONE), convpp.DTypeError)
    assert message == f"x {case.message}"
    used = re.search(r": use (np\.\w+\(x, [\w.]+\)|x[\w.()]+)", message)
    advice = case.advice or (used[1] if used else "")
    if not advice:
        return
    taken = eval(advice, {"np": np, "x": case.value})
    meant = taken if name == "a generator" else case.value if case.meant is None else case.meant
    np.testing.assert_array_equal(conv(taken, ONE), np.asarray(meant).astype(float))


@every_array
def test_complex_arrays_lose_nothing_silently(name: str, argument: str) -> None:
    """Nowhere is an advice that drops an imaginary part."""
    place = PLACES[name]
    for value in (place.arrays[argument] * (1 + 1j), place.arrays[argument].astype("F")):
        message = message_of(lambda v=value: place.call(place.arrays | {argument: v}), convpp.DTypeError)
        assert "astype" not in message
        assert argument in message
        zero = not np.any(value.imag)
        assert (".real, the imaginary part is 0 everywhere" in message) == zero


@every_array
def test_foreign_byte_order_is_read_everywhere(name: str, argument: str) -> None:
    place = PLACES[name]
    value = place.arrays[argument]
    foreign = value.astype(value.dtype.newbyteorder())
    assert not foreign.dtype.isnative
    place.call(place.arrays | {argument: foreign})
    np.testing.assert_array_equal(foreign, value)


def test_big_endian_files_give_the_same_bits() -> None:
    rng = np.random.default_rng(0)
    for dtype in ("f2", "f4", "f8"):
        x, w = rng.standard_normal((2, 3, 9, 8)).astype(dtype), rng.standard_normal((4, 3, 3, 3)).astype(dtype)
        y = conv(x, w)
        for first, second in (
            (x.astype(f">{dtype}"), w),
            (x, w.astype(f">{dtype}")),
            (x.astype(f">{dtype}"), w.astype(f">{dtype}")),
        ):
            got = conv(first, second)
            assert got.dtype.isnative
            np.testing.assert_array_equal(got, y)
        np.testing.assert_array_equal(conv(x.astype(f">{dtype}"), convpp.prepare_weights(w, x.shape)), y)
        np.testing.assert_array_equal(convpp.activate(x.astype(f">{dtype}"), "relu"), convpp.activate(x, "relu"))
        layer = convpp.Conv2d(3, 4, 3, dtype=dtype, rng=0)
        layer.load_state_dict({"weight": w.astype(f">{dtype}"), "bias": np.zeros(4, f">{dtype}")})
        np.testing.assert_array_equal(layer(x.astype(f">{dtype}")), y)


def test_complex_arrays_in_parts() -> None:
    """What the messages say of each argument, done."""
    rng = np.random.default_rng(0)

    def numbers(*shape: int) -> Array:
        return rng.integers(-4, 5, shape) + 1j * rng.integers(-4, 5, shape)

    x, w, bias, add = numbers(2, 2, 9), numbers(3, 2, 4), numbers(3), numbers(2, 3, 6)
    y = conv(x.real, w.real) - conv(x.imag, w.imag) + 1j * (conv(x.real, w.imag) + conv(x.imag, w.real))

    def split(v: Array) -> Array:
        return conv(v, w.real) + 1j * conv(v, w.imag)

    message = message_of(lambda: conv(x, w.real), convpp.DTypeError)
    assert message.endswith(
        "the convolution of x is that of x.real plus 1j times that of x.imag (bias in one of them); convpp.convolve "
        "takes complex arrays as they are"
    )
    np.testing.assert_array_equal(split(x.real) + 1j * split(x.imag), y)
    b = bias.real.copy()
    np.testing.assert_array_equal(
        conv(x.real, w.real, b) + 1j * conv(x.imag, w.real),
        conv(x.real, w.real) + 1j * conv(x.imag, w.real) + b[:, None],
    )
    assert "the convolution with w is that with w.real plus" in message_of(lambda: conv(x.real, w), convpp.DTypeError)
    assert message_of(lambda: conv(x.real, w.real, bias), convpp.DTypeError).endswith(
        "bias has dtype complex128, expected float32, float64, float16 or bfloat16: add it to the result, along its "
        "axis of channels"
    )
    assert message_of(lambda: conv(x.real, w.real, add=add), convpp.DTypeError).endswith("add it to the result")
    assert "gradients are linear in dy: add those of dy.real and 1j times" in message_of(
        lambda: convpp.conv_input_grad(y, w.real, x.shape), convpp.DTypeError
    )
    assert message_of(lambda: convpp.activate(y, "relu"), convpp.DTypeError).endswith(
        "real and imaginary parts are to be given apart"
    )


# ---------------------------------------------------------------- pictures


def test_the_first_thing_that_one_tries_with_a_picture() -> None:
    """Pillow, scikit-image and OpenCV give (H, W, 3) of bytes."""
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    w = np.ones((4, 3, 3, 3), np.float32)
    message = message_of(lambda: conv(picture, w), convpp.DTypeError)
    assert message == (
        f"x has dtype uint8, expected {FOUR}: use x.astype(np.float32), which is exact, and for a picture (H, W, C) "
        'layout="channels_last"; with a kernel (R, S) for all channels: convpp.convolve(x, kernel, axes=(0, 1))'
    )
    y = conv(picture.astype(np.float32), w, layout="channels_last")
    assert y.shape == (18, 28, 4)
    np.testing.assert_array_equal(y[0, 0], [picture[:3, :3].sum()] * 4)
    both = np.stack([picture, picture])
    assert message_of(lambda: conv(both, w), convpp.DTypeError).endswith(
        'which is exact, and for pictures (N, H, W, C) layout="channels_last"; with a kernel (R, S) for all channels: '
        "convpp.convolve(x, kernel, axes=(1, 2))"
    )
    for other in (picture[..., 0], picture.transpose(2, 0, 1), both.transpose(0, 3, 1, 2)):
        assert "picture" not in message_of(lambda x=other: conv(x, w), convpp.DTypeError)


@pytest.mark.skipif(not hasattr(convpp, "convolve"), reason="there is none")
def test_convolve_takes_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    convolve: Callable[..., Array] = getattr(convpp, "convolve")  # noqa: B009
    assert convolve(picture, np.ones((3, 3)), axes=(0, 1)).shape == (22, 32, 3)
    assert convolve(picture * (1 + 1j), np.ones((3, 3)), axes=(0, 1)).dtype.kind == "c"


#: What may be left out, or is what it is by being left out.
OPTIONAL = ("bias", "add", "x_dot", "w_dot", "bias_dot", "ddx", "ddw", "ddb", "y", "z", "kernel", "kernels", "mask")


@pytest.mark.parametrize(("name", "argument"), [(n, a) for n, p in PLACES.items() for a in p.arrays])
@pytest.mark.parametrize(
    "wrong", [None, "a.png", b"bytes", {"a": 1.0}, {1.0}, PREPARED, LAYER, iter([1.0])], ids=lambda v: type(v).__name__
)
def test_what_is_no_array_is_called_by_its_name(name: str, argument: str, wrong: Any) -> None:
    """In every place, as what the user passed, not as the array of objects that NumPy would make of it."""
    place = PLACES[name]
    if name.startswith(("gradcheck of", "adjoint_test of")) or (wrong is None and argument in OPTIONAL):
        pytest.skip("the result of a user's function, or nothing")
    if isinstance(wrong, convpp.PreparedWeights) and name == "conv" and argument == "w":
        pytest.skip("there they belong")
    message = message_of(lambda: place.call(place.arrays | {argument: wrong}), convpp.DTypeError)
    given = "None" if wrong is None else "the text" if isinstance(wrong, (str, bytes)) else f"a {type(wrong).__name__}"
    assert message.startswith(f"{argument} is {given}")
    assert ", expected an array" in message


def test_other_slips() -> None:
    x, w = np.ones((1, 3)), np.ones((1, 1, 2))
    assert message_of(lambda: conv(x, w, True), convpp.DTypeError).endswith("expected an array, or None for no bias")
    bf16 = Fake(x, raises(TypeError("Got unsupported ScalarType BFloat16")))
    assert message_of(lambda: conv(bf16, w), convpp.DTypeError).endswith("BFloat16 (use x.float())")


# ---------------------------------------------------------------- prepared weights, where they do not belong


def test_prepared_weights_where_they_do_not_belong() -> None:
    said = (
        "is a PreparedWeights, expected an array: only conv takes it (as w), here are needed the weights it was made of"
    )
    dy, x = np.ones((1, 5)), np.ones((1, 6))
    calls: dict[str, Callable[[], Any]] = {
        "w of conv_input_grad": lambda: convpp.conv_input_grad(dy, PREPARED, x.shape),
        "w of conv_transpose": lambda: convpp.conv_transpose(x, PREPARED),
        "w of conv_backward": lambda: convpp.conv_backward(dy, x, PREPARED),
        "w of prepare_weights": lambda: convpp.prepare_weights(PREPARED, x.shape),
        "w of adjoint_kernel": lambda: convpp.adjoint_kernel(PREPARED),
        "w of from_hwio": lambda: convpp.conventions.from_hwio(PREPARED),
        "w of reference_conv": lambda: testing.reference_conv(x, PREPARED),
        "weight of load_state_dict": lambda: LAYER.load_state_dict({"weight": PREPARED, "bias": np.zeros(1)}),
        "dy of conv_weight_grad": lambda: convpp.conv_weight_grad(PREPARED, x, (1, 1, 2)),
    }
    for name, call in calls.items():
        assert message_of(call, convpp.DTypeError) == f"{name.split()[0]} {said}"
    assert "it comes second" in message_of(lambda: conv(PREPARED, x), convpp.DTypeError)
