"""What convolve, correlate and the normalised convolution are, in plain NumPy; and random problems.

In: arrays and options.   Out: results, of whole numbers exact.
Read next: test_convolve.py and its neighbours, which hold convpp to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BOUNDARIES = ("zeros", "reflect", "symmetric", "replicate", "circular")
PAD = {"zeros": "constant", "reflect": "reflect", "symmetric": "symmetric", "replicate": "edge", "circular": "wrap"}
MODES = ("full", "same", "valid")


@dataclass
class Case:
    """One call; ``axes`` are those of a that the kernel's axes belong to."""

    shape: tuple[int, ...]
    kernel: tuple[int, ...]
    axes: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    flip: bool = True

    def keywords(self) -> dict[str, Any]:
        return {"axes": self.axes, **self.options}


def reference(a: Array, kernel: Array, axes: tuple[int, ...], flip: bool = True, **options: Any) -> Array:
    """The definition: np.pad, and one shifted copy for each tap."""
    count = len(axes)
    stride, dilation = options.get("stride", (1,) * count), options.get("dilation", (1,) * count)
    mode, boundary = options.get("mode", "full"), options.get("boundary", "zeros")
    lead = a.ndim - count
    moved = np.moveaxis(a, axes, range(lead, a.ndim))
    pads, results = [(0, 0)] * lead, []
    for i in range(count):
        reach = dilation[i] * (kernel.shape[i] - 1)
        lo, hi = {"full": (reach, reach), "valid": (0, 0), "same": (reach - reach // 2, reach // 2)}[mode]
        pads.append((lo, hi))
        results.append(moved.shape[lead + i] + lo + hi - reach)
    if isinstance(boundary, str):
        padded = np.pad(moved, pads, mode=PAD[boundary])
    else:
        padded = np.pad(moved, pads, constant_values=boundary)
    weights = np.flip(kernel) if flip else np.conj(kernel)
    y = np.zeros((*moved.shape[:lead], *results), np.result_type(padded, weights))
    for tap in np.ndindex(*weights.shape):
        window = tuple(slice(t * d, t * d + n) for t, d, n in zip(tap, dilation, results, strict=True))
        y += weights[tap] * padded[(..., *window)]
    y = y[(..., *(slice(None, None, s) for s in stride))]
    return np.moveaxis(y, range(lead, a.ndim), axes)


def whole(rng: np.random.Generator, shape: Any, size: int = 9) -> Array:
    """Whole numbers as floats: their sums are exact."""
    return rng.integers(-size, size + 1, shape).astype(np.float64)


def draw_case(rng: np.random.Generator) -> Case:
    """One to five axes, some of them convolved, in any order."""
    ndim = int(rng.integers(1, 6))
    count = int(rng.integers(1, ndim + 1))
    shape = [int(n) for n in rng.integers(2, 8 if ndim > 2 else 20, ndim)]
    if rng.random() < 0.2:
        shape[-1] = int(rng.integers(16, 20))  # a trailing axis that is an axis of the engine's
    axes = tuple(int(axis) for axis in rng.permutation(ndim)[:count])
    stride = tuple(int(s) for s in rng.choice([1, 1, 1, 2, 3], count))
    dilation = tuple(int(d) for d in rng.choice([1, 1, 2], count))
    mode = str(rng.choice(MODES))
    most = 4 if count > 3 else 6
    kernel = tuple(
        int(rng.integers(1, most if mode != "valid" else min(most, (shape[axis] - 1) // d + 2)))
        for axis, d in zip(axes, dilation, strict=True)
    )
    boundary: Any = rng.choice(len(BOUNDARIES) + 1)
    boundary = 7 if boundary == len(BOUNDARIES) else BOUNDARIES[boundary]
    options = {"stride": stride, "dilation": dilation, "mode": mode, "boundary": boundary}
    return Case(tuple(shape), kernel, axes, options, bool(rng.random() < 0.5))


def laid_out(rng: np.random.Generator, a: Array) -> Array:
    """The same numbers in some other order in memory."""
    kind = rng.integers(5)
    if kind == 0:
        return np.asfortranarray(a)
    if kind == 1:
        return a[..., ::-1][..., ::-1]
    if kind == 2:
        return a.astype(a.dtype.newbyteorder())
    if kind == 3:
        return np.repeat(a, 2, axis=0)[::2]
    return a
