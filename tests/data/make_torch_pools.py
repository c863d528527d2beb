"""Save what PyTorch's pooling computes, as the expectations of ``tests/test_pooling_layers.py``.

In: nothing.  Out: ``torch_pools.npz`` beside this file.  Needs PyTorch; the tests do not:

    python -m pip install torch && python tests/data/make_torch_pools.py

The file holds, for case number i, ``i/x``, ``i/y``, ``i/dy``, ``i/dx`` and of maxima ``i/indices``, and under ``cases``
a JSON list of {layer, arguments}.  Gradients are those of ``sum(y * dy)``.  Elements are whole numbers and halves of
them, many of them equal, with NaN, infinities and both zeros in every second case of a maximum.
"""

import json
from pathlib import Path

import numpy as np
import torch

CASES = [
    ("MaxPool1d", {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 3, 12)),
    ("MaxPool1d", {"kernel_size": 4, "stride": 3, "dilation": 2, "ceil_mode": True}, (1, 2, 15)),
    ("MaxPool2d", {"kernel_size": 2}, (2, 3, 7, 9)),
    ("MaxPool2d", {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 3, 8, 9)),
    ("MaxPool2d", {"kernel_size": [3, 2], "stride": [1, 2], "padding": [1, 0], "ceil_mode": True}, (2, 2, 5, 6)),
    ("MaxPool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}, (1, 2, 11, 9)),
    ("MaxPool3d", {"kernel_size": [2, 3, 2], "stride": 2, "padding": [1, 1, 0], "ceil_mode": True}, (1, 2, 5, 6, 7)),
    ("AvgPool1d", {"kernel_size": 3, "stride": 2, "padding": 1}, (2, 3, 12)),
    ("AvgPool2d", {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True}, (2, 3, 8, 10)),
    ("AvgPool2d", {"kernel_size": [3, 2], "stride": 2, "padding": 1, "count_include_pad": False}, (1, 2, 7, 6)),
    ("AvgPool2d", {"kernel_size": 2, "divisor_override": 3}, (1, 2, 6, 6)),
    ("AvgPool3d", {"kernel_size": 2, "stride": [1, 2, 2], "padding": 1, "ceil_mode": True}, (1, 2, 4, 5, 6)),
]
SPECIAL = (np.nan, np.inf, -np.inf, -0.0, 0.0)


def main() -> None:
    """Write the file."""
    rng = np.random.default_rng(0)
    arrays = {}
    for i, (name, arguments, shape) in enumerate(CASES):
        values = rng.integers(-6, 7, shape) / 2
        maximum = name.startswith("Max")
        if maximum and i % 2 == 1:
            values = np.where(rng.random(shape) < 0.3, rng.choice(SPECIAL, shape), values)
        x = torch.tensor(values).requires_grad_()
        layer = getattr(torch.nn, name)(**arguments, **({"return_indices": True} if maximum else {}))
        y, indices = layer(x) if maximum else (layer(x), None)
        dy = torch.tensor(rng.integers(-4, 5, tuple(y.shape)).astype(float))
        y.backward(dy)
        arrays |= {f"{i}/x": values, f"{i}/y": y.detach().numpy(), f"{i}/dy": dy.numpy(), f"{i}/dx": x.grad.numpy()}
        if indices is not None:
            arrays[f"{i}/indices"] = indices.numpy()
    cases = [{"layer": name, "arguments": arguments} for name, arguments, _ in CASES]
    np.savez_compressed(Path(__file__).with_name("torch_pools.npz"), cases=json.dumps(cases), **arrays)


if __name__ == "__main__":
    main()
