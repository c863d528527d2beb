"""
A residual network, saved and loaded
====================================

A small residual network learns to read digits, is saved and loaded, and says which images it learned most from.

::

    pip install scikit-learn
    python examples/resnet_digits.py

The convolutions are convpp's; batch normalisation and the optimiser are below, in plain NumPy.  The same backward pass
gives the gradient of the batch, by ``backward`` of each layer, or one for each sample, by ``backward_per_sample``.

Residual networks: He, Zhang, Ren and Sun 2015, arXiv:1512.03385.  Batch normalisation: Ioffe and Szegedy 2015,
arXiv:1502.03167.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import convpp

#: From a layer and dy to dx: an ordinary backward pass, or one that keeps a gradient for each sample.
Step = Callable[[Any, np.ndarray], np.ndarray]


class BatchNorm:
    """Each channel is brought to mean 0 and variance 1 over the batch, then scaled and shifted as is learned."""

    def __init__(self, channels: int) -> None:
        self.weight, self.bias = np.ones(channels, np.float32), np.zeros(channels, np.float32)
        self.weight_grad, self.bias_grad = np.zeros_like(self.weight), np.zeros_like(self.bias)
        self.mean, self.variance = np.zeros_like(self.weight), np.ones_like(self.weight)  # of what was seen so far

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        """(N, C, H, W) to the same; statistics are those of this batch, or of all before it."""
        mean, variance = self.mean, self.variance
        if training:
            mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
            self.mean += 0.1 * (mean - self.mean)
            self.variance += 0.1 * (variance - self.variance)
        self.training, self.inverse = training, 1 / np.sqrt(variance + np.float32(1e-5))
        self.normal = (x - channels(mean)) * channels(self.inverse)
        y: np.ndarray = self.normal * channels(self.weight) + channels(self.bias)
        return y

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """In training, mean and variance depend on x too: what they take is subtracted."""
        of_weight, of_bias = (dy * self.normal).sum((0, 2, 3)), dy.sum((0, 2, 3))
        self.weight_grad += of_weight
        self.bias_grad += of_bias
        if self.training:
            pixels = np.float32(dy.size // dy.shape[1])
            dy = dy - (channels(of_bias) + self.normal * channels(of_weight)) / pixels
        dx: np.ndarray = dy * channels(self.weight * self.inverse)
        return dx

    def backward_per_sample(self, dy: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """With fixed statistics only: in training, a sample has no gradient of its own."""
        assert not self.training
        return dy * channels(self.weight * self.inverse), [(dy * self.normal).sum((2, 3)), dy.sum((2, 3))]

    def state_dict(self) -> dict[str, np.ndarray]:
        """The parameters and the statistics."""
        return {name: getattr(self, name).copy() for name in ("weight", "bias", "mean", "variance")}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Copy them back."""
        for name, array in state.items():
            getattr(self, name)[...] = array

    def parameters(self) -> list[np.ndarray]:
        """What the optimiser changes."""
        return [self.weight, self.bias]

    def gradients(self) -> list[np.ndarray]:
        """How the loss changes with it."""
        return [self.weight_grad, self.bias_grad]


def channels(values: np.ndarray) -> np.ndarray:
    """One value for each channel, for arrays (N, C, H, W)."""
    return values[:, None, None]


