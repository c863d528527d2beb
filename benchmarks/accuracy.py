"""How far each algorithm's results are from exact ones: writes docs/accuracy.md.

    python benchmarks/accuracy.py
    python benchmarks/accuracy.py --page /tmp/accuracy.md

In: nothing but convpp.
Out: relative L2 errors of all passes, for several numbers of channels and kinds of data, and what the page says about
them. Exits 1, and leaves the page alone, if an algorithm exceeds the bound.

float32 is compared with float64; a sample of the results of float64 with their terms' exact sum, rounded once. An
algorithm that this version of convpp does not have yet is left out.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import accuracy_kernels
import numpy as np
import numpy.typing as npt
import sums
from results import Table, markdown

import convpp

Array = npt.NDArray[np.floating]
Index = tuple[int, ...]

SUMS = Path(__file__).parent / "results" / "sums.csv"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "accuracy.md"

#: Channels and filters, samples, height and width: 3x3 filters, padding 1.  The last ones have many pixels to add up.
LAYERS = [(c, 2, 14) for c in (1, 4, 16, 64, 128, 256, 512)] + [(16, 8, 14), (16, 8, 28), (16, 8, 56), (64, 8, 56)]
DATA = ("normal", "rectified")
DTYPES = ("float32", "float64")
ALGORITHMS = ("direct", "winograd", "auto")
SAMPLE = 256  # results of float64 that are compared

#: An algorithm's error may be FACTOR times that of the direct one, and ADDED more.
FACTOR = 4
ADDED = {"float32": 5e-7, "float64": 5e-7 * 2.0**-29}  # as many units in the last place


@dataclass(frozen=True)
class Operands:
    """x, w and dy of a layer with 3x3 filters and padding 1."""

    x: Array
    w: Array
    dy: Array

    def astype(self, dtype: str) -> Operands:
        """The same numbers, in another type."""
        return Operands(self.x.astype(dtype), self.w.astype(dtype), self.dy.astype(dtype))


@dataclass(frozen=True)
class Pass:
    """What is computed, and the two factors of each term of one result."""

    run: Callable[[Operands, str], Array]
    factors: Callable[[Operands, Index], tuple[Array, Array]]


def padded(planes: Array) -> Array:
    """With a border of zeros."""
    return np.pad(planes, [(0, 0), (1, 1), (1, 1)])


def forward_factors(o: Operands, index: Index) -> tuple[Array, Array]:
    """Of y[n, k, p, q]."""
    n, k, p, q = index
    return padded(o.x[n])[:, p : p + 3, q : q + 3], o.w[k]


def input_grad_factors(o: Operands, index: Index) -> tuple[Array, Array]:
    """Of dx[n, c, h, w]."""
    n, c, h, w = index
    return padded(o.dy[n])[:, h : h + 3, w : w + 3], o.w[:, c, ::-1, ::-1]


def weight_grad_factors(o: Operands, index: Index) -> tuple[Array, Array]:
    """Of dw[k, c, r, s]."""
    k, c, r, s = index
    height, width = o.dy.shape[2:]
    return padded(o.x[:, c])[:, r : r + height, s : s + width], o.dy[:, k]


PASSES = {
    "forward": Pass(lambda o, algorithm: convpp.conv(o.x, o.w, padding=1, algorithm=algorithm), forward_factors),
    "input gradient": Pass(
        lambda o, algorithm: convpp.conv_input_grad(o.dy, o.w, o.x.shape, padding=1, algorithm=algorithm),
        input_grad_factors,
    ),
    "weight gradient": Pass(
        lambda o, algorithm: convpp.conv_weight_grad(o.dy, o.x, o.w.shape, padding=1, algorithm=algorithm),
        weight_grad_factors,
    ),
}


def operands(channels: int, samples: int, extent: int, data: str) -> Operands:
    """Numbers that float32 has. Between rectified layers half of x is 0 and none negative, and half of dy is 0."""
    rng = np.random.default_rng([channels, samples, extent])
    planes = (samples, channels, extent, extent)
    x, dy = (rng.standard_normal(planes, np.float32) for _ in range(2))
    w = rng.standard_normal((channels, channels, 3, 3), np.float32)
    if data == "rectified":
        x, dy = np.maximum(x, np.float32(0)), dy * (rng.random(planes) < 0.5)
    return Operands(x, w, dy)


def float64_operands(o: Operands, seed: int) -> Operands:
    """The same, with digits that float32 does not have."""
    rng = np.random.default_rng(seed)
    return Operands(*(a * (1 + 2.0**-24 * rng.standard_normal(a.shape)) for a in (o.x, o.w, o.dy)))


def exact_sum(a: Array, b: Array) -> float:
    """The sum of the products, rounded once: a product of two float64 is a sum of two (Dekker 1971)."""
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    product = a * b
    rest = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return math.fsum([*product, *rest])


def halves(a: Array) -> tuple[Array, Array]:
    """a as the sum of two numbers of half the digits (Veltkamp 1968)."""
    scaled = a * (2.0**27 + 1)
    high = scaled - (scaled - a)
    return high, a - high


def relative_error(found: Array, exact: Array) -> float:
    """In the L2 norm."""
    return float(np.linalg.norm(found.astype(np.float64) - exact) / np.linalg.norm(exact))


def sampled_error(found: Array, factors: Callable[[Index], tuple[Array, Array]]) -> Callable[[Array], float]:
    """A function that gives the error of a result of float64 of this shape, at some of its elements."""
    chosen = np.random.default_rng(0).permutation(found.size)[:SAMPLE]
    places = [tuple(map(int, np.unravel_index(flat, found.shape))) for flat in chosen]
    exact = np.array([exact_sum(*factors(place)) for place in places])
    return lambda other: relative_error(other.ravel()[chosen], exact)


def errors(what: Pass, o: Operands, dtype: str, algorithms: Sequence[str]) -> dict[str, float]:
    """Of each algorithm."""
    if dtype == "float32":
        exact = what.run(o.astype("float64"), "direct")
        return {name: relative_error(what.run(o, name), exact) for name in algorithms}
    o = float64_operands(o, seed=1)
    results = {name: what.run(o, name) for name in algorithms}
    error = sampled_error(results["direct"], lambda place: what.factors(o, place))
    return {name: error(result) for name, result in results.items()}


def available() -> list[str]:
    """The algorithms of this version."""
    x, w = np.zeros((1, 8, 8), np.float32), np.zeros((1, 1, 3, 3), np.float32)
    found = []
    for name in ALGORITHMS:
        try:
            convpp.conv(x, w, padding=1, algorithm=name)
        except ValueError as error:
            if "not available" not in str(error):
                raise
        else:
            found.append(name)
    return found


def title(dtype: str, name: str) -> str:
    """Of a table."""
    return f"{name}, {dtype}"


def measured(
    algorithms: Sequence[str], layers: Sequence[tuple[int, int, int]] = LAYERS
) -> Iterator[tuple[str, Table, list[str]]]:
    """For each dtype and pass: a title, a table, and what exceeds the bound."""
    for dtype in DTYPES:
        for name, what in PASSES.items():
            head = [f"{data}, {text}" for data in DATA for text in columns(algorithms)]
            table, exceeding = [["C = K, planes", *head]], []
            for channels, samples, extent in layers:
                row = [f"{channels}, {samples}x{extent}x{extent}"]
                for data in DATA:
                    found = errors(what, operands(channels, samples, extent, data), dtype, algorithms)
                    row += cells(found)
                    bound = FACTOR * found["direct"] + ADDED[dtype]
                    exceeding += [f"{title(dtype, name)}, {row[0]}, {data}: {a}" for a in found if found[a] > bound]
                table.append(row)
            yield title(dtype, name), table, exceeding


def columns(algorithms: Sequence[str]) -> list[str]:
    """The head of what ``cells`` gives."""
    return [*algorithms, *(["ratio"] if "winograd" in algorithms else [])]


def cells(found: dict[str, float]) -> list[str]:
    """Errors, and how many times that of the direct algorithm Winograd's is."""
    texts = [f"{error:.1e}" for error in found.values()]
    return [*texts, f"{found['winograd'] / found['direct']:.1f}"] if "winograd" in found else texts


