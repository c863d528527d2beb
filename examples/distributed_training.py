"""
Two workers learn together
==========================

Two workers learn to read digits together, and every loss is that of one process, to the last bit.

::

    pip install "convpp[dask]" scikit-learn
    python examples/distributed_training.py

Each batch is cut into shards.  A worker computes the gradient of a shard, with the parameters that it is sent; the
shards' gradients are added in a tree, and the parameters take a step.  Sums of floats depend on their order, which must
not depend on who was ready first: the tree is that of the shards' numbers, whoever computed them.  And a shard's
gradient has the same bits on each worker, because convpp's sums do not depend on threads.  So the number of shards is
part of what is computed, as the batch size is, while the number of workers is not: two, one, or one that died and whose
shards others computed again.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.datasets import load_digits

import convpp

#: Shards of a batch.
SHARDS = 4

#: From the parameters and the numbers of a batch's images to (loss, gradients) of each shard.
Shards = Callable[[list[np.ndarray], list[np.ndarray]], list[Any]]


class Network:
    """The demo's: three convolutions from 1x8x8 to 64x2x2, and a score for each digit: a kernel over what is left."""

    def __init__(self, rng: np.random.Generator | None = None) -> None:
        how: dict[str, Any] = {"rng": rng}
        self.layers = [
            convpp.Conv2d(1, 16, 3, padding="same", activation="relu", **how),  # 16 x 8 x 8
            convpp.Conv2d(16, 32, 3, padding="same", activation="relu", **how),  # 32 x 8 x 8
            convpp.MaxPool2d(2),  # 32 x 4 x 4
            convpp.Conv2d(32, 64, 3, stride=2, padding=1, activation="relu", **how),  # 64 x 2 x 2
            convpp.Conv2d(64, 10, 2, **how),  # 10 x 1 x 1
        ]
        self.parameters = [p for layer in self.layers for p in layer.parameters()]
        self.gradients = [g for layer in self.layers for g in layer.gradients()]

    def scores(self, images: np.ndarray) -> np.ndarray:
        """(N, 1, 8, 8) to (N, 10)."""
        for layer in self.layers:
            images = layer(images)
        return images[:, :, 0, 0]

    def backward(self, dy: np.ndarray) -> None:
        """Add to the gradients; the first layer's input needs none."""
        dy = dy[:, :, None, None]
        for layer in reversed(self.layers[1:]):
            dy = layer.backward(dy)
        self.layers[0].backward(dy, needs=("w", "bias"))


def shard(chosen: np.ndarray, parameters: list[np.ndarray], data: tuple[np.ndarray, np.ndarray]) -> tuple[Any, ...]:
    """The loss of a shard's images, and its gradient with respect to each parameter: what a worker computes."""
    with convpp.threads(1):
        network = Network()
        for own, given in zip(network.parameters, parameters, strict=True):
            own[...] = given
        images, labels = data[0][chosen], data[1][chosen]
        scores = network.scores(images)
        rows = np.arange(len(labels))
        probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        loss = -np.log(probabilities[rows, labels]).sum()
        probabilities[rows, labels] -= 1
        network.backward(probabilities)
        return (loss, *network.gradients)


def tree(parts: list[Any]) -> tuple[Any, ...]:
    """The sum of all parts, in an order that their numbers alone decide: neighbours, then neighbouring pairs ..."""
    while len(parts) > 1:
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [tuple(map(np.add, *pair)) if len(pair) == 2 else pair[0] for pair in pairs]
    return parts[0]  # type: ignore[no-any-return]


def batches(count: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """All images once, in random order; without a last batch that would be smaller."""
    order = rng.permutation(count)
    yield from np.split(order[: count // size * size], count // size)


def train(shards: Shards, count: int, epochs: int) -> tuple[Network, list[float]]:
    """Adam (Kingma and Ba 2014); returns the network and the loss of every step."""
    rng = np.random.default_rng(0)
    network, size, losses = Network(rng), 128, []
    means = [np.zeros_like(p) for p in network.parameters]
    squares = [np.zeros_like(p) for p in network.parameters]
    steps = epochs * (count // size)
    for _ in range(epochs):
        for chosen in batches(count, size, rng):
            loss, *gradients = tree(shards(network.parameters, np.split(chosen, SHARDS)))
            losses.append(float(loss) / size)
            step = len(losses)
            rate = 0.006 * (1 - (step - 1) / steps) * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
            for p, g, mean, square in zip(network.parameters, gradients, means, squares, strict=True):
                g = g / np.float32(size)
                mean += np.float32(0.1) * (g - mean)
                square += np.float32(0.001) * (g * g - square)
                p -= np.float32(rate) * mean / (np.sqrt(square) + np.float32(1e-8))
    return network, losses


def main() -> None:
    """Train on two workers, then in this process alone, and compare."""
    digits = load_digits()
    images, labels = (digits.images[:, None] / 16).astype(np.float32), digits.target
    order = np.random.default_rng(1).permutation(len(labels))
    seen, unseen = order[360:], order[:360]
    data = images[seen], labels[seen]
    epochs = 4

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        [everywhere] = client.scatter([data], broadcast=True)  # once; a step sends parameters, and which images

        def on_workers(parameters: list[np.ndarray], chosen: list[np.ndarray]) -> list[Any]:
            futures = [client.submit(shard, part, parameters, everywhere, pure=False) for part in chosen]
            return client.gather(futures)  # type: ignore[no-any-return]

        network, losses = train(on_workers, len(seen), epochs)
    print(f"two workers: {len(losses)} steps, loss {losses[0]:.3f} to {np.mean(losses[-10:]):.3f}")

    def in_turn(parameters: list[np.ndarray], chosen: list[np.ndarray]) -> list[Any]:
        return [shard(part, parameters, data) for part in chosen]

    alone, losses_alone = train(in_turn, len(seen), epochs)
    assert losses == losses_alone
    for ours, theirs in zip(network.parameters, alone.parameters, strict=True):
        assert np.array_equal(ours, theirs)
    right = np.mean(network.scores(images[unseen]).argmax(axis=1) == labels[unseen])
    print(f"right about {right:.1%} of {len(unseen)} digits that they have not seen")
    assert right > 0.9
    print("one process: the same losses and parameters, to the last bit")


if __name__ == "__main__":
    main()
