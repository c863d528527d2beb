"""`convpp.dask`: values exactly those of whole arrays, however arrays are chunked; bits; adjoints; types.

What a task reads, and that nothing happens before it is asked for: test_dask_graph.py; on processes, and when one of
them dies: test_dask_distributed.py; arrays without channels: test_dask_plain.py; errors: test_dask_errors.py.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dask.array")

import dask
import dask.array as da

import convpp
import convpp.dask
from convpp._call.planning import PASSES
from convpp._call.validation import dtype_from
from convpp.tiling.tree import TreeSum
from dasks import lazy_result, randomly_chunked
from geometry import LAYOUTS, assert_exact, failures_name, in_layout, make_case, normal, pick
from layer_kinds import draw_layer
from tilings import arrays_of, draw_small, draw_tiled

BATCHES, BATCH_SIZE = 10, 10


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.mark.parametrize("batch", range(BATCHES))
def test_whole_numbers_are_exact_in_any_chunks(batch: int) -> None:
    rng = np.random.default_rng((40, batch))
    for _ in range(BATCH_SIZE):
        case = make_case(draw_small(rng), rng)
        g = case.geometry
        for op in PASSES:
            tiled = draw_tiled(rng, op, g)
            x, dy, y, dx = (in_layout(a, tiled.layout, g.rank) for a in (case.x, case.dy, case.y, case.dx))
            want = {"forward": y, "input_grad": dx, "weight_grad": case.dw}[tiled.core]
            with failures_name(tiled):
                got = lazy_result(rng, tiled, tiled.sources(x, case.w, dy))
                assert (got.shape, got.dtype) == (want.shape, want.dtype)
                assert_exact(got.compute(), want)
    assert BATCHES * BATCH_SIZE * len(PASSES) >= 300


@pytest.mark.parametrize("batch", range(4))
def test_bits_of_y_and_dx_do_not_depend_on_chunks(batch: int) -> None:
    rng = np.random.default_rng((41, batch))
    for i in range(15):
        geometry = draw_small(rng) if i % 3 else draw_layer(rng)
        for op in ("forward", "input_grad"):
            tiled = draw_tiled(rng, op, geometry)
            arrays = arrays_of(rng, tiled, normal, pick(rng, ("float32", "float64", "float16", "bfloat16")))
            with failures_name(tiled):
                assert_exact(lazy_result(rng, tiled, arrays).compute(), tiled.call(arrays, "stream"))


def test_dw_is_the_tree_over_the_chunks_of_dy() -> None:
    rng = np.random.default_rng(42)
    x, dy = rng.standard_normal((3, 4, 20, 21)), rng.standard_normal((3, 6, 20, 21))
    chunks = ((1, 2), (6,), (3, 9, 8), (5, 5, 5, 6))
    lazy = convpp.dask.conv_weight_grad(
        da.from_array(dy, chunks=chunks), randomly_chunked(rng, x), (6, 4, 3, 3), padding=1
    )
    total = TreeSum()
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for n in (slice(0, 1), slice(1, 3)):
        for h, heights in zip((0, 3, 12), chunks[2], strict=True):
            for v, widths in zip((0, 5, 10, 15), chunks[3], strict=True):
                part = padded[n, :, h : h + heights + 2, v : v + widths + 2]
                of = dy[n, :, h : h + heights, v : v + widths]
                total.add(convpp.conv_weight_grad(of, part, (6, 4, 3, 3), algorithm="stream", threads=1))
    want = total.result()
    for scheduler, workers in (("synchronous", 1), ("threads", 2), ("threads", 4)):
        assert lazy.compute(scheduler=scheduler, num_workers=workers).tobytes() == want.tobytes()


@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_halves_are_added_in_float32(half: str) -> None:
    of = dtype_from(half)
    ones = da.ones((1, 1, 4096), chunks=(1, 1, 64)).astype(of)
    dw = convpp.dask.conv_weight_grad(ones, ones, (1, 1, 1))
    db = convpp.dask.conv_bias_grad(ones)
    for got in (dw, db):
        assert got.dtype == of
        assert float(got.compute().ravel()[0]) == 4096


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_gradients_are_adjoint(layout: str, mode: str) -> None:
    """<dy, conv(x, w)> is <dx, x> and <dw, w>, exactly in whole numbers, all of it in one graph."""
    rng = np.random.default_rng(43)
    for _ in range(5):
        geometry = replace(draw_small(rng), padding_mode=mode, dtype="float64")
        if mode != "zeros" and 0 in geometry.spatial:
            continue
        case = make_case(geometry, rng)
        x, dy = (in_layout(a, layout, geometry.rank) for a in (case.x, case.dy))
        x, dy, w = (randomly_chunked(rng, a) for a in (x, dy, case.w))
        options = {**geometry.keywords(layout)}
        y = convpp.dask.conv(x, case.w, **options)
        axis = dy.ndim - 1 if layout == "channels_last" else dy.ndim - 1 - geometry.rank
        if geometry.groups > 1:  # (a chunk of dx or dw is of whole groups, or of one)
            x, dy = (a.rechunk({axis: max(a.shape[axis] // geometry.groups, 1)}) for a in (x, dy))
        dx, dw, db = convpp.dask.conv_backward(dy, x, case.w, **options)
        assert dx.chunks == x.chunks
        of_y, of_x, of_w = dask.compute((dy * y).sum(), (dx * x).sum(), (dw * w).sum())
        assert of_y == of_x == of_w
        assert_exact(db.compute(), dy.sum(axis=tuple(a for a in range(dy.ndim) if a != axis)).compute())


@pytest.mark.parametrize("shape", [(5, 3, 2, 2), (4, 5, 3, 2, 2)])
def test_gradients_of_samples(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(47)
    x, w = rng.integers(-3, 4, (4, 3, 7, 6)).astype(float), rng.integers(-3, 4, shape).astype(float)
    dy = rng.integers(-3, 4, (4, 5, 6, 5)).astype(float)
    want = convpp.conv_backward(dy, x, w, per_sample=True)
    got = convpp.dask.conv_backward(randomly_chunked(rng, dy), randomly_chunked(rng, x), w, per_sample=True)
    for ours, theirs in zip(dask.compute(*got), want, strict=True):
        assert_exact(ours, theirs)


def test_transposed_gradients_are_adjoint() -> None:
    rng = np.random.default_rng(44)
    x, w = rng.integers(-3, 4, (2, 4, 7, 6)).astype(float), rng.integers(-3, 4, (4, 3, 3, 2)).astype(float)
    options: dict[str, Any] = {"stride": (2, 3), "padding": 1, "output_padding": (1, 0), "groups": 2}
    dy = rng.integers(-3, 4, convpp.conv_transpose(x, w, **options).shape).astype(float)
    lazy_x = da.from_array(x, chunks=(1, 2, 3, 4))
    lazy_dy = da.from_array(dy, chunks=(2, 3, 4, 4))
    got = dask.compute(*convpp.dask.conv_transpose_backward(lazy_dy, lazy_x, w, **options))
    for ours, want in zip(got, convpp.conv_transpose_backward(dy, x, w, **options), strict=True):
        assert_exact(ours, want)
    y = convpp.dask.conv_transpose(lazy_x, w, **options)
    assert float((y * lazy_dy).sum()) == float((lazy_x * got[0]).sum())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bias_residual_and_activation(layout: str) -> None:
    rng = np.random.default_rng(45)
    x = in_layout(rng.integers(-3, 4, (3, 4, 9, 8)).astype("f4"), layout, 2)
    w, bias = rng.integers(-3, 4, (6, 2, 3, 3)).astype("f4"), rng.integers(-9, 9, 6).astype("f4")
    options: dict[str, Any] = {"padding": 2, "groups": 2, "layout": layout, "activation": "relu"}
    add = rng.integers(-3, 4, convpp.conv(x, w, **options).shape).astype("f4")
    want = convpp.conv(x, w, bias, add=add, **options)
    lazy = randomly_chunked(rng, x)
    y = convpp.dask.conv(lazy, w, bias, add=add, **options)
    assert_exact(y.compute(), want)
    of_dask = da.from_array(w, chunks=(3, 1, 2, 3)), da.from_array(bias, chunks=4)
    y = convpp.dask.conv(lazy, *of_dask, add=da.from_array(add, chunks=y.chunks), chunks=y.chunks, **options)
    assert_exact(y.compute(), want)


def test_samples_with_weights_of_their_own() -> None:
    rng = np.random.default_rng(46)
    x, w = rng.integers(-3, 4, (3, 4, 9, 8)).astype("f4"), rng.integers(-3, 4, (3, 6, 2, 3, 3)).astype("f4")
    options: dict[str, Any] = {"padding": 1, "groups": 2, "per_sample": True}
    y, lazy = convpp.conv(x, w, **options), da.from_array(x, chunks=(2, 2, 4, 4))
    for weights in (w, da.from_array(w, chunks=(1, 3, 1, 2, 2))):
        assert_exact(convpp.dask.conv(lazy, weights, **options).compute(), y)
    lazy_y = da.from_array(y, chunks=(2, 3, 4, 8))
    dx = convpp.dask.conv_input_grad(lazy_y, w, x.shape, **options)
    assert_exact(dx.compute(), convpp.conv_input_grad(y, w, x.shape, **options))
    dw = convpp.dask.conv_weight_grad(lazy_y, lazy, w.shape, **options)
    assert dw.chunks[:2] == ((2, 1), (3, 3))
    assert_exact(dw.compute(), convpp.conv_weight_grad(y, x, w.shape, **options))
    db = convpp.dask.conv_bias_grad(lazy_y, per_sample=True)
    assert_exact(db.compute(), convpp.conv_bias_grad(y, per_sample=True))


@pytest.mark.parametrize("of", ["float32", "float64", "float16", "bfloat16"])
def test_types_are_those_of_conv(of: str) -> None:
    dtype = dtype_from(of)
    x, w = da.ones((1, 2, 6), chunks=3).astype(dtype), np.ones((2, 2, 3), np.float32)
    assert convpp.dask.conv(x, w).dtype == convpp.conv(np.ones((1, 2, 6), dtype), w).dtype
    assert convpp.dask.conv(x, w.astype(dtype)).dtype == dtype
    y = convpp.dask.conv(x, w.astype(dtype)).compute()
    assert y.dtype == dtype
    assert np.all(y.astype(float) == 6)


def test_one_sample_without_n_and_empty_arrays() -> None:
    x, w = da.ones((2, 5, 5), chunks=(1, 2, 3)), np.ones((3, 2, 2, 2))
    assert_exact(convpp.dask.conv(x, w).compute(), np.full((3, 4, 4), 8.0))
    empty = da.ones((0, 2, 5, 5), chunks=(1, 1, 2, 2))
    assert convpp.dask.conv(empty, w).compute().shape == (0, 3, 4, 4)
    assert_exact(convpp.dask.conv(empty[:0], w, np.ones(3)).compute(), np.empty((0, 3, 4, 4)))
    gaps = da.ones((2, 2, 5, 5), chunks=((0, 1, 0, 1), (2, 0), (0, 2, 0, 3), (5, 0)))
    y = convpp.dask.conv(gaps, w)
    assert_exact(y.compute(), np.full((2, 3, 4, 4), 8.0))
    dy = da.ones(y.shape, chunks=((1, 0, 1), (3,), (0, 4), (4,)))
    assert_exact(convpp.dask.conv_weight_grad(dy, gaps, w.shape).compute(), np.full(w.shape, 32.0))
    assert_exact(convpp.dask.conv_bias_grad(dy).compute(), np.full(3, 32.0))
    dw = convpp.dask.conv_weight_grad(da.ones((0, 3, 4, 4)), empty, w.shape)
    assert_exact(dw.compute(), np.zeros(w.shape))


#: Arrays that are written into, and signals in a stream, are no matter of dask's.
NOT_LAZY = {"out", "accumulate", "state"}


@pytest.mark.parametrize("name", convpp.dask.__all__)
def test_options_are_those_of_arrays_in_memory(name: str) -> None:
    ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (convpp.dask, convpp))
    own = {"chunks"} if "chunks" in ours else set()
    less = {"threads"} if name == "conv_bias_grad" else set()
    assert set(ours) - own == set(theirs) - NOT_LAZY - less
    assert [p for p in ours if p not in own] == [p for p in theirs if p in ours]
