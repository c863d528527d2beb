"""Names and numbers of other libraries, and slips: the message says which was meant, and that one is taken.

Read next: guesses.py; python/convpp/_call/guesses/words.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convpp
from convpp import conventions
from guesses import message_of

X, W = np.ones((2, 3, 9, 8)), np.ones((3, 3, 3, 3))
FIRST, LAST = "channels_first", "channels_last"

#: For each argument of ``conv``: what was written, and what is meant.
MEANT: list[tuple[str, Any, Any]] = [
    *(
        ("layout", word, LAST)
        for word in ("NHWC", "nhwc", "NDHWC", "NWC", "NLC", "HWC", "channels-last", "Channels_Last", "last")
    ),
    *(("layout", word, FIRST) for word in ("NCHW", "NCDHW", "NCW", "NCL", "CHW", "channels first", "channel_first")),
    ("layout", "chanels_last", LAST),
    ("layout", ["channels_last"], LAST),
    *(("padding", word, "same") for word in ("SAME", "Same", "SAME_UPPER", "sam", "same ")),
    *(("padding", word, "valid") for word in ("VALID", "none", "vaild")),
    *(("padding", word, "same_lower") for word in ("SAME_LOWER", "same-lower")),
    *(("padding", word, "full") for word in ("FULL", "fulll")),
    ("padding", "CAUSAL", "causal"),
    ("padding", "2", 2),
    ("padding", 1.0, 1),
    ("padding", (1.0, 1), 1),
    ("padding", np.float32(2), 2),
    ("padding", True, 1),
    ("padding", "NOTSET", 0),
    *(
        ("padding_mode", word, "zeros")
        for word in ("constant", "CONSTANT", "zero", "Zeros", "grid-constant", "BORDER_CONSTANT")
    ),
    *(
        ("padding_mode", word, "replicate")
        for word in ("edge", "nearest", "extend", "border", "BORDER_REPLICATE", "replicat")
    ),
    *(("padding_mode", word, "circular") for word in ("wrap", "grid-wrap", "periodic", "BORDER_WRAP")),
    *(("padding_mode", word, "reflect") for word in ("mirror", "REFLECT", "reflection", "BORDER_REFLECT_101")),
    *(("padding_mode", word, "symmetric") for word in ("symm", "SYMMETRIC", "grid-mirror", "BORDER_REFLECT")),
    ("padding_mode", ("edge", "zeros"), "replicate"),
    ("padding_mode", 0, "zeros"),
    ("stride", 2.0, 2),
    ("stride", "2", 2),
    ("stride", (1, 2, 2, 1), (2, 2)),
    ("stride", (1, 1, 3, 2), (3, 2)),
    ("dilation", (1, 2, 1, 1), (2, 1)),
    ("groups", 3.0, 3),
    ("flip", 1, True),
    ("flip", "False", False),
    ("algorithm", "Direct", "direct"),
    ("algorithm", "winogrd", "winograd"),
    ("algorithm", "im2col", "direct"),
    ("padding", ((0, 0), (1, 2), (2, 1), (0, 0)), ((1, 2), (2, 1))),
    ("padding", ((0, 0), (0, 0), (1, 2), (2, 1)), ((1, 2), (2, 1))),
    ("activation", "swish", "silu"),
    ("activation", "ReLU", "relu"),
    ("activation", "LeakyReLU", "leaky_relu"),
    ("activation", "relu6", ("clip", 0, 6)),
    ("activation", "hardtanh", ("clip", -1, 1)),
    ("activation", "linear", None),
    *(
        (argument, None, usual)
        for argument, usual in {
            "stride": 1,
            "padding": 0,
            "dilation": 1,
            "groups": 1,
            "padding_mode": "zeros",
            "flip": False,
            "layout": FIRST,
            "per_sample": False,
            "algorithm": "auto",
        }.items()
    ),
]


def call(**options: Any) -> Any:
    channels_last = options.get("layout") == LAST
    w = W[:, :1] if options.get("groups") in (3, 3.0) else W
    return convpp.conv(np.moveaxis(X, 1, -1) if channels_last else X, w, **options)


@pytest.mark.parametrize(("argument", "written", "meant"), MEANT, ids=str)
def test_what_was_meant(argument: str, written: Any, meant: Any) -> None:
    message = message_of(lambda: call(**{argument: written}))
    assert message.startswith(f"{argument} is ")
    shown = str(meant).replace("'", '"') if argument == "activation" else repr(meant)
    if argument == "activation" and isinstance(meant, str):
        shown = f'"{meant}"'
    assert f": did you mean {shown}" in message, message
    assert call(**{argument: meant}).size


def test_strides_that_can_be_read_in_two_ways() -> None:
    message = message_of(lambda: call(stride=(1, 1, 2, 1)))
    assert message.endswith("did you mean (1, 2) or (2, 1), for the spatial axes alone?")


def test_padding_and_its_mode_are_told_apart() -> None:
    for mode, meant in (("reflect", "reflect"), ("edge", "replicate"), ("constant", "zeros"), ("wrap", "circular")):
        message = message_of(lambda m=mode: call(padding=m))
        assert message.endswith(f"did you mean padding_mode={meant!r}? It says what padding holds, padding how much")
    for padding in ("same", "VALID", "full"):
        message = message_of(lambda p=padding: call(padding_mode=p))
        assert message.endswith(
            f"did you mean padding={padding.lower()!r}? It says how much, padding_mode what it holds"
        )


def test_pads_in_the_order_of_other_libraries() -> None:
    message = message_of(lambda: call(padding=(1, 2, 3, 4)))
    torch, onnx = conventions.torch_padding((1, 2, 3, 4)), conventions.onnx_padding((1, 2, 3, 4))
    assert message.endswith(
        f"did you mean {torch}, as PyTorch's F.pad lists them (conventions.torch_padding), or {onnx}, as ONNX's pads "
        "do (conventions.onnx_padding)?"
    )
    assert call(padding=torch).shape != call(padding=onnx).shape
    one = message_of(lambda: convpp.conv(np.ones((1, 5)), np.ones((1, 1, 2)), padding=(1, 2)))
    assert one.endswith("did you mean ((1, 2),), a (lo, hi) pair?")
    assert convpp.conv(np.ones((1, 5)), np.ones((1, 1, 2)), padding=((1, 2),)).shape == (1, 7)


def test_constants_other_than_0() -> None:
    message = message_of(lambda: call(padding=1, padding_mode=2.5))
    assert message.endswith(
        "another constant is padded before, conv(np.pad(x, ..., constant_values=2.5), w); convpp.convolve takes "
        "boundary=2.5"
    )
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=2.5)
    y = convpp.conv(padded, W)
    assert y.shape == X.shape
    assert y[0, 0, 0, 0] == 3 * (4 * 1 + 5 * 2.5)
    dy = np.ones_like(y)
    dx = convpp.conv_input_grad(dy, W, padded.shape)[:, :, 1:-1, 1:-1]
    np.testing.assert_array_equal(dx, convpp.conv_input_grad(dy, W, X.shape, padding=1))


def test_functions_as_activations() -> None:
    assert message_of(lambda: call(activation=np.tanh)).endswith("activation(conv(x, w, bias))")
    for name in ("sigmoid", "tanh", "ELU"):
        word = name.lower()
        assert message_of(lambda n=name: call(activation=n)).endswith(f"{word}(conv(x, w, bias))")


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        (lambda: convpp.explain(X.shape, W.shape, op="dgrad"), "'input_grad'"),
        (lambda: convpp.explain(X.shape, W.shape, op="fprop"), "'forward'"),
        (lambda: convpp.explain(X.shape, W.shape, dtype="bf16"), "'bfloat16'"),
        (lambda: convpp.explain(X.shape, W.shape, dtype="fp32"), "'float32'"),
        (lambda: convpp.conv_backward(X, X, W, needs=("weight",)), "'w'"),
        (lambda: convpp.conv_backward(X, X, W, needs=("x", "b")), "'bias'"),
        (lambda: convpp.set_algorithm("Winograd"), "'winograd'"),
        (lambda: convpp.Conv2d(3, 3, 3, padding="SAME"), "'same'"),
        (lambda: convpp.Conv2d(3, 3, 3, padding_mode="edge"), "'replicate'"),
        (lambda: convpp.Conv2d(3, 3, 3, layout="NHWC"), "'channels_last'"),
        (lambda: convpp.Conv2d(3, 3, 3.0), "3"),
        (lambda: convpp.Conv2d(3, 3, 3, keep="copies"), "'copy'"),
        (lambda: convpp.conv_bias_grad(X, layout="NHWC"), "'channels_last'"),
        (lambda: convpp.conv_transpose(X, W, output_padding=None), "0"),
        (lambda: conventions.onnx_padding(auto_pad="SAME"), "'SAME_UPPER'"),
        (lambda: conventions.ndimage_arguments("correlate", (3,), "edge"), "'nearest'"),
        (lambda: conventions.ndimage_arguments("correlate", (3,), "symmetric"), "'reflect'"),
        (lambda: conventions.signal_arguments("fftconvolve", "same"), "'convolve'"),
        (lambda: conventions.signal_arguments("convolve2d", "same", "symmetric"), "'symm'"),
        (lambda: conventions.signal_arguments("convolve2d", "SAME"), "'same'"),
    ],
)
def test_other_places(wrong: Callable[[], Any], meant: str) -> None:
    assert f": did you mean {meant}" in message_of(wrong, Exception)


@pytest.mark.parametrize("wrong", ["zigzag", "", "x" * 10**6, 7, object(), ["a", "b"], 10**400, float("nan"), 1e300])
def test_nothing_is_guessed_of_what_means_nothing(wrong: Any) -> None:
    for argument in ("layout", "padding_mode", "algorithm", "flip", "stride", "activation"):
        if isinstance(wrong, (int, float)) and argument in ("padding_mode", "stride"):
            continue
        message = message_of(lambda a=argument: call(**{a: wrong}))
        assert "did you mean" not in message
        assert len(message) < 2000
