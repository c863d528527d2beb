"""Training steps and inference of whole networks in PyTorch, plain and with their convolutions by convpp.

    pip install "convpp[torch]"
    python benchmarks/end_to_end.py
    python benchmarks/end_to_end.py --network resnet18 --compile --csv results/end_to_end.csv

In: networks.py.
Out: for each network, the milliseconds of a step (forward, loss, backward, SGD with momentum) of both, the least of
several in turn, and their ratio.  Both begin with the same weights, and their losses have to agree.  Each contestant
takes the memory format in which it is faster; with ``--compile``, both are compiled by ``torch.compile``.
"""

from __future__ import annotations

import argparse
import copy
import csv
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import networks
import torch
from steps import Row
from torch import nn

import convpp.torch

FORMATS = ("channels_first", "channels_last")


class Network(NamedTuple):
    """What is trained, on how many samples of what."""

    make: Callable[[], nn.Module]
    x_shape: tuple[int, ...]


NETWORKS = {
    "vgg16": Network(networks.vgg16, (8, 3, 224, 224)),
    "resnet18": Network(lambda: networks.resnet((2, 2, 2, 2), bottleneck=False), (8, 3, 224, 224)),
    "resnet50": Network(lambda: networks.resnet((3, 4, 6, 3), bottleneck=True), (4, 3, 224, 224)),
    "unet3d": Network(networks.UNet3d, (1, 1, 48, 48, 48)),
    "mobilenet_v2": Network(networks.mobilenet_v2, (8, 3, 224, 224)),
    "convnext_tiny": Network(networks.convnext_tiny, (2, 3, 224, 224)),
}


class Contestant:
    """A network in one memory format, with its own optimiser."""

    def __init__(
        self, model: nn.Module, x: torch.Tensor, format_: str, ours: bool, compiled: bool, train: bool
    ) -> None:
        memory_format = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
        self.x, self.model = x, copy.deepcopy(model).train(train)
        if format_ == "channels_last":
            self.x, self.model = x.to(memory_format=memory_format), self.model.to(memory_format=memory_format)
        if ours:
            convpp.torch.accelerate(self.model)
        self.train = train
        self.optimiser = torch.optim.SGD(self.model.parameters(), lr=1e-3, momentum=0.9)
        self.run: Any = torch.compile(self.model) if compiled else self.model

    def step(self) -> float:
        """One step, and its loss."""
        torch.manual_seed(0)  # of dropout
        labels = torch.zeros(len(self.x), dtype=torch.int64)
        if not self.train:
            with torch.no_grad():
                return float(nn.functional.cross_entropy(self.run(self.x), labels))
        self.optimiser.zero_grad()
        loss = nn.functional.cross_entropy(self.run(self.x), labels)
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


def measure(name: str, what: str, steps: int, compiled: bool, threads: int) -> Row:
    """Turn by turn, with pauses, the least of each; the first step is not counted."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network = NETWORKS[name]
    model, x = network.make(), torch.randn(network.x_shape)
    train = what.startswith("training")
    runs = {
        (ours, format_): Contestant(model, x, format_, ours, compiled, train)
        for format_ in FORMATS
        for ours in (False, True)
    }
    best = dict.fromkeys(runs, float("inf"))
    losses: dict[tuple[bool, str], list[float]] = {key: [] for key in runs}
    for number in range(steps + 1):
        for key, run in runs.items():
            time.sleep(0.05)
            start = time.perf_counter()
            losses[key].append(run.step())
            if number:
                best[key] = min(best[key], 1e3 * (time.perf_counter() - start))
    for values in losses.values():  # of all steps: the gradients agree, too
        for got, want in zip(values, losses[False, FORMATS[0]], strict=True):
            assert abs(got - want) <= 1e-2 * losses[False, FORMATS[0]][0], (name, losses)
    (t, tf), (c, cf) = (min((best[ours, f], f) for f in FORMATS) for ours in (False, True))
    return Row(name, network.x_shape[0], what, t, tf, c, cf)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--inference", action="store_true", help="the forward pass alone")
    parser.add_argument("--compile", action="store_true", help="both by torch.compile")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    what = ("inference" if arguments.inference else "training") + (", compiled" if arguments.compile else "")
    rows = []
    for name in arguments.network:
        row = measure(name, what, arguments.steps, arguments.compile, arguments.threads)
        ours = f"{row.convpp_ms:7.0f} ms ({row.convpp_format})"
        print(
            f"{name:14} {what}: {row.torch_ms:7.0f} ms ({row.torch_format}), with convpp {ours}: {row.ratio:.2f}",
            flush=True,
        )
        rows.append(row)
    if arguments.csv:
        with arguments.csv.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows(rows)


if __name__ == "__main__":
    main()
