"""Operators for onnx's reference evaluator beside ONNX Runtime, with random shapes and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import convpp.onnx
from geometry import Array, integers

runtime = pytest.importorskip("onnxruntime")

PADDING = ("NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def both(node: Any, inputs: dict[str, Array]) -> tuple[list[Array], list[Array]]:
    """What ONNX Runtime gives, and what we give; the weights are an initializer."""
    values = {
        name: helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for name, v in inputs.items()
    }
    weights = [numpy_helper.from_array(inputs[name], name) for name in inputs if name == "w"]
    kinds = {"y": TensorProto.UNDEFINED, "indices": TensorProto.INT64}
    ends = [helper.make_tensor_value_info(name, kinds[name], None) for name in node.output]
    ends = [end if end.type.tensor_type.elem_type else helper.make_empty_tensor_value_info("y") for end in ends]
    fed = {name: v for name, v in inputs.items() if name != "w"}
    graph = helper.make_graph([node], "graph", [values[name] for name in fed], ends, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, fed), ReferenceEvaluator(model, new_ops=convpp.onnx.ops).run(None, fed)


def drawn(rng: np.random.Generator, rank: int, kernel: list[int]) -> dict[str, Any]:
    a: dict[str, Any] = {"auto_pad": str(rng.choice(PADDING)), "strides": rng.integers(1, 4, rank).tolist()}
    if a["auto_pad"] == "NOTSET":
        a["pads"] = [int(rng.integers(0, k)) for k in kernel * 2]
    a["dilations"] = [1] * rank if a["auto_pad"].startswith("SAME") else rng.integers(1, 3, rank).tolist()
    return a


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "ConvInteger", "QLinearConv"])
def test_convolutions(op: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank, groups = int(rng.integers(1, 4)) if op.startswith("ConvT") or op == "Conv" else 2, int(rng.integers(1, 3))
    kernel = rng.integers(1, 4, rank).tolist()
    a = drawn(rng, rank, kernel) | {"group": groups}
    spatial = rng.integers(6, 10, rank)
    x = integers(rng, (2, 2 * groups, *spatial), "float32")
    w = integers(rng, (3 * groups if op != "ConvTranspose" else 2 * groups, 2, *kernel), "float32")
    inputs = {"x": x, "w": w}
    if op == "ConvTranspose":
        if rng.integers(2):
            room = [s - 1 for s in a["strides"]]
            a["output_padding"] = [int(rng.integers(r + 1)) for r in room]
        if a["auto_pad"].startswith("SAME"):
            # (ONNX Runtime crops nothing where the kernel is shorter than the stride.)
            a["strides"] = [min(s, k) for s, k in zip(a["strides"], kernel, strict=True)]
            a.pop("output_padding", None)
    elif op != "Conv":
        kind = np.dtype(rng.choice(["uint8", "int8"]))
        limits = np.iinfo(kind)
        x = rng.integers(limits.min, limits.max, x.shape).astype(kind)
        # (Signed weights of ONNX Runtime's have the zero point 0.)
        w = rng.integers(-128, 127, w.shape).astype(np.int8)
        zeros = {"xz": np.array(rng.integers(0, 99), kind), "wz": np.zeros((), np.int8)}
        inputs = {"x": x, "w": w, **zeros}
        if op == "QLinearConv":
            scales = (rng.random(w.shape[0]) + 0.5).astype(np.float32)
            inputs = {
                "x": x, "xs": np.float32(0.5), "xz": zeros["xz"], "w": w, "ws": scales,
                "wz": np.zeros(w.shape[0], np.int8), "ys": np.float32(100), "yz": np.array(rng.integers(0, 99), kind),
                "b": rng.integers(-500, 500, w.shape[0]).astype(np.int32),
            }  # fmt: skip
            inputs = {name: np.asarray(value) for name, value in inputs.items()}
    (want,), (got,) = both(helper.make_node(op, list(inputs), ["y"], kernel_shape=kernel, **a), inputs)
    np.testing.assert_array_equal(got, want, err_msg=str((op, x.shape, w.shape, a)), strict=True)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_pooling(op: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    kernel = rng.integers(1, 4, rank).tolist()
    a = drawn(rng, rank, kernel)
    a["ceil_mode"] = int(a["auto_pad"] == "NOTSET" and rng.integers(2))
    outputs = ["y"]
    if op == "MaxPool":
        outputs.append("indices")
        a["storage_order"] = int(rng.integers(2)) if rank > 1 else 0
    else:
        a["count_include_pad"] = int(rng.integers(2))
    x = rng.permutation(2 * 3 * 9**rank).reshape(2, 3, *(9,) * rank).astype(np.float32)
    wants, gots = both(helper.make_node(op, ["x"], outputs, kernel_shape=kernel, **a), {"x": x})
    for got, want in zip(gots, wants, strict=True):
        np.testing.assert_allclose(got, want, rtol=3e-7, err_msg=str((op, a)), strict=True)
