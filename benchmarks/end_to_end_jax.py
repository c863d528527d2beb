"""A training step in JAX: residual networks with jax.lax's convolutions, and with convpp's.

    python benchmarks/end_to_end_jax.py
    python benchmarks/end_to_end_jax.py --network resnet18 --rounds 10 --csv end_to_end_jax.csv

In: nothing but the machine; JAX on its CPU, by as many threads as the process may use.
Out: for each network and order of axes the milliseconds of one jitted step (forward, backward, momentum; batch norm
in training) by both, and the ratio (above 1, convpp is faster).  The steps are one program but for the convolution,
begin with the same weights and images, and take turns in one process; each is the best of many.  Losses of the first
steps are compared.  The last column divides jax.lax's time in its better order of axes by convpp's in its better one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from results import markdown

import convpp.jax

Array = Any
Conv = Callable[..., Array]

CONTESTANTS: dict[str, Conv] = {"jax.lax": jax.lax.conv_general_dilated, "convpp": convpp.jax.conv_general_dilated}
ORDERS = {"NHWC": ("NHWC", "HWIO", "NHWC"), "NCHW": ("NCHW", "OIHW", "NCHW")}
#: Steps whose losses are compared; rounding grows with each.
COMPARED = 3


@dataclass(frozen=True)
class Network:
    """A residual network of two 3x3 convolutions a block: the widths of its stages, and what it is given."""

    batch: int
    size: int
    blocks: int
    widths: tuple[int, ...]
    stem: int = 3  # kernel of the first convolution; 7 comes with stride 2 and pooling
    classes: int = 10


NETWORKS = {
    "small resnet14 32x32": Network(64, 32, 2, (16, 32, 64)),
    "wide resnet14 32x32": Network(32, 32, 2, (64, 128, 256)),
    "resnet18 112x112": Network(8, 112, 2, (64, 128, 256, 512), 7, 1000),
    "resnet18 224x224": Network(8, 224, 2, (64, 128, 256, 512), 7, 1000),
}


def weights(network: Network, order: str, rng: np.random.Generator) -> dict[str, Array]:
    """Parameters by name, drawn in one order of axes, whatever they are kept in."""
    made: dict[str, Array] = {}

    def conv(name: str, channels: int, filters: int, kernel: int) -> None:
        w = rng.standard_normal((filters, channels, kernel, kernel)) * np.sqrt(2 / (channels * kernel**2))
        made[name] = jnp.asarray(w if order == "NCHW" else w.transpose(2, 3, 1, 0), jnp.float32)
        made[f"{name} scale"], made[f"{name} shift"] = jnp.ones(filters), jnp.zeros(filters)

    conv("stem", 3, network.widths[0], network.stem)
    channels = network.widths[0]
    for stage, width in enumerate(network.widths):
        for block in range(network.blocks):
            name = f"{stage}.{block}"
            conv(f"{name} first", channels, width, 3)
            conv(f"{name} second", width, width, 3)
            if channels != width:
                conv(f"{name} shortcut", channels, width, 1)
            channels = width
    made["head"] = jnp.asarray(rng.standard_normal((channels, network.classes)) / np.sqrt(channels), jnp.float32)
    return made


def forward(network: Network, order: str, conv: Conv, w: dict[str, Array], x: Array) -> Array:
    """The logits."""
    feature = order.index("C")
    spatial = (order.index("H"), order.index("W"))

    def layer(name: str, x: Array, stride: int = 1) -> Array:
        kernel = w[name].shape[ORDERS[order][1].index("H")]
        pads = [(kernel // 2, kernel // 2)] * 2
        y = conv(x, w[name], (stride, stride), pads, dimension_numbers=ORDERS[order])
        axes = (0, *spatial)
        mean, square = y.mean(axes, keepdims=True), (y * y).mean(axes, keepdims=True)
        scale, shift = (
            jnp.expand_dims(w[f"{name} {what}"], tuple(a for a in range(4) if a != feature))
            for what in ("scale", "shift")
        )
        return (y - mean) * (jax.lax.rsqrt(square - mean * mean + 1e-5) * scale) + shift

    x = jax.nn.relu(layer("stem", x, 1 if network.stem == 3 else 2))
    if network.stem != 3:
        window = tuple(3 if a in spatial else 1 for a in range(4))
        strides = tuple(2 if a in spatial else 1 for a in range(4))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, strides, "SAME")
    for stage in range(len(network.widths)):
        for block in range(network.blocks):
            name, stride = f"{stage}.{block}", 2 if stage and not block else 1
            y = jax.nn.relu(layer(f"{name} first", x, stride))
            y = layer(f"{name} second", y)
            x = jax.nn.relu(y + (layer(f"{name} shortcut", x, stride) if f"{name} shortcut" in w else x))
    return x.mean(spatial) @ w["head"]


def training_step(
    network: Network, order: str, conv: Conv, state: tuple[Any, Any], x: Array, labels: Array
) -> tuple[tuple[Any, Any], Array]:
    """New weights and momenta, and the loss before."""

    def loss(w: dict[str, Array]) -> Array:
        logits = forward(network, order, conv, w, x)
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()

    w, momentum = state
    value, gradient = jax.value_and_grad(loss)(w)
    momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, gradient)
    return (jax.tree.map(lambda a, m: a - 0.01 * m, w, momentum), momentum), value


class Trainer:
    """One contestant's network, its step compiled, at the beginning of its training."""

    def __init__(self, network: Network, order: str, conv: Conv) -> None:
        rng = np.random.default_rng(0)
        w = weights(network, order, rng)
        x = rng.standard_normal((network.batch, 3, network.size, network.size)).astype(np.float32)
        self.x = jnp.asarray(x if order == "NCHW" else np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
        self.labels = jnp.asarray(rng.integers(0, network.classes, network.batch))
        self.state = (w, jax.tree.map(jnp.zeros_like, w))
        self.step = jax.jit(partial(training_step, network, order, conv), donate_argnums=0)

    def run(self) -> tuple[float, float]:
        """Seconds of the next step, and its loss."""
        start = time.perf_counter()
        self.state, loss = self.step(self.state, self.x, self.labels)
        jax.block_until_ready((self.state, loss))
        return time.perf_counter() - start, float(loss)


@dataclass(frozen=True)
class Row:
    """Best seconds of a step by each contestant."""

    network: str
    order: str
    lax: float
    own: float


def measure(name: str, order: str, rounds: int) -> Row:
    """One network in one order of axes; the contestants take turns."""
    trainers = {who: Trainer(NETWORKS[name], order, conv) for who, conv in CONTESTANTS.items()}
    losses = {who: [trainer.run()[1] for _ in range(COMPARED)] for who, trainer in trainers.items()}
    np.testing.assert_allclose(losses["convpp"], losses["jax.lax"], rtol=5e-3, err_msg=f"losses of {name}, {order}")
    best = dict.fromkeys(trainers, float("inf"))
    for _ in range(rounds):
        for who, trainer in trainers.items():
            best[who] = min(best[who], trainer.run()[0])
    return Row(name, order, best["jax.lax"], best["convpp"])


def rows(names: Sequence[str], orders: Sequence[str], rounds: int) -> Iterator[Row]:
    """All that was asked for."""
    for name in names:
        for order in orders:
            yield measure(name, order, rounds)


def table(found: Sequence[Row]) -> list[list[str]]:
    """With a head; the better orders of both are compared in the last row of each network."""
    lines = [["network", "order", "jax.lax ms", "convpp ms", "ratio", "better of each"]]
    for i, row in enumerate(found):
        same = [r for r in found if r.network == row.network]
        last = i + 1 == len(found) or found[i + 1].network != row.network
        overall = f"{min(r.lax for r in same) / min(r.own for r in same):.2f}" if last else ""
        times = [f"{seconds * 1e3:.1f}" for seconds in (row.lax, row.own)]
        lines.append([row.network, row.order, *times, f"{row.lax / row.own:.2f}", overall])
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and write it if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--network", nargs="+", default=list(NETWORKS), help="a part of a name: " + ", ".join(NETWORKS))
    parser.add_argument("--order", nargs="+", default=list(ORDERS), choices=ORDERS)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--csv", type=Path)
    given = parser.parse_args(arguments)
    names = [name for name in NETWORKS if any(part in name for part in given.network)]
    way = "foreign function interface" if convpp.jax.has_ffi() else "callbacks"
    print(f"JAX {jax.__version__}, convpp {convpp.__version__} ({way}), {convpp.get_num_threads()} threads")
    found: list[Row] = []
    for row in rows(names, given.order, given.rounds):
        found.append(row)
        print(f"{row.network}, {row.order}: {row.lax * 1e3:.1f} ms, {row.own * 1e3:.1f} ms", file=sys.stderr)
    lines = table(found)
    print(markdown(lines))
    if given.csv:
        given.csv.write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main()
