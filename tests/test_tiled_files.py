"""Tiled functions with files: memory maps, HDF5, Zarr; work that is interrupted, killed, and taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convpp
from convpp.tiling import loop, start
from geometry import Array, assert_exact
from test_tiled import Sliced

RECORD = ".convpp-record"


@pytest.fixture(autouse=True)
def saved_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is saved after each block."""
    monkeypatch.setattr(loop, "SAVED_EVERY", 0.0)
    monkeypatch.setattr(loop, "SAVED_AFTER", 0.0)


@pytest.fixture(autouse=True)
def only_blocks_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """No samples for the record, which have a test of their own."""
    monkeypatch.setattr(start, "SAMPLED_LINES", 0)


def signal_of(length: int = 400) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(50)
    x = rng.standard_normal((2, 3, length)).astype(np.float32)
    w = rng.standard_normal((4, 3, 7)).astype(np.float32)
    return x, w, convpp.conv(x, w, padding="same", algorithm="stream")


class Interrupted(Sliced):
    """Stops when an element is read."""

    def __init__(self, array: Array, at: int, error: BaseException) -> None:
        super().__init__(array)
        self._at, self._error = at, error

    def __getitem__(self, place: Any) -> Array:
        if place[0].start == 1 and place[2].start <= self._at < place[2].stop:
            raise self._error
        return super().__getitem__(place)


def read_back(path: Path) -> Array:
    if path.suffix == ".npy":
        return np.load(path)
    zarr = pytest.importorskip("zarr")
    return np.asarray(zarr.open_array(str(path), mode="r")[...])


def finished(path: Path) -> set[int]:
    lines = path.with_name(path.name + RECORD).read_text().splitlines()
    return {number for line in lines[1:] for number in json.loads(line)}


@pytest.fixture(params=[".npy", ".zarr"])
def out(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == ".zarr":
        pytest.importorskip("zarr")
    return tmp_path / f"y{request.param}"


def test_a_path_becomes_a_file(out: Path) -> None:
    x, w, want = signal_of()
    y = convpp.conv_tiled(x, w, padding="same", chunks=(1, 4, 90), out=str(out))
    assert y.shape == want.shape
    assert_exact(np.asarray(y[...]), want)
    assert_exact(read_back(out), want)
    convpp.conv_tiled(2 * x, w, padding="same", chunks=(1, 4, 90), out=out)  # made anew
    assert_exact(read_back(out), 2 * want)
    if out.suffix == ".zarr":
        assert y.chunks == (1, 4, 90)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("no")])
def test_work_is_taken_up_where_it_was_interrupted(out: Path, error: BaseException) -> None:
    x, w, want = signal_of()
    how: dict[str, Any] = {"padding": "same", "chunks": (1, 4, 50), "out": out}
    with pytest.raises((KeyboardInterrupt, OSError)):
        convpp.conv_tiled(Interrupted(x, 210, error), w, **how)
    assert finished(out) == set(range(8 + 4))
    again = Sliced(x)
    convpp.conv_tiled(again, w, **how, resume=True)
    assert [place[2].start for place in again.read] == [197, 247, 297, 347]
    assert_exact(read_back(out), want)
    nothing = Sliced(x)
    convpp.conv_tiled(nothing, w, **how, resume=True)
    assert not nothing.read
    assert_exact(read_back(out), want)


def test_a_weight_gradient_is_taken_up_in_the_middle_of_a_sum(out: Path) -> None:
    rng = np.random.default_rng(51)
    x, dy = (rng.standard_normal((2, c, 400)).astype(np.float32) for c in (3, 4))
    how: dict[str, Any] = {"padding": "same", "chunks": (1, 2, 50)}
    want = convpp.conv_weight_grad_tiled(dy, x, (4, 3, 7), **how)
    with pytest.raises(OSError, match="x cannot be read for block"):
        convpp.conv_weight_grad_tiled(dy, Interrupted(x, 210, OSError("gone")), (4, 3, 7), **how, out=out)
    again = Sliced(x)
    convpp.conv_weight_grad_tiled(dy, again, (4, 3, 7), **how, out=out, resume=True)
    assert len(again.read) == 4 + 16  # of 16 blocks of each of two results
    assert not out.with_name(out.name + RECORD + ".npz").exists()
    assert read_back(out).tobytes() == want.tobytes()


def test_where_no_thread_can_be_started_blocks_are_read_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    x, w, want = signal_of()
    monkeypatch.setattr(ThreadPoolExecutor, "submit", no_thread)
    assert_exact(convpp.conv_tiled(x, w, padding="same", chunks=(1, 4, 50)), want)


