"""Whose threads compute: PyTorch's own.

In: PyTorch's library.   Out: whether its threads could be had.   Next: cpp/src/machine/team_borrowed.cpp, which says
what that is good for.
"""

from __future__ import annotations

from pathlib import Path

import torch

from convpp import _core


def borrow_threads() -> bool:
    """Compute with the threads of the OpenMP library that PyTorch is linked to, whichever others this process has.

    False, and convpp computes with its own, where PyTorch has no such library, or its threads are not OpenMP's.
    """
    if not torch.backends.openmp.is_available():
        return False
    folder = Path(torch.__file__).parent / "lib"
    files = (folder / "libtorch_cpu.so", folder / "libtorch_cpu.dylib")
    return any(_core.borrow_openmp_threads_of(str(file)) for file in files)