class Block:
    """``relu(bn(conv(relu(bn(conv(x))))) + x)``; where the extents change, x goes through a 1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, stride: int, rng: np.random.Generator) -> None:
        how: dict[str, Any] = {"padding": 1, "bias": False, "rng": rng}
        self.layers: dict[str, Any] = {
            "conv1": convpp.Conv2d(inputs, outputs, 3, stride=stride, **how),
            "bn1": BatchNorm(outputs),
            "conv2": convpp.Conv2d(outputs, outputs, 3, **how),
            "bn2": BatchNorm(outputs),
        }
        if stride > 1 or inputs != outputs:
            self.layers["conv3"] = convpp.Conv2d(inputs, outputs, 1, stride=stride, bias=False, rng=rng)
            self.layers["bn3"] = BatchNorm(outputs)

    def forward(self, x: np.ndarray, training: bool) -> np.ndarray:
        """Keep where the two rectifiers let something pass."""
        part = self.layers
        self.inner = np.maximum(part["bn1"].forward(part["conv1"](x), training), 0)
        y: np.ndarray = part["bn2"].forward(part["conv2"](self.inner), training)
        y += part["bn3"].forward(part["conv3"](x), training) if "conv3" in part else x
        self.outer = np.maximum(y, 0, out=y)
        return y

    def backward(self, dy: np.ndarray, step: Step) -> np.ndarray:
        """dy flows through both ways, and their gradients add up."""
        part = self.layers
        dy = dy * (self.outer > 0)
        inner = step(part["conv2"], step(part["bn2"], dy)) * (self.inner > 0)
        dx = step(part["conv1"], step(part["bn1"], inner))
        around = step(part["conv3"], step(part["bn3"], dy)) if "conv3" in part else dy
        return np.add(dx, around)


class ResNet:
    """A convolution, three blocks of 16, 32 and 64 channels, the mean over all pixels, and a score for each digit."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.blocks = [Block(16, 16, 1, rng), Block(16, 32, 2, rng), Block(32, 64, 2, rng)]
        self.stem: dict[str, Any] = {
            "conv": convpp.Conv2d(1, 16, 3, padding=1, bias=False, rng=rng),
            "bn": BatchNorm(16),
        }
        self.head: dict[str, Any] = {"conv": convpp.Conv2d(64, 10, 1, rng=rng)}  # 1x1 over one pixel
        parts = [("stem", self.stem), *((f"block{i}", block.layers) for i, block in enumerate(self.blocks, 1))]
        named = [*parts, ("head", self.head)]
        self.layers = {f"{part}.{name}": layer for part, layers in named for name, layer in layers.items()}

    def forward(self, x: np.ndarray, training: bool = False) -> np.ndarray:
        """(N, 1, 8, 8) to (N, 10)."""
        self.first = x = np.maximum(self.stem["bn"].forward(self.stem["conv"](x), training), 0)
        for block in self.blocks:
            x = block.forward(x, training)
        self.pixels = x.shape[2:]
        scores: np.ndarray = self.head["conv"](x.mean((2, 3), keepdims=True))[:, :, 0, 0]
        return scores

    def backward(self, dy: np.ndarray, step: Step, first: Step) -> None:
        """Backwards through all layers; ``first`` is the step of the first one, whose dx nobody needs."""
        dx = step(self.head["conv"], dy[:, :, None, None]) / np.float32(np.prod(self.pixels))
        dx = np.broadcast_to(dx, (*dx.shape[:2], *self.pixels))
        for block in reversed(self.blocks):
            dx = block.backward(dx, step)
        first(self.stem["conv"], step(self.stem["bn"], dx * (self.first > 0)))

    def state_dict(self) -> dict[str, np.ndarray]:
        """All that is learned, by name: what ``np.savez`` takes."""
        return {f"{name}.{key}": a for name, layer in self.layers.items() for key, a in layer.state_dict().items()}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Put it back."""
        for name, layer in self.layers.items():
            layer.load_state_dict({key: state[f"{name}.{key}"] for key in layer.state_dict()})


def softmax_cross_entropy(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loss of each sample, ``-log(probability of the right digit)``, and its gradient."""
    rows = np.arange(len(labels))
    probabilities = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    losses = -np.log(probabilities[rows, labels])
    probabilities[rows, labels] -= 1
    return losses, probabilities


