"""What graphs of `convpp.dask` are like: lazy, of one layer, with chunks that follow, and tasks that read what they
need.

Values: test_dask.py.
"""

from __future__ import annotations

import itertools
import pickle
import weakref
from typing import Any

import numpy as np
import pytest

pytest.importorskip("dask.array")

import dask
import dask.array as da
from dask.graph_manipulation import bind, clone

import convpp
import convpp.dask
from convpp.dask.layer import BlockLayer

W = np.ones((1, 1, 3, 3), np.float32)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    with dask.config.set(scheduler="synchronous"):
        yield


def unreadable(chunks: tuple[tuple[int, ...], ...], bad: tuple[int, ...] | None = None) -> da.Array:
    """Ones; the chunk ``bad`` (or each) raises when it is computed."""

    def chunk(block_info: Any = None) -> Any:
        if bad is None or tuple(block_info[None]["chunk-location"]) == bad:
            raise OSError(f"chunk {block_info[None]['chunk-location']} cannot be read")
        return np.ones(block_info[None]["chunk-shape"], np.float32)

    return da.map_blocks(chunk, chunks=chunks, dtype=np.float32, meta=np.empty((0,) * len(chunks), np.float32))


def reads(y: da.Array, x: da.Array, index: tuple[int, ...]) -> dict[tuple[int, ...], bool]:
    """The chunks of x that a block reads, and whether it reads the chunk itself (else a part that was cut out)."""
    layer = y.dask.layers[y.name]
    assert isinstance(layer, BlockLayer)
    found = {}
    for key in layer[(y.name, *index)].dependencies:
        if key[0] == x.name:
            found[key[1:]] = True
        elif "-halos-of-" in key[0]:
            assert layer[key].dependencies == {("convpp-conv-plan-" + y.name.rsplit("-", 1)[1],), (x.name, *key[1:])}
            found[key[1:]] = False
    return found


def around(rows: range, columns: range) -> set[tuple[int, ...]]:
    return {(0, 0, row, column) for row, column in itertools.product(rows, columns)}


# ---------------------------------------------------------------- laziness


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    x, dy = unreadable(((2, 2), (3,), (5, 5), (5, 5))), unreadable(((2, 2), (4,), (5, 5), (10,)))
    w = np.ones((4, 3, 3, 3), np.float32)
    results = [
        convpp.dask.conv(x, w, padding=1),
        *convpp.dask.conv_backward(dy, x, w, padding=1),
        convpp.dask.conv_transpose(x, w.swapaxes(0, 1)),
        convpp.dask.convolve(x, w[0, 0], mode="same"),
    ]
    for result in results:
        assert result is not None
        assert result.dtype == np.float32
        with pytest.raises(OSError, match="cannot be read"):
            result.compute()


def test_only_what_is_asked_for_is_read() -> None:
    x = unreadable(((1,), (1,), (8,) * 5, (8,) * 5), bad=(0, 0, 0, 0))
    y = convpp.dask.conv(x, W, padding=1)
    assert np.all(y[0, 0, 17:39, 17:39].compute() == 9)
    with pytest.raises(OSError, match=r"\(0, 0, 0, 0\) cannot be read"):
        y[0, 0, 8, 8].compute()


def test_chunks_are_let_go_when_they_were_read() -> None:
    """Of 576 chunks, about two rows are there at a time (and not what overlapping them would keep)."""
    alive: set[object] = set()
    most = 0

    def chunk(block_info: Any = None) -> Any:
        nonlocal most
        array, one = np.ones(block_info[None]["chunk-shape"], np.float32), object()
        alive.add(one)
        most = max(most, len(alive))
        weakref.finalize(array, alive.discard, one)
        return array

    x = da.map_blocks(chunk, chunks=((1,), (1,), (8,) * 24, (8,) * 24), dtype="f4", meta=np.empty((0,) * 4, "f4"))
    total = convpp.dask.conv(x, W, padding=1).sum()
    assert total.compute() == (3 * 192 - 2) ** 2
    assert 24 <= most <= 4 * 24


# ---------------------------------------------------------------- one layer, no rechunk


def test_a_result_is_one_layer_upon_those_of_its_operands() -> None:
    x = da.ones((2, 4, 30, 30), chunks=(1, 2, 7, 11), dtype=np.float32)
    y = convpp.dask.conv(x, np.ones((4, 4, 3, 3), np.float32), padding=1)
    assert set(y.dask.layers) == {x.name, y.name}
    dw = convpp.dask.conv_weight_grad(y, x, (4, 4, 3, 3), padding=1)
    assert set(dw.dask.layers) == {x.name, y.name, dw.name}
    assert not any("rechunk" in str(key) or "concatenate" in str(key) for key in dict(dw.dask))


def test_tasks_are_made_when_they_are_needed() -> None:
    """A graph of a hundred thousand chunks is made, and sent, as fast as one of a few."""
    x = da.zeros((1, 1, 50_000, 10_000), chunks=(1, 1, 50, 100), dtype=np.float32)
    y = convpp.dask.conv(x, W, padding=1)
    layer = y.dask.layers[y.name]
    assert y.npartitions == 100_000
    assert not layer.is_materialized()
    assert len(pickle.dumps(layer)) < 50_000
    corner = layer.cull({(y.name, 0, 0, 0, 0)}, set())[0]
    assert len(corner) == 5  # the block, its plan, and halos of three chunks
    assert y[0, 0, :2, :2].compute().tolist() == [[0, 0], [0, 0]]


