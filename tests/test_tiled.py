"""``conv_tiled`` and its gradients: the values, bits and errors of their namesakes, from arrays that are only sliced.

Files, and work that is interrupted: test_tiled_files.py.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convpp
from convpp._call.planning import PASSES
from convpp._call.validation import dtype_from
from geometry import (
    LAYOUTS,
    Array,
    Geometry,
    assert_exact,
    failures_name,
    in_layout,
    integers,
    normal,
    pick,
    with_modes,
)
from layer_kinds import draw_layer
from signatures import keywords_of
from tilings import CONV, draw_chunks, draw_small

TILED = {
    "forward": convpp.conv_tiled,
    "input_grad": convpp.conv_input_grad_tiled,
    "weight_grad": convpp.conv_weight_grad_tiled,
}


class Sliced:
    """An array of which parts are read, and nothing else; it lists them."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.shape = array.shape
        self.dtype = array.dtype
        self.read: list[Any] = []

    def __getitem__(self, place: Any) -> Array:
        assert isinstance(place, tuple)
        assert all(type(part) is slice and part.step is None and part.start < part.stop for part in place)
        self.read.append(place)
        return self._array[place]


def arguments(op: str, x: Any, w: Any, dy: Any, shapes: tuple[Any, Any]) -> tuple[Any, ...]:
    return {"forward": (x, w), "input_grad": (dy, w, shapes[0]), "weight_grad": (dy, x, shapes[1])}[op]


def drawn_arrays(rng: np.random.Generator, g: Geometry, layout: str, dtype: str, fill: Any) -> tuple[Array, ...]:
    of = dtype_from(dtype)
    x, w, dy = fill(rng, g.x_shape()), fill(rng, g.w_shape), fill(rng, g.y_shape())
    return in_layout(x.astype(of), layout, g.rank), w.astype(of), in_layout(dy.astype(of), layout, g.rank)


@pytest.mark.parametrize("batch", range(6))
@pytest.mark.parametrize("op", PASSES)
def test_results_are_those_of_the_whole(op: str, batch: int) -> None:
    """The bits of y and dx; of dw, whole numbers."""
    rng = np.random.default_rng((40, batch))
    for i in range(12):
        g = draw_small(rng) if i % 2 else with_modes(rng, draw_layer(rng))
        layout, dtype = pick(rng, LAYOUTS), pick(rng, ("float32", "float64", "float16", "bfloat16"))
        dtype = dtype if op != "weight_grad" else g.dtype
        x, w, dy = drawn_arrays(rng, g, layout, dtype, integers if op == "weight_grad" else normal)
        keywords = g.keywords(layout)
        want = CONV[op](*arguments(op, x, w, dy, (x.shape, w.shape)), **keywords, algorithm="stream")
        chunks = draw_chunks(rng, g, layout, op)
        sliced = Sliced(x), w, Sliced(dy)
        how: dict[str, Any] = {"chunks": chunks, "threads": int(rng.integers(1, 3))}
        with failures_name(g, layout, chunks):
            got = TILED[op](*arguments(op, *sliced, (x.shape, w.shape)), **keywords, **how)
            assert_exact(got, want)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_bias_activation_and_residual(dtype: str, layout: Any) -> None:
    rng = np.random.default_rng(41)
    g = Geometry(3, 4, 6, (17, 15), (3, 2), stride=(2, 1), padding=2, groups=2, dtype=dtype)
    x, w, add = drawn_arrays(rng, g, layout, dtype, normal)
    bias = rng.standard_normal(6).astype(w.dtype)
    for activation in (None, "silu", ("clip", -1.0, 1.0)):
        options: dict[str, Any] = {**g.keywords(layout), "activation": activation}
        want = convpp.conv(x, w, bias, **options, add=add, algorithm="stream")
        got = convpp.conv_tiled(
            Sliced(x), w, bias, **options, add=Sliced(add), chunks=draw_chunks(rng, g, layout, "forward")
        )
        assert_exact(got, want)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", ["forward", "input_grad"])
def test_sums_of_bfloat16_are_in_the_same_order_for_any_groups_and_filters_of_a_block(op: Any, layout: Any) -> None:
    """A result of float32 shows it; whether channels are added in pairs must look at no extent that chunks cut."""
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    rng = np.random.default_rng(46)
    for _ in range(40):
        groups, of_c, of_k = (int(pick(rng, (1, 2, 3, 4, 6, 8))) for _ in range(3))
        x_shape = (2, groups * of_c, 13, 7) if layout == "channels_first" else (2, 13, 7, groups * of_c)
        w = rng.standard_normal((groups * of_k, of_c, 3, int(pick(rng, (1, 2))))).astype(bfloat16)
        options: dict[str, Any] = {"stride": (int(pick(rng, (1, 3))), 1), "groups": groups, "layout": layout}
        y_shape = convpp.conv_output_shape(x_shape, w.shape, **options)
        source = rng.standard_normal(x_shape if op == "forward" else y_shape).astype(bfloat16)
        given = arguments(op, source, w, source, (x_shape, w.shape))
        result = y_shape if op == "forward" else x_shape
        want = CONV[op](*given, **options, algorithm="stream", out=np.empty(result, np.float32))
        for channels in (1, -1):
            chunks = (1, channels, 2, -1) if layout == "channels_first" else (1, 2, -1, channels)
            got = TILED[op](*given, **options, chunks=chunks, out=np.empty(result, np.float32))
            assert_exact(got, want)


