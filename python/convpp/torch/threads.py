"""Whose threads compute: PyTorch's own, where both have the same OpenMP library.

In: the libraries that this process has loaded.   Out: yes or no.   Next: cpp/src/machine/team_borrowed.cpp, which says
what that is good for.
"""

from __future__ import annotations

from pathlib import Path

#: Names of OpenMP libraries: of GCC, LLVM and Intel.
_LIBRARIES = ("libgomp", "libomp", "libiomp5")


def one_openmp() -> bool:
    """Whether this process has one OpenMP library and no more; False where the system does not say (not on Linux)."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return False
    files = {line.split(maxsplit=5)[5] for line in lines if "/" in line}
    return sum(Path(file).name.startswith(_LIBRARIES) for file in files) == 1
