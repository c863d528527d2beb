"""Operators for onnx's reference evaluator: onnx's own cases, weights that are prepared once, exact integers."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

import convpp
import convpp.onnx
from geometry import Array, integers

NAMES = {op.__name__ for op in convpp.onnx.ops}
LEAST = {"Conv": 6, "ConvTranspose": 11, "ConvInteger": 2, "QLinearConv": 1, "MaxPool": 18, "AveragePool": 18}


def evaluator(model: Any) -> ReferenceEvaluator:
    return ReferenceEvaluator(model, new_ops=convpp.onnx.ops)


def close(got: Any, want: Any, case: Any) -> None:
    for mine, theirs in zip(got, want, strict=True):
        assert mine.dtype == theirs.dtype, case.name
        np.testing.assert_allclose(
            mine.astype(np.float64), theirs.astype(np.float64), rtol=case.rtol, atol=case.atol, err_msg=case.name,
            strict=True,
        )  # fmt: skip


def test_every_node_case() -> None:
    """Those of one node, and those where an operator of ours stands in the definition of another."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # building the cases of other operators overflows on purpose
        cases = load_model_tests(kind="node")
    seen: Counter[str] = Counter()
    for case in cases:
        kinds = NAMES & {node.op_type for node in case.model.graph.node}
        if kinds:
            seen.update(kinds)
            names = [entry.name for entry in case.model.graph.input]
            for inputs, want in case.data_sets:
                close(evaluator(case.model).run(None, dict(zip(names, inputs, strict=True))), want, case)
    for name in NAMES:
        assert seen[name] >= LEAST.get(name, 1), seen


@pytest.mark.parametrize("kind", ["pytorch-converted", "pytorch-operator"])
def test_models_from_pytorch(kind: str) -> None:
    """With weights that are initializers: as prepared as they are in a second run."""
    seen = 0
    for case in load_model_tests(kind=kind):
        folder = Path(case.model_dir)
        model = onnx.load(folder / "model.onnx")
        if not NAMES & {node.op_type for node in model.graph.node}:
            continue
        seen += 1
        run = evaluator(model)
        given = {tensor.name for tensor in model.graph.initializer}  # which older models list as inputs, too
        names = [entry.name for entry in model.graph.input if entry.name not in given]
        for data in [*folder.glob("test_data_set_*")] * 2:
            inputs, want = (
                [numpy_helper.to_array(onnx.load_tensor(file)) for file in sorted(data.glob(f"{what}_*.pb"))]
                for what in ("input", "output")
            )
            close(run.run(None, dict(zip(names, inputs, strict=True))), want, case)
    assert seen >= (20 if kind == "pytorch-converted" else 2)


# ---------------------------------------------------------------- weights that are prepared once


