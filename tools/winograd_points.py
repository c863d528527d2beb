"""Measures which interpolation points round least: the reason for those in winograd_transforms.py.

    python tools/winograd_points.py 4 3             candidates for F(4, 3), the best first
    python tools/winograd_points.py 4 3 --chosen    its chosen points over numbers of channels, against the bound

In: m and r. Needs NumPy.
Out: relative L2 errors of float32 against float64 in two dimensions, beside those of a direct sum; all sums are of
fused multiply-adds in one order. Transforms are computed as kernels do, E and O once for each mirrored pair. The input
gradient is a forward pass of dy, with other names.

F(4, 3), errors in 1e-7 (64 channels, 1568 tiles; normal data | rectified):

    points        forward   weight gradient | forward   weight gradient
    direct           4.32             28.85 |    3.13             20.97
    ±5/8, ±3/2       7.60             34.12 |    6.99             34.38
    ±2/3, ±3/2       7.69             31.96 |    6.84             32.55
    ±3/4, ±3/2       8.12             34.24 |    7.47             33.68
    ±1/2, ±3/2       9.68             44.64 |    8.58             41.48
    ±1/2, ±2        10.90             52.07 |    9.85             48.65
    ±1, ±2          16.10             71.93 |   15.47             70.96

Sums of at most 64 tiles, then their sum (--chain 64), in place of one sum: 8.05 | 8.26 for 34.12 | 34.38. So short they
keep up with a direct sum that is cut likewise.

Taken: 5/8 and 3/2, the least error of those exact in binary. Scales of rows matter less than measurements scatter:
1/N in A^T or B^T in place of G, or odd factors moved from G to B^T. F(2, 5) has the same best points: 8.30, 39.91 |
6.61, 34.58 (direct 7.06, 14.64 | 4.94, 10.62). F(2, 3) has ±1: 2.68, 12.20 | 2.26, 10.31 (direct 4.26, 14.05 | 3.18,
11.01).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import combinations

import numpy as np
import numpy.typing as npt
from winograd_transforms import SIZES, Matrix, Transform, toom_cook

Single = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]

#: The magnitudes that are tried as points. All but 2/3 and 4/3 are exact in binary, and so are their products.
EIGHTHS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 20, 24)
MAGNITUDES = sorted([*(Fraction(k, 8) for k in EIGHTHS), Fraction(2, 3), Fraction(4, 3)])
FILTERS = 8  # of each measurement
TILES = 64


def fma(a: Single | float, b: Single, c: Single) -> Single:
    """a * b + c, rounded once: the product of two float32 is exact in float64."""
    return (np.asarray(a, np.float64) * b + c).astype(np.float32)


def single(number: Fraction) -> float:
    """As a kernel for float32 holds it."""
    return float(np.float32(float(number)))


def combine(row: Sequence[Fraction], values: Single, columns: range) -> Single:
    """The sum of some columns of a matrix's row times the values: a product, then fused multiply-adds."""
    total: Single = np.zeros_like(values[0])
    for column in columns:
        if row[column]:
            total = fma(single(row[column]), values[column], total)
    return total


def evaluate(matrix: Matrix, values: Single) -> Single:
    """B^T, G or A along the first axis, whose rows are mirrored pairs but for the first and the last."""
    width = len(matrix[0])
    rows = [combine(matrix[0], values, range(width))]
    for row in matrix[1:-1:2]:
        even, odd = combine(row, values, range(0, width, 2)), combine(row, values, range(1, width, 2))
        rows += [even + odd, even - odd]
    return np.stack([*rows, combine(matrix[-1], values, range(width))])


def collect(matrix: Matrix, values: Single) -> Single:
    """A^T or G^T along the first axis, whose columns are mirrored pairs: sums and differences first."""
    first, last = values[0], values[-1]
    folded = [[a + b for a, b in zip(values[1:-1:2], values[2:-1:2], strict=True)]]
    folded += [[a - b for a, b in zip(values[1:-1:2], values[2:-1:2], strict=True)]]
    rows = []
    for i, row in enumerate(matrix):
        total = fma(single(row[0]), first, np.zeros_like(first))
        for coefficient, value in zip(row[1:-1:2], folded[i % 2], strict=True):
            total = fma(single(coefficient), value, total)
        rows.append(fma(single(row[-1]), last, total))
    return np.stack(rows)


