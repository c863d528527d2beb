"""The picture of the first page: a photograph, blurred, its edges, and made sharp again.

    pip install scikit-learn scipy matplotlib
    python docs/figures/landing.py

In: a photograph that scikit-learn ships.   Out: landing.jpg, beside this file.   Next: examples/, which tell how.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.sparse.linalg import lsqr
from sklearn.datasets import load_sample_image

import convpp
from convpp.operators import Convolution


def main() -> None:
    """Four panels with their names, on no ground: the page may be light or dark."""
    photograph = load_sample_image("china.jpg")[20:320, 130:430] / 255.0
    gray = photograph @ [0.299, 0.587, 0.114]
    slopes = convpp.conv(
        convpp.convolve(gray, convpp.gaussian(0.8, ndim=2), mode="same", boundary="reflect")[None],
        np.stack([convpp.sobel(0), convpp.sobel(1)])[:, None],
        padding="same",
        padding_mode="reflect",
    )
    edges = 1 - np.hypot(*slopes).clip(0, 1.2)[..., None] / 1.2 * np.ones(3)
    blur = Convolution(photograph.shape, convpp.gaussian(2.0, ndim=2), axes=(0, 1), boundary="symmetric")
    blurred = blur(photograph) + 0.001 * np.random.default_rng(0).standard_normal(photograph.shape)
    step = lsqr(blur, (blurred - blur(blurred)).ravel(), damp=0.02, iter_lim=80)[0]
    sharp = blurred + step.reshape(photograph.shape)

    panels = {"a photograph": photograph, "its edges": edges, "blurred": blurred, "sharp again": sharp}
    figure = Figure(figsize=(8, 2))
    for i, (name, panel) in enumerate(panels.items()):
        axes = figure.add_axes((i / 4, 0, 1 / 4, 1))
        axes.imshow(panel.clip(0, 1))
        axes.set_axis_off()
        label = {"boxstyle": "round,pad=0.3", "facecolor": "black", "alpha": 0.65, "linewidth": 0}
        axes.text(12, 288, name, color="white", fontsize=15, va="bottom", bbox=label)
    file = Path(__file__).with_name("landing.jpg")
    figure.savefig(file, dpi=200, pil_kwargs={"quality": 85, "optimize": True})


if __name__ == "__main__":
    main()
