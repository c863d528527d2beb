"""`convpp.dask` on processes: the same bits as in one, also when a worker is killed; errors that come back.

Values in any chunks: test_dask.py.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("distributed")

import dask
import dask.array as da
from distributed import Client, LocalCluster

import convpp
import convpp.dask

#: What a cluster does while it starts and ends is its own matter.
pytestmark = pytest.mark.filterwarnings("default")

W = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
CHUNKS = ((1, 1), (3,), (16, 16, 16), (24, 24))
SHAPE = (2, 3, 48, 48)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two processes, each of which computes one task at a time."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 10, "distributed.worker.profile.enabled": False}):
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


def signal_of(seed: int, shape: tuple[int, ...], chunks: tuple[tuple[int, ...], ...]) -> da.Array:
    return da.from_array(np.random.default_rng(seed).standard_normal(shape).astype(np.float32), chunks=chunks)


def test_bits_of_all_passes_are_those_of_one_process(client: Client) -> None:
    x = signal_of(1, SHAPE, CHUNKS)
    y = convpp.dask.conv(x, W, padding=1, padding_mode="reflect")
    dy = signal_of(2, y.shape, y.chunks)
    weights = da.from_array(W, chunks=(2, 3, 3, 3))
    lazy = [
        y,
        convpp.dask.conv(x, weights, np.ones(4, np.float32), padding=1, activation="relu"),
        *convpp.dask.conv_backward(dy, x, W, padding=1, padding_mode="circular"),
        convpp.dask.conv_transpose(dy, W, stride=2),
        convpp.dask.convolve(x, W[0], mode="same", boundary="symmetric", method="direct"),
    ]
    alone = dask.compute(*lazy, scheduler="synchronous")
    for got, want in zip(client.gather(client.compute(lazy)), alone, strict=True):
        assert (got.dtype, got.shape) == (want.dtype, want.shape)
        assert got.tobytes() == want.tobytes()
    whole: dict[str, Any] = {"padding": 1, "padding_mode": "reflect", "algorithm": "stream"}
    assert alone[0].tobytes() == convpp.conv(x.compute(scheduler="synchronous"), W, **whole).tobytes()


def test_processes_without_a_cluster() -> None:
    x = signal_of(3, SHAPE, CHUNKS)
    y = convpp.dask.conv(x, W, padding=1)
    want = y.compute(scheduler="synchronous")
    assert y.compute(scheduler="threads", num_workers=2).tobytes() == want.tobytes()
    assert y.compute(scheduler="processes", num_workers=2).tobytes() == want.tobytes()


def test_a_worker_that_is_killed_changes_nothing(client: Client, tmp_path: Path) -> None:
    """The chunks that it had are computed again, by others."""

    def slow(block: Any, block_info: Any = None) -> Any:
        (tmp_path / f"{os.getpid()}-{block_info[0]['chunk-location']}").touch()
        time.sleep(0.05)
        return block

    x = signal_of(4, SHAPE, CHUNKS)
    read = x.map_blocks(slow, dtype=x.dtype, meta=np.empty((0,) * 4, x.dtype))
    y = convpp.dask.conv(read, W, padding=1)
    dy = signal_of(5, y.shape, y.chunks)
    dw = convpp.dask.conv_weight_grad(dy, read, W.shape, padding=1)
    undisturbed = convpp.dask.conv(x, W, padding=1), convpp.dask.conv_weight_grad(dy, x, W.shape, padding=1)
    want = dask.compute(*undisturbed, scheduler="synchronous")
    futures = client.compute([y, dw])
    end = time.monotonic() + 60
    while len(begun := list(tmp_path.iterdir())) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    victim = int(begun[0].name.split("-")[0])
    os.kill(victim, signal.SIGKILL)
    got = client.gather(futures)
    for ours, theirs in zip(got, want, strict=True):
        assert ours.tobytes() == theirs.tobytes()
    assert victim not in client.run(os.getpid).values()


def test_a_chunk_that_cannot_be_read_is_named(client: Client) -> None:
    def broken(block: Any, block_info: Any = None) -> Any:
        where = tuple(block_info[0]["chunk-location"])
        if where == (1, 0, 2, 1):
            raise OSError(f"chunk {where} is damaged")
        return block

    x = signal_of(6, SHAPE, CHUNKS).map_blocks(broken, dtype=np.float32, meta=np.empty((0,) * 4, np.float32))
    y = convpp.dask.conv(x, W, padding=1)
    with pytest.raises(OSError, match=r"chunk \(1, 0, 2, 1\) is damaged"):
        client.compute(y).result()
    part = client.compute(y[0]).result()
    assert part.tobytes() == y[0].compute(scheduler="synchronous").tobytes()
