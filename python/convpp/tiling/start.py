"""Arguments of the tiled functions become a job: checked, with its output made or opened, and its record.

In: arrays, geometry, options.   Out: the result.   Next: ``loop.py``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from convpp._call.arguments import Shape, check_activation, check_shape, flag
from convpp._call.geometry import geometry_of, wrong_dy
from convpp._call.options import ConvOptions
from convpp._call.validation import Array, common_dtype, dtype_from, plain
from convpp.runtime import threads_of_call
from convpp.tiling.compute import ALGORITHM
from convpp.tiling.grid import Tiles
from convpp.tiling.loop import Job, run_job
from convpp.tiling.record import Record
from convpp.tiling.stores import native, open_store, path_of, same_file, shape_of_array
from convpp.tiling.tiles import tiles_of


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
    """The result."""
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
    path = path_of(how.out)
    resume = flag(how.resume, "resume")
    if resume and path is None:
        raise ValueError("resume is True, expected out to be a path that ends in .npy or .zarr")
    bar = _bar(made) if flag(how.progress, "progress") else None
    for name, array in (*arrays.items(), ("add", add)):
        if (path is not None and same_file(array, path)) or _overlap(how.out, array):
            raise ValueError(f"out overlaps {name}, expected another place: {name} is read while out is written")
    words = _words(op, arrays, options, made, algorithm, {"bias": bias, "activation": activation, "add": add})
    block = made[0].shape
    begun = False
    record = None
    if path is not None:
        record = Record(path, {**words, "dtype": dtype.name}, lambda: None)
        begun = resume and path.exists()
        if begun:
            record.resume()
        else:
            record.forget()
    store = open_store(how.out, path, made.result_shape, dtype_from(dtype.name).name, block, begun)
    if record is not None:
        record.flush = store.flush
        if not begun:
            record.begin()
    job = Job(made, arrays, dtype.name, algorithm, store, record, bias, activation, add, how.threads)
    if bar is None:
        return run_job(job, lambda _: None)
    with bar:
        if record is not None and made.core != "weight_grad":
            bar.update(len(record.done))
        return run_job(job, bar.update)


def _overlap(out: Any, array: Any) -> bool:
    if not isinstance(out, np.ndarray) or not isinstance(array, np.ndarray):
        return out is not None and out is array
    return bool(np.may_share_memory(out, array))


def _bar(made: Tiles) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise ImportError("progress is True, which needs tqdm: pip install tqdm") from error
    return tqdm(total=len(made), unit="block")


def _words(
    op: str,
    arrays: dict[str, Any],
    options: ConvOptions,
    made: Tiles,
    algorithm: str,
    more: dict[str, Any],
) -> dict[str, str]:
    """What a call computes, in words that tell it from others; of arrays that lie elsewhere the shapes alone."""
    words = {"pass": op}
    for name, value in {**arrays, **more}.items():
        if value is None or name == "activation":
            words[name] = str(value)
        else:
            words[name] = f"{native(value.dtype).name} {shape_of_array(value)}"
            if name in ("w", "bias"):
                words[name] += f" {hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]}"
    names = ("stride", "padding", "dilation", "groups", "flip", "layout", "per_sample", "padding_mode")
    words |= {name: str(getattr(options, name)) for name in names}
    words["algorithm"] = algorithm
    chunks = repr(made.chunks)
    words["chunks"] = chunks if len(chunks) < 200 else f"{made.numblocks} {hashlib.sha256(chunks.encode()).hexdigest()}"
    words["result"] = str(made.result_shape)
    return words
