"""The self-test behind ``python -m convpp check``: every instruction set of this machine.

In: a seed.  Out: a line for each, and whether all agree with the reference.  The data are small integers,
so that every sum is exact in float32 and float64 and results of the direct algorithm must be equal, not close; those of
float16 and bfloat16 are these sums, rounded once.  (bfloat16 is left out without the package ml_dtypes.)
Winograd's algorithm, where it serves a geometry, and the FFT round: their results must be close.

Next: ``testing/reference.py`` (what is compared with), ``runtime.py`` (how kernels are chosen).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp import runtime
from convpp._call.arguments import PADDING_MODES
from convpp._call.planning import PASSES
from convpp._call.validation import Array, dtype_from
from convpp._cli.suite import in_layout
from convpp.errors import DTypeError, ShapeError
from convpp.forward import conv
from convpp.functional import conv_input_grad, conv_weight_grad
from convpp.testing.reference import reference_conv, reference_input_grad, reference_weight_grad

CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33)  # around the widths of vectors and tiles
CASES = 120
ALGORITHMS = ("direct", "winograd", "fft")
#: Of algorithms that round, relative to the result (L2): ten times what these cases come to.  One result that is wrong
#: by one is more.
BOUNDS = {"float32": 1e-5, "float64": 2e-14, "float16": 1e-3, "bfloat16": 8e-3}
#: Every so manieth geometry is computed in these too.
HALF_EVERY = 4
LARGE: list[dict[str, Any]] = [  # sizes that make several blocks of everything
    {"x": (2, 64, 20, 20), "w": (70, 64, 3, 3), "padding": 1},
    {"x": (1, 3, 61, 59), "w": (33, 3, 7, 7), "padding": 3, "stride": 2},
    {"x": (3, 130, 150), "w": (40, 130, 3), "dilation": 2},
    {"x": (2, 24, 33, 31), "w": (24, 1, 5, 5), "padding": "same", "groups": 24},
    {"x": (2, 40, 17, 18), "w": (33, 40, 3, 3), "padding": 2, "padding_mode": "reflect"},
    {"x": (2, 3, 500), "w": (4, 3, 130), "padding": 9},
    {"x": (1, 18, 40, 41), "w": (18, 1, 17, 15), "padding": "same", "groups": 18},
]


@dataclass
class Case:
    """Integer operands of one geometry (float64, channels first), and the three results by reference."""

    geometry: dict[str, Any]
    x: Array
    w: Array
    bias: Array
    dy: Array
    y: Array
    dx: Array
    dw: Array


def main(seed: int = 0) -> bool:
    """Test all instruction sets; print a line for each and a last one; return whether all are right."""
    start = time.perf_counter()
    cases = list(_cases(np.random.default_rng(seed)))
    info = runtime.runtime_info()
    isas = info["isas_available"]
    halves = _halves()
    failed = []
    try:
        for isa in isas:
            runtime._select_isa(isa)
            checks = [check for case in cases for check in _checks(case, ("float32", "float64"))]
            checks += [check for case in cases[::HALF_EVERY] for check in _checks(case, halves)]
            wrong = [message for _, message in checks if message]
            found = "WRONG" if wrong else "right"
            print(
                f"{isa:8} {found}: {len(cases)} geometries, 3 passes, 2 layouts, float32, float64; "
                f"{len(cases[::HALF_EVERY])} of them in {' and '.join(halves)}"
            )
            direct, winograd, fft = (sum(by == name for by, _ in checks) for name in ALGORITHMS)
            print(
                f"{'':8} direct: {direct} results, equal to the reference; winograd: {winograd}, fft: {fft}, with "
                f"relative errors up to {BOUNDS['float32']:g} (float32) and {BOUNDS['float64']:g} (float64)"
            )
            for message in wrong[:3]:
                print(f"    {message}")
            if wrong:
                failed.append(isa)
    finally:
        runtime._select_isa(info["isa"])
    seconds = time.perf_counter() - start
    print(f"check failed: {', '.join(failed)}" if failed else f"check passed ({seconds:.1f} s)")
    return not failed


def _cases(rng: np.random.Generator) -> Iterator[Case]:
    for large in LARGE:
        geometry = dict(large)
        yield _case(rng, geometry.pop("x"), geometry.pop("w"), geometry)
    count = 0
    while count < CASES:
        try:
            case = _case(rng, *_random_geometry(rng))
        except ShapeError:  # the kernel was longer than the padded input: draw again
            continue
        count += 1
        yield case


def _random_geometry(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of x and w, and the other arguments."""
    rank = int(rng.integers(1, 4))
    n, groups = int(rng.integers(1, 4)), int(rng.choice((1, 1, 1, 2, 3)))
    c, k = int(rng.choice(CHANNELS)), int(rng.choice(CHANNELS))
    extents = rng.integers(1, (40, 16, 7)[rank - 1], rank).tolist()
    kernel = rng.integers(1, (9, 5, 4)[rank - 1], rank).tolist()
    geometry = {
        "stride": rng.integers(1, 4, rank).tolist(),
        "padding": rng.integers(-1, 4, (rank, 2)).tolist(),
        "dilation": rng.integers(1, 4, rank).tolist(),
        "groups": groups,
        "flip": bool(rng.integers(2)),
        "padding_mode": [str(mode) for mode in rng.choice(("zeros", "zeros", *PADDING_MODES), rank)],
    }
    return (n, c * groups, *extents), (k * groups, c, *kernel), geometry


