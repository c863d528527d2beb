"""Writes the polynomials of exp and of the normal distribution as a C++ header: what silu and gelu are made of.

    python tools/activation_polynomials.py            rewrites cpp/src/kernels/epilogue/activation_polynomials.hpp
    python tools/activation_polynomials.py --check    exits 1 if the file is not what would be written

Needs mpmath. Two functions, each for float and double, fitted by Chebyshev's interpolation and written as plain
coefficients, the highest first (Horner's scheme):

    exp(r)                                      for |r| <= ln(2)/2: what is left when powers of two are taken out
    (1 + 2z) exp(z^2) erfc(z),  z >= 0,         as a polynomial in t = (z - K)/(z + K): smooth from 0 to infinity, so
                                                that one polynomial serves all z (Shepherd and Laframboise 1981,
                                                Mathematics of Computation 36, 249-253, who chose K = 3.75)

Degrees are the lowest whose error is below a quarter of the type's rounding; the header says what was reached.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import mpmath as mp

HEADER = Path(__file__).resolve().parents[1] / "cpp" / "src" / "kernels" / "epilogue" / "activation_polynomials.hpp"

#: Of the normal distribution: exp(-z^2) is 0 in double beyond 27.3.
K = mp.mpf("3.75")
LARGEST = mp.mpf(30)

#: Type, its rounding error, digits that determine its values.
TYPES = (("float", mp.mpf(2) ** -24, 9), ("double", mp.mpf(2) ** -53, 17))


def tail(t: mp.mpf) -> mp.mpf:
    """(1 + 2z) exp(z^2) erfc(z) at z = K (1 + t)/(1 - t)."""
    z = K * (1 + t) / (1 - t)
    return (1 + 2 * z) * mp.exp(z * z) * mp.erfc(z)


FUNCTIONS: tuple[tuple[str, Callable[[mp.mpf], mp.mpf], mp.mpf, mp.mpf], ...] = (
    ("exp_polynomial", mp.exp, -mp.log(2) / 2, mp.log(2) / 2),
    ("erfc_polynomial", tail, mp.mpf(-1), (LARGEST - K) / (LARGEST + K)),
)


def fit(function: Callable[[mp.mpf], mp.mpf], lo: mp.mpf, hi: mp.mpf, bound: mp.mpf) -> tuple[list[mp.mpf], mp.mpf]:
    """The polynomial of the lowest degree whose error is within the bound."""
    for terms in range(3, 40):
        coefficients, error = mp.chebyfit(function, [lo, hi], terms, error=True)
        if error <= bound:
            return coefficients, error
    raise AssertionError("no polynomial of degree 39 is good enough")


def header() -> str:
    """The whole file."""
    lines = [
        "// Coefficients of exp and of the normal distribution, the highest power first.  Written by",
        "// tools/activation_polynomials.py: change it there, and run it.  It says what they are.",
        "// Included only by kernels.cpp, inside the namespace of one ISA.   Next: epilogue.hpp.",
        "#pragma once",
        "",
        "template <class T>",
        "struct Polynomials;",
        "",
    ]
    for name, rounding, digits in TYPES:
        lines += ["template <>", f"struct Polynomials<{name}> {{"]
        for function, values, lo, hi in FUNCTIONS:
            coefficients, error = fit(values, lo, hi, rounding / 4)
            suffix = "f" if name == "float" else ""
            lines += [
                f"    // Error: {mp.nstr(error, 2)}.",
                f"    static constexpr {name} {function}[{len(coefficients)}] = {{",
                *(f"        {mp.nstr(c, digits)}{suffix}," for c in coefficients),
                "    };",
            ]
        lines += ["};", ""]
    lines.append(f"inline constexpr double erfc_center = {mp.nstr(K, 6)};")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes or checks the header."""
    parser = argparse.ArgumentParser(description="Writes the polynomials of the activations.")
    parser.add_argument("--check", action="store_true", help="only compare")
    check = parser.parse_args().check
    mp.mp.dps = 60
    text = header()
    if check:
        return int(HEADER.read_text() != text)
    HEADER.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