@pytest.mark.parametrize("op", PASSES)
def test_samples_with_weights_of_their_own(op: str) -> None:
    rng = np.random.default_rng(42)
    x, w = integers(rng, (5, 4, 12)), integers(rng, (5, 6, 2, 3))
    options: dict[str, Any] = {"groups": 2, "per_sample": True, "padding": 1, "padding_mode": "reflect"}
    dy = integers(rng, convpp.conv(x, w, **options).shape)
    given = arguments(op, x, w, dy, (x.shape, w.shape))
    assert_exact(
        TILED[op](*given, **options, chunks=(2, 3 if op != "input_grad" else 2, 5)), CONV[op](*given, **options)
    )


@pytest.mark.parametrize("chunks", ["3 KiB", 3000, (1, -1, 5, 9), ((1, 1), (4,), (3, 7), (10,))])
def test_chunks(chunks: Any) -> None:
    rng = np.random.default_rng(43)
    x, w = integers(rng, (2, 3, 10, 10)), integers(rng, (4, 3, 3, 3))
    assert_exact(convpp.conv_tiled(x, w, padding=1, chunks=chunks), convpp.conv(x, w, padding=1))


def test_the_default_algorithm_is_direct_and_others_are_asked_for_by_name() -> None:
    rng = np.random.default_rng(44)
    x, w = rng.standard_normal((1, 32, 40, 40)), rng.standard_normal((32, 32, 3, 3))
    want = convpp.conv(x, w, algorithm="stream")
    for algorithm in ("auto", "direct", "stream"):
        assert_exact(convpp.conv_tiled(x, w, algorithm=algorithm, chunks="200 KiB"), want)
    for algorithm in ("winograd", "fft"):
        got = convpp.conv_tiled(x, w, algorithm=algorithm, chunks="200 KiB")
        assert not np.array_equal(got, want)
        assert np.allclose(got, want, rtol=1e-9, atol=1e-11)
    with convpp.algorithm("winograd"):
        assert not np.array_equal(convpp.conv_tiled(x, w, chunks="200 KiB"), want)


def test_dw_has_the_bits_of_its_tree_for_any_threads() -> None:
    rng = np.random.default_rng(45)
    x, dy = rng.standard_normal((7, 3, 40)).astype(np.float32), rng.standard_normal((7, 5, 38)).astype(np.float32)
    one, two = (convpp.conv_weight_grad_tiled(dy, x, (5, 3, 3), chunks=(2, 5, 11), threads=n) for n in (1, 2))
    assert one.tobytes() == two.tobytes()
    made = convpp.tiles("weight_grad", x.shape, (5, 3, 3), (2, 5, 11))
    level = [
        convpp.conv_weight_grad(dy[b.sources["dy"][0].slices[0], :, b.sources["dy"][2].slices[0]],
                                x[b.sources["x"][0].slices[0], :, b.sources["x"][2].slices[0]], (5, 3, 3))
        for b in made
    ]  # fmt: skip
    for number in range(1, len(made.tree.levels)):
        level = [sum((level[i] for i in made.tree.children(number, at)), np.float32(0))
                 for at in range(made.tree.levels[number])]  # fmt: skip
    assert_exact(level[0], one)


@pytest.mark.parametrize("byte_order", [">", "<"])
def test_sources_of_any_byte_order_strides_and_type(byte_order: str) -> None:
    rng = np.random.default_rng(46)
    x, w = integers(rng, (2, 3, 30)), integers(rng, (4, 3, 5), "float32")
    stored = np.asfortranarray(x.astype(f"{byte_order}f4"))
    got = convpp.conv_tiled(Sliced(stored), w, chunks=(1, 4, 9))
    assert_exact(got, convpp.conv(x.astype(np.float32), w))
    mixed = convpp.conv_tiled(x, w, chunks=(1, 4, 9))
    assert mixed.dtype == np.float64
    assert_exact(mixed, convpp.conv(x, w))


def test_what_is_read_is_the_blocks_and_their_halo() -> None:
    x = Sliced(np.ones((1, 2, 100, 50), np.float32))
    convpp.conv_tiled(x, np.ones((3, 2, 5, 5), np.float32), padding=2, chunks=(1, 3, 25, -1))
    assert [place[2] for place in x.read] == [slice(0, 27), slice(23, 52), slice(48, 77), slice(73, 100)]
    assert sum(place[2].stop - place[2].start for place in x.read) == 100 + 3 * 4


