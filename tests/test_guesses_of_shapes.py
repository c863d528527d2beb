"""Shapes that do not fit: the message says what was probably meant, and doing so gives the result that was meant.

Read next: guesses.py, which follows the advice; python/convpp/_call/guesses/shapes.py.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convpp
from convpp import conventions
from geometry import Array
from guesses import follow, is_plain, message_of, suggestions


def whole(*shape: int) -> Array:
    """The same numbers in the same order for every shape of that size, and axes of 1 anywhere."""
    return np.random.default_rng(0).integers(-4, 5, shape).astype(float)


X, W, ONE = whole(2, 3, 12, 11), whole(5, 3, 3, 3), whole(1, 1, 3, 3)
GREY, KERNEL = whole(12, 11), whole(3, 3)
DEPTHWISE = whole(3, 1, 3, 3)
LAST = np.ascontiguousarray(np.moveaxis(X, 1, -1))
MANY, MANY_W = whole(2, 16, 12, 11), whole(8, 16, 3, 3)
conv = convpp.conv


def last(y: Array) -> Array:
    return np.moveaxis(y, 1, -1)


class Case:
    """What is given, the suggestions, and the result that was meant."""

    def __init__(self, x: Array, w: Array, told: list[str], meant: Callable[[], Array], **options: Any) -> None:
        self.x, self.w, self.told, self.meant, self.options = x, w, told, meant, options


CASES = {
    "(H, W, C)": Case(LAST[0], W, ['layout="channels_last"'], lambda: np.moveaxis(conv(X[0], W), 0, -1)),
    "(N, H, W, C)": Case(LAST, W, ['layout="channels_last"'], lambda: last(conv(X, W))),
    "(N, C, H, W)": Case(X, W, ['layout="channels_first"'], lambda: conv(X, W), layout="channels_last"),
    "(H, W)": Case(GREY, whole(4, 1, 3, 3), ["x[None]"], lambda: conv(GREY[None], whole(4, 1, 3, 3))),
    "(N, H, W)": Case(
        whole(90, 8, 8), whole(4, 1, 3, 3), ["x[:, None]"], lambda: conv(whole(90, 1, 8, 8), whole(4, 1, 3, 3))
    ),
    "(N, H, W), channels last": Case(
        whole(90, 8, 8),
        whole(4, 1, 3, 3),
        ["x[..., None]"],
        lambda: last(conv(whole(90, 1, 8, 8), whole(4, 1, 3, 3))),
        layout="channels_last",
    ),
    "a signal": Case(whole(20), whole(4, 1, 3), ["x[None]"], lambda: conv(whole(1, 20), whole(4, 1, 3))),
    "signals": Case(whole(7, 20), whole(4, 1, 3), ["x[:, None]"], lambda: conv(whole(7, 1, 20), whole(4, 1, 3))),
    "(1, N, C, H, W)": Case(X[None], W, ["x[0]"], lambda: conv(X, W)),
    "(N, T, C, H, W)": Case(
        np.stack([X, -X, X]), W, ["x.reshape(-1, *x.shape[2:])"], lambda: conv(np.concatenate([X, -X, X]), W)
    ),
    "RGBA": Case(
        np.concatenate([LAST, LAST[..., :1]], -1), W, ["x[..., :3]"], lambda: last(conv(X, W)), layout="channels_last"
    ),
    "exchanged": Case(W, X, ['padding="same"', "w and x in each other's place"], lambda: conv(X, W)),
    "a kernel longer than x": Case(
        X[:, :, :2, :2],
        W[:, :, :2, :2].repeat(3, -1).repeat(3, -2),
        ['padding="same"', "w and x in each other's place"],
        lambda: conv(X[:, :, :2, :2], W[:, :, :2, :2].repeat(3, -1).repeat(3, -2), padding="same"),
    ),
    "RGBA, channels first": Case(np.concatenate([X, X[:, :1]], 1), W, ["x[:, :3]"], lambda: conv(X, W)),
    "kernels for an image": Case(GREY, W[:, 0], ["x[None]"], lambda: conv(GREY[None], W[:, :1])),
    "depthwise": Case(X, DEPTHWISE, ["groups=3"], lambda: conv(X, DEPTHWISE, groups=3)),
    "in groups": Case(MANY, MANY_W[:, :8], ["groups=2"], lambda: conv(MANY, MANY_W[:, :8], groups=2)),
    "one kernel for three groups": Case(
        X, ONE, ["np.repeat(w, 3, axis=0)"], lambda: conv(X, np.repeat(ONE, 3, 0), groups=3), groups=3
    ),
    "one kernel for all channels": Case(
        X, ONE, ["np.repeat(w, 3, axis=0)"], lambda: conv(X, np.repeat(ONE, 3, 0), groups=3)
    ),
    "HWIO": Case(MANY, conventions.to_hwio(MANY_W), ["from_hwio(w)"], lambda: conv(MANY, MANY_W)),
    "HWIO, longer than x": Case(
        X, conventions.to_hwio(whole(64, 3, 3, 3)), ["from_hwio(w)"], lambda: conv(X, whole(64, 3, 3, 3))
    ),
    "OHWI": Case(MANY, conventions.to_ohwi(MANY_W), ["from_ohwi(w)"], lambda: conv(MANY, MANY_W)),
    "all of TensorFlow": Case(
        LAST,
        conventions.to_hwio(W),
        ['layout="channels_last" with convpp.conventions.from_hwio(w)'],
        lambda: last(conv(X, W)),
    ),
    "depthwise of TensorFlow": Case(
        MANY,
        conventions.to_depthwise(whole(16, 1, 3, 3), 16),
        ["from_hwio(w)", "from_depthwise(w)"],
        lambda: conv(MANY, whole(16, 1, 3, 3), groups=16),
    ),
    "(C, K, R, S)": Case(X, W.swapaxes(0, 1), ["w.swapaxes(0, 1)"], lambda: conv(X, W)),
    "(K, R, S) of one channel": Case(X[:, :1], W[:, 0], ["w[:, None]"], lambda: conv(X[:, :1], W[:, :1])),
    "per_sample forgotten": Case(
        X, np.stack([W, -W]), ["per_sample=True"], lambda: conv(X, np.stack([W, -W]), per_sample=True)
    ),
    "per_sample too much": Case(X, W, ["per_sample=False"], lambda: conv(X, W), per_sample=True),
    "an image": Case(GREY, KERNEL, ["convpp.convolve(x, w)", "x[None]"], lambda: conv(GREY[None], KERNEL[None, None])),
    "a signal and taps": Case(
        GREY[0], KERNEL[0], ["convpp.convolve(x, w)", "x[None]"], lambda: conv(GREY[0][None], KERNEL[0][None, None])
    ),
    "a stack of images": Case(
        X[0], KERNEL, ["convpp.convolve(x, w)", "x[:, None]"], lambda: conv(X[0][:, None], KERNEL[None, None])
    ),
    "a volume": Case(
        whole(9, 8, 7),
        whole(3, 3, 3),
        ["convpp.convolve(x, w)", "x[None]"],
        lambda: conv(whole(9, 8, 7)[None], whole(3, 3, 3)[None, None]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_was_meant(name: str) -> None:
    """It is said, each suggestion runs, and one of them gives the result that was meant, to the last bit."""
    case = CASES[name]
    message = message_of(lambda: conv(case.x, case.w, **case.options), convpp.ShapeError)
    found = suggestions(message)
    assert len(found) == len(case.told), message
    assert all(words in suggestion for words, suggestion in zip(case.told, found, strict=True)), message
    results = [follow(s, conv, case.x, case.w, **case.options) for s in found if not is_plain(s)]
    assert any(np.array_equal(result, case.meant()) for result in results)


def test_pictures_and_kernels_without_channels() -> None:
    for x, axes in ((LAST[0], (0, 1)), (LAST, (1, 2))):
        message = message_of(lambda x=x: conv(x, KERNEL), convpp.ShapeError)
        assert suggestions(message) == [f"convpp.convolve(x, w, axes={axes}), for arrays without channels"]


@pytest.mark.skipif(not hasattr(convpp, "convolve"), reason="there is none")
@pytest.mark.parametrize("x", [GREY, X[0], LAST[0], LAST, GREY[0]], ids=lambda x: str(x.shape))
def test_convolve_takes_arrays_without_channels(x: Array) -> None:
    kernel = KERNEL[0] if x.ndim == 1 else KERNEL
    message = message_of(lambda: conv(x, kernel), convpp.ShapeError)
    assert follow(suggestions(message)[0], conv, x, kernel).ndim == x.ndim


def test_all_that_has_a_geometry_says_so() -> None:
    message = 'Did you mean layout="channels_last"?'
    calls: list[Callable[[], Any]] = [
        lambda: conv(LAST, W),
        lambda: convpp.conv_input_grad(LAST, W, LAST.shape),
        lambda: convpp.conv_weight_grad(LAST, LAST, W.shape),
        lambda: convpp.conv_backward(LAST, LAST, W),
        lambda: convpp.conv_jvp((LAST, W, None), (None, None, None)),
        lambda: convpp.conv_double_backward(None, None, None, LAST, LAST, W),
        lambda: convpp.conv_output_shape(LAST.shape, W.shape),
        lambda: convpp.explain(LAST.shape, W.shape),
        lambda: convpp.prepare_weights(W, LAST.shape),
        lambda: convpp.Conv2d(3, 5, 3, dtype=float)(LAST),
        lambda: convpp.ConvTranspose2d(3, 5, 3, dtype=float)(LAST),
        lambda: convpp.conv_transpose(LAST, W.swapaxes(0, 1)),
        lambda: convpp.conv_transpose_output_shape(LAST.shape, (3, 5, 3, 3)),
    ]
    for call in calls:
        assert message in message_of(call, convpp.ShapeError)


def test_digits_given_to_a_layer() -> None:
    digits = whole(50, 8, 8)
    layer = convpp.Conv2d(1, 4, 3, dtype=float, rng=0)
    message = message_of(lambda: layer(digits), convpp.ShapeError)
    assert message.endswith("Did you mean x[:, None] of shape (50, 1, 8, 8)?")
    assert layer(digits[:, None]).shape == (50, 4, 6, 6)


def test_transposed_weights_of_tensorflow() -> None:
    x, w = whole(2, 8, 6, 5), whole(8, 5, 3, 3)
    for given, options in ((x, {}), (np.moveaxis(x, 1, -1), {"layout": "channels_last"})):
        found = suggestions(
            message_of(lambda g=given, o=options: convpp.conv_transpose(g, conventions.to_hwoi(w), **o))
        )
        assert found == ["convpp.conventions.from_hwoi(w) of shape (8, 5, 3, 3)"]
        y = follow(found[0], convpp.conv_transpose, given, conventions.to_hwoi(w), **options)
        np.testing.assert_array_equal(y, convpp.conv_transpose(given, w, **options))
    found = suggestions(message_of(lambda: convpp.conv_transpose(np.moveaxis(x, 1, -1), conventions.to_hwoi(w))))
    assert found == ['layout="channels_last" with convpp.conventions.from_hwoi(w) of shape (8, 5, 3, 3)']


def test_groups_say_which_channels_they_do_not_divide() -> None:
    message = message_of(lambda: conv(X, ONE, groups=3), convpp.ShapeError)
    assert "C = 3 and K = 1 are to be multiples of it" in message


def test_nothing_is_guessed_where_nothing_fits() -> None:
    for x, w in ((whole(2, 7, 9, 9), W), (whole(3), W), (X, whole(5, 3, 13, 13)), (whole(), KERNEL), (X, whole())):
        assert not suggestions(message_of(lambda x=x, w=w: conv(x, w), convpp.ShapeError))


@pytest.mark.parametrize("seed", range(300))
def test_whatever_is_guessed_fits(seed: int) -> None:
    """Any shapes that do not fit: the advice, if there is some, can be followed."""
    rng = np.random.default_rng(seed)
    x = np.ones(rng.choice([1, 2, 3, 4, 5, 8], rng.integers(1, 6)))
    w = np.ones(rng.choice([1, 2, 3, 4], rng.integers(1, 6)))
    options = {"groups": int(rng.choice([1, 1, 2, 3])), "layout": str(rng.choice(["channels_first", "channels_last"]))}
    for function in (conv, convpp.conv_transpose):
        try:
            function(x, w, **options)
        except convpp.ShapeError as error:
            for suggestion in suggestions(str(error)):
                if not is_plain(suggestion):
                    assert follow(suggestion, function, x, w, **options).size


# ---------------------------------------------------------------- results, gradients, biases


DY = conv(X, W)


@pytest.mark.parametrize(
    ("dy", "words"),
    [
        (conv(X, W, padding=1), "padding=1, as in the forward call"),
        (conv(X, W, padding="same", stride=2), "stride=2 and padding=1, as in the forward call"),
        (conv(X, W, padding="full"), "padding=2, as in the forward call"),
        (conv(X, W, stride=3), "stride=3, as in the forward call"),
        (last(DY), "np.moveaxis(dy, -1, 1)"),
        (DY[None], "dy[0]"),
    ],
)
def test_dy_of_another_call(dy: Array, words: str) -> None:
    calls: list[Callable[..., Any]] = [
        lambda dy, **o: convpp.conv_input_grad(dy, W, X.shape, **o),
        lambda dy, **o: convpp.conv_weight_grad(dy, X, W.shape, **o),
        lambda dy, **o: convpp.conv_backward(dy, X, W, **o)[0],
    ]
    for call in calls:
        found = suggestions(message_of(lambda c=call: c(dy), convpp.ShapeError))
        assert found == [words]
        if "as in" in words:
            given = dict(part.split("=") for part in words.split(",")[0].split(" and "))
            call(dy, **{name: int(value) for name, value in given.items()})
        else:
            call(eval(words, {"np": np, "dy": dy}))


def test_dy_of_a_layer_and_of_one_sample() -> None:
    layer = convpp.Conv2d(3, 5, 3, dtype=float, rng=0)
    layer(X)
    assert "np.moveaxis(dy, -1, 1)" in message_of(lambda: layer.backward(last(DY)), convpp.ShapeError)
    layer(X[:1])
    assert "dy[None]" in message_of(lambda: layer.backward(DY[0]), convpp.ShapeError)
    assert layer.backward(DY[:1]).shape == (1, 3, 12, 11)


def test_dy_of_a_transposed_convolution() -> None:
    w = W.swapaxes(0, 1)
    dy = convpp.conv_transpose(X, w, stride=2, output_padding=(1, 0))
    message = message_of(lambda: convpp.conv_transpose_input_grad(dy, w, X.shape, stride=2), convpp.ShapeError)
    assert "Did you mean output_size=(26, 23), or the output_padding of the forward call?" in message
    assert convpp.conv_transpose_input_grad(dy, w, X.shape, stride=2, output_size=(26, 23)).shape == X.shape


@pytest.mark.parametrize(
    ("bias", "words"),
    [
        (whole(5, 1, 1), "bias.reshape((5,))"),
        (whole(1, 5), "bias[0]"),
        (whole(1), "np.broadcast_to(bias, (5,))"),
        (np.array(3.0), "np.broadcast_to(bias, (5,))"),
    ],
)
def test_bias(bias: Array, words: str) -> None:
    found = suggestions(message_of(lambda: conv(X, W, bias), convpp.ShapeError))
    assert found == [words]
    conv(X, W, eval(words, {"np": np, "bias": bias}))


def test_residuals() -> None:
    for add in (last(DY), DY[:1, :, :1, :1], DY[0, :, :1, :1]):
        (words,) = suggestions(message_of(lambda add=add: conv(X, W, add=add), convpp.ShapeError))
        assert conv(X, W, add=eval(words, {"np": np, "add": add})).shape == DY.shape


def test_shapes_that_weights_were_prepared_for() -> None:
    prepared = convpp.prepare_weights(W, X.shape)
    for x, words in (
        (LAST, "Did you mean np.moveaxis(x, -1, 1)?"),
        (X[:1], "prepare_weights(w, x.shape) is for this one"),
    ):
        assert message_of(lambda x=x: conv(x, prepared), convpp.ShapeError).endswith(words)
    message = message_of(lambda: conv(X.astype("f4"), prepared), convpp.DTypeError)
    assert message.endswith("use x.astype('float64')")
    np.testing.assert_array_equal(conv(X.astype("f4").astype("float64"), prepared), conv(X, W))


def test_bias_gradients_of_one_sample() -> None:
    assert message_of(lambda: convpp.conv_bias_grad(whole(3, 4))).endswith("did you mean batched=False?")
    assert convpp.conv_bias_grad(whole(3, 4), batched=False).shape == (3,)
    assert message_of(lambda: convpp.conv_bias_grad(whole(2, 3, 4, 4, 4), batched=False)).endswith("batched=True?")


def test_output_shapes_of_onnx() -> None:
    x, w = whole(1, 2, 5), whole(2, 3, 4)
    message = message_of(lambda: convpp.conv_transpose(x, w, stride=2, output_size=(7,)))
    words = "padding=convpp.conventions.onnx_transpose_padding(output_shape, x.shape, w.shape, strides=stride)"
    assert message.endswith(words)
    names = {"convpp": convpp, "output_shape": (7,), "x": x, "w": w, "stride": 2}
    padding = eval(words.removeprefix("padding="), names)
    assert convpp.conv_transpose(x, w, stride=2, padding=padding).shape == (1, 3, 7)


# ---------------------------------------------------------------- weights that fit in two ways


def test_weights_that_fit_in_two_ways_are_warned_of_where_they_are_used() -> None:
    x, w = whole(1, 3, 40, 41), whole(3, 3, 3, 5)
    words = r"w has shape \(3, 3, 3, 5\) and is read as \(K, C/groups, \*kernel\), with kernels of 3 x 5; it would fit"
    with pytest.warns(
        UserWarning, match=words + r".*kernels of 3 x 3: that is convpp.conventions.from_hwio\(w\)"
    ) as seen:
        y = conv(x, w)
    assert seen[0].filename == __file__
    assert y.shape == (1, 3, 38, 37)
    with pytest.warns(UserWarning, match=r"from_hwoi\(w\)"):
        convpp.conv_transpose(x, whole(3, 3, 3, 6))
    with pytest.warns(UserWarning, match="3 x 3 x 3"):
        convpp.conv_weight_grad(whole(1, 3, 4, 4, 2), whole(1, 3, 6, 6, 8), (3, 3, 3, 3, 7))


@pytest.mark.parametrize(
    "shape",
    [(3, 3, 3, 3), (3, 3, 3, 1), (3, 3, 1, 5), (3, 3, 5, 3), (5, 3, 3, 3), (3, 3, 7), (1, 3, 3, 5), (4, 3, 4, 5)],
)
def test_usual_weights_are_not_warned_of(shape: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        conv(np.ones((1, 3, *[13] * (len(shape) - 2))), np.ones(shape))


def test_layers_have_weights_in_our_order() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = convpp.Conv2d(3, 3, (3, 6), dtype=float, rng=0)
        layer.backward(layer(whole(1, 3, 17, 17)))


# ---------------------------------------------------------------- layers


def test_states_of_other_layers() -> None:
    layer = convpp.Conv2d(3, 5, 3, dtype=float, rng=0)
    bias = whole(5)
    state: Any = {"conv1.weight": W, "conv1.bias": bias, "fc.weight": bias}
    message = message_of(lambda: layer.load_state_dict(state), KeyError)
    match = re.search(r"did you mean (\{.*\})\?", message)
    assert match
    layer.load_state_dict(eval(match[1].replace("\\", ""), {"state": state}))
    np.testing.assert_array_equal(layer.weight, W)
    assert "from_hwio(state['kernel'])" in message_of(
        lambda: layer.load_state_dict({"kernel": W, "bias": bias}), KeyError
    ).replace("\\", "")
    assert "bias=False" in message_of(lambda: layer.load_state_dict({"weight": W}), KeyError)
    bare = convpp.Conv2d(3, 5, 3, bias=False)
    assert "bias=True" in message_of(lambda: bare.load_state_dict({"weight": W, "bias": bias}), KeyError)
    pair: Any = [W, bias]
    assert "dict(zip(('weight', 'bias'), state))" in message_of(lambda: layer.load_state_dict(pair))
    layer.load_state_dict(dict(zip(("weight", "bias"), pair, strict=True)))


@pytest.mark.parametrize("back", ["to_hwio", "to_ohwi"])
def test_weights_of_other_libraries(back: str) -> None:
    layer = convpp.Conv2d(16, 8, 3, dtype=float, rng=0)
    weight = getattr(conventions, back)(MANY_W)
    message = message_of(lambda: layer.load_state_dict({"weight": weight, "bias": whole(8)}), convpp.ShapeError)
    (words,) = suggestions(message)
    layer.load_state_dict({"weight": eval(words, {"convpp": convpp, "weight": weight}), "bias": whole(8)})
    np.testing.assert_array_equal(layer.weight, MANY_W)


def test_layers_of_another_rank() -> None:
    for made, words in (
        (lambda: convpp.Conv2d(1, 1, (3, 3, 3)), "did you mean Conv3d?"),
        (lambda: convpp.ConvTranspose3d(1, 1, (3, 3)), "did you mean ConvTranspose2d?"),
        (lambda: convpp.Conv2d(1, 1, 3, stride=(1, 2, 2, 1)), "did you mean (2, 2), for the spatial axes alone?"),
    ):
        assert message_of(made, convpp.ShapeError).endswith(words)
