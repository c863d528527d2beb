"""Arguments of the tiled functions become work: checked, with its output made or opened, and its record.

In: arrays, geometry, options.   Out: the result.   Next: ``loop.py``; ``compute.py``, one block.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp._call.arguments import Algorithm, Shape, check_activation, check_shape, flag
from convpp._call.geometry import geometry_of, wrong_dy
from convpp._call.options import ConvOptions
from convpp._call.validation import Array, common_dtype, plain
from convpp.runtime import threads_of_call
from convpp.tiling.axes import run_of
from convpp.tiling.blocks import Block
from convpp.tiling.chunks import Chunks
from convpp.tiling.compute import ALGORITHM, compute
from convpp.tiling.grid import Tiles
from convpp.tiling.loop import Work, failure, part_of, run_work
from convpp.tiling.places import overlap
from convpp.tiling.record import Record
from convpp.tiling.stores import Store, native, open_store, path_of, release, shape_of_array
from convpp.tiling.tiles import tiles_of

#: What of a large array a record knows, to tell it from another of its shape: so many stretches of so many elements.
#: They are few, since each may read a whole chunk of a compressed array; and no longer than what a disk reads anyway.
SAMPLED_LINES, SAMPLED_ELEMENTS = 16, 256


@dataclass(frozen=True)
class How:
    """What the tiled functions have in common beside arrays and geometry, as users write it."""

    chunks: Any
    out: Any
    resume: Any
    progress: Any
    threads: int | None


def given_dy(dy: Shape, x: Shape, w: Shape, options: ConvOptions) -> None:
    """That dy is shaped like the output."""
    geometry = geometry_of(x, w, options)
    if dy != geometry.y_shape:
        raise wrong_dy(dy, geometry.y_shape, geometry.x_shape, geometry.w_shape, options)


def start(
    op: str,
    arrays: dict[str, Any],
    x_shape: Shape,
    w_shape: Shape,
    options: ConvOptions,
    how: How,
    bias: Array | None = None,
    activation: Any = None,
    add: Any = None,
) -> Any:
    """The result of a pass of ``conv``."""
    threads_of_call(how.threads)
    check_activation(activation)
    given = [array for array in (*arrays.values(), bias, add) if array is not None]
    dtype = common_dtype(*(native(array.dtype) for array in given))
    algorithm = ALGORITHM if options.algorithm in ("auto", "direct") else options.algorithm
    geometry = geometry_of(x_shape, w_shape, options)
    made = tiles_of(op, geometry, how.chunks, False, dtype.itemsize)
    if "w" in arrays:
        arrays["w"] = plain(arrays["w"], dtype)
    if bias is not None:
        check_shape(bias.shape, (geometry.out_channels,), "bias", "(K,), one for each filter")
        bias = plain(bias, dtype)
    if add is not None:
        check_shape(shape_of_array(add), made.result_shape, "add", "the shape of the result")

    def words() -> dict[str, str]:
        return _words(op, arrays, options, made, algorithm, {"bias": bias, "activation": activation, "add": add})

    def read(block: Block) -> tuple[list[Array], Array | None]:
        """In the order in which they are used; and what is added."""
        sources = [
            part_of(arrays[name], name, source, block)
            for part in block.parts
            for call in part.calls
            for name, source in call.sources.items()
        ]
        added = None
        if add is not None:
            place = tuple(run_of(part.start, part.stop) for part in block.result)
            added = part_of(add, "add", place, block)
        for array in (*arrays.values(), add):
            release(array)
        return sources, added

    def work_into(store: Store, record: Record | None) -> Work:
        def computed(block: Block, found: tuple[list[Array], Array | None]) -> Array:
            sources = iter(found[0])
            return compute(
                block,
                lambda _name, _source: next(sources),
                dtype.name,
                algorithm=algorithm,
                threads=how.threads,
                bias=None if bias is None else bias[block.result[block.channel_axis]],
                activation=activation,
                add=found[1],
                rounded=store.dtype.name == dtype.name and op != "weight_grad",
            )

        return Work(made, read, computed, store, record, op == "weight_grad")

    return carry_out(how, {**arrays, "bias": bias, "add": add}, made, made.result_shape, dtype, words, work_into)


def carry_out(
    how: How,
    arrays: dict[str, Any],
    blocks: Sequence[Any],
    shape: Shape,
    dtype: np.dtype[Any],
    words: Callable[[], dict[str, str]],
    work_into: Callable[[Store, Record | None], Work],
) -> Any:
    """The output is made or opened, and the blocks that are not finished are computed."""
    path = path_of(how.out)
    resume = flag(how.resume, "resume")
    if resume and path is None:
        raise ValueError("resume is True, expected out to be a path that ends in .npy or .zarr")
    bar = _bar(len(blocks)) if flag(how.progress, "progress") else None
    for name, array in arrays.items():
        if overlap(how.out, path, array):
            raise ValueError(f"out overlaps {name}, expected another place: {name} is read while out is written")
    begun = False
    record = None
    if path is not None:
        record = Record(path, {**words(), "dtype": dtype.name}, lambda: None)
        begun = resume and path.exists()
        if begun:
            record.resume()
        else:
            record.forget()
    block = tuple(part.stop - part.start for part in blocks[0].result)
    store = open_store(how.out, path, shape, dtype, block, begun)
    if record is not None:
        record.flush = store.flush
        if not begun:
            record.begin()
    work = work_into(store, record)
    if bar is None:
        return run_work(work, lambda _: None)
    with bar:
        if record is not None and not work.sums:
            bar.update(len(record.done))
        return run_work(work, bar.update)


def _bar(blocks: int) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress is True, which needs tqdm: pip install tqdm") from error
    return tqdm(total=blocks, unit="block")


def _words(
    op: str,
    arrays: dict[str, Any],
    options: ConvOptions,
    made: Tiles,
    algorithm: Algorithm,
    more: dict[str, Any],
) -> dict[str, str]:
    """What a call computes, in words that tell it from others."""
    words = {"pass": op}
    for name, value in {**arrays, **more}.items():
        words[name] = str(value) if name == "activation" else words_of(value, name, small=name in ("w", "bias"))
    names = ("stride", "padding", "dilation", "groups", "flip", "layout", "per_sample", "padding_mode")
    words |= {name: str(getattr(options, name)) for name in names}
    words["algorithm"] = algorithm
    words["chunks"] = words_of_chunks(made.chunks)
    words["result"] = str(made.result_shape)
    return words


def words_of(array: Any, name: str, *, small: bool) -> str:
    """Type and shape of an array, and a hash of its numbers; of one that may be large, of some of them."""
    if array is None:
        return "None"
    words = f"{native(array.dtype).name} {shape_of_array(array)}"
    if small:
        return f"{words} {_hash(np.ascontiguousarray(array).tobytes())}"
    try:
        return f"{words} {_hash(b''.join(_samples(array)))}"
    except MemoryError:
        raise
    except Exception as error:
        raise failure(error, f"{name} cannot be read") from error


def _samples(array: Any) -> Iterator[bytes]:
    """Some stretches of an array, evenly from its first to its last element: a few reads, however large it is."""
    shape = shape_of_array(array)
    if 0 in shape or not shape:
        return
    lines, room = math.prod(shape[:-1]), max(shape[-1] - SAMPLED_ELEMENTS, 0)
    parts = [i / max(SAMPLED_LINES - 1, 1) for i in range(SAMPLED_LINES)]
    for line, start in dict.fromkeys((int(part * (lines - 1)), int(part * room)) for part in parts):
        at = np.unravel_index(line, shape[:-1]) if len(shape) > 1 else ()
        place = (*(slice(int(i), int(i) + 1) for i in at), slice(start, min(start + SAMPLED_ELEMENTS, shape[-1])))
        yield np.ascontiguousarray(array[place]).tobytes()


def words_of_chunks(chunks: Chunks) -> str:
    """All of them, or their numbers and a hash."""
    words = repr(chunks)
    return words if len(words) < 200 else f"{tuple(map(len, chunks))} blocks, {_hash(words.encode())}"


def _hash(numbers: bytes) -> str:
    return hashlib.sha256(numbers).hexdigest()[:16]
