"""Save what PyTorch's convolution layers compute, as the expectations of ``tests/test_layers.py``.

In: nothing.  Out: ``torch_layers.npz`` beside this file.  Needs PyTorch; the tests do not:

    python -m pip install torch && python tests/data/make_torch_values.py

The file holds, for case number i, ``i/x``, ``i/weight``, ``i/bias``, ``i/y``, ``i/dy``, ``i/dx``,
``i/weight_grad``, ``i/bias_grad``, and under ``cases`` a JSON list of {layer, dtype, arguments, x_shape}.
Gradients are those of ``sum(y * dy)``.  Everything is computed in float64 and saved in the case's dtype, so
that a float32 case bounds the rounding of one library, not the difference of two.
"""

import json
from pathlib import Path

import numpy as np
import torch

CASES = [
    ("Conv1d", "float32", {"in_channels": 3, "out_channels": 4, "kernel_size": 5}, (2, 3, 17)),
    (
        "Conv1d",
        "float64",
        {"in_channels": 4, "out_channels": 6, "kernel_size": 3, "stride": 2, "padding": 2, "groups": 2},
        (3, 4, 12),
    ),
    (
        "Conv1d",
        "float32",
        {"in_channels": 2, "out_channels": 3, "kernel_size": 4, "padding": "same", "dilation": 2},
        (1, 2, 11),
    ),
    ("Conv2d", "float32", {"in_channels": 3, "out_channels": 5, "kernel_size": 3}, (3, 20, 20)),
    (
        "Conv2d",
        "float32",
        {"in_channels": 4, "out_channels": 8, "kernel_size": [3, 2], "stride": [2, 1], "padding": [1, 0]},
        (2, 4, 9, 8),
    ),
    (
        "Conv2d",
        "float64",
        {
            "in_channels": 6,
            "out_channels": 6,
            "kernel_size": 3,
            "padding": 2,
            "dilation": 2,
            "groups": 6,
            "bias": False,
        },
        (2, 6, 7, 9),
    ),
    (
        "Conv2d",
        "float64",
        {"in_channels": 2, "out_channels": 3, "kernel_size": [2, 3], "padding": "same"},
        (2, 2, 6, 5),
    ),
    (
        "Conv2d",
        "float32",
        {"in_channels": 2, "out_channels": 3, "kernel_size": 2, "padding": "valid", "stride": 3},
        (2, 2, 9, 10),
    ),
    (
        "Conv3d",
        "float32",
        {"in_channels": 2, "out_channels": 3, "kernel_size": 3, "padding": 1},
        (1, 2, 5, 4, 6),
    ),
    (
        "Conv3d",
        "float64",
        {
            "in_channels": 4,
            "out_channels": 2,
            "kernel_size": [1, 2, 3],
            "stride": [1, 2, 2],
            "dilation": [1, 2, 1],
            "groups": 2,
        },
        (2, 4, 3, 7, 8),
    ),
    (
        "ConvTranspose1d",
        "float32",
        {"in_channels": 3, "out_channels": 2, "kernel_size": 4, "stride": 2, "padding": 1},
        (2, 3, 8),
    ),
    (
        "ConvTranspose1d",
        "float64",
        {
            "in_channels": 4,
            "out_channels": 6,
            "kernel_size": 3,
            "stride": 3,
            "output_padding": 2,
            "groups": 2,
            "dilation": 2,
        },
        (4, 7),
    ),
    (
        "ConvTranspose2d",
        "float32",
        {
            "in_channels": 4,
            "out_channels": 3,
            "kernel_size": 3,
            "stride": 2,
            "padding": 1,
            "output_padding": 1,
        },
        (2, 4, 5, 6),
    ),
    (
        "ConvTranspose2d",
        "float64",
        {
            "in_channels": 2,
            "out_channels": 4,
            "kernel_size": [3, 2],
            "stride": [1, 2],
            "padding": [2, 0],
            "dilation": [2, 1],
            "groups": 2,
            "bias": False,
        },
        (2, 2, 5, 4),
    ),
    (
        "ConvTranspose3d",
        "float32",
        {"in_channels": 2, "out_channels": 2, "kernel_size": 2, "stride": 2},
        (1, 2, 3, 2, 4),
    ),
    (
        "ConvTranspose3d",
        "float64",
        {
            "in_channels": 3,
            "out_channels": 2,
            "kernel_size": [2, 3, 1],
            "stride": [1, 2, 3],
            "padding": [1, 1, 0],
            "output_padding": [0, 1, 2],
        },
        (1, 3, 3, 4, 2),
    ),
    (
        "Conv2d",
        "float64",
        {"in_channels": 3, "out_channels": 4, "kernel_size": 3, "padding": [3, 2], "padding_mode": "reflect"},
        (2, 3, 6, 5),
    ),
    (
        "Conv1d",
        "float32",
        {
            "in_channels": 2,
            "out_channels": 3,
            "kernel_size": 4,
            "stride": 2,
            "padding": 5,
            "padding_mode": "replicate",
        },
        (2, 2, 4),
    ),
    (
        "Conv3d",
        "float32",
        {"in_channels": 2, "out_channels": 2, "kernel_size": 3, "padding": "same", "padding_mode": "circular"},
        (1, 2, 4, 3, 5),
    ),
]


def main() -> None:
    """Run every case and save."""
    torch.manual_seed(0)
    saved: dict[str, np.ndarray] = {}
    cases = []
    for number, (name, dtype, arguments, x_shape) in enumerate(CASES):
        cases.append({"layer": name, "dtype": dtype, "arguments": arguments, "x_shape": x_shape})
        layer = getattr(torch.nn, name)(**arguments, dtype=getattr(torch, dtype)).double()
        x = torch.randn(x_shape, dtype=getattr(torch, dtype)).double().requires_grad_()
        y = layer(x)
        dy = torch.randn(y.shape, dtype=getattr(torch, dtype)).double()
        y.backward(dy)
        arrays = {"x": x, "y": y, "dy": dy, "dx": x.grad, "weight": layer.weight}
        arrays["weight_grad"] = layer.weight.grad
        if layer.bias is not None:
            arrays |= {"bias": layer.bias, "bias_grad": layer.bias.grad}
        for key, tensor in arrays.items():
            saved[f"{number}/{key}"] = tensor.detach().numpy().astype(dtype)
    file = Path(__file__).with_name("torch_layers.npz")
    np.savez_compressed(file, cases=np.array(json.dumps(cases)), **saved)


if __name__ == "__main__":
    main()
