"""The record of finished blocks, next to an output file: what was interrupted can be taken up again.

In: a path, what is computed (as words), blocks that are finished.   Out: the blocks that need not be computed again.
Next: ``stores.py`` (the output), ``loop.py`` (who writes blocks).

The record is a text file, a line for what is computed and a line for some finished blocks at a time.  A line is
written after the blocks' data is safe on disk, and is itself made safe before the next one: so what is listed is there,
whatever ends the process or the machine, and a last line that is torn is not read.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from convpp._call.validation import Array

#: Added to the name of the output.
SUFFIX = ".convpp-record"
_FORMAT = "convpp record 1"


class Record:
    """Finished blocks, by their numbers; ``flush`` makes all that was written to the output safe."""

    def __init__(self, out: Path, words: dict[str, str], flush: Callable[[], None]) -> None:
        self.path: Path = out.with_name(out.name + SUFFIX)
        self.done: set[int] = set()
        self._words = words
        self.flush = flush
        self._pending: list[int] = []

    def begin(self) -> None:
        """A new record, in which nothing is finished."""
        self.forget()
        _write_safely(self.path, json.dumps({"format": _FORMAT, **self._words}) + "\n")

    def forget(self) -> None:
        """There is no record; before an output is made anew."""
        self.path.unlink(missing_ok=True)
        self.sums_path.unlink(missing_ok=True)

    def resume(self) -> None:
        """Reads what is finished; ValueError where that is of another call."""
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            raise ValueError(
                f"resume is True, but {self.path} does not exist, the record of what is finished: expected resume=False"
            ) from None
        try:
            words = json.loads(lines[0])
        except ValueError:
            words = {}
        if not isinstance(words, dict) or words.pop("format", None) != _FORMAT:
            raise ValueError(f"resume is True, but {self.path} is no record of convpp's: expected resume=False")
        if words != self._words:
            names = [name for name in {**words, **self._words} if words.get(name) != self._words.get(name)]
            told = "; ".join(f"{name} was {words.get(name)}, now {self._words.get(name)}" for name in names)
            raise ValueError(f"resume is True, but the output was begun by another call: {told}")
        for number, line in enumerate(lines[1:-1], 2):  # the last line is empty, or torn
            try:
                blocks = json.loads(line)
            except ValueError:
                blocks = None
            if not isinstance(blocks, list) or not all(type(block) is int for block in blocks):
                raise self._damaged(f"line {number} of {self.path}")
            self.done.update(blocks)
        if lines[-1]:  # so that what follows is a line of its own
            _write_safely(self.path, "\n".join(lines[:-1]) + "\n")

    def finished(self, blocks: Iterable[int]) -> None:
        """These were written."""
        self._pending += blocks

    def save(self) -> None:
        """Makes what was written safe, and lists it."""
        if not self._pending:
            return
        self.flush()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self._pending) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.done.update(self._pending)
        self._pending = []

    def note(self) -> str:
        """For who interrupted the work."""
        return f"{len(self.done)} blocks are finished, and listed in {self.path}: resume=True goes on with the others"

    # ------------------------------------------------------------ sums that are not finished

    @property
    def sums_path(self) -> Path:
        """Where partial sums of a weight gradient are kept."""
        return self.path.with_name(self.path.name + ".npz")

    def save_sums(self, result: int, blocks: int, sums: list[tuple[int, Array]]) -> None:
        """The partial sums of a result's first blocks, in place of those that were saved before."""
        counts = np.array([result, blocks, *(count for count, _ in sums)])
        new = self.sums_path.with_name(self.sums_path.name + ".new")
        with new.open("wb") as file:
            arrays: dict[str, Any] = {f"sum{i}": partial for i, (_, partial) in enumerate(sums)}
            np.savez(file, counts=counts, **arrays)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.sums_path)
        _sync_folder(self.sums_path.parent)

    def load_sums(self) -> tuple[int, int, list[tuple[int, Array]]] | None:
        """What was saved last: the result, how many of its blocks were added, the sums."""
        if not self.sums_path.exists():
            return None
        try:
            with self.sums_path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                result, blocks, *counts = (int(count) for count in saved["counts"])
                sums = [(count, saved[f"sum{i}"]) for i, count in enumerate(counts)]
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise self._damaged(str(self.sums_path)) from error
        if sum(counts) != blocks:
            raise self._damaged(str(self.sums_path))
        return result, blocks, sums

    def _damaged(self, what: str) -> ValueError:
        return ValueError(f"resume is True, but {what} is damaged: expected resume=False, which begins anew")


def _write_safely(path: Path, text: str) -> None:
    """A whole file, or the one that was there."""
    new = path.with_name(path.name + ".new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """So that a new name in a folder is safe, too."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # not every system opens folders
        return
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