def a_model(op: str, inputs: dict[str, Any], initializers: dict[str, Any] | None = None, **attributes: Any) -> Any:
    """One node; ``inputs`` are in its order, and are given to ``run`` but for the initializers."""
    initializers = initializers or {}
    fed = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.asarray(value).dtype), None)
        for name, value in inputs.items()
        if name not in initializers
    ]
    made = [value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(value, name)
            for name, value in initializers.items()]  # fmt: skip
    node = helper.make_node(op, list(inputs), ["y"], **attributes)
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return helper.make_model(helper.make_graph([node], "graph", fed, [result], made))


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of x for which weights are prepared from here on."""
    shapes = []

    def prepare(w: Any, x_shape: Any, **options: Any) -> Any:
        shapes.append(x_shape)
        return convpp.prepare_weights(w, x_shape, **options)

    monkeypatch.setattr(convpp.onnx, "prepare_weights", prepare)
    return shapes


def test_initializers_are_prepared_once_for_each_shape(prepared: list[Any], rng: np.random.Generator) -> None:
    w, bias = integers(rng, (4, 3, 3, 3), "float32"), integers(rng, (4,), "float32")
    xs = [integers(rng, (1, 3, 6 + i, 7), "float32") for i in range(convpp.onnx.SHAPES_KEPT)]
    run = evaluator(a_model("Conv", {"x": xs[0], "w": w, "b": bias}, {"w": w, "b": bias}, pads=[1, 0, 1, 2]))
    for x in xs * 3:
        y = run.run(None, {"x": x})[0]
        np.testing.assert_array_equal(y, convpp.conv(x, w, bias, padding=((1, 1), (0, 2))), strict=True)
    assert prepared == [x.shape for x in xs]
    more = integers(rng, (2, 3, 6, 7), "float32")
    for x in (more, xs[-1], xs[0], xs[0]):  # the first one was forgotten
        np.testing.assert_array_equal(run.run(None, {"x": x})[0].shape[0], len(x))
    assert prepared[len(xs) :] == [more.shape, xs[0].shape]


def test_initializers_given_as_numbers_are_prepared_when_they_come_again(prepared: list[Any]) -> None:
    """They are arrays that could change."""
    w = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    x = np.arange(10, dtype=np.float32).reshape(1, 2, 5)
    tensor = helper.make_tensor("w", TensorProto.FLOAT, w.shape, w.ravel())
    run = evaluator(a_model("Conv", {"x": x, "w": w}, {"w": tensor}))
    for _ in range(4):
        np.testing.assert_array_equal(run.run(None, {"x": x})[0], convpp.conv(x, w))
    assert prepared == [x.shape]


def test_weights_that_are_fed_may_change(prepared: list[Any], rng: np.random.Generator) -> None:
    """In the same array, or in a new one."""
    x, w = integers(rng, (1, 3, 9), "float32"), integers(rng, (2, 3, 2), "float32")
    run = evaluator(a_model("Conv", {"x": x, "w": w}))
    for step in range(8):
        if step % 3 == 2:
            w[0, 1, 0] += 1
        if step == 5:
            w = w[::-1].copy()
        np.testing.assert_array_equal(run.run(None, {"x": x, "w": w})[0], convpp.conv(x, w))
    assert prepared
    view = w.view()
    view.flags.writeable = False  # and is yet not fixed: w is not
    for _ in range(3):
        w += 1
        np.testing.assert_array_equal(run.run(None, {"x": x, "w": view})[0], convpp.conv(x, w))


def test_zero_points_may_change_too(prepared: list[Any], rng: np.random.Generator) -> None:
    x, w = rng.integers(0, 255, (1, 2, 9)).astype(np.uint8), rng.integers(-128, 127, (3, 2, 3)).astype(np.int8)
    zeros = np.array([1, -2, 3], np.int8)
    of_x = np.array(7, np.uint8)
    run = evaluator(a_model("ConvInteger", {"x": x, "w": w, "xz": of_x, "wz": zeros}, {"w": w}))
    for step in range(9):
        if step % 3 == 2:
            zeros[step % 2] += 1
        of_x = np.array(step // 4, np.uint8)
        got = run.run(None, {"x": x, "w": w, "xz": of_x, "wz": zeros})[0]
        np.testing.assert_array_equal(got, whole(x, w, int(of_x), zeros), strict=True)
    assert len(prepared) > 3


def test_several_threads(rng: np.random.Generator) -> None:
    w = integers(rng, (8, 4, 3, 3), "float32")
    xs = [integers(rng, (1, 4, 5 + i % 7, 6), "float32") for i in range(60)]
    run = evaluator(a_model("Conv", {"x": xs[0], "w": w}, {"w": w}))
    with ThreadPoolExecutor(6) as pool:
        for x, y in zip(xs, pool.map(lambda x: run.run(None, {"x": x})[0], xs), strict=True):
            np.testing.assert_array_equal(y, convpp.conv(x, w))


def test_attributes_of_a_function() -> None:
    """They may differ from call to call of one node."""
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    node.attribute.append(onnx.AttributeProto(name="strides", ref_attr_name="step", type=onnx.AttributeProto.INTS))
    opset = [helper.make_opsetid("", 22), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Step", ["x", "w"], ["y"], [node], opset, ["step"])
    calls = [helper.make_node("Step", ["x", "w"], [f"y{s}"], domain="own", step=[s]) for s in (1, 2, 3)]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y1", "y2", "y3")]
    x, w = np.arange(9, dtype=np.float32)[None, None], np.ones((1, 1, 3), np.float32)
    graph = helper.make_graph(calls, "graph", values[:1], values[1:], [numpy_helper.from_array(w, "w")])
    model = helper.make_model(graph, functions=[function], opset_imports=opset)
    # (The evaluator gives new operators to functions that were evaluators before.)
    inner = ReferenceEvaluator(function, new_ops=convpp.onnx.ops)
    run = ReferenceEvaluator(graph, opsets={"": 22, "own": 1}, functions=[inner])
    assert isinstance(inner.rt_nodes_[0], convpp.onnx.Conv)
    for _ in range(2):
        for step, y in zip((1, 2, 3), run.run(None, {"x": x}), strict=True):
            np.testing.assert_array_equal(y, convpp.conv(x, w, stride=step))
    assert model.functions


# ---------------------------------------------------------------- whole numbers


def whole(x: Array, w: Array, x_zero: int, w_zero: Any, **options: Any) -> Array:
    """In NumPy's 64-bit integers, one by one."""
    shifted = w.astype(np.int64) - np.reshape(w_zero, (-1, *(1,) * (w.ndim - 1)))
    y = convpp.testing.reference_conv(x.astype(np.float64) - x_zero, shifted.astype(np.float64), **options)
    return y.astype(np.int64).astype(np.int32)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("kinds", [*itertools.product(("int8", "uint8"), repeat=2)])
