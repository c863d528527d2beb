"""Where arrays lie: whether a result would be written over what is still read.

In: ``out`` as users write it, the path that it names, an array.   Out: whether they overlap.   Next: ``start.py``.

Memory is compared by its addresses; maps of files by the bytes of the file, whoever opened it; datasets of h5py and
arrays of Zarr by the file or folder, and their name in it.  Nothing is imported for that.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from convpp._call.arguments import attribute


class Place(NamedTuple):
    """A file or a folder; and of an array in it the name, or the bytes from ``start`` to ``stop``."""

    path: Path
    name: str = ""
    start: int = 0
    stop: int | None = None


def overlap(out: Any, path: Path | None, array: Any) -> bool:
    """Whether ``out``, or the file that it names, holds elements of an array."""
    if array is None:
        return False
    if out is array:
        return True
    if isinstance(out, np.ndarray) and isinstance(array, np.ndarray) and np.may_share_memory(out, array):
        return True
    here, there = Place(path.resolve()) if path is not None else place_of(out), place_of(array)
    if here is None or there is None:
        return False
    if not _same(here.path, there.path):  # one within the other: an array of a Zarr group
        return path is not None and (here.path in there.path.parents or there.path in here.path.parents)
    if path is not None:
        return True
    first = here.stop is None or there.start < here.stop
    return here.name == there.name and first and (there.stop is None or here.start < there.stop)


def place_of(array: Any) -> Place | None:
    """Where an array lies that is not in memory alone."""
    if isinstance(array, np.ndarray):
        return _of_map(array)
    file, name = attribute(array, "file"), attribute(array, "name")
    filename = attribute(file, "filename")  # of h5py
    if isinstance(filename, str) and isinstance(name, str):
        return Place(Path(filename).resolve(), name)
    store, within = attribute(array, "store"), attribute(array, "path")
    root = attribute(store, "root") or attribute(store, "path")  # of Zarr 3, and 2
    if isinstance(root, (str, os.PathLike)) and isinstance(within, str):
        return Place((Path(root) / within).resolve())
    return None


def _of_map(array: np.ndarray[Any, Any]) -> Place | None:
    """Of a map of a file, whatever views lie between: np.asarray leaves nothing of it but its base."""
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    filename = attribute(root, "filename")
    if not isinstance(root, np.memmap) or not isinstance(filename, (str, os.PathLike)):
        return None
    first = root.offset + array.ctypes.data - root.ctypes.data
    steps = [stride * (extent - 1) for stride, extent in zip(array.strides, array.shape, strict=True) if extent]
    low, high = sum(min(step, 0) for step in steps), sum(max(step, 0) for step in steps)
    return Place(Path(filename).resolve(), "", first + low, first + high + array.itemsize)


def _same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)
    except OSError:  # one of them is not there yet
        return False
