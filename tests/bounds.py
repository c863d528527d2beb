"""Run by test_bounds.py in a process of its own: every array lies against a page that may not be touched.

A kernel that reads or writes one element too far ends this process; its last line of output says where.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

import convpp
from geometry import (
    LAYOUTS,
    Array,
    Case,
    Geometry,
    assert_exact,
    draw_geometry,
    failures_name,
    in_layout,
    make_case,
    with_modes,
)

PAGE = mmap.PAGESIZE
PROT_NONE = 0
CAPACITY = 64 << 20
try:
    import ml_dtypes  # noqa: F401  (NumPy knows bfloat16 by name from here on)

    HALVES: tuple[str, ...] = ("float16", "bfloat16")
except ImportError:
    HALVES = ("float16",)
libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class Guarded:
    """Memory between two forbidden pages, used again for one array after the other."""

    def __init__(self, capacity: int) -> None:
        self.size = -(-capacity // PAGE) * PAGE
        self.map = mmap.mmap(-1, self.size + 2 * PAGE)
        self.bytes = np.frombuffer(self.map, np.uint8)
        start = self.bytes.ctypes.data
        for page in (start, start + PAGE + self.size):
            if libc.mprotect(page, PAGE, PROT_NONE) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")

    def new(self, array: Array, at_end: bool) -> Array:
        """A copy of ``array`` that ends (or begins) at a forbidden page."""
        offset = PAGE + (self.size - array.nbytes if at_end else 0)
        copy: Array = np.ndarray(array.shape, array.dtype, self.map, offset)
        copy[...] = array
        return copy


def run(case: Case, layout: str, guarded: list[Guarded], at_end: bool, threads: int) -> None:
    g = case.geometry
    keywords = {**g.keywords(layout), "threads": threads}
    bias = np.zeros(g.k, g.dtype) if case.bias is None else case.bias
    plain = (in_layout(case.x, layout, g.rank), case.w, in_layout(case.dy, layout, g.rank), bias)
    x, w, dy, bias = (memory.new(array, at_end) for memory, array in zip(guarded, plain, strict=False))

    def new_out(like: Array) -> Array:
        return guarded[-1].new(np.full_like(like, np.nan), at_end)

    y, dx = in_layout(case.y, layout, g.rank), in_layout(case.dx, layout, g.rank)
    assert_exact(convpp.conv(x, w, bias, **keywords, out=new_out(y)), y)
    assert_exact(convpp.conv_input_grad(dy, w, x.shape, **keywords, out=new_out(dx)), dx)
    assert_exact(convpp.conv_weight_grad(dy, x, w.shape, **keywords, out=new_out(case.dw)), case.dw)
    batched = g.n is not None
    assert_exact(convpp.conv_bias_grad(dy, layout=layout, batched=batched, out=new_out(case.db)), case.db)


#: Rows that are cut into several boxes of pixels, the last of them shorter than a vector; one row shorter than that.
LONG_ROWS = [
    Geometry(1, 64, 1, (161611,), (9,)),
    Geometry(1, 256, 1, (161604 // 4,), (1,)),
    Geometry(2, 64, 3, (40003,), (2,), padding=1),
    Geometry(1, 4, 2, (500001,), (3,), dtype="float64"),
    Geometry(1, 1, 1, (2000003,), (3,)),
    Geometry(2, 3, 5, (3, 80007), (3, 3), padding=1),
    Geometry(1, 2, 2, (300, 5), (3, 3)),
]


def geometries(first_seed: int, count: int) -> Iterator[tuple[int, Geometry, np.random.Generator]]:
    for seed in range(first_seed, first_seed + count):
        rng = np.random.default_rng((90, seed))
        geometry = LONG_ROWS[seed] if seed < len(LONG_ROWS) else draw_geometry(rng, max_macs=1_000_000)
        # Halves have readers of their own, and what lies beyond the ends of x is filled in from it.
        if seed >= len(LONG_ROWS) and seed % 2 == 0:
            geometry = replace(with_modes(rng, geometry), dtype=HALVES[seed // 2 % len(HALVES)])
        yield seed, geometry, rng


def main(first_seed: int, count: int) -> None:
    guarded = [Guarded(CAPACITY) for _ in range(5)]
    for seed, geometry, rng in geometries(first_seed, count):
        case = make_case(geometry, rng)
        for layout in LAYOUTS:
            for at_end in (True, False):
                print(seed, layout, at_end, geometry, flush=True)
                with failures_name(geometry, layout, f"at the {'end' if at_end else 'beginning'}"):
                    run(case, layout, guarded, at_end, threads=1 + seed % 2)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