def _case(
    rng: np.random.Generator, x_shape: tuple[int, ...], w_shape: tuple[int, ...], geometry: dict[str, Any]
) -> Case:
    x, w, bias = (rng.integers(-3, 4, shape).astype(np.float64) for shape in (x_shape, w_shape, w_shape[0]))
    y = reference_conv(x, w, bias, **geometry)
    dy = rng.integers(-3, 4, y.shape).astype(np.float64)
    dx = reference_input_grad(dy, w, x_shape, **geometry)
    dw = reference_weight_grad(dy, x, w_shape, **geometry)
    return Case(geometry, x, w, bias, dy, y, dx, dw)


def _halves() -> tuple[str, ...]:
    """The half types of this machine."""
    try:
        dtype_from("bfloat16")
    except DTypeError:
        return ("float16",)
    return ("float16", "bfloat16")


def _checks(case: Case, dtypes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """The algorithm of each result, and what is wrong with it in words: both layouts, all passes."""
    for dtype in map(dtype_from, dtypes):
        w, bias = case.w.astype(dtype), case.bias.astype(dtype)
        for layout in ("channels_first", "channels_last"):
            x, dy, y, dx = (in_layout(a, layout).astype(dtype) for a in (case.x, case.dy, case.y, case.dx))
            geometry = case.geometry | {"layout": layout}
            calls: list[tuple[Callable[..., Array], tuple[Any, ...], Array]] = [
                (conv, (x, w, bias), y),
                (conv_input_grad, (dy, w, x.shape), dx),
                (conv_weight_grad, (dy, x, w.shape), case.dw.astype(dtype)),
            ]
            for name, (function, operands, expected) in zip(PASSES, calls, strict=True):
                for algorithm in ALGORITHMS:
                    got = np.full_like(expected, np.nan)
                    try:
                        function(*operands, **geometry, algorithm=algorithm, out=got)
                    except ValueError:
                        if algorithm != "winograd":
                            raise
                        continue  # Winograd's algorithm does not serve every geometry
                    difference = _difference(got, expected) if algorithm == "direct" else _error(got, expected)
                    shapes = f"{dtype}, x {case.x.shape}, w {case.w.shape}"
                    place = f"{name}, {algorithm}, {shapes}, {geometry}: "
                    yield algorithm, difference and place + difference


def _difference(got: Array, expected: Array) -> str:
    """The first difference, or nothing."""
    if np.array_equal(got, expected):
        return ""
    index = tuple(int(i) for i in np.argwhere(got != expected)[0])
    return f"first difference at {index}: got {got[index]}, expected {expected[index]}"


def _error(got: Array, expected: Array) -> str:
    """The relative error if it is above the bound, or nothing."""
    expected, bound = expected.astype(np.float64), BOUNDS[expected.dtype.name]
    size = float(np.linalg.norm(expected))
    error = float(np.linalg.norm(got.astype(np.float64) - expected)) / (size if size > 0 else 1.0)
    return "" if error <= bound else f"relative error {error:.1e}, expected at most {bound:g}"
