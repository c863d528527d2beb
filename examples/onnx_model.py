"""
A model in ONNX's reference evaluator
=====================================

A small network in ONNX's reference evaluator, with its own operators and with convpp's: the same results, sooner.

pip install "convpp[onnx]"
"""

import time

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import convpp.onnx

rng = np.random.default_rng(0)
weights = {
    "w1": rng.standard_normal((16, 3, 3, 3)) / 5,
    "b1": rng.standard_normal(16) / 5,
    "w2": rng.standard_normal((16, 1, 5, 5)) / 5,
    "w3": rng.standard_normal((10, 16, 1, 1)) / 5,
}
nodes = [
    helper.make_node("Conv", ["x", "w1", "b1"], ["a"], auto_pad="SAME_UPPER"),
    helper.make_node("Relu", ["a"], ["b"]),
    helper.make_node("MaxPool", ["b"], ["c"], kernel_shape=[2, 2], strides=[2, 2]),
    helper.make_node("Conv", ["c", "w2"], ["d"], group=16, pads=[2, 2, 2, 2]),
    helper.make_node("AveragePool", ["d"], ["e"], kernel_shape=[2, 2], strides=[2, 2]),
    helper.make_node("Conv", ["e", "w3"], ["y"]),
]
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
model = helper.make_model(helper.make_graph(nodes, "network", ends[:1], ends[1:], constants))
x = rng.standard_normal((1, 3, 32, 32)).astype(np.float32)

results = {}
for name, ops in {"onnx": [], "convpp": convpp.onnx.ops}.items():
    evaluator = ReferenceEvaluator(model, new_ops=ops)
    evaluator.run(None, {"x": x})  # prepares the weights
    start = time.perf_counter()
    (results[name],) = evaluator.run(None, {"x": x})
    print(f"{name:6} {1000 * (time.perf_counter() - start):8.2f} ms")
error = np.abs(results["convpp"] - results["onnx"]).max()
print(f"largest difference {error:.0e} of {np.abs(results['onnx']).max():.1f}")
assert error < 1e-5
print("the same results")