def test_resume_begins_anew_where_there_is_nothing(out: Path) -> None:
    x, w, want = signal_of()
    convpp.conv_tiled(x, w, padding="same", chunks=(1, 4, 90), out=out, resume=True)
    assert_exact(read_back(out), want)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"padding": 3}, "padding was same, now 3"),
        ({"chunks": (1, 4, 51)}, r"chunks was .* now"),
        ({"flip": True}, "flip was False, now True"),
        ({"bias": np.ones(4, np.float32)}, "bias was None, now float32"),
        ({"activation": "relu"}, "activation was None, now relu"),
        ({"w": np.ones((4, 3, 7), np.float32)}, r"w was float32 \(4, 3, 7\) \w+, now float32 \(4, 3, 7\) \w+"),
    ],
)
def test_another_call_is_not_taken_up(out: Path, changed: dict[str, Any], told: str) -> None:
    x, w, _ = signal_of()
    how: dict[str, Any] = {"w": w, "padding": "same", "chunks": (1, 4, 50), "out": out}
    convpp.conv_tiled(x, **how)
    before = read_back(out)
    with pytest.raises(ValueError, match=f"the output was begun by another call: .*{told}"):
        convpp.conv_tiled(x, **(how | changed), resume=True)
    assert_exact(read_back(out), before)


@pytest.mark.parametrize("shape", [(2, 3, 400), (1, 3, 30_000), (3, 5)])
def test_other_numbers_are_not_taken_up(out: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is looked at of x: its first and its last element are."""
    monkeypatch.undo()
    x, w = np.zeros(shape, np.float32), np.ones((1, shape[-2], 3), np.float32)
    convpp.conv_tiled(x, w, out=out)
    convpp.conv_tiled(x, w, out=out, resume=True)
    for place in (0, -1):
        other = x.copy()
        other.flat[place] = 1
        with pytest.raises(ValueError, match=r"another call: x was float32 .* \w+, now float32 .* \w+$"):
            convpp.conv_tiled(other, w, out=out, resume=True)
    one = np.zeros((1, 1, *shape[-1:]), np.float32)
    convpp.convolve_tiled(x, one[0, 0, :3], axes=-1, out=out)
    with pytest.raises(ValueError, match="another call: a was float32"):
        convpp.convolve_tiled(x + 1, one[0, 0, :3], axes=-1, out=out, resume=True)


def test_who_interrupts_is_told_how_it_goes_on(out: Path) -> None:
    x, w, _ = signal_of()
    with pytest.raises(KeyboardInterrupt) as caught:
        convpp.conv_tiled(Interrupted(x, 210, KeyboardInterrupt()), w, padding="same", chunks=(1, 4, 50), out=out)
    (note,) = caught.value.__notes__
    assert note.startswith("12 blocks are finished, and listed in ")
    assert note.endswith("resume=True goes on with the others")


def test_a_file_without_a_record_is_not_taken_up(out: Path) -> None:
    x, w, _ = signal_of()
    how: dict[str, Any] = {"padding": "same", "chunks": (1, 4, 50), "out": out}
    convpp.conv_tiled(x, w, **how)
    record = out.with_name(out.name + RECORD)
    record.write_text("something else\n")
    with pytest.raises(ValueError, match="is no record of convpp's"):
        convpp.conv_tiled(x, w, **how, resume=True)
    record.unlink()
    with pytest.raises(ValueError, match="does not exist, the record of what is finished"):
        convpp.conv_tiled(x, w, **how, resume=True)


def test_a_line_that_is_torn_is_not_read(out: Path) -> None:
    x, w, want = signal_of()
    how: dict[str, Any] = {"padding": "same", "chunks": (1, 4, 50), "out": out}
    with pytest.raises(OSError, match="cannot be read"):
        convpp.conv_tiled(Interrupted(x, 210, OSError("gone")), w, **how)
    record = out.with_name(out.name + RECORD)
    lines = record.read_text().splitlines()
    record.write_text("\n".join(lines[:3]) + "\n" + lines[3][:2])  # two whole lines, and a torn one
    again = Sliced(x)
    convpp.conv_tiled(again, w, **how, resume=True)
    assert len(again.read) == 16 - 2
    assert_exact(read_back(out), want)
    assert finished(out) == set(range(16))


def script(out: Path, source: Path) -> str:
    return f"""
import numpy as np, convpp, signal, time
from convpp.tiling import loop, start
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
loop.SAVED_EVERY = loop.SAVED_AFTER = start.SAMPLED_LINES = 0
x = np.load({str(source)!r}, mmap_mode="r")
w = np.load({str(source.with_name("w.npy"))!r})
class Slow:
    shape, dtype = x.shape, x.dtype
    def __getitem__(self, place):
        time.sleep(0.05)
        return x[place]
convpp.conv_tiled(Slow(), w, padding="same", chunks=(1, 4, 50), out={str(out)!r})
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_process_that_is_killed_loses_nothing_that_is_listed(out: Path, name: str) -> None:
    end = signal.Signals[name]
    x, w, want = signal_of(1000)
    source = out.with_name("x.npy")
    np.save(source, x)
    np.save(source.with_name("w.npy"), w)
    process = subprocess.Popen([sys.executable, "-c", script(out, source)], stderr=subprocess.PIPE, text=True)
    record = out.with_name(out.name + RECORD)
    while not (record.exists() and len(record.read_text().splitlines()) > 4):
        assert process.poll() is None, process.stderr and process.stderr.read()
    process.send_signal(end)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -end or (end is signal.SIGINT and "KeyboardInterrupt" in said)
    done = finished(out)
    assert 4 <= len(done) < 40
    part = read_back(out)
    for number in done:
        place = (number // 20, slice(None), slice(50 * (number % 20), 50 * (number % 20) + 50))
        assert_exact(part[place], want[place])
    again = Sliced(x)
    convpp.conv_tiled(again, w, padding="same", chunks=(1, 4, 50), out=out, resume=True)
    assert len(again.read) == 40 - len(done)
    assert_exact(read_back(out), want)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="the system cannot be asked for room on the disk")
def test_a_disk_without_room_is_an_error_before_anything_is_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A memory map that is written beyond the disk's end would end the process by a signal."""

    def no_room(*_: int) -> None:
        raise OSError(28, "No space left on device")

    x, w, want = signal_of()
    with monkeypatch.context() as changed:
        changed.setattr(os, "posix_fallocate", no_room)
        source = Sliced(x)
        with pytest.raises(OSError, match=r"out cannot be made, 12800 bytes in .*y.npy: No space left"):
            convpp.conv_tiled(source, w, padding="same", out=tmp_path / "y.npy")
    assert not source.read
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(95, "not supported")))
    assert_exact(np.asarray(convpp.conv_tiled(x, w, padding="same", out=tmp_path / "y.npy")), want)


