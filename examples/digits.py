"""
Read digits
===========

A network of three convolutions learns to read handwritten digits, in plain NumPy around convpp's layers: forward,
``backward``, and a step against the gradients.

::

    pip install scikit-learn matplotlib
    python examples/digits.py
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import convpp

rng = np.random.default_rng(0)
digits = load_digits()
order = rng.permutation(len(digits.target))
images, labels = (digits.images[order, None] / 16).astype(np.float32), digits.target[order]  # (1797, 1, 8, 8)
seen, unseen = slice(360, None), slice(360)

# %%
# The network
# -----------
# Layers have PyTorch's names and arguments.  A ReLU is part of a layer, and so is its derivative.  The last convolution
# is as large as what is left of the picture: it is a linear layer with ten results.

first = convpp.Conv2d(1, 16, 3, padding=1, activation="relu", rng=rng)
network = [
    first,
    convpp.Conv2d(16, 32, 3, padding=1, activation="relu", rng=rng),
    convpp.MaxPool2d(2),
    convpp.Conv2d(32, 10, 4, rng=rng),
]


def scores_of(x: np.ndarray) -> np.ndarray:
    """(N, 1, 8, 8) to (N, 10)."""
    for layer in network:
        x = layer(x)
    return x[:, :, 0, 0]


def gradient_of_loss(scores: np.ndarray, right: np.ndarray) -> tuple[float, np.ndarray]:
    """The mean cross-entropy, and its gradient: probabilities minus 1 for the right digit, over N."""
    rows = np.arange(len(right))
    p = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.log(p[rows, right]).mean()
    p[rows, right] -= 1
    return float(loss), p / np.float32(len(right))


# %%
# Training
# --------
# Each step takes 64 images.  The first layer's ``dx`` is not needed, and not computed.

parameters = [p for layer in network for p in layer.parameters()]
gradients = [g for layer in network for g in layer.gradients()]
velocities = [np.zeros_like(p) for p in parameters]
losses = []
for epoch in range(8):
    for chosen in np.split(rng.permutation(1437), range(64, 1437, 64)):
        for layer in network:
            layer.zero_grad()
        loss, dy = gradient_of_loss(scores_of(images[seen][chosen]), labels[seen][chosen])
        dy = dy[:, :, None, None]
        for layer in reversed(network[1:]):
            dy = layer.backward(dy)
        network[0].backward(dy, needs=("w", "bias"))
        for p, g, velocity in zip(parameters, gradients, velocities, strict=True):
            velocity *= np.float32(0.9)
            velocity += g
            p -= np.float32(0.05) * velocity
        losses.append(loss)
    print(f"epoch {epoch + 1}: loss {np.mean(losses[-23:]):.3f}")

guesses = scores_of(images[unseen]).argmax(axis=1)
right = np.mean(guesses == labels[unseen])
print(f"right about {right:.1%} of 360 digits that it has not seen")
assert right > 0.96

# %%
# What it learned
# ---------------
# The filters of the first layer, and digits that it got wrong:

figure = plt.figure(figsize=(8, 3.2), layout="constrained")
parts: Any = figure.subfigures(1, 2, width_ratios=(1, 1.2))
left, wrong = parts
left.suptitle("16 filters")
for axis, kernel in zip(left.subplots(4, 4).flat, first.weight[:, 0], strict=True):
    axis.imshow(kernel, cmap="RdBu", vmin=-0.8, vmax=0.8)
    axis.set_axis_off()
wrong.suptitle("mistakes")
mistakes = np.flatnonzero(guesses != labels[unseen])[:8]
for axis in (grid := wrong.subplots(2, 4)).flat:
    axis.set_axis_off()
for axis, i in zip(grid.flat, mistakes, strict=False):
    axis.imshow(images[i, 0], cmap="gray_r")
    axis.set_title(f"{labels[i]}, not {guesses[i]}", fontsize="medium")
plt.show()
