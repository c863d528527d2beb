"""bfloat16 and float16 beside float32: the regular layers of layers.csv, and PyTorch in bfloat16.

    python benchmarks/halves.py
    python benchmarks/halves.py --name 3x3 --passes input_grad weight_grad --layout channels_last --peers

In: layers.csv.
Out: for each layer the time in float32 (by the direct algorithm, and by the one that "auto" takes) divided by the time
in the half type (above 1, the half type is faster), and PyTorch's time in bfloat16 divided by convpp's.  All take turns
in one process; each is the best of many.  Results are compared with float32's.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
from results import Table, markdown

import convpp
from convpp._cli.bench import Run, best_times, layer_pass
from convpp._cli.suite import PASSES, Array, Layer, read_layers

HALVES: dict[str, Any] = {"bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
#: Of the largest result: sums of halves are rounded once, to 8 or 11 bits; operands were rounded before.
AGREEMENT = {"bfloat16": 2**-5, "float16": 2**-8}


def torch_pass(layer: Layer, op: str, layout: str, threads: int, arrays: dict[str, Array]) -> Run:
    """PyTorch in bfloat16, in its own format of the same layout; float32 arrays are converted before."""
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    last = layout == "channels_last"

    def tensor(array: Array, moved: bool) -> Any:
        t = torch.from_numpy(array).to(torch.bfloat16)
        return t.movedim(-1, 1) if moved else t

    x, dy, w = tensor(arrays["x"], last), tensor(arrays["dy"], last), tensor(arrays["w"], False)
    if last and layer.rank == 2:
        w = w.contiguous(memory_format=torch.channels_last)
    geometry = (layer.stride, layer.padding, layer.dilation, False, [0] * layer.rank, layer.groups)
    backward = torch.ops.aten.convolution_backward
    passes: dict[str, Run] = {
        "forward": lambda: torch.ops.aten.convolution(x, w, None, *geometry),
        "input_grad": lambda: backward(dy, x, w, None, *geometry, (True, False, False))[0],
        "weight_grad": lambda: backward(dy, x, w, None, *geometry, (False, True, False))[1],
    }
    return passes[op]


def contestants(layer: Layer, op: str, layout: str, threads: int, peers: list[str]) -> dict[str, Run]:
    """All that take turns."""
    arrays = layer.arrays("float32", layout)
    runs = {
        "direct": layer_pass(layer, op, layout, threads, arrays, "direct"),
        "auto": layer_pass(layer, op, layout, threads, arrays, "auto"),
    }
    for name, dtype in HALVES.items():
        half = {key: array.astype(dtype) for key, array in arrays.items()}
        runs[name] = layer_pass(layer, op, layout, threads, half, "auto")
    if "torch" in peers:
        runs["torch"] = torch_pass(layer, op, layout, threads, arrays)
    return runs


def check_agreement(runs: dict[str, Run], words: str) -> None:
    """The halves' results are float32's, rounded."""
    want = runs["direct"]()
    for name, bound in AGREEMENT.items():
        error = np.abs(runs[name]().astype("float32") - want).max() / np.abs(want).max()
        if not error <= bound:
            raise RuntimeError(f"{words}: {name} differs from float32 by {error:.2g} of the largest result")


def rows(
    layers: list[Layer], op: str, layout: str, threads: int, peers: list[str], seconds: float
) -> Iterator[list[str]]:
    """The table's rows, and the geometric mean of each column."""
    columns: list[list[float]] = []
    for layer in layers:
        runs = contestants(layer, op, layout, threads, peers)
        check_agreement(runs, f"{layer.row_id} {op} {layout}")
        t = best_times(runs, seconds)
        found = [t[base] / t[half] for half in HALVES for base in ("direct", "auto")]
        if "torch" in t:
            found.append(t["torch"] / t["bfloat16"])
        columns.append(found)
        yield [layer.row_id, *(f"{ratio:.2f}" for ratio in found)]
    means = (math.exp(sum(map(math.log, column)) / len(column)) for column in zip(*columns, strict=True))
    yield ["geometric mean", *(f"{mean:.2f}" for mean in means)]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="", help="layers whose suite or name contain it")
    parser.add_argument("--passes", nargs="*", default=["forward"], choices=PASSES)
    parser.add_argument("--layout", nargs="*", default=["channels_first", "channels_last"])
    parser.add_argument("--threads", type=int, default=convpp.get_num_threads())
    parser.add_argument("--peers", nargs="*", default=["torch"])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each case, all contestants together")
    args = parser.parse_args()
    convpp.show_config()
    layers = [a for a in read_layers() if "regular" in a.classes("forward") and args.name in a.row_id]
    for op in args.passes:
        for layout in args.layout:
            heads = [f"{half} over float32 {base}" for half in HALVES for base in ("direct", "auto")]
            heads += ["PyTorch bfloat16 / convpp bfloat16"] if "torch" in args.peers else []
            found: Table = [["layer", *heads]]
            for row in rows(layers, op, layout, args.threads, args.peers, args.seconds):
                found.append(row)
                print(" ".join(row), flush=True)
            print(f"\n{op}, {layout}, {args.threads} threads\n\n{markdown(found)}\n")


if __name__ == "__main__":
    main()