def test_graphs_are_shown_and_checked() -> None:
    x = da.ones((1, 1, 9, 9), chunks=(1, 1, 4, 5))
    for y in (convpp.dask.conv(x, W, padding=1), convpp.dask.conv_weight_grad(x, x, (1, 1, 3, 3), padding=1)):
        y.dask.validate()
        assert "BlockLayer" in y.dask._repr_html_() or "SumLayer" in y.dask._repr_html_()
        assert "chunks" in repr(y.dask.layers[y.name])
        assert y.persist().compute().sum() == y.sum().compute()
        assert dask.optimize(y)[0].compute().sum() == y.sum().compute()


def test_the_same_call_has_the_same_name() -> None:
    x = da.ones((1, 1, 9, 9), chunks=3)
    y = convpp.dask.conv(x, W, padding=1)
    assert y.name == convpp.dask.conv(x, W.copy(), padding=1).name
    others = [
        convpp.dask.conv(x, W, padding=2),
        convpp.dask.conv(x, 2 * W, padding=1),
        convpp.dask.conv(x + 1, W, padding=1),
    ]
    others += [convpp.dask.conv(x, W, padding=1, activation="relu"), convpp.dask.conv(x, W, np.ones(1), padding=1)]
    assert len({y.name, *(other.name for other in others)}) == 6


def test_layers_are_cloned_and_bound() -> None:
    x = da.from_array(np.arange(81.0).reshape(1, 1, 9, 9), chunks=(1, 1, 4, 5))
    for y in (convpp.dask.conv(x, W, padding=1), convpp.dask.conv_weight_grad(x, x, (1, 1, 3, 3), padding=1)):
        for other in (
            clone(y, seed=1),
            clone(y, omit=x, seed=1),
            bind(y, da.zeros(3), seed=1),
            bind(y, da.zeros(3), omit=x, seed=1),
        ):
            assert other.name != y.name
            assert np.array_equal(other.compute(), y.compute())
        assert np.array_equal(pickle.loads(pickle.dumps(y)).compute(), y.compute())


def test_a_layer_is_a_mapping_of_its_tasks() -> None:
    x = da.ones((1, 1, 9, 9), chunks=(1, 1, 4, 5))
    for y in (convpp.dask.conv(x, W, padding=1), convpp.dask.conv_weight_grad(x, x, (1, 1, 3, 3), padding=1)):
        layer = y.dask.layers[y.name]
        tasks = dict(layer)
        assert len(tasks) == len(layer)
        assert set(layer.get_output_keys()) == set(dask.core.flatten(y.__dask_keys__()))
        for key, task in tasks.items():
            assert key in layer
            assert task.dependencies <= tasks.keys() | set(dask.core.flatten(x.__dask_keys__()))
        for key in ("x", (), (y.name, 9, 9, 9, 9), (x.name, 0, 0, 0, 0), (y.name, 0), 3):
            assert key not in layer
            with pytest.raises(KeyError):
                layer[key]


# ---------------------------------------------------------------- what a task reads


def test_a_block_reads_its_chunk_and_halos_of_those_around() -> None:
    x = da.ones((1, 1, 40, 40), chunks=(1, 1, 10, 10), dtype=np.float32)
    y = convpp.dask.conv(x, W, padding=1)
    got = reads(y, x, (0, 0, 1, 2))
    assert set(got) == around(range(3), range(1, 4))
    assert [key for key, whole in got.items() if whole] == [(0, 0, 1, 2)]
    assert set(reads(y, x, (0, 0, 0, 3))) == around(range(2), range(2, 4))  # one-sided at the ends


def test_halos_are_as_long_as_they_are_needed() -> None:
    """Parts of a chunk that its neighbours get, by their extents."""
    x = da.ones((1, 1, 40, 40), chunks=(1, 1, 10, 10), dtype=np.float32)
    y = convpp.dask.conv(x, np.ones((1, 1, 3, 1)), padding=((2, 0), (0, 0)), dilation=(1, 1))
    layer = y.dask.layers[y.name]
    [operand] = layer.plan.operands
    assert layer.plan.hulls(operand, (0, 0, 1, 1)) == [((0, 1), (0, 1), (8, 10), (0, 10))]  # causal: for the next ones
    assert layer.plan.hulls(operand, (0, 0, 3, 1)) == []
    key = next(key for key in layer if "-halos-of-x-" in key[0])
    chunk = np.arange(100.0).reshape(1, 1, 10, 10)
    task = layer[key]
    [(hull, part)] = task(
        {("convpp-conv-plan-" + y.name.rsplit("-", 1)[1],): layer.plan, (x.name, *key[1:]): chunk}
    ).items()
    assert hull == ((0, 1), (0, 1), (8, 10), (0, 10))
    assert part.tolist() == chunk[:, :, 8:].tolist()
    assert part.base is None  # a copy: the chunk need not be kept


