"""A lesson: a small convolutional network learns to read handwritten digits.

In: scikit-learn's 1797 images of 8x8 pixels.  Out: a trained network, and how often it is right about images
that it has not seen.  Convolutions and pooling are convpp's; everything else that a network needs is below, in plain
NumPy: each layer has ``forward``, which keeps what ``backward`` needs, and ``backward``, which turns the
gradient with respect to its output into the gradient with respect to its input (the chain rule).

Read from the top: layers, network, loss, optimiser, training.  Next: ``nn/layers.py``, and
``docs/backpropagation.md`` for what happens inside a convolution's ``backward``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from convpp._cli.optional import require
from convpp.forward import conv
from convpp.functional import conv_input_grad, conv_weight_grad
from convpp.nn.layers import Conv2d
from convpp.nn.pooling import MaxPool2d
from convpp.runtime import threads
from convpp.testing import gradcheck

Array = npt.NDArray[Any]
Data = tuple[Array, Array]  # images (N, 1, 8, 8) float32 in [0, 1], labels (N,) in 0..9


class Layer(Protocol):
    """What the network below asks of its layers."""

    def forward(self, x: Array) -> Array:
        """y, from x."""

    def backward(self, dy: Array) -> Array:
        """dx, from dy; adds to the gradients of the layer's parameters."""

    def parameters(self) -> list[Array]:
        """What is to be learned; of many layers nothing."""
        return []

    def gradients(self) -> list[Array]:
        """One array for each parameter."""
        return []


class ReLU(Layer):
    """``y = max(x, 0)``: without something that is not linear, many layers were no more than one."""

    def forward(self, x: Array) -> Array:
        """Negative values become 0."""
        self.positive = x > 0
        return x * self.positive

    def backward(self, dy: Array) -> Array:
        """Where x was negative, y did not depend on it."""
        return dy * self.positive


class Flatten(Layer):
    """(N, C, H, W) to (N, C * H * W)."""

    def forward(self, x: Array) -> Array:
        """Keep the numbers, forget where they were."""
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array:
        """Back to the shape of x."""
        return dy.reshape(self.shape)


class Linear:
    """``y = x @ weight.T + bias``."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        bound = 1 / np.sqrt(inputs)
        self.weight: Array = rng.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
        self.bias: Array = np.zeros(outputs, np.float32)
        self.weight_grad: Array = np.zeros_like(self.weight)
        self.bias_grad: Array = np.zeros_like(self.bias)

    def forward(self, x: Array) -> Array:
        """(N, inputs) to (N, outputs)."""
        self.x = x
        y: Array = x @ self.weight.T + self.bias
        return y

    def backward(self, dy: Array) -> Array:
        """A convolution's ``backward`` is these three lines too, with sums over pixels."""
        self.weight_grad += dy.T @ self.x
        self.bias_grad += dy.sum(axis=0)
        dx: Array = dy @ self.weight
        return dx

    def parameters(self) -> list[Array]:
        """Weight and bias."""
        return [self.weight, self.bias]

    def gradients(self) -> list[Array]:
        """Theirs."""
        return [self.weight_grad, self.bias_grad]


