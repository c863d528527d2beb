"""Arrays of other libraries: by ``__array__`` or DLPack without a copy, or an error that names a way.

(Those libraries are not needed: what matters of them is what their arrays are called and answer.)
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import convpp
from convpp._call.validation import as_array

X, W = np.arange(32.0).reshape(1, 2, 4, 4), np.ones((3, 2, 3, 3))


class Capsule:
    """DLPack, and nothing else."""

    def __init__(self, array: Any, device: tuple[int, int] = (1, 0)) -> None:
        self.array, self.device = array, device

    def __dlpack__(self, **how: Any) -> Any:
        if self.device != (1, 0):
            raise BufferError("it is on another device")
        return self.array.__dlpack__(**how)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device


def of_library(module: str, array: Any, **attributes: Any) -> Any:
    """An object whose class is defined there."""
    kind = type("Array", (), {"__module__": module, "__array__": lambda self, *a, **k: array, **attributes})
    return kind()


def test_dlpack_is_taken_without_a_copy() -> None:
    assert np.shares_memory(as_array(Capsule(X), "x"), X)
    np.testing.assert_array_equal(convpp.conv(Capsule(X), Capsule(W)), convpp.conv(X, W))
    np.testing.assert_array_equal(convpp.convolve(Capsule(X[0, 0]), W[0, 0]), convpp.convolve(X[0, 0], W[0, 0]))


def test_dlpack_of_another_device() -> None:
    with pytest.raises(convpp.DTypeError, match=r"w is not an array on this CPU"):
        convpp.conv(X, Capsule(W, (2, 0)))


def test_array_comes_first() -> None:
    both = of_library("elsewhere", X, __dlpack__=lambda self, **how: 1 / 0)
    assert np.shares_memory(as_array(both, "x"), X)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("dask.array.core", r"{0} is a dask array, expected one in memory: {0}\.compute\(\)"),
        ("xarray.core.dataarray", r"{0} is an xarray object, expected an array: {0}\.values"),
    ],
)
def test_arrays_that_are_computed_when_they_are_looked_at(module: str, message: str) -> None:
    lazy = of_library(module, X, __dlpack__=None)
    with pytest.raises(convpp.DTypeError, match=message.format("x")):
        convpp.conv(lazy, W)
    with pytest.raises(convpp.DTypeError, match=message.format("a")):
        convpp.convolve(lazy, W[0, 0])


@pytest.mark.parametrize("module", ["dask", "torch"])
def test_a_module_whose_library_is_missing_says_what_to_install(module: str) -> None:
    code = f"import sys; sys.modules['{module}'] = None; import convpp; convpp.{module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"convpp.{module} needs" in done.stderr
    assert "pip install" in done.stderr


def test_names_that_only_begin_like_them() -> None:
    assert np.shares_memory(as_array(of_library("daskette", X), "x"), X)
