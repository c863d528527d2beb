"""ONNX's own node cases for Conv, ConvTranspose and CausalConvWithState: every model that is one such node, through
convpp.

Each attribute of the operator becomes an argument; the values may differ by the tolerance of the case.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import Any

import numpy as np
from onnx import helper
from onnx.backend.test.loader import load_model_tests

import convpp
from geometry import Array

AUTO_PAD = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}


def test_every_node_case() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # building the cases of other operators overflows on purpose
        cases = load_model_tests(kind="node")
    seen: Counter[str] = Counter()
    for case in cases:
        node, *others = case.model.graph.node
        if others or node.op_type not in ("Conv", "ConvTranspose", "CausalConvWithState"):
            continue
        seen[node.op_type] += 1
        for inputs, outputs in case.data_sets:
            if node.op_type == "CausalConvWithState":
                by_name = dict(zip((name for name in node.input if name), inputs, strict=True))
                found = run_chunk(node, *(by_name.get(name) for name in node.input))
            else:
                found = (run(node, *inputs),)
            for y, want in zip(found, outputs, strict=False):
                assert y.dtype == want.dtype
                np.testing.assert_allclose(y, want, rtol=case.rtol, atol=case.atol, err_msg=case.name, strict=True)
    assert seen["Conv"] >= 6
    assert seen["ConvTranspose"] >= 11
    assert seen["CausalConvWithState"] >= 3


def run_chunk(
    node: Any, x: Array, w: Array, bias: Array | None = None, past: Array | None = None
) -> tuple[Array, Array]:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    activation = attributes.pop("activation", b"none").decode()
    assert not attributes, f"not an attribute of CausalConvWithState: {attributes}"
    return convpp.conv(
        x,
        w,
        bias,
        padding="causal",
        groups=w.shape[0],
        activation={"none": None, "swish": "silu"}.get(activation, activation),
        state="zeros" if past is None else past,
    )


def run(node: Any, x: Array, w: Array, bias: Array | None = None) -> Array:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    rank = w.ndim - 2
    assert tuple(attributes.pop("kernel_shape", w.shape[2:])) == w.shape[2:]
    auto_pad = attributes.pop("auto_pad", b"NOTSET").decode()
    pads = attributes.pop("pads", [0] * 2 * rank)  # all beginnings, then all ends
    keywords: dict[str, Any] = {
        "stride": attributes.pop("strides", 1),
        "dilation": attributes.pop("dilations", 1),
        "groups": attributes.pop("group", 1),
        "padding": AUTO_PAD.get(auto_pad) or list(zip(pads[:rank], pads[rank:], strict=True)),
    }
    if node.op_type == "Conv":
        assert not attributes, f"not an attribute of Conv: {attributes}"
        y = convpp.conv(x, w, bias, **keywords)
        assert math.prod(y.shape) > 0
        return y
    if "output_shape" in attributes:
        keywords["padding"] = convpp.conventions.onnx_transpose_padding(
            attributes.pop("output_shape"),
            x.shape,
            w.shape,
            strides=keywords["stride"],
            dilations=keywords["dilation"],
            output_padding=attributes.pop("output_padding", 0),
            auto_pad=auto_pad,
        )
    keywords["output_padding"] = attributes.pop("output_padding", 0)
    assert not attributes, f"not an attribute of ConvTranspose: {attributes}"
    return convpp.conv_transpose(x, w, bias, **keywords)
