"""MaxPool and AveragePool for onnx's reference evaluator, beside their definition window by window.

(onnx's own cases are in test_onnx_ops.py.)
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from onnx import helper

import convpp.onnx
from geometry import Array

AUTO = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


def run(op: str, x: Array, outputs: int = 1, **attributes: Any) -> Any:
    node = helper.make_node(op, ["x"], ["y", "indices"][:outputs], **attributes)
    kind = getattr(convpp.onnx, op)
    return kind(node, {"log": lambda *_: None, "opsets": {"": 22}, "new_ops": None}).run(x)


def windows(x: Array, a: dict[str, Any]) -> tuple[tuple[int, ...], Any]:
    """The output's spatial extents, and of each pixel's window what is in x, and how many in padding, too."""
    rank = x.ndim - 2
    kernel, stride, dilation = a["kernel_shape"], a.get("strides", [1] * rank), a.get("dilations", [1] * rank)
    mode, given, ceil = a.get("auto_pad", "NOTSET"), a.get("pads", [0] * 2 * rank), a.get("ceil_mode", 0)
    extents, pads = [], []
    for i, n in enumerate(x.shape[2:]):
        span, s = dilation[i] * (kernel[i] - 1) + 1, stride[i]
        if mode == "NOTSET":
            lo, hi = given[i], given[i + rank]
            out = (math.ceil if ceil else math.floor)((n + lo + hi - span) / s) + 1
            out -= bool(ceil) and (out - 1) * s >= n + lo
        elif mode == "VALID":
            lo = hi = 0
            out = math.ceil((n - span + 1) / s)
        else:
            out = math.ceil(n / s)
            total = max((out - 1) * s + span - n, 0)
            lo = total // 2 if mode == "SAME_UPPER" else total - total // 2
            hi = total - lo
        extents.append(out)
        pads.append((lo, hi))

    def window(p: tuple[int, ...]) -> tuple[list[tuple[int, ...]], int]:
        inside, counted = [], 0
        for r in itertools.product(*map(range, kernel)):
            at = tuple(p[i] * stride[i] - pads[i][0] + r[i] * dilation[i] for i in range(rank))
            if all(0 <= q < n for q, n in zip(at, x.shape[2:], strict=True)):
                inside.append(at)
            counted += all(-lo <= q < n + hi for q, n, (lo, hi) in zip(at, x.shape[2:], pads, strict=True))
        return inside, counted

    return tuple(extents), window


def draw(rng: np.random.Generator, op: str) -> tuple[Array, dict[str, Any]]:
    while True:
        rank = int(rng.integers(1, 4))
        x = rng.integers(-9, 9, (2, 3, *rng.integers(2, 8, rank))).astype(np.float32)
        a: dict[str, Any] = {
            "kernel_shape": rng.integers(1, 4, rank).tolist(),
            "strides": rng.integers(1, 4, rank).tolist(),
            "dilations": rng.integers(1, 3, rank).tolist() if rng.integers(2) else [1] * rank,
            "ceil_mode": int(rng.integers(2)),
            "auto_pad": str(rng.choice(AUTO)),
        }
        if a["auto_pad"] == "NOTSET":
            a["pads"] = rng.integers(0, 3, 2 * rank).tolist()  # beyond half of the kernel, too
        if op == "AveragePool":
            a["count_include_pad"] = int(rng.integers(2))
        else:
            a["storage_order"] = int(rng.integers(2)) if rank > 1 else 0
        extents, window = windows(x, a)
        if min(extents) > 0 and all(window(p)[0] for p in itertools.product(*map(range, extents))):
            return x, a


@pytest.mark.parametrize("seed", range(60))
def test_average(seed: int) -> None:
    x, a = draw(np.random.default_rng(seed), "AveragePool")
    extents, window = windows(x, a)
    want = np.empty((*x.shape[:2], *extents))
    for p in itertools.product(*map(range, extents)):
        inside, counted = window(p)
        want[:, :, *p] = sum(x[:, :, *at] for at in inside) / (counted if a["count_include_pad"] else len(inside))
    (y,) = run("AveragePool", x, **a)
    np.testing.assert_allclose(y, want.astype(np.float32), rtol=3e-7, err_msg=str((x.shape, a)), strict=True)


@pytest.mark.parametrize("seed", range(60))
def test_max(seed: int) -> None:
    """Values and places: those of the first of equal elements, in either order, in the whole of x."""
    rng = np.random.default_rng(1000 + seed)
    x, a = draw(rng, "MaxPool")
    x = x.astype(rng.choice(["float32", "float64", "float16", "int8", "uint8"]))
    extents, window = windows(x, a)
    want, places = np.empty((*x.shape[:2], *extents), x.dtype), np.empty((*x.shape[:2], *extents), np.int64)
    spatial, order = x.shape[2:], "F" if a["storage_order"] else "C"
    for p in itertools.product(*map(range, extents)):
        inside, _ = window(p)
        values = np.stack([x[:, :, *at] for at in inside])
        want[:, :, *p] = values.max(0)
        in_plane = np.array([np.ravel_multi_index(at, spatial, order=order) for at in inside])[values.argmax(0)]
        places[:, :, *p] = in_plane + np.arange(6).reshape(2, 3) * math.prod(spatial)
    y, indices = run("MaxPool", x, 2, **a)
    np.testing.assert_array_equal(y, want, err_msg=str((x.shape, a)), strict=True)
    np.testing.assert_array_equal(indices, places, err_msg=str((x.shape, a)), strict=True)
    np.testing.assert_array_equal(run("MaxPool", x, **a)[0], want, strict=True)


def test_windows_in_padding_alone() -> None:
    x = np.array([[[3.0, 1.0]]], np.float32)
    y, indices = run("MaxPool", x, 2, kernel_shape=[2], pads=[2, 2])
    np.testing.assert_array_equal(y[0, 0], [-np.inf, 3, 3, 1, -np.inf])
    np.testing.assert_array_equal(indices[0, 0], [-1, 0, 0, 1, -1])
    np.testing.assert_array_equal(
        run("AveragePool", x, kernel_shape=[2], pads=[2, 2])[0][0, 0], [np.nan, 3, 2, 1, np.nan]
    )


def test_the_padding_of_ceil_mode_is_that_of_pooling() -> None:
    """Where the last window would begin behind x, too, even if the padding had room for it."""
    for n, k, s, lo, hi in itertools.product(range(1, 7), range(1, 5), range(1, 5), range(3), range(3)):
        if max(lo, hi) <= k // 2 and n + lo + hi >= k:
            want = convpp.max_pool(np.zeros((1, 1, n)), k, stride=s, padding=((lo, hi),), ceil_mode=True).shape
            padding = convpp.conventions.ceil_padding((n,), (k,), s, ((lo, hi),))
            assert convpp.conv(np.zeros((1, 1, n)), np.zeros((1, 1, k)), stride=s, padding=padding).shape == want


def test_axes_are_counted() -> None:
    with pytest.raises(convpp.ShapeError, match="X has shape"):
        run("MaxPool", np.zeros((2, 3, 4), np.float32), kernel_shape=[2, 2])
