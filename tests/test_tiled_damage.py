"""Tiled functions with files that are damaged, that overlap, or that hide what they have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convpp
from convpp.tiling.tree import TreeSum
from geometry import Array, assert_exact
from test_tiled import Sliced
from test_tiled_files import (  # noqa: F401  (fixtures)
    RECORD,
    Interrupted,
    only_blocks_are_read,
    out,
    read_back,
    saved_at_once,
    signal_of,
)


def test_damage_is_told(out: Path) -> None:
    """Of the record, of partial sums, of the output: what was finished cannot be known."""
    x, w, _ = signal_of()
    how: dict[str, Any] = {"padding": "same", "chunks": (1, 4, 50), "out": out}
    convpp.conv_tiled(x, w, **how)
    record = out.with_name(out.name + RECORD)
    lines = record.read_bytes().split(b"\n")
    for damage in (b"5", b"[[1]]", b"[1", b"\xff\xfe", b'{"a": 1}'):
        record.write_bytes(b"\n".join([lines[0], damage, *lines[2:]]))
        with pytest.raises(ValueError, match=f"resume is True, but line 2 of .*{RECORD} is damaged"):
            convpp.conv_tiled(x, w, **how, resume=True)
    record.write_bytes(b"\n".join(lines))
    if out.suffix == ".npy":
        out.write_bytes(out.read_bytes()[:-100])
        for _ in range(2):
            with pytest.raises(ValueError, match=r"resume is True, but .*y\.npy is damaged"):
                convpp.conv_tiled(x, w, **how, resume=True)


def test_damaged_sums_are_told(out: Path) -> None:
    rng = np.random.default_rng(51)
    x, dy = (rng.standard_normal((2, c, 400)).astype(np.float32) for c in (3, 4))
    how: dict[str, Any] = {"padding": "same", "chunks": (1, 2, 50), "out": out}
    with pytest.raises(OSError, match="x cannot be read for block"):
        convpp.conv_weight_grad_tiled(dy, Interrupted(x, 210, OSError("gone")), (4, 3, 7), **how)
    sums = out.with_name(out.name + RECORD + ".npz")
    whole = sums.read_bytes()
    with np.load(sums) as saved:
        arrays = dict(saved)
    for damage in (b"", b"no zip", whole[:-30]):
        sums.write_bytes(damage)
        with pytest.raises(ValueError, match=r"resume is True, but .*\.npz is damaged"):
            convpp.conv_weight_grad_tiled(dy, x, (4, 3, 7), **how, resume=True)
    arrays["counts"][1] += 1  # more blocks than the sums have
    np.savez(sums, **arrays)
    with pytest.raises(ValueError, match=r"resume is True, but .*\.npz is damaged") as caught:
        convpp.conv_weight_grad_tiled(dy, x, (4, 3, 7), **how, resume=True)
    assert not hasattr(caught.value, "__notes__")  # that resume=True goes on


def test_half_a_sum_is_not_saved(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may come between any two steps of an addition."""
    rng = np.random.default_rng(52)
    x, dy = (rng.integers(-8, 9, (1, c, 400)).astype(np.float32) for c in (1, 1))
    how: dict[str, Any] = {"padding": "same", "chunks": (1, 1, 25)}
    want = convpp.conv_weight_grad_tiled(dy, x, (1, 1, 7), **how)

    class Stops:
        """A partial sum that is interrupted after it was added."""

        def __init__(self, values: Array) -> None:
            self.values = values

        def __iadd__(self, other: Any) -> Any:
            self.values += other
            raise KeyboardInterrupt

        def __array__(self, *_: Any, **__: Any) -> Array:
            return self.values

    add, calls = TreeSum.add, []

    def interrupted(self: TreeSum, partial: Array) -> None:
        calls.append(1)
        if len(calls) == 6:
            count, last = self.sums[-1]
            self.sums[-1] = (count, Stops(last))  # type: ignore[arg-type]
        add(self, partial)

    monkeypatch.setattr(TreeSum, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convpp.conv_weight_grad_tiled(dy, x, (1, 1, 7), **how, out=out)
    monkeypatch.setattr(TreeSum, "add", add)
    convpp.conv_weight_grad_tiled(dy, x, (1, 1, 7), **how, out=out, resume=True)
    assert_exact(read_back(out), want)


def test_a_result_is_not_written_over_what_it_is_made_of(tmp_path: Path) -> None:
    x, w, want = signal_of()
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "w.npy", w)
    np.save(tmp_path / "b.npy", np.ones(4, np.float32))
    np.save(tmp_path / "k.npy", np.ones(5, np.float32))

    def mapped(name: str, mode: Any = "r") -> Array:
        return np.load(tmp_path / name, mmap_mode=mode)

    how: dict[str, Any] = {"padding": "same"}
    over: list[tuple[str, Callable[[], Any]]] = [
        ("x", lambda: convpp.conv_tiled(mapped("x.npy"), w, out=tmp_path / "x.npy", **how)),
        ("x", lambda: convpp.conv_tiled(np.asarray(mapped("x.npy"))[:, :, ::-1], w, out=tmp_path / "x.npy", **how)),
        ("x", lambda: convpp.conv_tiled(mapped("x.npy"), w[:3], out=mapped("x.npy", "r+"), **how)),
        ("w", lambda: convpp.conv_tiled(x, mapped("w.npy"), out=tmp_path / "w.npy", **how)),
        ("bias", lambda: convpp.conv_tiled(x, w, mapped("b.npy"), out=tmp_path / "b.npy", **how)),
        ("kernel", lambda: convpp.convolve_tiled(x, mapped("k.npy"), axes=2, out=tmp_path / "k.npy")),
    ]
    zarr, h5py = pytest.importorskip("zarr"), pytest.importorskip("h5py")
    stored = zarr.create_array(store=str(tmp_path / "x.zarr"), shape=x.shape, dtype=x.dtype)
    stored[...] = x
    reopened = zarr.open_array(str(tmp_path / "x.zarr"))
    over.append(("x", lambda: convpp.conv_tiled(stored, w, out=tmp_path / "x.zarr", **how)))
    over.append(("x", lambda: convpp.conv_tiled(stored, w[:3], out=reopened, **how)))
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"], file["y"] = x, want
        over.append(("x", lambda: convpp.conv_tiled(file["x"], w[:3], out=file["x"], **how)))
        for name, call in over:
            with pytest.raises(ValueError, match=f"out overlaps {name}, expected another place"):
                call()
        convpp.conv_tiled(file["x"], w, out=file["y"], **how)  # of one file, but another dataset
        assert_exact(file["y"][...], want)
    assert_exact(mapped("x.npy"), x)
    assert_exact(stored[...], x)
    both = np.memmap(tmp_path / "both", np.float32, "w+", shape=(2, 3, 400))
    both[0] = x[0]
    again = np.memmap(tmp_path / "both", np.float32, "r", shape=(2, 3, 400))
    convpp.conv_tiled(again[0], w[:3], out=both[1], **how)  # other bytes of one file
    assert_exact(both[1], want[0, :3])


def test_masks_of_what_is_read_are_not_lost() -> None:
    class Hides(Sliced):
        """As netCDF's variables, which hide their fill value."""

        def __getitem__(self, place: Any) -> Any:
            return np.ma.masked_equal(super().__getitem__(place), -999)

    x = np.array([[[1, 2, 3, 4, 5, 6]]], np.float32)
    w = np.ones((1, 1, 2), np.float32)
    assert_exact(convpp.conv_tiled(Hides(x), w), convpp.conv(x, w))
    x[0, 0, 2] = -999
    for call in (lambda: convpp.conv_tiled(Hides(x), w), lambda: convpp.convolve_tiled(Hides(x), w[0, 0])):
        with pytest.raises(OSError, match=r"cannot be read .* it gives masked arrays, expected numbers"):
            call()