def test_integers_are_exact(rank: int, kinds: tuple[str, str], rng: np.random.Generator) -> None:
    """In every type, with zero points of filters; few channels, and so many that float32 does not hold the sums."""
    for channels, extent in ((4, 3), (700, 2 if rank == 3 else 4)):
        (x_low, x_high), (w_low, w_high) = ((np.iinfo(k).min, np.iinfo(k).max) for k in kinds)
        x = rng.choice([x_low, x_high], (1, channels, *(extent + 1,) * rank)).astype(kinds[0])
        w = rng.choice([w_low, w_high], (6, channels // 2, *(2,) * rank)).astype(kinds[1])
        w[3:] = w_high
        x[:, channels // 2 :] = x_high
        for w_zero in (np.array(w_low, kinds[1]), rng.integers(w_low, w_high, 6).astype(kinds[1])):
            x_zero = np.array(x_low, kinds[0])
            inputs = {"x": x, "w": w, "xz": x_zero, "wz": w_zero}
            run = evaluator(a_model("ConvInteger", inputs, {"w": w}, group=2, pads=[1, 0] * rank, strides=[2] * rank))
            got = run.run(None, inputs)[0]
            lows_highs = [1, 0] * rank  # all low ends, then all high ends
            pads = [*zip(lows_highs[:rank], lows_highs[rank:], strict=True)]
            want = whole(x, w, int(x_zero), w_zero, groups=2, padding=pads, stride=2)
            np.testing.assert_array_equal(got, want, strict=True)


def test_quantized(rng: np.random.Generator) -> None:
    """Scales of filters in any rank; halves go to the even multiple before the zero point is added."""
    x, w = rng.integers(0, 255, (2, 2, 5, 4, 3)).astype(np.uint8), rng.integers(-9, 9, (3, 2, 2, 2, 1)).astype(np.int8)
    inputs = {
        "x": x, "xs": np.float32(0.5), "xz": np.uint8(3), "w": w, "ws": np.array([0.5, 0.25, 1], np.float32),
        "wz": np.zeros(3, np.int8), "ys": np.float32(32), "yz": np.uint8(101), "b": np.array([5, -900, 77], np.int32),
    }  # fmt: skip
    inputs = {name: np.asarray(value) for name, value in inputs.items()}
    got = evaluator(a_model("QLinearConv", inputs, {"w": w})).run(None, inputs)[0]
    sums = whole(x, w, 3, 0).astype(np.int64) + inputs["b"].reshape(-1, 1, 1, 1)
    exact = sums * inputs["ws"].astype(np.float64).reshape(-1, 1, 1, 1) / 64
    assert (exact % 1 == 0.5).any()
    np.testing.assert_array_equal(got, np.clip(np.rint(exact) + 101, 0, 255).astype(np.uint8), strict=True)


# ---------------------------------------------------------------- the rest


def test_causal_convolution_in_chunks(rng: np.random.Generator) -> None:
    """Each call goes on where the last one ended: together they are one convolution of the whole."""
    x, w, bias = (
        integers(rng, (2, 3, 20), "float32"),
        integers(rng, (3, 1, 4), "float32"),
        integers(rng, (3,), "float32"),
    )
    names = ["x", "w", "b", "state"]
    node = helper.make_node("CausalConvWithState", names, ["y", "next"])
    run = convpp.onnx.CausalConvWithState(node, {"log": lambda *_: None, "opsets": {"": 27}, "new_ops": None})
    state, parts = None, []
    for chunk in np.split(x, [1, 3, 11], axis=2):
        y, state = run.run(chunk, w, bias, state)
        parts.append(y)
    np.testing.assert_array_equal(np.concatenate(parts, 2), convpp.conv(x, w, bias, padding="causal", groups=3))
    np.testing.assert_array_equal(state, x[:, :, -3:])


def test_zeros_beside_auto_pad(rng: np.random.Generator) -> None:
    """Some exporters write both."""
    x, w = integers(rng, (1, 2, 7), "float32"), integers(rng, (2, 2, 3), "float32")
    for pads, how in (([0, 0], "same"), (None, "same")):
        given = {} if pads is None else {"pads": pads}
        run = evaluator(a_model("Conv", {"x": x, "w": w}, auto_pad="SAME_UPPER", strides=[2], **given))
        np.testing.assert_array_equal(run.run(None, {"x": x, "w": w})[0], convpp.conv(x, w, stride=2, padding=how))


X, W = np.zeros((1, 2, 5), np.float32), np.zeros((4, 2, 3), np.float32)
SMALL, KERNEL = np.zeros((1, 2, 5), np.uint8), np.zeros((4, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "said"),
    [
        ("Conv", {"x": X[0], "w": W}, {}, "expected \\(N, C, \\*spatial\\)"),
        ("Conv", {"x": X, "w": W}, {"kernel_shape": [2]}, "kernel_shape is \\(2,\\)"),
        ("Conv", {"x": X, "w": W}, {"group": 3}, "groups is 3"),
        ("Conv", {"x": X, "w": W}, {"pads": [1, 1], "auto_pad": "SAME_UPPER"}, "pads is"),
        ("Conv", {"x": X, "w": W}, {"auto_pad": "SAME"}, "auto_pad is 'SAME'"),
        ("ConvTranspose", {"x": X, "w": W}, {}, "must have 4 channels"),
        ("ConvInteger", {"x": SMALL, "w": KERNEL, "z": np.zeros(2, np.uint8)}, {}, "x_zero_point has shape"),
        (
            "ConvInteger",
            {"x": SMALL, "w": KERNEL, "": 0, "z": np.zeros(2, np.uint8)},
            {},
            "w_zero_point has shape \\(2,\\), expected a scalar or \\(4,\\)",
        ),
    ],
)
def test_errors(op: str, inputs: dict[str, Any], attributes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        evaluator(a_model(op, inputs, **attributes)).run(None, {name: v for name, v in inputs.items() if name})


def test_types_are_named() -> None:
    """The evaluator says the rest, and gives the reason as the cause."""
    with pytest.raises(TypeError) as caught:
        evaluator(a_model("ConvInteger", {"x": X, "w": W})).run(None, {"x": X, "w": W})
    assert "x has dtype float32, expected int8 or uint8" in str(caught.value.__cause__)
