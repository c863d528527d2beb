"""Writes the matrices of Winograd's minimal filtering as a C++ header: one description for all passes and types.

    python tools/winograd_transforms.py            rewrites cpp/src/kernels/winograd/transforms.hpp
    python tools/winograd_transforms.py --check    exits 1 if the file is not what would be written

F(m, r) computes m results of a correlation with r taps, y[i] = sum_j g[j] d[i + j], by n = m + r - 1 products:

    y = A^T [ (G g) . (B^T d) ]

Toom and Cook: a product of polynomials of r and m coefficients is known from its values at n points, one of them
infinity. Evaluating is multiplying by a Vandermonde matrix, G and A; interpolating by B. The correlation is the
transpose of that product (Lavin and Gray 2015, arXiv:1509.09308).

The points are 0, +a, -a, +b, -b, ..., infinity, so that rows come in mirrored pairs: in B^T, G and A the row of -a is
that of +a with the signs of the odd columns changed. What the even columns give (E) and the odd ones (O) is computed
once for both: E + O and E - O.

Of each row's freedom of scale, B^T takes the form with a leading 1 and A that of plain powers, both exact in binary;
G takes what is left. Factors of powers of two change no rounding, and the others are best where they are met once:
weights are transformed once for all tiles, and their gradient once after the sum over all tiles.

Points decide how much is rounded (Barabasz et al. 2018, arXiv:1803.10986). Relative L2 errors of F(4, 3) in two
dimensions, 64 channels, float32, in 1e-7 (winograd_points.py has more):

    points        forward   weight gradient, 1568 tiles
    direct sum        4.3                          28.9
    ±5/8, ±3/2        7.6                          34.1
    ±1/2, ±2         10.9                          52.1
    ±1, ±2           16.1                          71.9
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

HEADER = Path(__file__).resolve().parents[1] / "cpp" / "src" / "kernels" / "winograd" / "transforms.hpp"

Vector = tuple[Fraction, ...]
Matrix = tuple[Vector, ...]

#: (m, r) and its mirrored points: those that round least of what winograd_points.py tries, and are exact in binary.
SIZES: dict[tuple[int, int], tuple[Fraction, ...]] = {
    (2, 3): (Fraction(1),),
    (4, 3): (Fraction(5, 8), Fraction(3, 2)),
    (2, 5): (Fraction(5, 8), Fraction(3, 2)),
}


@dataclass(frozen=True)
class Transform:
    """The three matrices of F(outputs, taps), exactly."""

    outputs: int
    taps: int
    source: Matrix  # B^T, n x n
    weights: Matrix  # G, n x taps
    results: Matrix  # A^T, outputs x n

    @property
    def points(self) -> int:
        """The number of products, n."""
        return self.outputs + self.taps - 1


def toom_cook(outputs: int, taps: int, mirrored: Sequence[Fraction]) -> Transform:
    """F(outputs, taps) from the points 0, +a and -a for each a of ``mirrored``, and infinity."""
    n = outputs + taps - 1
    finite = [Fraction(0), *(sign * a for a in mirrored for sign in (1, -1))]
    if len(set(finite)) != n - 1:
        raise ValueError(f"F({outputs}, {taps}) needs {n} points that differ, 0 and infinity among them")
    # Interpolation from all points but one has the product of (x - other) as its polynomial; divided by that
    # polynomial's value at the point it would be Lagrange's, and this divisor goes to G.
    basis = [product_of_roots([other for other in finite if other != point]) for point in finite]
    divisors = [value(polynomial, point) for polynomial, point in zip(basis, finite, strict=True)]
    source = (*((*polynomial, Fraction(0)) for polynomial in basis), product_of_roots(finite))
    weights = (
        *(tuple(power / divisor for power in powers(p, taps)) for p, divisor in zip(finite, divisors, strict=True)),
        at_infinity(taps),
    )
    evaluated = (*(powers(point, outputs) for point in finite), at_infinity(outputs))
    return Transform(outputs, taps, source, weights, tuple(zip(*evaluated, strict=True)))


def product_of_roots(roots: Sequence[Fraction]) -> Vector:
    """The coefficients of the product of all (x - root), the lowest first."""
    coefficients = [Fraction(1)]
    for root in roots:
        padded = [Fraction(0), *coefficients, Fraction(0)]
        coefficients = [below - root * same for below, same in pairwise(padded)]
    return tuple(coefficients)


def value(polynomial: Vector, point: Fraction) -> Fraction:
    """Of a polynomial, at a point."""
    return sum((c * point**k for k, c in enumerate(polynomial)), Fraction(0))


def powers(point: Fraction, count: int) -> Vector:
    """A row of Vandermonde's matrix."""
    return tuple(point**k for k in range(count))


def at_infinity(count: int) -> Vector:
    """The row that takes the leading coefficient."""
    return (*(Fraction(0),) * (count - 1), Fraction(1))


def literal(number: Fraction) -> str:
    """As a C++ double: exact, or rounded once by the division."""
    if Fraction(float(number)) == number:
        return repr(float(number))
    return f"{number.numerator}.0 / {number.denominator}"


def array(name: str, matrix: Matrix, meaning: str) -> str:
    """A member of the struct."""
    rows = "".join(f"        {{{', '.join(map(literal, row))}}},\n" for row in matrix)
    declaration = f"static constexpr double {name}[{len(matrix)}][{len(matrix[0])}]"
    return f"    {declaration} = {{  // {meaning}\n{rows}    }};\n"


def specialization(transform: Transform) -> str:
    """One size, in C++."""
    return (
        f"template <>\nstruct WinogradTransform<{transform.outputs}, {transform.taps}> {{\n"
        f"    static constexpr int points = {transform.points};\n"
        + array("source", transform.source, "B^T")
        + array("weights", transform.weights, "G")
        + array("results", transform.results, "A^T")
        + "};\n"
    )


PREAMBLE = """\
// Matrices of Winograd's minimal filtering, F(Outputs, Taps).  Written by tools/winograd_transforms.py: change it
// there, and run it.  It says how they are made, and why with these points: they round least.  Included only by
// kernels.cpp, inside the namespace of one ISA.
//
//     y = A^T [ (G g) . (B^T d) ]                          y[i] = sum over j of g[j] d[i + j]
//     dw = G^T [ sum of (A dy) . (B^T x) ]                 its gradient in g
//
// In two dimensions each matrix is applied along both.  The products' points are 0, +a, -a, +b, -b, ..., infinity.
// Rows 1 and 2, 3 and 4, ... of B^T, G and A are mirrored: with E from the even columns and O from the odd ones,
// the first of the pair is E + O and the second E - O, exactly.
#pragma once

// clang-format off: a row of a matrix is a line
template <int Outputs, int Taps>
struct WinogradTransform;
"""


def header() -> str:
    """The whole file."""
    transforms = [toom_cook(outputs, taps, mirrored) for (outputs, taps), mirrored in SIZES.items()]
    return "\n".join([PREAMBLE, *map(specialization, transforms), "// clang-format on\n"])


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the header is another")
    if not parser.parse_args().check:
        HEADER.write_text(header(), encoding="utf-8", newline="\n")
        return 0
    if HEADER.exists() and HEADER.read_text(encoding="utf-8") == header():
        return 0
    print(f"run {Path(__file__).name}: {HEADER.name} differs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
