"""Small layers of all six classes in float64, inputs for them, and how near their results must be.

In: a layer's class by name.  Out: a layer with fixed random parameters, a fixed random input.
Read next: test_layers.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import convpp

LAYERS = ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")


def make(name: str, **arguments: Any) -> Any:
    """A small layer of that name, in float64."""
    arguments = {
        "in_channels": 4,
        "out_channels": 6,
        "kernel_size": 3,
        "rng": 0,
        "dtype": np.float64,
    } | arguments
    return getattr(convpp, name)(**arguments)


def an_input(name: str, n: int = 2, extent: int = 5) -> Any:
    return np.random.default_rng(1).standard_normal((n, 4) + (extent,) * int(name[-2]))


def assert_near(got: Any, expected: Any) -> None:
    """Equal within 64 roundings of the largest value (sums here have at most 400 terms)."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    bound = 64 * np.finfo(expected.dtype).eps * np.abs(expected).max()
    assert np.abs(got - expected).max() <= bound
