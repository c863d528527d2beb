"""All blocks of a result, one after the other: read ahead, computed, written, and listed as finished.

In: a ``Work``: blocks, and how one is read and computed.   Out: the result, in its store.
Next: ``work.py`` and ``plain.py``, which read and compute; ``record.py``, what is finished.

While a block is computed, a thread reads what the next one needs; so two blocks' parts of the arrays are in memory, and
one block's result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from convpp._call.validation import Array, as_float
from convpp.tiling.blocks import Index, Source
from convpp.tiling.compute import read
from convpp.tiling.record import Record
from convpp.tiling.stores import Store
from convpp.tiling.tree import TreeSum

#: Seconds of work that an interrupted call may lose, about; and how many times as long as saving takes, at least.
SAVED_EVERY, SAVED_AFTER = 2.0, 10.0


class Piece(Protocol):
    """A block of a result, whatever else it is."""

    @property
    def index(self) -> tuple[int, ...]:
        """Its place in the grid of blocks."""

    @property
    def result(self) -> Index:
        """Its place in the result."""


@dataclass(frozen=True)
class Work:
    """A result in blocks; ``sums``: blocks of the same place are added, in the order of their tree."""

    blocks: Sequence[Any]
    read: Callable[[Any], Any]
    compute: Callable[[Any, Any], Array]
    store: Store
    record: Record | None
    sums: bool = False


def run_work(work: Work, count: Callable[[int], Any]) -> Any:
    """The result; ``count`` is told of each block that is finished."""
    saving = _Saving(work.record)
    try:
        if work.sums:
            _add_blocks(work, count, saving)
        else:
            for number, values in _computed(work, _not_done(work)):
                _write(work, work.blocks[number], values)
                del values  # before the next block's are made
                saving.finished(number)
                count(1)
        saving.save()
        if work.sums and work.record is not None:
            work.record.sums_path.unlink(missing_ok=True)
    except BaseException as error:
        with suppress(Exception):  # what stopped the work is what is told
            saving.save()
        if work.record is not None and isinstance(error, (KeyboardInterrupt, OSError, MemoryError)):
            error.add_note(work.record.note())
        raise
    return work.store.array


def _not_done(work: Work) -> list[int]:
    done = work.record.done if work.record is not None else set()
    return [number for number in range(len(work.blocks)) if number not in done]


class _Saving:
    """The record is saved every few seconds."""

    def __init__(self, record: Record | None) -> None:
        self._record = record
        self._next = time.monotonic() + SAVED_EVERY

    def finished(self, number: int) -> None:
        if self._record is not None:
            self._record.finished([number])
            if self.due():
                self.save()

    def due(self) -> bool:
        return self._record is not None and time.monotonic() >= self._next

    def save(self, extra: Callable[[], None] | None = None) -> None:
        if self._record is None:
            return
        start = time.monotonic()
        self._record.save()
        if extra is not None:
            extra()
        now = time.monotonic()
        self._next = now + max(SAVED_EVERY, SAVED_AFTER * (now - start))


# ------------------------------------------------------------ weight gradients


def _add_blocks(work: Work, count: Callable[[int], Any], saving: _Saving) -> None:
    """Results one after the other, each the sum of its blocks in the order of the tree."""
    results: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for number in range(len(work.blocks)):
        place = tuple((part.start, part.stop) for part in work.blocks[number].result)
        results.setdefault(place, []).append(number)
    done = work.record.done if work.record is not None else set()
    saved = work.record.load_sums() if work.record is not None else None
    for index, numbers in enumerate(results.values()):
        if numbers[0] in done:
            continue
        total, first = TreeSum(), 0
        if saved is not None and saved[0] == index:
            _, first, total.sums = saved
            count(first)

        def save(index: int = index, total: TreeSum = total) -> None:
            assert work.record is not None
            work.record.save_sums(index, total.added, total.sums)

        try:
            for _, partial in _computed(work, numbers[first:]):
                total.add(partial)
                del partial
                count(1)
                if saving.due():
                    saving.save(save)
        except BaseException:
            if work.record is not None and total.whole and total.added > first:
                with suppress(Exception):
                    save()
            raise
        whole = total.result().astype(work.store.dtype, copy=False)
        _write(work, work.blocks[numbers[0]], whole)
        saving.finished(numbers[0])


# ------------------------------------------------------------ one block


def _computed(work: Work, numbers: list[int]) -> Iterator[tuple[int, Array]]:
    """The values of each block; what the next one needs is read meanwhile."""
    with ThreadPoolExecutor(1, "convpp-read-ahead") as reader:
        following: Future[Any] | None = None
        try:
            for at, number in enumerate(numbers):
                current = following if following is not None else _submitted(reader, work, number)
                sources = current.result()
                del current
                following = _submitted(reader, work, numbers[at + 1]) if at + 1 < len(numbers) else None
                values = work.compute(work.blocks[number], sources)
                del sources
                yield number, values
                del values
        finally:
            if following is not None:
                following.cancel()


def _submitted(reader: ThreadPoolExecutor, work: Work, number: int) -> Future[Any]:
    """What a block reads, soon; where no thread can be started, now."""
    block = work.blocks[number]
    try:
        return reader.submit(work.read, block)
    except RuntimeError:
        found: Future[Any] = Future()
        found.set_result(work.read(block))
        return found


def _write(work: Work, block: Piece, values: Array) -> None:
    try:
        work.store.write(block.result, values)
    except MemoryError:
        raise
    except Exception as error:
        raise failure(error, f"out cannot be written {_at(block)}") from error


def part_of(
    array: Any, name: str, source: Source, block: Piece, convert: Callable[[Any, str], Array] = as_float
) -> Array:
    """A part of an array that lies elsewhere as an array of its own; of one in memory a view."""
    try:
        values = read(array, source)
        if type(array) is np.ndarray:
            return values
        return np.array(convert(values, name), order="C")
    except MemoryError:
        raise
    except Exception as error:
        raise failure(error, f"{name} cannot be read {_at(block)}") from error


def _at(block: Piece) -> str:
    places = ", ".join(f"{part.start}:{part.stop}" for part in block.result)
    return f"for block {block.index} of the result (result[{places}])"


def failure(error: Exception, what: str) -> OSError:
    """An OSError, with the number of one: so what stores raise is caught in one way."""
    number = error.errno if isinstance(error, OSError) else None
    told = f"{what}: {type(error).__name__}: {error}"
    return OSError(number, told) if number is not None else OSError(told)
