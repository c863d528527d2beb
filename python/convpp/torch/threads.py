"""Whose threads compute: PyTorch's own, where it has an OpenMP library that says how.

In: PyTorch's module and the libraries that it was linked with.   Out: the address of a function.
Next: cpp/src/machine/team_borrowed.cpp, which says what that is good for.
"""

from __future__ import annotations

import ctypes

import torch


def enter_region() -> int:
    """Where PyTorch's OpenMP library is entered; 0 if it has none, or one of another kind (Windows)."""
    try:
        function = ctypes.CDLL(torch._C.__file__).GOMP_parallel  # of the libraries behind it, the first that has one
    except (OSError, AttributeError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0