def both(apply: Callable[[Matrix, Single], Single], matrix: Matrix, values: Single) -> Single:
    """Along the first two axes."""
    return apply(matrix, apply(matrix, values).swapaxes(0, 1)).swapaxes(0, 1)


def transposed(matrix: Matrix) -> Matrix:
    """Rows for columns."""
    return tuple(zip(*matrix, strict=True))


def summed(a: Single, b: Single) -> Single:
    """sum over s of a[s] * b[s] in one order, each step rounded once."""
    total = np.zeros(np.broadcast_shapes(a.shape[1:], b.shape[1:]), np.float32)
    for left, right in zip(a, b, strict=True):
        total = fma(left, right, total)
    return total


def forward(t: Transform, d: Single, g: Single) -> Single:
    """y[i, j, k, p] from d[i, j, c, p] and g[i, j, k, c], by Winograd."""
    v, u = both(evaluate, t.source, d), both(evaluate, t.weights, g)
    m = summed(np.moveaxis(u, 3, 0)[..., None], np.moveaxis(v, 2, 0)[:, :, :, None])
    return both(collect, t.results, m)


def weight_grad(t: Transform, d: Single, dy: Single, chain: int) -> Single:
    """dw[i, j, k, c] from d[i, j, c, p] and dy[i, j, k, p], by Winograd; sums of ``chain`` tiles, then their sum."""
    v, w = both(evaluate, t.source, d), both(evaluate, transposed(t.results), dy)
    left, right = np.moveaxis(w, 3, 0)[..., None], np.moveaxis(v, 3, 0)[:, :, :, None]
    starts = range(0, len(left), chain)
    parts = [summed(left[start : start + chain], right[start : start + chain]) for start in starts]
    return both(collect, transposed(t.weights), added_in_pairs(parts))


def added_in_pairs(parts: list[Single]) -> Single:
    """The sum of all parts, by a tree."""
    while len(parts) > 1:
        parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=False)] + parts[len(parts) & ~1 :]
    return parts[0]


def windows(d: Single, extent: int) -> Single:
    """d's first two axes as [result, result, tap, tap, ...]."""
    view = np.lib.stride_tricks.sliding_window_view(d, (extent, extent), axis=(0, 1))
    return np.moveaxis(view, (-2, -1), (2, 3))


def error(found: Single, exact: Double) -> float:
    """Relative, in the L2 norm."""
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def data(rng: np.random.Generator, relu: bool, *shape: int) -> Single:
    """Normal, or what a rectifier leaves of it."""
    x = rng.standard_normal(shape, np.float32)
    return np.maximum(x, np.float32(0)) if relu else x


def forward_operands(t: Transform, channels: int, relu: bool, seed: int = 0) -> tuple[Single, Single]:
    """d and g."""
    rng = np.random.default_rng(seed)
    d = data(rng, relu, t.points, t.points, channels, TILES)
    return d, data(rng, False, t.taps, t.taps, FILTERS, channels)


def gradient_operands(t: Transform, tiles: int, relu: bool, seed: int = 0) -> tuple[Single, Single]:
    """d and dy."""
    rng = np.random.default_rng(seed)
    d = data(rng, relu, t.points, t.points, FILTERS, tiles)
    return d, data(rng, False, t.outputs, t.outputs, FILTERS, tiles)


def contracted(indices: str, a: Single, b: Single) -> Double:
    """Einstein's sum in float64."""
    exact: Double = np.einsum(indices, a.astype(np.float64), b.astype(np.float64), optimize=True)
    return exact


def exact_forward(t: Transform, d: Single, g: Single) -> Double:
    """In float64."""
    return contracted("ijabcp,abkc->ijkp", windows(d, t.taps), g)


def exact_weight_grad(t: Transform, d: Single, dy: Single) -> Double:
    """In float64."""
    return contracted("ijabcp,abkp->ijkc", windows(d, t.outputs), dy)