def test_sources_of_hdf5_and_zarr_and_memory_maps(tmp_path: Path) -> None:
    x, w, want = signal_of()
    how: dict[str, Any] = {"padding": "same", "chunks": (1, 4, 77)}
    np.save(tmp_path / "x.npy", x)
    sources = [np.load(tmp_path / "x.npy", mmap_mode="r"), np.load(tmp_path / "x.npy", mmap_mode="c")]
    sources[1][0, 0, 0] = x[0, 0, 0] = 3  # a copy on write keeps what was written
    want = convpp.conv(x, w, padding="same", algorithm="stream")
    assert_exact(convpp.conv_tiled(sources[1], w, **how), want)
    assert sources[1][0, 0, 0] == 3
    h5py = pytest.importorskip("h5py")
    zarr = pytest.importorskip("zarr")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        source = file.create_dataset("x", data=x, chunks=(1, 3, 64))
        target = file.create_dataset("y", shape=want.shape, dtype=np.float32)
        convpp.conv_tiled(source, w, **how, out=target)
        assert_exact(target[...], want)
    stored = zarr.create_array(store=str(tmp_path / "x.zarr"), shape=x.shape, chunks=(1, 3, 50), dtype=x.dtype)
    stored[...] = x
    target = zarr.create_array(store=str(tmp_path / "z.zarr"), shape=want.shape, chunks=(1, 2, 64), dtype=x.dtype)
    assert convpp.conv_tiled(stored, w, **how, out=target) is target
    assert_exact(np.asarray(target[...]), want)


def test_a_chunk_of_zarr_that_is_damaged_names_the_block(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    x, w, _ = signal_of()
    stored = zarr.create_array(store=str(tmp_path / "x.zarr"), shape=x.shape, chunks=(1, 3, 50), dtype=x.dtype)
    stored[...] = x
    chunk = next(path for path in (tmp_path / "x.zarr").rglob("*") if path.as_posix().endswith("c/1/0/4"))
    chunk.write_bytes(chunk.read_bytes()[:20])
    out = tmp_path / "y.npy"
    with pytest.raises(OSError, match=r"x cannot be read for block \(1, 0, 3\)"):
        convpp.conv_tiled(stored, w, padding="same", chunks=(1, 4, 50), out=out)
    assert finished(out) == set(range(8 + 3))


def test_a_source_that_is_the_output_is_refused(tmp_path: Path) -> None:
    x, w, _ = signal_of()
    np.save(tmp_path / "x.npy", x)
    source = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(ValueError, match="out overlaps x"):
        convpp.conv_tiled(source, w, out=tmp_path / "x.npy")
    assert_exact(np.load(tmp_path / "x.npy"), x)


def test_halves(tmp_path: Path) -> None:
    x, w, _ = signal_of()
    x, w = x.astype(np.float16), w.astype(np.float16)
    want = convpp.conv(x, w, algorithm="stream")
    assert_exact(np.asarray(convpp.conv_tiled(x, w, out=tmp_path / "y.npy", chunks=(1, 4, 70))), want)
    wide = np.empty(want.shape, np.float32)
    convpp.conv_tiled(x, w, out=wide, chunks=(1, 4, 70))
    assert_exact(wide, convpp.conv(x, w, algorithm="stream", out=np.empty(want.shape, np.float32)))
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with pytest.raises(convpp.DTypeError, match=r"neither .npy nor .zarr files have bfloat16"):
        convpp.conv_tiled(x.astype(ml_dtypes.bfloat16), w.astype(ml_dtypes.bfloat16), out=tmp_path / "z.npy")
