"""Who takes part: convpp and the libraries it is compared with, each as a function that runs one pass.

In: a ``Layer``, the pass, dtype, layout, threads.   Out: named functions, each returning the result as an array in
the layout under test.   All start from plain arrays in memory; results are written anew by each call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import convpp
from convpp._cli.bench import Run, layer_pass
from convpp._cli.suite import Array, Layer


def torch_pass(layer: Layer, op: str, layout: str, threads: int, arrays: dict[str, Array]) -> Run:
    """PyTorch: tensors that share the arrays' memory, in its own format of the same layout."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    formats: dict[int, Any] = {2: torch.channels_last, 3: torch.channels_last_3d}
    last = layout == "channels_last"

    def tensor(array: Array) -> Any:
        return torch.from_numpy(array).movedim(-1, 1) if last else torch.from_numpy(array)

    x, dy = tensor(arrays["x"]), tensor(arrays["dy"])
    w = torch.from_numpy(arrays["w"])
    if last and layer.rank in formats:
        w = w.contiguous(memory_format=formats[layer.rank])
    geometry = (layer.stride, layer.padding, layer.dilation)

    def result(t: Any) -> Array:
        return np.asarray((t.movedim(1, -1) if last else t).numpy())

    def backward(*mask: bool) -> Any:
        return torch.ops.aten.convolution_backward(
            dy, x, w, None, *geometry, False, [0] * layer.rank, layer.groups, mask
        )

    return {
        "forward": lambda: result(
            torch.ops.aten.convolution(x, w, None, *geometry, False, [0] * layer.rank, layer.groups)
        ),
        "input_grad": lambda: result(backward(True, False, False)[0]),
        "weight_grad": lambda: np.asarray(backward(False, True, False)[1].numpy()),
    }[op]


def onnxruntime_pass(layer: Layer, threads: int, arrays: dict[str, Array], spins: bool = False) -> Run:
    """ONNX Runtime: a model of one Conv node, weights as constants; forward, float32, channels_first.

    Its threads spin while it runs, and by its default (``spins``) behind it, where they take the cores from whoever is
    next.
    """
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    x, w, dy = arrays["x"], arrays["w"], arrays["dy"]
    attributes: dict[str, Any] = {
        "strides": layer.stride,
        "pads": layer.padding * 2,
        "dilations": layer.dilation,
        "group": layer.groups,
    }
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)],
        "layer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, dy.shape)],
        [numpy_helper.from_array(w, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if not spins:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda: np.asarray(session.run(None, {"x": x})[0])


def scipy_pass(layer: Layer, op: str, arrays: dict[str, Array]) -> Run | None:
    """SciPy's FFT filters (overlap-add for signals), where the layer is one image or signal and one kernel."""
    import scipy.signal

    if op != "forward" or (layer.n, layer.c, layer.k) != (1, 1, 1) or set(layer.stride) != {1}:
        return None
    x, w = arrays["x"].reshape(layer.input), arrays["w"].reshape(layer.kernel)
    shape = arrays["dy"].shape
    rotated = np.flip(w)  # correlation is convolution with the rotated kernel
    padded = np.pad(x, [(p, p) for p in layer.padding])
    convolve = scipy.signal.oaconvolve if layer.rank == 1 else scipy.signal.fftconvolve
    return lambda: convolve(padded, rotated, mode="valid").reshape(shape)


def with_direct(algorithms: list[str]) -> list[str]:
    """The algorithms, and the direct one behind them if it is not there."""
    return algorithms if "direct" in algorithms else [*algorithms, "direct"]


def names(algorithms: list[str]) -> list[str]:
    """What convpp's contestants are called: the first algorithm's plainly "convpp"."""
    return ["convpp", *(f"convpp {algorithm}" for algorithm in algorithms[1:])]


def prepared_pass(layer: Layer, layout: str, threads: int, arrays: dict[str, Array], algorithm: str) -> Run:
    """convpp's forward pass with prepared weights: what ONNX Runtime's constants are to it."""
    x, how = arrays["x"], {**layer.geometry, "layout": layout, "algorithm": algorithm}
    weights = convpp.prepare_weights(arrays["w"], x.shape, **how)
    return lambda: convpp.conv(x, weights, threads=threads)


def contestants(
    layer: Layer, op: str, dtype: str, layout: str, threads: int, algorithms: list[str], peers: list[str],
    prepared: bool = False,
) -> dict[str, Run]:  # fmt: skip
    """All that can run this case, convpp first; with prepared weights, where it is asked for and there are any."""
    arrays = layer.arrays(dtype, layout)
    prepares = prepared and op == "forward"
    runs = {
        name: prepared_pass(layer, layout, threads, arrays, algorithm)
        if prepares
        else layer_pass(layer, op, layout, threads, arrays, algorithm)
        for name, algorithm in zip(names(algorithms), algorithms, strict=True)
    }
    if "torch" in peers:
        runs["torch"] = torch_pass(layer, op, layout, threads, arrays)
    if "onnxruntime" in peers and op == "forward" and dtype == "float32" and layout == "channels_first":
        runs["onnxruntime"] = onnxruntime_pass(layer, threads, arrays)
    if "scipy" in peers and (run := scipy_pass(layer, op, arrays)) is not None:
        runs["scipy"] = run
    return runs
