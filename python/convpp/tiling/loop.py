"""All blocks of a result, one after the other: read ahead, computed, written, and listed as finished.

In: a ``Job``.   Out: the result, in its store.   Next: ``compute.py`` (one block), ``record.py`` (what is finished).

While a block is computed, a thread reads what the next one needs; so two blocks' parts of the arrays are in memory, and
one block's result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp._call.validation import Array, as_float
from convpp.tiling.axes import run_of
from convpp.tiling.blocks import Block, Source
from convpp.tiling.compute import compute, read
from convpp.tiling.grid import Tiles
from convpp.tiling.record import Record
from convpp.tiling.stores import Store, release
from convpp.tiling.tree import TreeSum

#: Seconds of work that an interrupted call may lose, about; and how many times as long as saving takes, at least.
SAVED_EVERY, SAVED_AFTER = 2.0, 10.0


@dataclass(frozen=True)
class Job:
    """A pass in blocks, and where its arrays are."""

    tiles: Tiles
    arrays: dict[str, Any]
    dtype: str
    algorithm: str
    store: Store
    record: Record | None
    bias: Array | None = None
    activation: Any = None
    add: Any = None
    threads: int | None = None


@dataclass(frozen=True)
class Read:
    """What a block reads, in the order in which it is used."""

    block: Block
    sources: list[Array]
    add: Array | None


def run_job(job: Job, count: Callable[[int], Any]) -> Any:
    """The result; ``count`` is told of each block that is finished."""
    saving = _Saving(job.record)
    try:
        if job.tiles.core == "weight_grad":
            _add_blocks(job, count, saving)
        else:
            for number, blocks_read in _read_ahead(job, _not_done(job)):
                values = _computed(job, blocks_read)
                _write(job.store, blocks_read.block, values)
                saving.finished(number)
                count(1)
        saving.save()
    except BaseException:
        with suppress(Exception):  # what stopped the work is what is told
            saving.save()
        raise
    return job.store.array


def _not_done(job: Job) -> list[int]:
    done = job.record.done if job.record is not None else set()
    return [number for number in range(len(job.tiles)) if number not in done]


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


def _add_blocks(job: Job, count: Callable[[int], Any], saving: _Saving) -> None:
    """Results one after the other, each the sum of its blocks in the order of the tree."""
    results: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for number in range(len(job.tiles)):
        place = tuple((part.start, part.stop) for part in job.tiles.result_of(number))
        results.setdefault(place, []).append(number)
    done = job.record.done if job.record is not None else set()
    saved = job.record.load_sums() if job.record is not None else None
    for index, (place, numbers) in enumerate(results.items()):
        if numbers[0] in done:
            continue
        total, first = TreeSum(), 0
        if saved is not None and saved[0] == index:
            _, first, total.sums = saved
            count(first)

        def save(index: int = index, total: TreeSum = total, added: int = 0) -> None:
            assert job.record is not None
            job.record.save_sums(index, added, total.sums)

        added = first
        try:
            for _, blocks_read in _read_ahead(job, numbers[first:]):
                total.add(_computed(job, blocks_read))
                added += 1
                count(1)
                if saving.due():
                    saving.save(lambda: save(added=added))  # noqa: B023
        except BaseException:
            if job.record is not None and added > first:
                with suppress(Exception):
                    save(added=added)
            raise
        whole = total.result().astype(job.store.dtype, copy=False)
        _write(job.store, job.tiles[numbers[0]], whole, tuple(slice(*ends) for ends in place))
        saving.finished(numbers[0])


# ------------------------------------------------------------ one block


def _computed(job: Job, blocks_read: Read) -> Array:
    block = blocks_read.block
    sources = iter(blocks_read.sources)
    bias = None if job.bias is None else job.bias[block.result[block.channel_axis]]
    return compute(
        block,
        lambda _name, _source: next(sources),
        job.dtype,
        algorithm=job.algorithm,
        threads=job.threads,
        bias=bias,
        activation=job.activation,
        add=blocks_read.add,
        rounded=job.store.dtype.name == job.dtype and job.tiles.core != "weight_grad",
    )


def _write(store: Store, block: Block, values: Array, place: tuple[slice, ...] | None = None) -> None:
    try:
        store.write(block.result if place is None else place, values)
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise _failure(error, f"out cannot be written {_at(block)}") from error


def _read_ahead(job: Job, numbers: list[int]) -> Iterator[tuple[int, Read]]:
    """Each block with what it reads; the next one's is read meanwhile."""
    with ThreadPoolExecutor(1, "convpp-read-ahead") as reader:
        following: Future[Read] | None = None
        try:
            for at, number in enumerate(numbers):
                current = following if following is not None else reader.submit(_read, job, number)
                blocks_read = current.result()
                more = at + 1 < len(numbers)
                following = reader.submit(_read, job, numbers[at + 1]) if more else None
                yield number, blocks_read
        finally:
            if following is not None:
                following.cancel()


def _read(job: Job, number: int) -> Read:
    block = job.tiles[number]
    sources = [
        _part(job.arrays[name], name, source, block)
        for part in block.parts
        for call in part.calls
        for name, source in call.sources.items()
    ]
    add = None
    if job.add is not None:
        add = _part(job.add, "add", tuple(run_of(part.start, part.stop) for part in block.result), block)
    for array in (*job.arrays.values(), job.add):
        release(array)
    return Read(block, sources, add)


def _part(array: Any, name: str, source: Source, block: Block) -> Array:
    """A part of an array that lies elsewhere as an array of its own; of one in memory a view."""
    try:
        values = read(array, source)
        if type(array) is np.ndarray:
            return values
        return np.array(as_float(values, name), order="C")
    except MemoryError:
        raise
    except Exception as error:
        raise _failure(error, f"{name} cannot be read {_at(block)}") from error


def _at(block: Block) -> str:
    places = ", ".join(f"{part.start}:{part.stop}" for part in block.result)
    return f"for block {block.index} of the result (result[{places}])"


def _failure(error: Exception, what: str) -> OSError:
    """An OSError, with the number of one: so what stores raise is caught in one way."""
    number = error.errno if isinstance(error, OSError) else None
    told = f"{what}: {type(error).__name__}: {error}"
    return OSError(number, told) if number is not None else OSError(told)
