"""Operands of a layer in whole numbers so small that every sum is exact in float32.

In: shapes and the layer's options.  Out: x, w and a dy that fits them.
Read next: test_backpropagation.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import convpp
import geometry
from geometry import Array, Shape

#: Options that change what a pass reads, for kernels of 3 x 2 and 4 channels.
GEOMETRIES: list[dict[str, Any]] = [
    {},
    {"padding": "same"},
    {"stride": 2, "padding": [(0, 2), (3, -1)]},
    {"stride": (1, 3), "dilation": (2, 1), "padding": 1},
    {"stride": 2, "dilation": 2, "flip": True},
    {"groups": 2, "stride": (2, 1)},
    {"groups": 4, "padding": "causal"},
]


def integers(rng: np.random.Generator, shape: Sequence[int], dtype: str = "float32") -> Array:
    return geometry.integers(rng, tuple(shape), dtype)


def layer(
    rng: np.random.Generator, x_shape: Shape, w_shape: Shape, dtype: str = "float32", **options: Any
) -> tuple[Array, Array, Array]:
    """x, w and a dy of the right shape."""
    y_shape = convpp.conv_output_shape(x_shape, w_shape, **options)
    return (
        integers(rng, x_shape, dtype),
        integers(rng, w_shape, dtype),
        integers(rng, y_shape, dtype),
    )