def batches(count: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """All samples once, in random order."""
    yield from np.split(rng.permutation(count), range(size, count, size))


def train(network: ResNet, images: np.ndarray, labels: np.ndarray, epochs: int, rng: np.random.Generator) -> None:
    """Stochastic gradient descent with momentum (Sutskever and others 2013), at a rate that falls to 0."""
    parameters = [p for layer in network.layers.values() for p in layer.parameters()]
    gradients = [g for layer in network.layers.values() for g in layer.gradients()]
    velocities = [np.zeros_like(p) for p in parameters]
    for epoch in range(epochs):
        total = 0.0
        for number, chosen in enumerate(batches(len(labels), 64, rng)):
            for gradient in gradients:
                gradient[...] = 0
            losses, dy = softmax_cross_entropy(network.forward(images[chosen], training=True), labels[chosen])
            network.backward(
                dy / np.float32(len(chosen)),
                step=lambda layer, dy: layer.backward(dy),
                first=lambda layer, dy: layer.backward(dy, needs=("w",)),
            )
            rate = np.float32(0.1 * (1 - (epoch + 64 * number / len(labels)) / epochs))
            for parameter, gradient, velocity in zip(parameters, gradients, velocities, strict=True):
                velocity *= np.float32(0.9)
                velocity += gradient + np.float32(5e-4) * parameter
                parameter -= rate * velocity
            total += float(losses.sum())
        print(f"epoch {epoch + 1}: loss {total / len(labels):.3f}")


def gradients_of_samples(network: ResNet, images: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """One array (N, \\*parameter) for each parameter: the gradient of each sample's own loss."""
    found: dict[int, list[np.ndarray]] = {}

    def step(layer: Any, dy: np.ndarray) -> np.ndarray:
        dx: np.ndarray
        dx, found[id(layer)] = layer.backward_per_sample(dy)
        return dx

    _, dy = softmax_cross_entropy(network.forward(images), labels)
    network.backward(dy, step, step)
    return [gradient for layer in network.layers.values() for gradient in found[id(layer)]]


def main() -> None:
    """Train, test, save, load, and look at the gradients of single samples."""
    rng = np.random.default_rng(0)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    images, labels = (digits.images[order, None] / 16).astype(np.float32), digits.target[order]
    network = ResNet(rng)
    train(network, images[360:], labels[360:], 6, rng)
    scores = network.forward(images[:360])
    accuracy = np.mean(scores.argmax(axis=1) == labels[:360])
    print(f"right about {accuracy:.1%} of 360 digits that it has not seen")
    assert accuracy > 0.97

    file = io.BytesIO()  # or the name of a file
    np.savez(file, allow_pickle=False, **network.state_dict())
    file.seek(0)
    loaded = ResNet(np.random.default_rng(1))
    with np.load(file) as state:
        loaded.load_state_dict(state)
    assert np.array_equal(loaded.forward(images[:360]), scores)
    print("saved and loaded: the same scores, to the last bit")

    of_samples = gradients_of_samples(network, images[360:], labels[360:])
    for layer in network.layers.values():
        for gradient in layer.gradients():
            gradient[...] = 0
    _, dy = softmax_cross_entropy(network.forward(images[360:]), labels[360:])
    network.backward(dy, lambda layer, dy: layer.backward(dy), lambda layer, dy: layer.backward(dy, needs=("w",)))
    summed = [g for layer in network.layers.values() for g in layer.gradients()]
    for each, whole in zip(of_samples, summed, strict=True):
        assert np.abs(each.sum(axis=0) - whole).max() <= 1e-4 * np.abs(each).sum(axis=0).max()
    norms = np.sqrt(sum((each.reshape(len(each), -1) ** 2).sum(axis=1) for each in of_samples))
    hard = int(norms.argmax())
    print(
        f"gradients of {len(norms)} samples, which add up to that of all; the longest is of this {labels[360 + hard]}:"
    )
    for row in images[360 + hard, 0]:
        print("".join(" .:-=+*#%@"[int(9 * value)] * 2 for value in row))


if __name__ == "__main__":
    main()