@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect"])
def test_chunks_that_are_thinner_than_the_halo(mode: str) -> None:
    rng = np.random.default_rng(0)
    data, w = rng.integers(-4, 5, (1, 1, 24)).astype("f4"), rng.integers(-4, 5, (1, 1, 11)).astype("f4")
    x = da.from_array(data, chunks=(1, 1, (1, 1, 2, 1, 5, 1, 1, 1, 3, 8)))
    y = convpp.dask.conv(x, w, padding=5, padding_mode=mode)  # type: ignore[arg-type]
    assert y.chunks == x.chunks
    assert np.array_equal(y.compute(), convpp.conv(data, w, padding=5, padding_mode=mode))  # type: ignore[arg-type]
    got = reads(y, x, (0, 0, 4))  # elements 5 to 9 read 0 to 14
    assert sorted(key[2] for key in got) == list(range(9))


def test_a_stride_skips_chunks_that_nothing_reads() -> None:
    x = unreadable(((1,), (1,), (2,) * 8), bad=(0, 0, 3))
    y = convpp.dask.conv(x, np.ones((1, 1, 2)), stride=4)  # elements 0, 1, 4, 5, 8, 9, 12, 13
    assert y.compute().tolist() == [[[2, 2, 2, 2]]]
    assert y.chunks == ((1,), (1,), (1, 1, 1, 1))


def test_dx_gathers_what_it_needs_of_dy() -> None:
    dy = da.ones((1, 1, 12), chunks=(1, 1, 4))
    dx = convpp.dask.conv_input_grad(dy, np.ones((1, 1, 3)), (1, 1, 12), padding="causal")
    layer = dx.dask.layers[dx.name]
    read = [sorted(k[3] for k in layer[(dx.name, 0, 0, i)].dependencies if len(k) == 4) for i in range(3)]
    assert read == [[0, 1], [1, 2], [2]]  # dx[h] is a sum of dy[h] to dy[h + 2]


def test_channels_are_read_by_groups() -> None:
    x = da.ones((1, 8, 5), chunks=(1, 2, 5))
    y = convpp.dask.conv(x, np.ones((4, 4, 3)), groups=2)  # chunks of x end with a group after 4 channels
    assert y.chunks == ((1,), (2, 2), (3,))
    layer = y.dask.layers[y.name]
    assert sorted(k[2] for k in layer[(y.name, 0, 1, 0)].dependencies if k[0] == x.name) == [2, 3]


# ---------------------------------------------------------------- chunks of the result


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({"padding": "same"}, (10, 10, 5)),
        ({"padding": "same_lower"}, (10, 10, 5)),
        ({"padding": "causal"}, (10, 10, 5)),
        ({}, (8, 10, 3)),  # the kernel is centred two elements behind its first
        ({"padding": "full"}, (12, 10, 7)),
        ({"padding": "same", "stride": 2}, (5, 5, 3)),
        ({"padding": "same", "stride": 16}, (1, 1)),
        ({"padding": "same", "dilation": 2}, (10, 10, 5)),
        ({"padding": ((7, -3),)}, (10, 10, 5)),
        ({"padding": -8}, (5,)),  # of the chunks at the ends there is nothing left
    ],
)
def test_chunks_of_y_are_those_of_x(options: dict[str, Any], want: tuple[int, ...]) -> None:
    x = da.ones((2, 3, 25), chunks=((1, 1), (1, 2), (10, 10, 5)))
    y = convpp.dask.conv(x, np.ones((4, 3, 5)), **options)
    assert y.chunks == ((1, 1), (4,), want)
    dx = convpp.dask.conv_input_grad(y, np.ones((4, 3, 5)), x.shape, **options)
    assert dx.shape == x.shape
    if options.get("stride", 1) == 1 and len(want) == 3:
        assert dx.chunks[2] == (10, 10, 5)
    full = convpp.conv(np.ones((2, 3, 25)), np.ones((4, 3, 5)), **options)
    assert np.array_equal(y.compute(), full)


def test_chunks_of_filters_are_those_of_w() -> None:
    x, w = da.ones((1, 4, 6), chunks=(1, 2, 3)), da.ones((5, 4, 3), chunks=((2, 3), (1, 3), (2, 1)))
    y = convpp.dask.conv(x, w)
    assert y.chunks == ((1,), (2, 3), (2, 2))
    dx = convpp.dask.conv_input_grad(y, w, x.shape)
    assert dx.chunks == ((1,), (1, 3), (3, 3))
    assert np.array_equal(dx.compute(), convpp.conv_input_grad(y.compute(), w.compute(), x.shape))


def test_chunks_of_a_transposed_convolution_are_those_of_x_times_the_stride() -> None:
    x = da.ones((1, 2, 25), chunks=(1, 2, (10, 10, 5)))
    assert convpp.dask.conv_transpose(x, np.ones((2, 3, 2)), stride=2).chunks == ((1,), (3,), (20, 20, 10))
    assert convpp.dask.conv_transpose(x, np.ones((2, 3, 4)), stride=2, padding=1).chunks[2] == (20, 20, 10)
