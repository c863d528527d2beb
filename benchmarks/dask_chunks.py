"""An image in chunks of a Zarr store, convolved by two worker processes: `convpp.dask`, dask-image, and two threads.

    pip install "convpp[dask]" dask-image zarr
    python benchmarks/dask_chunks.py --gib 2

In: nothing; the image is made where ``--folder`` says, once.   Out: seconds of each contestant, and ratios.
Next: docs/dask.md, where they stand.

All read the same chunks and write the same chunks of another store, both without compression: so the numbers are those
of convolutions and of moving data, and not of a codec.  Contestants take turns; the least time of each counts, and
their results are compared.  distributed starts its workers so that they give freed memory back at once, and large
arrays are then mapped anew for each task: ``--keep-memory`` starts them so that they keep it, as other processes do.
``--graph`` measures instead how long a graph of 100,000 chunks takes to be made.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import zarr
from dask.distributed import Client, LocalCluster

import convpp
import convpp.dask

#: Elements of a chunk along each axis.
CHUNK = 2048


def image(folder: Path, gib: float) -> Path:
    """A store of so many GiB of float32, twice as wide as high; made if it is not there."""
    rows = max(round(math.sqrt(gib * 2**30 / 8 / CHUNK**2)), 1) * CHUNK
    path = folder / f"image-{rows}.zarr"
    if not path.exists():
        store = zarr.create_array(
            path, shape=(rows, 2 * rows), chunks=(CHUNK, CHUNK), dtype="float32", compressors=None
        )
        rng = np.random.default_rng(0)
        for row in range(0, rows, CHUNK):
            store[row : row + CHUNK] = rng.standard_normal((CHUNK, 2 * rows), np.float32)
    return path


def to_store(y: da.Array, folder: Path, name: str) -> Callable[..., Any]:
    """What computes an array into a new store."""

    def run(**how: Any) -> None:
        path = folder / f"{name}.zarr"
        shutil.rmtree(path, ignore_errors=True)
        store = zarr.create_array(path, shape=y.shape, chunks=(CHUNK, CHUNK), dtype=y.dtype, compressors=None)
        da.store(y, store, lock=False, **how)

    return run


def contestants(path: Path, folder: Path, taps: int, client: Client) -> dict[str, Callable[[], Any]]:
    """By name, what computes the convolution into a store of this name."""
    a = da.from_zarr(str(path))
    kernel = np.random.default_rng(1).random((taps, taps), np.float32)
    y = convpp.dask.convolve(a, kernel, mode="same", boundary="symmetric")
    on_workers, threads = to_store(y, folder, "convpp"), to_store(y, folder, "convpp-threads")
    found: dict[str, Callable[[], Any]] = {
        "convpp.dask, two processes": lambda: on_workers(scheduler=client.get),
        "convpp.dask, two threads": lambda: threads(scheduler="threads", num_workers=2),
    }
    try:
        from dask_image.ndfilters import convolve
    except ImportError:
        return found
    theirs = to_store(convolve(a, kernel, mode="reflect"), folder, "dask-image")
    found["dask-image, two processes"] = lambda: theirs(scheduler=client.get)
    return found


def compare(folder: Path) -> None:
    """Results of dask-image and of convpp's are those of convpp's two threads, but for rounding; chunk by chunk."""
    want = zarr.open_array(folder / "convpp-threads.zarr")
    for other in folder.glob("*.zarr"):
        if other.name.startswith("image"):
            continue
        got = zarr.open_array(other)
        for row in range(0, want.shape[0], 4 * CHUNK):
            piece = slice(row, row + CHUNK), slice(0, 2 * CHUNK)
            worst = float(np.abs(np.asarray(got[piece]) - np.asarray(want[piece])).max())
            assert worst < 1e-4, f"{other.name} is {worst} off"


def graph() -> None:
    """How long 100,000 chunks take: to be called, and until there are tasks, beside dask's own overlap."""
    x = da.zeros((1, 1, 50_000, 10_000), chunks=(1, 1, 50, 100), dtype=np.float32)
    start = time.process_time()
    y = convpp.dask.conv(x, np.ones((1, 1, 3, 3), np.float32), padding=1)
    called = time.process_time()
    keys = set(dask.core.flatten(y.__dask_keys__()))
    keyed = time.process_time()
    tasks, _ = y.dask.layers[y.name].cull(keys, set())
    made = time.process_time()
    print(
        f"{y.npartitions} chunks: the call {called - start:.4f} s, {len(tasks)} tasks {made - keyed:.2f} s (of the CPU)"
    )


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--taps", type=int, default=5, help="of the kernel along each axis, odd")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "convpp-dask-chunks")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="contestants whose names contain one of these")
    parser.add_argument("--graph", action="store_true")
    parser.add_argument("--keep-memory", action="store_true", help="workers' malloc keeps blocks of up to 64 MiB")
    parser.add_argument("--prepare", action="store_true", help="only make the image")
    arguments = parser.parse_args()
    if arguments.graph:
        return graph()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path = image(arguments.folder, arguments.gib)
    if arguments.prepare:
        return None
    with ExitStack() as stack:
        if arguments.keep_memory:
            kept = {"MALLOC_MMAP_THRESHOLD_": 2**26, "MALLOC_TOP_PAD_": 2**26, "MALLOC_TRIM_THRESHOLD_": 2**28}
            stack.enter_context(
                dask.config.set({f"distributed.nanny.pre-spawn-environ.{name}": value for name, value in kept.items()})
            )
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit="4GiB")
        client = stack.enter_context(Client(stack.enter_context(cluster), set_as_default=False))
        all_of = contestants(path, arguments.folder, arguments.taps, client)
        chosen = {n: run for n, run in all_of.items() if not arguments.only or any(o in n for o in arguments.only)}
        times: dict[str, list[float]] = {name: [] for name in chosen}
        for turn in range(arguments.turns):
            for name, run in chosen.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
                print(f"turn {turn + 1}: {name}: {times[name][-1]:.2f} s", flush=True)
    if not arguments.only:
        compare(arguments.folder)
    best = {name: min(of) for name, of in times.items()}
    shape = zarr.open_array(path).shape
    print(f"\n{shape[0]} x {shape[1]} float32, chunks of {CHUNK} x {CHUNK}, {arguments.taps} x {arguments.taps} taps")
    reference = next(iter(best.values()))
    for name, seconds in best.items():
        print(f"{name:<45} {seconds:7.2f} s  {seconds / reference:6.2f}")
    return None


if __name__ == "__main__":
    main()
