"""Names: those that other libraries have for what convpp calls otherwise, slips, numbers that are nearly integers.

In: an argument's value that was refused.   Out: the end of the message, ": did you mean ...?".
Next: ``../arguments.py``, which refuses.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


def _all(words: str, meant: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), meant)


_FIRST, _LAST = "channels_first", "channels_last"
_MODES = ("zeros", "reflect", "symmetric", "replicate", "circular")

#: What is meant by a word, argument by argument.  Words are compared without case, blanks and hyphens.
_MEANT: dict[str, dict[str, str]] = {
    "layout": {
        **_all("nhwc ndhwc nwc nlc ntc bhwc hwc dhwc wc last channel_last nhwgc", _LAST),
        **_all("nchw ncdhw ncw ncl nct bchw chw cdhw cw first channel_first ngchw", _FIRST),
    },
    "padding": {"same_upper": "same", "none": "valid"},
    "padding_mode": {
        **_all("zero constant fill none grid_constant border_constant", "zeros"),
        **_all(
            "mirror reflection reflect_101 reflect101 border_reflect_101 border_reflect101 border_default", "reflect"
        ),
        **_all("symm sym half_sample grid_mirror border_reflect", "symmetric"),
        **_all("edge nearest extend replication border border_replicate clamp", "replicate"),
        **_all("wrap periodic period grid_wrap border_wrap cyclic", "circular"),
    },
    # np.pad's and convpp's names, where SciPy's are asked for
    "mode": {
        "symmetric": "reflect",
        "edge": "nearest",
        "replicate": "nearest",
        "circular": "wrap",
        "zeros": "constant",
    },
    "boundary": {"symmetric": "symm", "zeros": "fill", "constant": "fill", "circular": "wrap"},
    "auto_pad": {"same": "SAME_UPPER", "none": "NOTSET", "explicit": "NOTSET"},
    "algorithm": {"gemm": "direct", "im2col": "direct", "naive": "reference", "fast": "auto", "default": "auto"},
    "op": {
        **_all("conv fprop fwd y", "forward"),
        **_all("dgrad bwd_data dx input backward_input", "input_grad"),
        **_all("wgrad bwd_weights dw weight backward_weight", "weight_grad"),
    },
    "needs": {"weight": "w", "weights": "w", "dw": "w", "input": "x", "dx": "x", "b": "bias", "db": "bias"},
    "dtype": {
        **_all("f32 fp32 torch.float32 torch.float", "float32"),
        **_all("f64 fp64 torch.float64 torch.double", "float64"),
        **_all("f16 fp16 torch.float16 torch.half", "float16"),
        **_all("bf16 bfloat torch.bfloat16", "bfloat16"),
    },
}
_ACTIVATIONS = {
    "relu6": '("clip", 0, 6)',
    "hardtanh": '("clip", -1, 1)',
    "clip": '("clip", lo, hi)',
    "clamp": '("clip", lo, hi)',
    "swish": '"silu"',
    "lrelu": '"leaky_relu"',
    "leakyrelu": '"leaky_relu"',
    **dict.fromkeys(("none", "linear", "identity"), "None"),
}
_APPLIED = (
    *("sigmoid", "tanh", "softmax", "softplus", "softsign", "elu", "selu", "celu", "mish", "hardswish", "hard_swish"),
    *("hardsigmoid", "exp"),
)
#: What an argument is where it is left out.
_USUAL: dict[str, Any] = {
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "groups": 1,
    "output_padding": 0,
    "origin": 0,
    "padding_mode": "zeros",
    "layout": _FIRST,
    "algorithm": "auto",
    "flip": False,
    "per_sample": False,
    "accumulate": False,
    "batched": True,
    "keep": "reference",
}
_FUNCTIONS = {
    **_all("conv1d conv2d conv3d conv_nd convnd conv_general_dilated depthwise_conv2d", "conv"),
    **{f"conv_transpose{rank}d": "conv_transpose" for rank in (1, 2, 3)},
    **{f"conv{rank}d_transpose": "conv_transpose" for rank in (1, 2, 3)},
    **_all("convolve1d convolve2d fftconvolve oaconvolve", "convolve"),
    **_all("correlate1d correlate2d", "correlate"),
    **_all("max_pool1d max_pool2d max_pool3d max_pooling max_pooling2d", "max_pool"),
    **_all("avg_pool1d avg_pool2d avg_pool3d average_pool average_pooling", "avg_pool"),
    **_all("relu gelu silu swish leaky_relu", "activate"),
    **_all("gaussian_filter gaussian_filter1d gaussian_blur gaussian_kernel", "gaussian"),
    **_all("uniform_filter uniform_filter1d uniform box_filter boxcar", "box"),
    **_all("lfilter fir firfilter", "convolve"),
    **_all("correlate_backward", "convolve_backward"),
    **_all("correlate_tiled", "convolve_tiled"),
    **_all("gradcheck", "testing.gradcheck"),
    **_all("convolution linearoperator", "operators.Convolution"),
}
#: Keras's, whose names differ from ours by a letter.
_LAYERS = {f"Conv{rank}D": f"Conv{rank}d" for rank in (1, 2, 3)}
_LAYERS |= {f"Conv{rank}DTranspose": f"ConvTranspose{rank}d" for rank in (1, 2, 3)}
_LAYERS |= {f"MaxPooling{rank}D": f"MaxPool{rank}d" for rank in (1, 2, 3)}
_LAYERS |= {f"AveragePooling{rank}D": f"AvgPool{rank}d" for rank in (1, 2, 3)}
#: What there is to say of them beside their names.
_HOW = {
    "conv": ": w says how many axes there are",
    "conv_transpose": ": w says how many axes there are",
    "convolve": " (for arrays without channels): the kernel says how many axes there are",
    "correlate": " (for arrays without channels): the kernel says how many axes there are",
    "max_pool": ": kernel_size and x say how many axes there are",
    "avg_pool": ": kernel_size and x say how many axes there are",
    "activate": ", or activation= of conv and of layers",
    "gaussian": ", a kernel for convpp.convolve",
    "box": ", a kernel for convpp.convolve",
    "convolve_backward": " with flip=False",
    "convolve_tiled": " of the kernel turned around, np.flip(kernel)",
}


def _plain(word: str) -> str:
    return word.strip().lower().replace("-", "_").replace(" ", "_")


def of_name(value: Any, argument: str, choices: Iterable[str]) -> str:
    """Which of these names was meant."""
    names = tuple(choices)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        (value,) = value
    if not isinstance(value, str):
        return _no_name(value, argument)
    if len(value) > 100:
        return ""
    word = _plain(value)
    if argument == "padding_mode" and word in ("same", "valid", "full", "same_lower", "causal"):
        return f": did you mean padding={word!r}? It says how much, padding_mode what it holds"
    if argument == "padding" and (mode := _mode(word)):
        return f": did you mean padding_mode={mode!r}? It says what padding holds, padding how much"
    if argument == "padding" and word == "notset":
        return ": did you mean 0?"
    known = (_MEANT.get(argument, {}).get(word), *(name for name in names if _plain(name) == word))
    borders = _MEANT["padding_mode"].get(word) if argument == "boundary" else None
    guesses = (*known, borders, *difflib.get_close_matches(word, names, 1))
    meant = next((name for name in guesses if name in names), None)
    return f": did you mean {meant!r}?" if meant else ""


def _mode(word: str) -> str | None:
    """The padding mode that a word stands for, where it cannot be anything else."""
    return word if word in _MODES else None if word == "none" else _MEANT["padding_mode"].get(word)


def _no_name(value: Any, argument: str) -> str:
    if value is None:
        return of_integer(value, argument)
    if argument == "padding_mode" and isinstance(value, (int, float)) and not isinstance(value, bool):
        if value == 0:
            return ": did you mean 'zeros'?"
        return (
            f": another constant is padded before, conv(np.pad(x, ..., constant_values={value!r}), w); "
            f"convpp.convolve takes boundary={value!r}"
        )
    return ""


def of_padding(value: str, names: Iterable[str]) -> str:
    """Which padding was meant by a name, or by a number written as one."""
    return of_integer(value, "padding") or of_name(value, "padding", names)


def of_integer(value: Any, argument: str) -> str:
    """The integer, or the usual value, that was probably meant."""
    if value is None:
        return f": did you mean {_USUAL[argument]!r}, as if it was left out?" if argument in _USUAL else ""
    if isinstance(value, bool):
        return f": did you mean {int(value)}?"
    if isinstance(value, str):
        text = value.strip()
        digits = text.lstrip("+-")
        return f": did you mean {int(text)}?" if digits.isdecimal() and len(digits) < 20 and len(text) < 21 else ""
    if isinstance(value, float) or type(value).__name__.startswith("float"):
        try:
            number = float(value)
        except Exception:  # whatever a user's class does
            return ""
        return f": did you mean {int(number)}?" if number.is_integer() and abs(number) < 2**53 else ""
    return ""


def of_flag(value: Any, argument: str) -> str:
    """Which of True and False was meant."""
    if isinstance(value, int) and value in (0, 1):
        return f": did you mean {bool(value)}?"
    if isinstance(value, str) and _plain(value) in ("true", "false"):
        return f": did you mean {_plain(value).capitalize()}?"
    return of_integer(value, argument) if value is None else ""


def of_activation(value: Any, names: Iterable[str]) -> str:
    """What an activation of another name is here; what is not here is applied to the result."""
    if callable(value):
        return ": a function is applied to the result, activation(conv(x, w, bias))"
    kind = value[0] if isinstance(value, (list, tuple)) and len(value) else value
    if not isinstance(kind, str) or len(kind) > 100:
        return ""
    word = _plain(kind)
    if word in _APPLIED:
        return f": {word} is applied to the result, {word}(conv(x, w, bias))"
    meant = _ACTIVATIONS.get(word)
    if meant is None and (found := next(iter(difflib.get_close_matches(word, tuple(names), 1, 0.75)), None)):
        meant = f'"{found}"'
    return f": did you mean {meant}?" if meant is not None else ""


def of_entries(value: tuple[Any, ...], rank: int, argument: str) -> str:
    """The entries for the spatial axes among those for all axes, or of pads in the order of another library."""
    if len(value) == rank + 2:
        usual: Any = {"stride": 1, "dilation": 1, "output_padding": 0, "padding": (0, 0)}.get(argument)
        readings = ((value[1:-1], (value[0], value[-1])), (value[2:], value[:2]))
        inner = dict.fromkeys(str(inner) for inner, others in readings if others == (usual, usual))
        if inner:
            return f": did you mean {' or '.join(inner)}, for the spatial axes alone?"
    if argument != "padding":
        return ""
    if len(value) == 2 * rank and not any(isinstance(entry, tuple) for entry in value):
        onnx = tuple(zip(value[:rank], value[rank:], strict=True))
        torch = tuple(zip(value[0::2], value[1::2], strict=True))[::-1]
        if rank == 1:
            return f": did you mean {onnx}, a (lo, hi) pair?"
        return (
            f": did you mean {torch}, as PyTorch's F.pad lists them (conventions.torch_padding), or {onnx}, as ONNX's "
            "pads do (conventions.onnx_padding)?"
        )
    return ""


def of_attribute(name: str) -> str:
    """The function that another library calls so."""
    meant = _LAYERS.get(name) or _FUNCTIONS.get(_plain(name))
    if meant is None:
        return ""
    return f": did you mean convpp.{meant}{_HOW.get(meant, '')}?"


def of_layer(values: tuple[int, ...], layer: str, argument: str) -> str:
    """The layer of another rank whose kernel this would be."""
    if argument != "kernel_size" or len(values) not in (1, 2, 3) or min(values) < 1 or layer[-2:-1] == str(len(values)):
        return ""
    return f": did you mean {layer[:-2]}{len(values)}d?" if layer[-1] == "d" else ""


def of_state(names: Iterable[Any], expected: Iterable[str], transposed: bool) -> str:
    """Which entries of a state are those of one layer."""
    listed, wanted = [name for name in names if isinstance(name, str)], list(expected)
    for prefix in sorted({name.removesuffix("weight") for name in listed if name.endswith(".weight")}):
        if all(f"{prefix}{name}" in listed for name in wanted):
            return f": did you mean {{name: state[{prefix!r} + name] for name in {wanted}}}?"
    if "kernel" in listed:
        convert = "from_hwoi" if transposed else "from_hwio"
        return f": Keras's and Flax's kernel is the weight, by convpp.conventions.{convert}(state['kernel'])"
    if "bias" in listed and "bias" not in wanted and set(wanted) <= set(listed):
        return ": did you mean bias=True for this layer?"
    if "bias" in wanted and "bias" not in listed and "weight" in listed:
        return ": did you mean bias=False for this layer?"
    return ""