class Network:
    """Layers in a row."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers
        self.parameters = [p for layer in layers for p in layer.parameters()]
        self.gradients = [g for layer in layers for g in layer.gradients()]

    def forward(self, x: Array) -> Array:
        """Through all layers, first to last."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Array) -> Array:
        """The chain rule: through all layers, last to first."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def zero_grad(self) -> None:
        """Forget the gradients of the last step."""
        for gradient in self.gradients:
            gradient[...] = 0


def make_network(rng: np.random.Generator) -> Network:
    """Three convolutions, from 1x8x8 to 64x2x2, and a linear layer that scores the ten digits."""
    return Network(
        [
            Conv2d(1, 16, kernel_size=3, padding="same", rng=rng),  # 16 x 8 x 8
            ReLU(),
            Conv2d(16, 32, kernel_size=3, padding="same", rng=rng),  # 32 x 8 x 8
            ReLU(),
            MaxPool2d(2),  # 32 x 4 x 4: the largest of each 2x2 pixels, and less care where exactly a stroke is
            Conv2d(32, 64, kernel_size=3, stride=2, padding=1, rng=rng),  # 64 x 2 x 2
            ReLU(),
            Flatten(),
            Linear(64 * 2 * 2, 10, rng),
        ]
    )


def softmax_cross_entropy(scores: Array, labels: Array) -> tuple[float, Array]:
    """The mean of ``-log(probability of the right digit)``, and its gradient with respect to the scores.

    The probabilities are ``exp(score)``, divided by their sum; the gradient is simply
    ``(probabilities - [1 for the right digit, else 0]) / N``.
    """
    rows = np.arange(len(labels))
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))  # the maximum cancels: no overflow
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    loss = -np.log(probabilities[rows, labels]).mean()
    gradient = probabilities
    gradient[rows, labels] -= 1
    return float(loss), gradient / len(labels)


class Adam:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980): steps scaled by running means of gradient and square."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.step = 0
        self.means = [np.zeros_like(p) for p in network.parameters]
        self.squares = [np.zeros_like(p) for p in network.parameters]

    def update(self, rate: float) -> None:
        """One step downhill for every parameter, in place."""
        self.step += 1
        rate *= np.sqrt(1 - 0.999**self.step) / (1 - 0.9**self.step)  # the means started from 0
        for p, g, mean, square in zip(
            self.network.parameters, self.network.gradients, self.means, self.squares, strict=True
        ):
            mean += 0.1 * (g - mean)
            square += 0.001 * (g * g - square)
            p -= rate * mean / (np.sqrt(square) + 1e-8)


def load_data(rng: np.random.Generator) -> tuple[Data, Data]:
    """The digits in random order: four fifths to learn from, one fifth to be tested with."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[:, None] / 16).astype(np.float32)
    order = rng.permutation(len(images))
    test, train = np.split(order, [len(order) // 5])
    return (images[train], digits.target[train]), (images[test], digits.target[test])


def batches(data: Data, size: int, rng: np.random.Generator) -> Iterator[Data]:
    """All of the data once, in random order, ``size`` at a time."""
    images, labels = data
    order = rng.permutation(len(labels))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        yield images[chosen], labels[chosen]


def shifted(images: Array, rng: np.random.Generator) -> Array:
    """Each image moved by up to one pixel along each axis: a digit stays the same digit."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, images.shape[2:], axis=(2, 3))
    rows, columns = rng.integers(0, 3, (2, len(images)))
    return windows[np.arange(len(images)), :, rows, columns]


def train(network: Network, data: Data, epochs: int, batch_size: int, rng: np.random.Generator) -> list[float]:
    """Change the network's parameters until it knows the data; return the loss of every step."""
    from tqdm import tqdm

    optimiser = Adam(network)
    losses: list[float] = []
    steps = epochs * -(-len(data[1]) // batch_size)
    with tqdm(total=steps, desc="training", unit="step") as bar:
        for _ in range(epochs):
            for images, labels in batches(data, batch_size, rng):
                network.zero_grad()
                loss, gradient = softmax_cross_entropy(network.forward(shifted(images, rng)), labels)
                network.backward(gradient)
                optimiser.update(rate=0.003 * (1 - len(losses) / steps))  # smaller and smaller steps
                losses.append(loss)
                bar.update()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
    return losses


def accuracy(network: Network, data: Data) -> float:
    """How often the digit with the highest score is the right one."""
    images, labels = data
    return float(np.mean(network.forward(images).argmax(axis=1) == labels))


def check_first_layer(network: Network, images: Array) -> None:
    """Compare the first layer's gradients with finite differences, in float64."""
    layer = network.layers[0]
    assert isinstance(layer, Conv2d)
    twin = Conv2d(1, 16, kernel_size=3, padding="same", dtype=np.float64)
    twin.load_state_dict(layer.state_dict())
    gradcheck(twin, images)


def time_passes(network: Network, images: Array) -> dict[str, float]:
    """Milliseconds that each pass takes over all convolutions of the network for these images."""
    totals = {"forward": 0.0, "input gradient": 0.0, "weight gradient": 0.0}
    x = images
    for layer in network.layers:
        y = layer.forward(x)
        if isinstance(layer, Conv2d):
            w, b, geometry = layer.weight, layer.bias, {"stride": layer.stride, "padding": layer.padding}
            totals["forward"] += _milliseconds(conv, x, w, b, **geometry)
            totals["input gradient"] += _milliseconds(conv_input_grad, y, w, x.shape, **geometry)
            totals["weight gradient"] += _milliseconds(conv_weight_grad, y, x, w.shape, **geometry)
        x = y
    return totals


def _milliseconds(function: Callable[..., Any], *operands: Any, **geometry: Any) -> float:
    """The median of many calls."""
    times = []
    for _ in range(50):
        start = time.perf_counter()
        function(*operands, **geometry)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def plot(file: Path, network: Network, image: Array, losses: list[float]) -> None:
    """Draw the loss, the first layer's filters and what they make of an image."""
    from matplotlib.figure import Figure

    first, relu = network.layers[:2]
    maps = relu.forward(first.forward(image[None]))[0]
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    curve, digit, filters, features = figure.subplots(1, 4, width_ratios=[1.4, 1, 1, 1])
    curve.semilogy(losses, color="0.8")
    curve.semilogy(*running_mean(losses), color="C0")
    curve.set(title="loss", xlabel="step", ylabel="cross-entropy")
    weight = first.parameters()[0]
    limit = float(np.abs(weight).max())
    digit.imshow(image[0], cmap="gray_r")
    digit.set_title("an image")
    filters.imshow(_mosaic(weight[:, 0]), cmap="RdBu", vmin=-limit, vmax=limit)
    filters.set_title(f"the {len(weight)} filters of layer 1")
    features.imshow(_mosaic(maps), cmap="gray_r")
    features.set_title("its feature maps")
    for axes in (digit, filters, features):
        axes.set_axis_off()
    figure.savefig(file, dpi=120)  # of the kind that the name ends in


def running_mean(losses: Sequence[float], window: int = 50) -> tuple[Array, Array]:
    """The mean of each ``window`` steps in a row, and the step in the middle of them, where it belongs."""
    window = min(window, len(losses))
    means = np.convolve(losses, np.full(window, 1 / window), "valid")
    return np.arange(len(means)) + (window - 1) / 2, means


def _mosaic(images: Array, columns: int = 4) -> Array:
    """Equal images in rows, with a gap (NaN, which is drawn white) around each."""
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=np.nan)
    n, h, w = framed.shape
    return framed.reshape(n // columns, columns, h, w).swapaxes(1, 2).reshape(-1, columns * w)


@threads(1)  # batches of 8x8 images are too little work to share
def main(epochs: int = 20, batch_size: int = 32, seed: int = 0, plot_file: str | None = None) -> float:
    """Train, check, time, draw; print how it went and return the test accuracy."""
    needed = ["sklearn", "tqdm", *(["matplotlib"] if plot_file else [])]
    require("the demo", *needed, install="scikit-learn tqdm matplotlib")
    if plot_file and not Path(plot_file).resolve().parent.is_dir():
        raise FileNotFoundError(f"no directory to write {plot_file} into")
    rng = np.random.default_rng(seed)
    train_data, test_data = load_data(rng)
    network = make_network(rng)
    count = sum(p.size for p in network.parameters)
    print(f"{len(train_data[1])} images to learn from, {len(test_data[1])} to test, {count} parameters")

    check_first_layer(network, train_data[0][:2])
    print("gradient check of the first layer: passed")

    start = time.perf_counter()
    losses = train(network, train_data, epochs, batch_size, rng)
    print(f"{epochs} epochs of training: {time.perf_counter() - start:.1f} s")

    passes = time_passes(network, train_data[0][:batch_size])
    described = ", ".join(f"{name} {ms:.3f} ms" for name, ms in passes.items())
    print(f"all convolutions, a batch of {batch_size}: {described}")
    if plot_file:
        plot(Path(plot_file), network, test_data[0][0], losses)
        print(f"drawn: {plot_file}")
    score = accuracy(network, test_data)
    print(f"test accuracy: {score:.4f}")
    return score
