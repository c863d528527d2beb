"""
Take noise away by filters that are learned
===========================================

Three convolutions learn, from the left half of a photograph, what is noise and what is picture; then they take the
noise from the right half, which they have not seen.  A Gaussian blur takes it, too, and the edges with it.

::

    pip install scikit-learn matplotlib
    python examples/denoise.py

The network finds the noise, and not the picture, as in Zhang, Zuo, Chen, Meng and Zhang 2017, arXiv:1608.03981; the
optimiser is Adam, Kingma and Ba 2014, arXiv:1412.6980.
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import convpp

NOISE = np.float32(0.1)  # of a range of 1
rng = np.random.default_rng(0)


def gray(name: str) -> np.ndarray:
    """One of scikit-learn's photographs, (H, W) of float32, 0 to 1."""
    picture: np.ndarray = load_sample_image(name) @ np.array([0.299, 0.587, 0.114], np.float32) / np.float32(255)
    return picture


def noisy(picture: np.ndarray) -> np.ndarray:
    """With noise of its own for each pixel."""
    with_noise: np.ndarray = picture + NOISE * rng.standard_normal(picture.shape, dtype=np.float32)
    return with_noise


def decibels(found: np.ndarray, truth: np.ndarray) -> float:
    """The peak signal-to-noise ratio."""
    return float(-10 * np.log10(np.mean((found - truth) ** 2)))


# %%
# The network
# -----------
# 16 channels between the first convolution and the last.  Where the picture ends, it goes on as in a mirror.

geometry: dict[str, Any] = {"padding": 1, "padding_mode": "reflect", "rng": rng}
network = [
    convpp.Conv2d(1, 16, 3, activation=("leaky_relu", 0.1), **geometry),
    convpp.Conv2d(16, 16, 3, activation=("leaky_relu", 0.1), **geometry),
    convpp.Conv2d(16, 1, 3, **geometry),
]


def noise_of(x: np.ndarray) -> np.ndarray:
    """(N, 1, H, W) to the same."""
    for layer in network:
        x = layer(x)
    return x


# %%
# Training on pieces of the left half
# -----------------------------------
# The loss is half the squared error; its gradient is the error itself.

left, right = np.split(gray("china.jpg"), 2, axis=1)
windows = np.lib.stride_tricks.sliding_window_view(left, (40, 40))
parameters = [p for layer in network for p in layer.parameters()]
gradients = [g for layer in network for g in layer.gradients()]
means, squares = [[np.zeros_like(p) for p in parameters] for _ in range(2)]
for step in range(1, 601):
    rows, columns = (rng.integers(0, extent, 8) for extent in windows.shape[:2])
    clean = windows[rows, columns][:, None]
    x = noisy(clean)
    error = noise_of(x) - (x - clean)
    for layer in network:
        layer.zero_grad()
    dy = error / np.float32(error.size)
    for layer in reversed(network[1:]):
        dy = layer.backward(dy)
    network[0].backward(dy, needs=("w", "bias"))
    rate = np.float32(0.006 * (1 - step / 601))
    for p, g, mean, square in zip(parameters, gradients, means, squares, strict=True):
        mean += np.float32(0.1) * (g - mean)
        square += np.float32(0.001) * (g * g - square)
        p -= (
            rate
            * (mean / np.float32(1 - 0.9**step))
            / (np.sqrt(square / np.float32(1 - 0.999**step)) + np.float32(1e-8))
        )
    if step % 200 == 0:
        print(f"step {step}: {decibels(x - noise_of(x), clean):.1f} dB on pieces of the left half")

# %%
# The right half
# --------------
# Of the Gaussian blurs, the best one is shown, which only who knows the truth can choose.

given = noisy(right)
learned = given - noise_of(given[None, None])[0, 0]
blurs = [convpp.convolve(given, convpp.gaussian(s, ndim=2), mode="same", boundary="reflect") for s in (0.6, 0.8, 1.0)]
blurred = max(blurs, key=lambda picture: decibels(picture, right))
pictures = {"photograph": right, "with noise": given, "blurred": blurred, "learned": learned}
for name in ("with noise", "blurred", "learned"):
    print(f"{name}: {decibels(pictures[name], right):.1f} dB")
assert decibels(learned, right) > decibels(blurred, right) + 1

# %%

figure, axes = plt.subplots(2, 2, figsize=(8, 7), layout="constrained")
for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=True):
    axis.imshow(picture[227:, :240], cmap="gray", vmin=0, vmax=1)
    axis.set_title(title if picture is right else f"{title}, {decibels(picture, right):.1f} dB")
    axis.set_axis_off()
plt.show()
