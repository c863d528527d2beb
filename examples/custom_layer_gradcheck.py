"""
A layer of one's own, with its gradients checked
================================================

Write a layer of your own and have its gradients checked.

::

    python examples/custom_layer_gradcheck.py

A depthwise separable block (Chollet 2016, arXiv 1610.02357): a filter for each channel, a ReLU, and a 1x1
convolution that mixes the channels.  ``convpp.testing.gradcheck`` compares every gradient that
``backward`` returns with finite differences, and says where the first mistake is.
"""

from typing import Any

import numpy as np

import convpp
from convpp.testing import gradcheck


class Separable:
    """``y = mix(relu(blur(x)))``; (N, C, H, W) to (N, K, H, W)."""

    def __init__(self, channels: int, out_channels: int, rng: np.random.Generator) -> None:
        wide: dict[str, Any] = {"dtype": np.float64, "rng": rng}  # differences need float64
        self.blur = convpp.Conv2d(channels, channels, 3, padding="same", groups=channels, **wide)
        self.mix = convpp.Conv2d(channels, out_channels, 1, **wide)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Keep what ``backward`` needs: here, where the ReLU let its input through."""
        blurred = self.blur(x)
        self.positive = blurred > 0
        return self.mix(blurred * self.positive)

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """The chain rule, last to first."""
        return self.blur.backward(self.mix.backward(dy) * self.positive)

    def parameters(self) -> list[np.ndarray]:
        """What `gradcheck` varies ..."""
        return self.blur.parameters() + self.mix.parameters()

    def gradients(self) -> list[np.ndarray]:
        """... and what it compares with the differences."""
        return self.blur.gradients() + self.mix.gradients()


class Forgetful(Separable):
    """The same, with a mistake: ``backward`` forgets the ReLU."""

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """Wrong wherever the ReLU stopped its input."""
        return self.blur.backward(self.mix.backward(dy))


def main() -> None:
    """Check the right block and the wrong one."""
    x = np.random.default_rng(1).standard_normal((2, 3, 6, 5))
    gradcheck(Separable(3, 4, np.random.default_rng(0)), x)
    print("Separable: every gradient agrees with finite differences")
    try:
        gradcheck(Forgetful(3, 4, np.random.default_rng(0)), x)
    except AssertionError as error:
        print(f"Forgetful: {error}")
    else:
        raise SystemExit("the mistake was not found")


if __name__ == "__main__":
    main()
