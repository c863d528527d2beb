"""Where a result goes, and where arrays come from: NumPy, memory maps, HDF5, Zarr.

In: ``out`` as users write it.   Out: a ``Store``, into which blocks are written.   Next: ``record.py``, ``loop.py``.

Whatever has a shape, a dtype, and can be sliced is an array here; nothing is imported for it but Zarr, for a path that
ends in .zarr.
"""

from __future__ import annotations

import errno
import math
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convpp._call.arguments import Shape, attribute, shown
from convpp._call.foreign import from_other_library
from convpp._call.validation import FLOAT32, Array, as_array, as_float, check_out, is_masked
from convpp.errors import DTypeError, ShapeError
from convpp.tiling.blocks import Index


def sliceable(value: Any, argument: str, convert: Callable[[Any, str], Array] = as_float) -> Any:
    """An array that is read in parts, or what NumPy makes of it; DTypeError for what is none, or of a wrong type."""
    if not is_sliced(value):
        return convert(value, argument)
    value = from_other_library(value, argument)  # those that are lazy are refused there
    if isinstance(value, np.ndarray):
        as_array(value, argument)
    # (Each part is converted when it is read.  What is wrong with a type is said of all that is in memory, or else of
    # a number that has an imaginary part if the type has.)
    dtype = np.dtype(value.dtype)
    in_memory = isinstance(value, np.ndarray) and not isinstance(value, np.memmap)
    sample = np.full(1, 1j, dtype) if dtype.kind == "c" else np.empty(0, dtype)
    convert(value if in_memory and dtype.kind == "c" else sample, argument)
    return value


def is_sliced(value: Any) -> bool:
    """Whether it has a shape and a type, and gives parts of itself."""
    shape, dtype = attribute(value, "shape"), attribute(value, "dtype")
    return isinstance(shape, tuple) and isinstance(dtype, np.dtype) and hasattr(type(value), "__getitem__")


def shape_of_array(value: Any) -> Shape:
    """As ints."""
    return tuple(int(extent) for extent in value.shape)


def native(dtype: Any) -> np.dtype[Any]:
    """The type in this machine's byte order."""
    found: np.dtype[Any] = np.dtype(dtype)
    return found if found.isnative else found.newbyteorder("=")


def release(array: Any) -> None:
    """Pages of a memory map that were read or written need not stay in this process: the file has them.

    Of a map that is a copy of the file ("c"), they do.
    """
    mapped = attribute(array, "_mmap")
    if isinstance(mapped, mmap.mmap) and attribute(array, "mode") in ("r", "r+", "w+") and hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_DONTNEED)


class Store:
    """A result that is written in blocks: ``array`` is what users get."""

    def __init__(self, array: Any, path: Path | None = None, flush: Callable[[], None] | None = None) -> None:
        self.array = array
        self.path = path
        self.flush: Callable[[], None] = flush if flush is not None else lambda: None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements."""
        found: np.dtype[Any] = np.dtype(self.array.dtype)
        return found

    def write(self, place: Index, values: Array) -> None:
        """A block."""
        self.array[place] = values
        release(self.array)


def path_of(out: Any) -> Path | None:
    """The path that ``out`` names; None if it is an array."""
    if not isinstance(out, (str, os.PathLike)):
        return None
    path = Path(os.fspath(out))
    if path.suffix not in (".npy", ".zarr"):
        raise ValueError(f"out is {shown(str(out))}, expected a path that ends in .npy or .zarr, or an array")
    return path


def check_store(out: Any, shape: Shape, dtype: np.dtype[Any]) -> None:
    """That an array that was given can hold the result."""
    if isinstance(out, np.ndarray) and not isinstance(out, np.memmap):
        if out.flags.c_contiguous and out.flags.aligned:
            return check_out(out, shape, dtype)
    elif not is_sliced(out) or not hasattr(type(out), "__setitem__"):
        raise DTypeError(f"out is a {type(out).__name__}, expected an array of shape {shape}, or a path")
    half = dtype.itemsize < FLOAT32.itemsize
    if is_masked(out):
        raise DTypeError("out is a masked array, expected a plain one")
    if isinstance(out, np.ndarray) and not out.flags.writeable:
        raise ValueError("out is read-only, expected an array that can be written")
    if np.dtype(out.dtype) != dtype and not (half and np.dtype(out.dtype) == FLOAT32):
        raise DTypeError(f"out has dtype {out.dtype}, expected {dtype.name}{' or float32' if half else ''}")
    if shape_of_array(out) != shape:
        raise ShapeError(f"out has shape {shape_of_array(out)}, expected {shape}")
    return None


def open_store(out: Any, path: Path | None, shape: Shape, dtype: np.dtype[Any], block: Shape, begun: bool) -> Store:
    """The store of a result: new, or the one that was ``begun``."""
    if path is None:
        if out is None:
            return Store(np.empty(shape, dtype))
        check_store(out, shape, dtype)
        return Store(out)
    if dtype.name == "bfloat16":
        raise DTypeError(f"out is {path}, expected an array: neither .npy nor .zarr files have bfloat16")
    if path.suffix == ".zarr":
        return _zarr(path, shape, dtype, block, begun)
    return _npy(path, shape, dtype, begun)


def _npy(path: Path, shape: Shape, dtype: np.dtype[Any], begun: bool) -> Store:
    if begun:
        try:
            np.lib.format.open_memmap(path, mode="r")  # which does not make a file longer, as "r+" does
        except ValueError as error:
            raise ValueError(f"resume is True, but {path} is damaged ({error}): expected resume=False") from error
        mapped = np.lib.format.open_memmap(path, mode="r+")
        if mapped.shape != shape or mapped.dtype != dtype:
            raise ValueError(f"resume is True, but {path} has shape {mapped.shape} and dtype {mapped.dtype}")
    else:
        mapped = _new_npy(path, shape, dtype)
    return Store(mapped, path, mapped.flush)


def _new_npy(path: Path, shape: Shape, dtype: np.dtype[Any]) -> Any:
    """A new file, whose blocks on disk are taken now: a full disk would later end the process without a word."""
    try:
        mapped = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # of a file system that cannot
            return mapped
        path.unlink(missing_ok=True)
        size = math.prod(shape) * dtype.itemsize
        why = os.strerror(error.errno or 0)
        raise OSError(error.errno, f"out cannot be made, {size} bytes in {path}: {why}") from error
    return mapped


def _zarr(path: Path, shape: Shape, dtype: np.dtype[Any], block: Shape, begun: bool) -> Store:
    try:
        import zarr
    except ImportError as error:
        raise ImportError(f"out is {path}, which needs Zarr: pip install zarr") from error
    if begun:
        array = zarr.open_array(str(path), mode="r+")
        if shape_of_array(array) != shape or array.dtype != dtype:
            raise ValueError(f"resume is True, but {path} has shape {array.shape} and dtype {array.dtype}")
    else:
        chunks = tuple(max(extent, 1) for extent in block)
        array = zarr.create_array(store=str(path), shape=shape, chunks=chunks, dtype=dtype, overwrite=True)

    def flush() -> None:
        """Zarr leaves it to the system when its files, one for each block, are on disk."""
        if hasattr(os, "sync"):
            os.sync()

    return Store(array, path, flush)
