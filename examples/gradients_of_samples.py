"""
Gradients of single samples
===========================

Which of the images were labelled wrongly?  A network that has learned a little is at odds with them: their own
gradients are long.  ``backward_per_sample`` computes all of them in one pass, as if each image were a batch of its own.

::

    pip install scikit-learn matplotlib
    python examples/gradients_of_samples.py
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import convpp

rng = np.random.default_rng(0)
digits = load_digits()
images, labels = (digits.images[:, None] / 16).astype(np.float32), digits.target.copy()
spoiled = rng.choice(len(labels), 40, replace=False)
labels[spoiled] = (labels[spoiled] + rng.integers(1, 10, len(spoiled))) % 10

# %%
# A small network
# ---------------
# Two convolutions, trained for eight passes over the data, wrong labels included.

network = [
    convpp.Conv2d(1, 16, 3, stride=2, padding=1, activation="relu", rng=rng),
    convpp.Conv2d(16, 10, 4, rng=rng),
]


def gradient_of_loss(x: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Of each sample's cross-entropy with respect to its scores: (N, 10, 1, 1)."""
    for layer in network:
        x = layer(x)
    p: np.ndarray = np.exp(x - x.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(right)), right] -= 1
    return p


for _ in range(8):
    for chosen in np.split(rng.permutation(len(labels)), range(32, len(labels), 32)):
        dy = gradient_of_loss(images[chosen], labels[chosen]) / np.float32(len(chosen))
        for layer in network:
            layer.zero_grad()
        network[0].backward(network[1].backward(dy), needs=("w", "bias"))
        for layer in network:
            for p, g in zip(layer.parameters(), layer.gradients(), strict=True):
                p -= np.float32(0.25) * g

# %%
# A gradient for each image
# -------------------------
# The backward pass is the same, but for its name; it returns an array (N, \*shape) for each parameter.  Their sum over
# the samples is the gradient of the batch.

dy = gradient_of_loss(images, labels)
dx, of_second = network[1].backward_per_sample(dy)
dx, of_first = network[0].backward_per_sample(dx)

for layer in network:
    layer.zero_grad()
network[0].backward(network[1].backward(dy), needs=("w", "bias"))
for each, whole in zip([*of_first, *of_second], [g for layer in network for g in layer.gradients()], strict=True):
    assert np.abs(each.sum(axis=0) - whole).max() <= 1e-4 * np.abs(each).sum(axis=0).max()

squares = [(each.reshape(len(each), -1) ** 2).sum(axis=1) for each in (*of_first, *of_second)]
lengths = np.sqrt(np.sum(squares, axis=0))
longest = lengths.argsort()[::-1]
found = np.isin(longest[:40], spoiled).sum()
print(f"of the 40 images with the longest gradients, {found} have one of the 40 wrong labels")
assert found >= 30

# %%
# The first twenty; red is a label that was made wrong.

figure, axes = plt.subplots(2, 10, figsize=(8, 2.2), layout="constrained")
for axis, i in zip(axes.flat, longest, strict=False):
    axis.imshow(images[i, 0], cmap="gray_r")
    axis.set_title(str(labels[i]), color="crimson" if i in spoiled else "black")
    axis.set_axis_off()
plt.show()
