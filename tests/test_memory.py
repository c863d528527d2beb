"""Memory does not grow with the number of different shapes, of calls, or of failed calls."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import convpp
from geometry import LAYOUTS

STATM = Path("/proc/self/statm")
pytestmark = pytest.mark.skipif(not STATM.exists(), reason="resident memory is read from /proc")

#: Operands of one call have 1 to 2 MB, so 500 have almost 1 GB: keeping any kind of them would exceed this.
BOUND_BYTES = 40e6


def growth(work: Callable[[int], None], warm_up: int, count: int) -> float:
    for number in range(warm_up):
        work(number)
    gc.collect()
    before = resident_bytes()
    for number in range(warm_up, warm_up + count):
        work(number)
    gc.collect()
    return resident_bytes() - before


def resident_bytes() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_500_different_shapes() -> None:
    rng = np.random.default_rng(60)

    def work(number: int) -> None:
        n, c, k = 1 + number % 3, 60 + number % 11, 60 + number % 13
        h, side = 20 + number // 20, 1 + 2 * (number % 2)
        layout = LAYOUTS[number % 2]
        x = rng.standard_normal((n, c, h, 24), "float32")
        w = rng.standard_normal((k, c, side, side), "float32")
        if layout == "channels_last":
            x = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        keywords = {"padding": "same", "layout": layout, "threads": 2, "stride": 1 + number % 2}
        y = convpp.conv(x, w, **keywords)
        convpp.conv_input_grad(y, w, x.shape, **keywords)
        convpp.conv_weight_grad(y, x, w.shape, **keywords)

    assert growth(work, warm_up=100, count=500) < BOUND_BYTES


def test_failed_calls_keep_nothing() -> None:
    x, w = np.zeros((4, 16, 64, 64), "float32"), np.zeros((16, 16, 3, 3), "float32")

    def work(number: int) -> None:
        with pytest.raises(convpp.ShapeError):
            convpp.conv(x[:, :, ::2], w[:, : 1 + number % 15])
        with pytest.raises(convpp.DTypeError):
            convpp.conv(x.astype("int32"), w)
        with pytest.raises(MemoryError):
            convpp.conv(x, w, padding=1 << 24)

    assert growth(work, warm_up=20, count=300) < BOUND_BYTES


def test_copies_of_strided_inputs_are_freed() -> None:
    big = np.zeros((4, 64, 64, 32), "float32")
    w = np.zeros((8, 32, 1, 1), "float32")

    def work(number: int) -> None:
        convpp.conv(np.moveaxis(big, -1, 1)[:, :, : 10 + number % 50], w)

    assert growth(work, warm_up=60, count=200) < BOUND_BYTES