TEXT = """\
# Accuracy

Every result is rounded, each algorithm rounds in its own way, and here is how much.
[benchmarks/accuracy.py](../benchmarks/accuracy.py) measures it and writes this page.

## Why Winograd's algorithm rounds more

`"direct"` adds the products of the definition, in runs of some of them ([below](#long-sums)), each rounded once.
`"winograd"` makes a few sums and
differences of a tile's elements and of the weights, multiplies these, and makes the results from the products: that
takes fewer multiplications ([Lavin and Gray 2015](https://arxiv.org/abs/1509.09308)). But the numbers on the way are
larger than the results, which are differences of them, and so is what is rounded off. How much larger depends on the
points that the transforms interpolate at ([Barabasz et al. 2018](https://arxiv.org/abs/1803.10986)). Those of convpp
were chosen by measured error (`tools/winograd_points.py`): about half that of the usual ones. On the other hand, sums
over channels have a ninth of the terms, so that the ratio falls where channels are many.

On whole numbers `"direct"` is exact, as long as the sums fit the type. `"winograd"` and `"fft"` need not be.

## The bound

On the data below, the relative error in the L2 norm of every algorithm is at most

    {factor} x that of "direct" + {float32:.1e} in float32, {float64:.1e} in float64

where the second term is as many units in the last place of either. The script fails where that does not hold, for
`"auto"` as for `"winograd"`.

## Norms and elements

The bound is one of norms. Of a single result, `"winograd"` and `"fft"` (and so `"auto"`, where it takes them) promise
this alone: its error is a few units in the last place of the *largest* elements of its tile (6x6 elements of x, for
3x3 filters; thousands, for the FFT), not of the result itself. So small results beside large ones may be off by more
than themselves. Where no term is negative, `"direct"` gives no negative result, and exactly 0 where all terms are 0;
the others may give small numbers of either sign, for instance beside a bright spot on black:

```python
import numpy as np
import convpp

rng = np.random.default_rng(0)
x, w = np.zeros((1, 32, 32, 32), np.float32), rng.random((32, 32, 3, 3), np.float32)
x[..., 15, 15] = 1000  # a spot; everything around is black
y = convpp.conv(x, w, padding=1, algorithm="winograd")
assert y.min() < 0 and np.count_nonzero(y) > 32 * 9  # a spot of 3x3 pixels has that many results
y = convpp.conv(x, w, padding=1, algorithm="direct")
assert y.min() == 0 and np.count_nonzero(y) == 32 * 9
```

This matters before `sqrt`, `log`, a division, or a comparison with 0. There, ask for the direct algorithm, in a call,
with `convpp.set_algorithm("direct")`, `with convpp.algorithm("direct"):` or `CONVPP_ALGORITHM=direct`:

```python
import numpy as np
import convpp

x = np.ones((1, 16, 14, 14), np.float32)
w = np.ones((16, 16, 3, 3), np.float32)
y = convpp.conv(x, w, padding=1, algorithm="direct")
assert y.max() == 9 * 16  # whole numbers are exact
```

## Long sums

A sum of n terms, added one after the other, has an error that grows with the square root of n: each step rounds, and
in a sum of positive terms most steps round what is nearly the whole. `"direct"` cuts it by the shapes: runs of 36 to
288 terms, blocks of 288, sections of blocks where there are more than 24, are summed apart and then added; the weight
gradient is cut into runs of pixels, boxes and chunks. The bias is added to the first block. The table
([benchmarks/sums.py](../benchmarks/sums.py)) has relative errors in the L2 norm; the ratio is convpp's / PyTorch's,
and at most {most} in all rows, or the script fails. *Plain* is one term after the other, *pairwise* a tree: about the
least that any order can do. Positive numbers are uniform in [0, 1), signed ones normally distributed.

{sums}

## Large kernels

`"fft"` multiplies the Fourier transforms of tiles. Each pass of a transform rounds, so that its error is about
2^-24 * sqrt(log2 n) (float32) for transforms of n elements, however many taps there are: mostly 2e-7, which `explain`
predicts for each layer. It is relative to the largest elements of a tile, as Winograd's is: what is said of
[single results](#norms-and-elements) holds here, too. Relative errors in the L2 norm, float32 against float64
([benchmarks/accuracy_kernels.py](../benchmarks/accuracy_kernels.py)); whatever `"auto"` takes is within the bound
above.
{kernels}
## Relative errors in the L2 norm

3x3 filters, padding 1, stride 1, as many filters as channels; planes are samples x height x width. All numbers are
normally distributed; *rectified*, negative ones of x are 0, and half of dy is. float32 is compared with float64;
{sample} results of float64, with their terms' exact sum. The ratio is Winograd's error / that of `"direct"`.
"""


def page(tables: dict[str, Table], kernels: str = "") -> str:
    """The whole of it."""
    text = TEXT.format(
        factor=FACTOR, sample=SAMPLE, most=sums.MOST, sums=markdown(sums.read_table(SUMS)), kernels=kernels, **ADDED
    )
    return text + "".join(f"\n**{name}**\n\n{markdown(table)}\n" for name, table in tables.items())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE)
    args = parser.parse_args()
    tables: dict[str, Table] = {}
    exceeding: list[str] = []
    for name, table, beyond in measured(available()):
        print(f"{name}\n{markdown(table)}\n")
        tables[name] = table
        exceeding += beyond
    kernels = ""
    for name, table, beyond in accuracy_kernels.measured():
        print(f"{name}\n{markdown(table)}\n")
        kernels += f"\n**{name[0].upper()}{name[1:]}**\n\n{markdown(table)}\n"
        exceeding += beyond
    if exceeding:
        print("above the bound:", *exceeding, sep="\n")
        return 1
    args.page.write_text(page(tables, kernels), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