def test_memory_is_bounded_by_the_chunks(tmp_path: Path) -> None:
    """48 MiB go through: beside a block's parts there are those that are read ahead."""
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=(1, 1, 4096, 3072))
    x[:, :, ::511] = 1
    w = np.ones((1, 1, 5, 5), np.float32)
    tracemalloc.start()
    try:
        y = convpp.conv_tiled(x, w, padding=2, chunks="1 MiB", out=tmp_path / "y.npy")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20
    assert np.array_equal(y, convpp.conv(x, w, padding=2))


def test_options_are_those_of_the_namesakes() -> None:
    own = {"chunks", "resume", "progress"}
    assert keywords_of("conv_tiled") == (keywords_of("conv") - {"state"}) | own
    for name in ("conv_input_grad", "conv_weight_grad"):  # what is added to a file could not be taken up again
        assert keywords_of(f"{name}_tiled") == (keywords_of(name) - {"accumulate"}) | own


X, W = np.ones((2, 4, 9), np.float32), np.ones((6, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("error", "message", "changed"),
    [
        (ValueError, "chunks is 'much', expected memory", {"chunks": "much"}),
        (ValueError, "chunks is 8 bytes, expected", {"chunks": 8}),
        (ValueError, "out is 'y.txt', expected a path that ends in .npy or .zarr", {"out": "y.txt"}),
        (ValueError, "resume is True, expected out to be a path", {"resume": True}),
        (ValueError, "resume is 1, expected True or False", {"resume": 1}),
        (ValueError, "out overlaps x", {"w": W[:4, :, :1], "out": X}),
        (convpp.DTypeError, "out has dtype float64, expected float32", {"out": np.ones((2, 6, 5))}),
        (convpp.DTypeError, "out is a list", {"out": []}),
        (convpp.ShapeError, "out has shape", {"out": np.ones((2, 6, 4), np.float32)}),
        (convpp.ShapeError, "bias has shape", {"bias": np.ones(5, np.float32)}),
        (convpp.ShapeError, "add has shape", {"add": np.ones(5, np.float32)}),
        (convpp.ShapeError, "x has shape|w has shape", {"w": np.ones((6, 3, 5), np.float32)}),
        (convpp.DTypeError, "x has dtype int64", {"x": Sliced(np.ones((2, 4, 9), int))}),
        (ValueError, "activation is 'tanh'", {"activation": "tanh"}),
        (ValueError, "threads", {"threads": 0}),
    ],
)
def test_errors(error: type[Exception], message: str, changed: dict[str, Any]) -> None:
    call: dict[str, Any] = {"x": X, "w": W, "chunks": (1, 6, 3)} | changed
    with pytest.raises(error, match=message):
        convpp.conv_tiled(**call)


def test_a_dy_of_another_shape() -> None:
    with pytest.raises(convpp.ShapeError, match="dy has shape"):
        convpp.conv_input_grad_tiled(np.ones((2, 6, 6), np.float32), W, (2, 4, 9))
    with pytest.raises(convpp.ShapeError, match="dy has shape"):
        convpp.conv_weight_grad_tiled(np.ones((2, 6, 6), np.float32), X, W.shape)


class Broken(Sliced):
    """An element of it cannot be read."""

    def __getitem__(self, place: Any) -> Array:
        if place[2].start <= 50 < place[2].stop:
            raise ValueError("checksum does not match")
        return super().__getitem__(place)


def test_a_part_that_cannot_be_read_names_the_block() -> None:
    x = Broken(np.ones((1, 2, 100), np.float32))
    message = (
        r"x cannot be read for block \(0, 0, 2\) of the result \(result\[0:1, 0:3, 40:60\]\): ValueError: checksum"
    )
    with pytest.raises(OSError, match=message):
        convpp.conv_tiled(x, np.ones((3, 2, 1), np.float32), chunks=(1, 3, 20))


class Full(Sliced):
    """An output whose disk is full."""

    def __setitem__(self, place: Any, values: Array) -> None:
        if place[2].start:
            raise OSError(28, "No space left on device")


def test_a_full_disk_names_the_block() -> None:
    out = Full(np.ones((1, 3, 100), np.float32))
    with pytest.raises(OSError, match=r"out cannot be written for block \(0, 0, 1\).*No space left") as caught:
        convpp.conv_tiled(np.ones((1, 2, 100), np.float32), np.ones((3, 2, 1), np.float32), chunks=(1, 3, 20), out=out)
    assert caught.value.errno == 28


def test_progress_needs_tqdm_and_shows_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    convpp.conv_tiled(X, W, chunks=(1, 6, 3), progress=True)
    assert "4/4" in capsys.readouterr().err
