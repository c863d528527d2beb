"""How exact long sums are: convpp's direct algorithm beside PyTorch, a plain sum and a pairwise one.

    python benchmarks/sums.py
    python benchmarks/sums.py --csv benchmarks/results/sums.csv

In: convpp, and PyTorch if it is installed.
Out: a table of relative L2 errors, at some results of each layer; exits 1 if convpp's are above 1.5 times PyTorch's.
Next: ``accuracy.py``, which puts the table into docs/accuracy.md.

Each result is compared with its terms' exact sum. The plain sum adds the rounded products one after the other, the
pairwise one in a tree: the least that any order can do, about.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from results import Table, markdown

import convpp

Array = npt.NDArray[np.floating]

SAMPLE = 192  # results of each layer
MOST = 1.5  # times PyTorch's error
DTYPES = ("float32", "float64")
DATA = ("positive", "signed")

#: Kernel, channels that are summed, the other ones, samples, height and width: padded so that planes keep their size.
PRODUCTS = [
    *((1, c, 64, 1, 14) for c in (64, 256, 512, 2048)),
    *((3, c, 64, 1, 14) for c in (16, 64, 256, 512)),
    (3, 2048, 64, 1, 7),
    (7, 3, 64, 1, 28),
    *((7, c, 64, 1, 14) for c in (64, 512)),
    (7, 2048, 64, 1, 7),
]
SUMS = [
    *((1, c, k, 8, p) for c, k, p in ((2048, 256, 7), (512, 512, 14), (64, 64, 56))),
    *((3, c, c, n, p) for c, n, p in ((512, 2, 7), (256, 8, 14), (64, 8, 56))),
    (7, 64, 64, 2, 28),
    (7, 3, 64, 4, 112),
]
HEAD = [
    "pass",
    "layer",
    "data",
    *(f"{d} {c}" for d in DTYPES for c in ("convpp", "PyTorch", "ratio", "plain", "pairwise")),
]


def exact(a: Array, b: Array) -> Any:
    """The sum of the products, in more digits than either has."""
    return np.sum(a.astype(np.longdouble).ravel() * b.astype(np.longdouble).ravel())


def plain(a: Array, b: Array) -> Any:
    """One term after the other."""
    return np.cumsum(a.ravel() * b.ravel())[-1]


def pairwise(a: Array, b: Array) -> Any:
    """In a tree."""
    terms = a.ravel() * b.ravel()
    while terms.size > 1:
        if terms.size % 2:
            terms = np.append(terms, terms.dtype.type(0))
        terms = terms[::2] + terms[1::2]
    return terms[0]


def relative_error(found: Any, expected: Any) -> float:
    """In the L2 norm."""
    expected = np.asarray(expected, np.longdouble)
    return float(np.linalg.norm(np.asarray(found, np.longdouble) - expected) / np.linalg.norm(expected))


def torch_result(op: str, x: Array, w: Array, dy: Array, padding: int) -> Array | None:
    """PyTorch's, if it is installed."""
    try:
        import torch
    except ImportError:
        return None
    tx, tw, tdy = map(torch.from_numpy, (x, w, dy))
    if op == "forward":
        return np.asarray(torch.nn.functional.conv2d(tx, tw, padding=padding))
    if op == "input gradient":
        return np.asarray(torch.nn.grad.conv2d_input(x.shape, tw, tdy, padding=padding))
    return np.asarray(torch.nn.grad.conv2d_weight(tx, w.shape, tdy, padding=padding))


def errors(op: str, layer: tuple[int, ...], data: str, dtype: str) -> list[str]:
    """Of convpp, PyTorch, their ratio, of a plain and of a pairwise sum."""
    kernel, summed, other, samples, extent = layer
    c, k = (other, summed) if op == "input gradient" else (summed, other)
    rng = np.random.default_rng(layer)
    draw = rng.random if data == "positive" else rng.standard_normal
    planes = (extent, extent)
    shapes = (samples, c, *planes), (k, c, kernel, kernel), (samples, k, *planes)
    x, w, dy = (np.asarray(draw(shape), dtype) for shape in shapes)
    padding = kernel // 2
    how: dict[str, Any] = {"padding": padding, "algorithm": "direct"}

    def padded(a: Array) -> Array:
        return np.pad(a, [(0, 0), (padding, padding), (padding, padding)])

    def factors(i: tuple[int, ...]) -> tuple[Array, Array]:
        window = slice(i[2], i[2] + kernel), slice(i[3], i[3] + kernel)
        if op == "forward":
            return padded(x[i[0]])[:, *window], w[i[1]]
        if op == "input gradient":
            return padded(dy[i[0]])[:, *window], w[:, i[1], ::-1, ::-1]
        return padded(x[:, i[1]])[:, i[2] : i[2] + extent, i[3] : i[3] + extent], dy[:, i[0]]

    if op == "forward":
        found = convpp.conv(x, w, **how)
    elif op == "input gradient":
        found = convpp.conv_input_grad(dy, w, x.shape, **how)
    else:
        found = convpp.conv_weight_grad(dy, x, w.shape, **how)
    chosen = np.random.default_rng(1).permutation(found.size)[:SAMPLE]
    terms = [factors(tuple(map(int, np.unravel_index(flat, found.shape)))) for flat in chosen]
    expected = [exact(*of) for of in terms]
    own = relative_error(found.ravel()[chosen], expected)
    theirs = torch_result(op, x, w, dy, padding)
    peer = relative_error(theirs.ravel()[chosen], expected) if theirs is not None else float("nan")
    orders = [relative_error([order(*of) for of in terms], expected) for order in (plain, pairwise)]
    return [f"{own:.1e}", f"{peer:.1e}", f"{own / peer:.2f}", *(f"{error:.1e}" for error in orders)]


def rows() -> Iterator[list[str]]:
    """Of the table."""
    for op in ("forward", "input gradient", "weight gradient"):
        for layer in SUMS if op == "weight gradient" else PRODUCTS:
            kernel, summed, other, samples, extent = layer
            terms = samples * extent * extent if op == "weight gradient" else summed * kernel * kernel
            name = f"{kernel}x{kernel}, {summed} to {other}: {terms} terms"
            for data in DATA:
                yield [op, name, data, *(text for dtype in DTYPES for text in errors(op, layer, data, dtype))]


def read_table(path: Path) -> Table:
    """That ``--csv`` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()
    table = [HEAD, *rows()]
    print(markdown(table))
    if args.csv:
        with args.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(table)
    ratios = [float(row[column]) for row in table[1:] for column in (5, 10)]
    print(f"\nconvpp's error / PyTorch's: {max(ratios):.2f} at most")
    return int(max(ratios) > MOST)


if __name__ == "__main__":
    sys.exit(main())
