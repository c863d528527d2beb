"""Signals in a stream: the bits of the whole signal for any cut, errors that say what a stream cannot have.

The whole signal is a stream of one chunk; that one is held to the reference, exactly on whole numbers.
Read next: test_streaming_plain.py (``convolve``), test_streaming_layers.py.
"""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convpp
from convpp._call.planning import PLANS
from convpp._call.validation import dtype_from
from convpp.testing import reference_conv

Array = npt.NDArray[Any]
DTYPES = ("float32", "float64", "float16", "bfloat16")


def chunks(x: Array, lengths: list[int], axis: int) -> list[Array]:
    """x cut after so many elements each; what is left is the last chunk."""
    return np.split(x, np.minimum(np.cumsum(lengths), x.shape[axis]).tolist(), axis=axis)


def in_stream(parts: list[Array], w: Array, bias: Array | None, axis: int, **options: Any) -> tuple[Array, Array]:
    state: Any = "zeros"
    out = []
    for x in parts:
        y, state = convpp.conv(x, w, bias, padding="causal", state=state, **options)
        out.append(y)
    return np.concatenate(out, axis), state


def same_bits(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@st.composite
def streams(draw: st.DrawFn) -> dict[str, Any]:
    groups = draw(st.sampled_from([1, 1, 2, 3, 64]))
    channels = groups * draw(st.integers(1, max(64 // groups, 1)))
    return {
        "dtype": draw(st.sampled_from(DTYPES)),
        "channels": channels,
        "filters": groups * draw(st.integers(1, 3)),
        "groups": groups,
        "taps": draw(st.sampled_from([1, 1, 2, 3, 4, 5, 17, 65, 130, 300, 700])),
        "dilation": draw(st.sampled_from([1, 1, 1, 2, 5, 40])),
        "length": draw(st.integers(0, 200)),
        "lengths": draw(st.lists(st.sampled_from([0, 1, 1, 2, 3, 7, 16, 33, 64, 100]), max_size=12)),
        "batch": draw(st.sampled_from([None, 1, 2])),
        "layout": draw(st.sampled_from(["channels_first", "channels_last"])),
        "flip": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "activation": draw(st.sampled_from([None, "silu", ("clip", -1.0, 1.0)])),
        "seed": draw(st.integers(0, 2**32)),
    }


@given(streams())
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_cut_has_the_bits_of_the_whole(given: dict[str, Any]) -> None:
    g = given
    rng, dtype = np.random.default_rng(g["seed"]), dtype_from(g["dtype"])
    last = g["layout"] == "channels_last"
    sample = (g["length"], g["channels"]) if last else (g["channels"], g["length"])
    shape = sample if g["batch"] is None else (g["batch"], *sample)
    axis = len(shape) - (2 if last else 1)
    x = rng.standard_normal(shape).astype(dtype)
    w = rng.standard_normal((g["filters"], g["channels"] // g["groups"], g["taps"])).astype(dtype)
    bias = rng.standard_normal(g["filters"]).astype(dtype) if g["bias"] else None
    options = {name: g[name] for name in ("groups", "dilation", "layout", "flip", "activation")}
    want, state = convpp.conv(x, w, bias, padding="causal", state="zeros", **options)
    got, last_state = in_stream(chunks(x, g["lengths"], axis), w, bias, axis, **options, threads=2)
    assert same_bits(got, want)
    assert same_bits(last_state, state)
    reach = g["dilation"] * (g["taps"] - 1)
    before = np.zeros((*shape[:axis], reach, *shape[axis + 1 :]), dtype)
    signal = np.concatenate([before, x], axis)
    assert same_bits(state, np.take(signal, range(g["length"], g["length"] + reach), axis))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
@pytest.mark.parametrize(("taps", "dilation", "groups"), [(1, 1, 1), (4, 1, 2), (3, 40, 1), (129, 1, 1), (33, 2, 2)])
def test_whole_numbers_are_exact(dtype: str, layout: Any, taps: int, dilation: int, groups: int) -> None:
    rng = np.random.default_rng(taps)
    shape = (2, 4, 150) if layout == "channels_first" else (2, 150, 4)
    axis = 2 if layout == "channels_first" else 1
    x = rng.integers(-2, 3, shape).astype(dtype_from(dtype))
    w = rng.integers(-1, 2, (6, 4 // groups, taps)).astype(dtype_from(dtype)) * (rng.random((6, 1, taps)) < 40 / taps)
    w = w.astype(dtype_from(dtype))
    options: dict[str, Any] = {"dilation": dilation, "groups": groups, "layout": layout}
    got, _ = in_stream(chunks(x, [1, 0, 17, 3, 64], axis), w, None, axis, **options)
    want = reference_conv(x.astype(np.float64), w.astype(np.float64), padding="causal", **options)
    assert np.array_equal(got.astype(np.float64), want)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [1, 2, 16])
@pytest.mark.parametrize("taps", [4, 65, 257])
def test_a_plain_direct_call_of_a_long_signal_has_the_same_bits(dtype: str, channels: int, taps: int) -> None:
    rng = np.random.default_rng(taps)
    x, w = (rng.standard_normal(s).astype(dtype) for s in ((1, channels, 4000), (channels, 1, taps)))
    got, _ = in_stream(chunks(x, [1000, 1, 511], 2), w, None, 2, groups=channels)
    reach = taps - 1
    whole = convpp.conv(x, w, padding="causal", groups=channels, algorithm="direct")
    assert same_bits(got[..., reach:].copy(), whole[..., reach:].copy())


def test_one_element_at_a_time_has_the_bits_of_the_whole_where_a_single_pixel_would_be_summed_in_lanes() -> None:
    rng = np.random.default_rng(3)
    for dtype in DTYPES:
        x = rng.standard_normal((1, 256, 9)).astype(dtype_from(dtype))
        w = rng.standard_normal((40, 256, 1)).astype(dtype_from(dtype))
        want, state = convpp.conv(x, w, padding="causal", state="zeros")
        assert state.shape == (1, 256, 0)
        got, _ = in_stream(chunks(x, [1] * 9, 2), w, None, 2)
        assert same_bits(got, want)


def test_set_algorithm_and_direct_change_nothing() -> None:
    rng = np.random.default_rng(4)
    x, w = rng.standard_normal((1, 32, 300)), rng.standard_normal((32, 32, 3))
    want, _ = convpp.conv(x, w, padding="causal", state="zeros")
    with convpp.algorithm("winograd"):
        assert same_bits(convpp.conv(x, w, padding="causal", state="zeros")[0], want)
    assert same_bits(convpp.conv(x, w, padding="causal", state="zeros", algorithm="direct")[0], want)


def test_a_state_is_an_array_of_its_own() -> None:
    rng = np.random.default_rng(5)
    x, w = rng.standard_normal((2, 3, 40)), rng.standard_normal((5, 3, 8))
    _, state = convpp.conv(x, w, padding="causal", state="zeros")
    assert type(state) is np.ndarray
    assert state.base is None
    assert state.flags.c_contiguous
    assert state.shape == (2, 3, 7)
    kept = state.copy()
    want = convpp.conv(x, w, padding="causal", state=state)
    assert same_bits(state, kept)
    x[...] = 0  # of the caller
    for other in (copy.deepcopy(state), pickle.loads(pickle.dumps(state)), np.asfortranarray(state), state.tolist()):
        x[...] = want[0][:, :3] * 0
        got, _ = convpp.conv(np.zeros_like(x), w, padding="causal", state=other)
        assert same_bits(got, convpp.conv(np.zeros_like(x), w, padding="causal", state=state)[0])


def test_out_and_add_and_samples_with_their_own_weights() -> None:
    rng = np.random.default_rng(6)
    x, w = rng.standard_normal((2, 4, 50)), rng.standard_normal((4, 4, 5))
    add = rng.standard_normal((2, 4, 50))
    want, _ = convpp.conv(x, w, padding="causal", state="zeros", add=add, activation="relu")
    out = np.full((2, 4, 50), np.nan)
    y, state = convpp.conv(x, w, padding="causal", state="zeros", add=add, activation="relu", out=out)
    assert y is out
    assert same_bits(out, want)
    same = x.copy()  # in place: x itself is written over
    y, after = convpp.conv(same, w, padding="causal", state="zeros", add=add, activation="relu", out=same)
    assert y is same
    assert same_bits(same, want)
    assert same_bits(after, state)
    each = np.stack([w, 2 * w])
    got, _ = convpp.conv(x, each, padding="causal", state="zeros", per_sample=True)
    for n in range(2):
        assert same_bits(got[n], convpp.conv(x[n], each[n], padding="causal", state="zeros")[0])


def test_mixed_types_count_as_in_a_plain_call() -> None:
    x, w = np.ones((1, 1, 5), np.float32), np.ones((1, 1, 3))
    y, state = convpp.conv(x, w, padding="causal", state="zeros")
    assert y.dtype == state.dtype == np.float64
    assert np.array_equal(convpp.conv(x, w, padding="causal", state=state)[0], np.full((1, 1, 5), 3.0))


def test_nan_and_inf_of_the_past_are_read_like_others() -> None:
    x, w = np.zeros((1, 1, 6)), np.ones((1, 1, 3))
    x[..., 4] = np.inf
    _, state = convpp.conv(x, w, padding="causal", state="zeros")
    y, _ = convpp.conv(np.zeros((1, 1, 3)), w, padding="causal", state=state)
    assert np.array_equal(y[0, 0], [np.inf, 0.0, 0.0])


X, W = np.ones((2, 4, 9), np.float32), np.ones((6, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("error", "message", "changed"),
    [
        (ValueError, "padding is 0, expected 'causal'", {"padding": 0}),
        (ValueError, "padding is 'same', expected 'causal'", {"padding": "same"}),
        (ValueError, "stride is 2, expected 1", {"stride": 2}),
        (ValueError, "padding_mode is 'reflect', expected 'zeros'", {"padding_mode": "reflect"}),
        (ValueError, "algorithm is 'fft', expected 'auto' or 'direct'", {"algorithm": "fft"}),
        (ValueError, "state is 'zero', expected 'zeros'", {"state": "zero"}),
        (ValueError, "state is 0, expected 'zeros'", {"state": 0}),
        (convpp.DTypeError, "state has dtype float64, expected float32", {"state": np.zeros((2, 4, 4))}),
        (convpp.DTypeError, "state has dtype int64", {"state": np.zeros((2, 4, 4), int)}),
        (convpp.ShapeError, r"state has shape \(2, 4, 5\), expected \(2, 4, 4\)", {"state": X[..., :5]}),
        (convpp.ShapeError, r"state has shape \(1, 4, 4\), expected \(2, 4, 4\)", {"state": X[:1, :, :4]}),
        (convpp.ShapeError, r"state has shape \(2, 4, 4\), expected \(2, 4, 8\)", {"state": X[..., :4], "dilation": 2}),
        (convpp.ShapeError, "bias has shape", {"bias": np.ones(5, np.float32)}),
        (convpp.ShapeError, "x has shape|w has shape", {"w": np.ones((6, 3, 5), np.float32)}),
        (convpp.ShapeError, "a stream has one axis", {"x": X[..., None], "w": W[..., None]}),
        (ValueError, "w was prepared", {"w": convpp.prepare_weights(W, X.shape, padding="causal")}),
        (convpp.ShapeError, "out has shape", {"out": np.ones((2, 6, 8), np.float32)}),
    ],
)
@pytest.mark.parametrize("length", [9, 0])
def test_errors(error: type[Exception], message: str, changed: dict[str, Any], length: int) -> None:
    call: dict[str, Any] = {"x": X, "w": W, "padding": "causal", "state": "zeros"} | changed
    call["x"] = call["x"][:, :, :length]
    with pytest.raises(error, match=message):
        convpp.conv(**call)


@pytest.mark.thread_unsafe
def test_a_stream_takes_no_more_memory_as_it_goes_on() -> None:
    rng = np.random.default_rng(7)
    x, w = rng.standard_normal((1, 2, 256)), rng.standard_normal((2, 1, 512))
    _, state = convpp.conv(x, w, padding="causal", groups=2, state="zeros")
    assert state.nbytes == 2 * 511 * 8
    made = PLANS.made
    tracemalloc.start()
    try:
        for _ in range(5):
            _, state = convpp.conv(x, w, padding="causal", groups=2, state=state)
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(200):
            _, state = convpp.conv(x, w, padding="causal", groups=2, state=state)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2048
    assert PLANS.made == made  # chunks of one length have one plan


def test_many_lengths_keep_a_bounded_number_of_plans() -> None:
    w, state = np.ones((1, 1, 9)), np.zeros((1, 1, 8))
    for length in range(1, 1500):
        _, state = convpp.conv(np.ones((1, 1, length)), w, padding="causal", state=state)
    assert len(PLANS) <= PLANS.most
    assert PLANS.nbytes <= PLANS.most_bytes


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("step", [2**10, 2**20, 2**40])
def test_steps_of_any_size_have_a_plan(dtype: str, step: int) -> None:
    """Whether bfloat16's channels are added in pairs is tried on a sample, which was too large."""
    of = dtype_from(dtype)
    x, w = np.ones((1, 2, 5, 5), of), np.ones((2, 2, 3, 3), of)
    y = convpp.conv(x, w, stride=step, algorithm="stream")
    np.testing.assert_array_equal(y.astype(float), np.full((1, 2, 1, 1), 18.0))
    dx = convpp.conv_input_grad(y, w, x.shape, stride=step, algorithm="stream")
    assert dx.astype(float)[0, 0].tolist() == [[36.0] * 3 + [0.0] * 2] * 3 + [[0.0] * 5] * 2
    far = convpp.conv(x, w, dilation=step, padding=step, algorithm="stream")
    np.testing.assert_array_equal(far.astype(float), np.full((1, 2, 5, 5), 2.0))