def direct_forward(t: Transform, d: Single, g: Single) -> Single:
    """One sum over channels and taps."""
    taps = np.moveaxis(windows(d, t.taps), (4, 2, 3), (0, 1, 2))  # c, tap, tap, i, j, p
    weights = np.moveaxis(g, 3, 0).reshape(-1, FILTERS, 1)
    return summed(taps.reshape(-1, t.outputs, t.outputs, 1, TILES), weights[:, None, None])


def direct_weight_grad(t: Transform, d: Single, dy: Single) -> Single:
    """One sum over tiles and their pixels."""
    taps = np.moveaxis(windows(d, t.outputs), (5, 2, 3), (0, 1, 2))  # p, pixel, pixel, i, j, c
    gradients = np.moveaxis(dy, 3, 0).reshape(-1, FILTERS, 1)
    return summed(taps.reshape(-1, t.taps, t.taps, 1, FILTERS), gradients[:, None, None])


@dataclass(frozen=True)
class Case:
    """A pass of some data: its operands, what is exact, and the error of the direct sum."""

    name: str
    winograd: Callable[[Transform, Single, Single], Single]
    operands: tuple[Single, Single]
    exact: Double
    direct: float

    def error(self, t: Transform) -> float:
        """Of Winograd with other points than the operands were made with."""
        return error(self.winograd(t, *self.operands), self.exact)


def cases(t: Transform, channels: Sequence[int], tiles: Sequence[int], chain: int) -> Iterator[Case]:
    """Forward over channels and weight gradient over tiles, of normal and of rectified data."""
    by_chains = partial(weight_grad, chain=chain)
    for relu in (False, True):
        kind = "rectified" if relu else "normal"
        for count in channels:
            operands = forward_operands(t, count, relu)
            exact = exact_forward(t, *operands)
            direct = error(direct_forward(t, *operands), exact)
            yield Case(f"forward, C = {count}, {kind}", forward, operands, exact, direct)
        for count in tiles:
            operands = gradient_operands(t, count, relu)
            exact = exact_weight_grad(t, *operands)
            direct = error(direct_weight_grad(t, *operands), exact)
            yield Case(f"weight gradient, {count} tiles, {kind}", by_chains, operands, exact, direct)


def compare_candidates(outputs: int, taps: int, chain: int) -> None:
    """Errors of each choice of points, by their geometric mean."""
    measured = list(cases(toom_cook(outputs, taps, SIZES[outputs, taps]), [64], [1568], chain))
    print("direct:", *(f"{1e7 * case.direct:.2f}" for case in measured))
    found = []
    for points in combinations(MAGNITUDES, len(SIZES[outputs, taps])):
        transform = toom_cook(outputs, taps, points)
        errors = [case.error(transform) for case in measured]
        found.append((float(np.exp(np.mean(np.log(errors)))), points, errors))
    for mean, points, errors in sorted(found):
        print(*map(str, points), f"mean {1e7 * mean:.2f}:", *(f"{1e7 * e:.2f}" for e in errors))


def compare_chosen(outputs: int, taps: int, chain: int) -> bool:
    """The chosen points against the bound; True if it holds."""
    transform = toom_cook(outputs, taps, SIZES[outputs, taps])
    holds = True
    for case in cases(transform, [1, 4, 8, 16, 64, 128, 256, 512], [8, 32, 128, 392, 1568], chain):
        found, bound = case.error(transform), 4 * case.direct + 5e-7
        holds &= found <= bound
        print(f"{case.name}: direct {case.direct:.2e}, Winograd {found:.2e}, {found / bound:.2f} of the bound")
    return holds


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("m", type=int)
    parser.add_argument("r", type=int)
    parser.add_argument("--chosen", action="store_true", help="exit 1 if the bound does not hold")
    parser.add_argument("--chain", type=int, default=sys.maxsize, help="tiles of one sum of the weight gradient")
    args = parser.parse_args()
    if args.chosen:
        return 0 if compare_chosen(args.m, args.r, args.chain) else 1
    compare_candidates(args.m, args.r, args.chain)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
