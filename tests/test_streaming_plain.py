"""``convolve`` and ``correlate`` of signals in a stream: the bits of the whole for any cut, and what lfilter says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convpp
from convpp._call.validation import dtype_from

Array = npt.NDArray[Any]


def in_stream(function: Any, parts: list[Array], kernel: Any, axis: int, **options: Any) -> tuple[Array, Array]:
    state: Any = "zeros"
    out = []
    for a in parts:
        y, state = function(a, kernel, mode="causal", axes=axis, state=state, **options)
        out.append(y)
    return np.concatenate(out, axis), state


def same_bits(a: Array, b: Array) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()


@st.composite
def streams(draw: st.DrawFn) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    return {
        "function": draw(st.sampled_from(["convolve", "correlate"])),
        "types": draw(
            st.sampled_from(
                ["float32", "float32", "float64", "float64", "float16", "bfloat16", "complex64", "complex128", "int16"]
            )
        ),
        "others": draw(st.lists(st.sampled_from([1, 2, 3, 20]), min_size=rank - 1, max_size=rank - 1)),
        "axis": draw(st.integers(0, rank - 1)),
        "length": draw(st.integers(0, 150)),
        "lengths": draw(st.lists(st.sampled_from([0, 1, 1, 2, 5, 17, 64]), max_size=8)),
        "taps": draw(st.sampled_from([1, 2, 3, 8, 65, 300])),
        "dilation": draw(st.sampled_from([1, 1, 1, 2, 30])),
        "seed": draw(st.integers(0, 2**32)),
    }


@given(streams())
@settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])
def test_any_cut_has_the_bits_of_the_whole(given: dict[str, Any]) -> None:
    g, function = given, getattr(convpp, given["function"])
    rng, axis = np.random.default_rng(g["seed"]), g["axis"]
    dtype = np.dtype(g["types"]) if g["types"] != "bfloat16" else dtype_from("bfloat16")

    def numbers(shape: Any) -> Array:
        values = 9 * rng.standard_normal(shape)
        return (values + 1j * rng.standard_normal(shape) if dtype.kind == "c" else values).astype(dtype)

    shape = [*g["others"]]
    shape.insert(axis, g["length"])
    a, kernel = numbers(shape), numbers(g["taps"])
    parts = np.split(a, np.minimum(np.cumsum(g["lengths"]), g["length"]).tolist(), axis=axis)
    want, state = function(a, kernel, mode="causal", axes=axis, state="zeros", dilation=g["dilation"])
    got, last = in_stream(function, parts, kernel, axis, dilation=g["dilation"], threads=2)
    assert same_bits(got, want)
    assert same_bits(last, state)
    again, _ = in_stream(function, parts, kernel, axis, dilation=g["dilation"])  # as calls that were seen before
    assert same_bits(again, want)
    if not a.size:
        return
    whole = function(a, kernel, mode="causal", axes=axis, dilation=g["dilation"], method="direct")
    if dtype.kind == "i":
        assert same_bits(got, whole)
    else:
        wide = np.complex128 if dtype.kind == "c" else np.float64
        error = np.finfo(np.float32 if dtype.itemsize == 2 else dtype).eps
        error = 0.01 if g["types"] == "bfloat16" else 2e-3 if dtype == np.float16 else error
        scale = 100 * g["taps"] * 9
        assert np.abs(got.astype(wide) - whole.astype(wide)).max() <= error * scale


@pytest.mark.parametrize("taps", [1, 2, 65, 400])
def test_it_is_lfilter(taps: int) -> None:
    signal = pytest.importorskip("scipy.signal")
    rng = np.random.default_rng(taps)
    a, kernel = rng.standard_normal((2, 1000)), rng.standard_normal(taps)
    zi = np.zeros((2, taps - 1))
    state: Any = "zeros"
    for chunk in np.split(a, [10, 500, 501], axis=1):
        y, state = convpp.convolve(chunk, kernel, mode="causal", state=state)
        want, zi = signal.lfilter(kernel, [1.0], chunk, zi=zi) if taps > 1 else (chunk * kernel[0], zi)
        np.testing.assert_allclose(y, want, atol=1e-12 * taps)


@pytest.mark.parametrize("function", [convpp.convolve, convpp.correlate])
@pytest.mark.parametrize("axes", [0, 1, (0, 1)])
@pytest.mark.parametrize("dtype", [np.float64, np.int32])
def test_mode_causal_is_the_first_of_full(function: Any, axes: Any, dtype: Any) -> None:
    rng = np.random.default_rng(1)
    a = rng.integers(-4, 5, (9, 12)).astype(dtype)
    kernel = rng.integers(-4, 5, (3, 4) if axes == (0, 1) else (4,)).astype(dtype)
    full = function(a, kernel, axes=axes)
    assert same_bits(function(a, kernel, axes=axes, mode="causal"), full[:9, :12].copy())
    dy = rng.standard_normal((9, 12))
    padded = np.zeros(full.shape)
    padded[:9, :12] = dy
    flip = function is convpp.convolve
    of = [a.astype(float), kernel.astype(float)]
    for got, want in zip(
        convpp.convolve_backward(dy, *of, axes=axes, mode="causal", flip=flip),
        convpp.convolve_backward(padded, *of, axes=axes, flip=flip),
        strict=True,
    ):
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), atol=1e-12)


def test_several_kernels_kernels_of_a_batch_out_dtype_and_nan() -> None:
    rng = np.random.default_rng(2)
    a, kernels = rng.standard_normal((3, 100)), rng.standard_normal((4, 9))
    want, state = convpp.convolve(a, kernels=kernels, mode="causal", state="zeros")
    assert want.shape == (4, 3, 100)
    first, kept = convpp.convolve(a[:, :31], kernels=kernels, mode="causal", state="zeros")
    rest, last = convpp.convolve(a[:, 31:], kernels=kernels, mode="causal", state=kept)
    assert same_bits(np.concatenate([first, rest], 2), want)
    assert same_bits(last, state)
    nothing, kept = convpp.convolve(a[:, :0], kernels=kernels, mode="causal", state=kept)
    assert nothing.shape == (4, 3, 0)
    each, _ = convpp.convolve(a, kernels[:3], axes=1, mode="causal", state="zeros")
    for row in range(3):
        alone, _ = convpp.convolve(a[row], kernels[row], mode="causal", state="zeros")
        assert same_bits(each[row], alone)
    out = np.full((3, 100), np.nan, np.float32)
    y, _ = convpp.convolve(a, kernels[0], mode="causal", state="zeros", dtype=np.float32, out=out)
    assert y is out
    a[1, 40:44] = np.nan
    want, _ = convpp.convolve(a, kernels[0], mode="causal", state="zeros", nan="ignore")
    first, kept = convpp.convolve(a[:, :42], kernels[0], mode="causal", state="zeros", nan="ignore")
    rest, _ = convpp.convolve(a[:, 42:], kernels[0], mode="causal", state=kept, nan="ignore")
    assert same_bits(np.concatenate([first, rest], 1), want)


def test_foreign_byte_order_and_lists() -> None:
    a, kernel = np.arange(6.0), [1.0, 2.0, 3.0]
    want, state = convpp.convolve(a, kernel, mode="causal", state="zeros")
    got, other = convpp.convolve(a.astype(">f8"), kernel, mode="causal", state="zeros")
    assert same_bits(got, want)
    assert same_bits(other, state)
    assert np.array_equal(convpp.convolve([1, 2], [1, 1], mode="causal", state=np.array([5]))[0], [6, 3])


A, K = np.ones((2, 20)), np.ones(5)


@pytest.mark.parametrize(
    ("error", "message", "changed"),
    [
        (ValueError, "mode is 'full', expected 'causal'", {"mode": "full"}),
        (ValueError, "boundary is 'reflect', expected 'zeros'", {"boundary": "reflect"}),
        (ValueError, "boundary is 1.0, expected 'zeros'", {"boundary": 1.0}),
        (ValueError, "method is 'fft', expected 'auto' or 'direct'", {"method": "fft"}),
        (ValueError, "stride is 2, expected 1", {"stride": 2}),
        (ValueError, "origin", {"origin": 1}),
        (ValueError, "expected none with a state", {"mask": np.zeros((2, 20), bool)}),
        (ValueError, "expected none with a state", {"a": np.ma.masked_less(A, 0)}),
        (convpp.ShapeError, "a stream has one", {"kernel": np.ones((2, 2))}),
        (ValueError, "state is 'zero'", {"state": "zero"}),
        (ValueError, "state is 0.0", {"state": 0.0}),
        (convpp.DTypeError, "state has dtype float32, expected float64", {"state": np.zeros((2, 4), np.float32)}),
        (convpp.ShapeError, r"state has shape \(2, 5\), expected \(2, 4\)", {"state": np.zeros((2, 5))}),
        (convpp.ShapeError, r"state has shape \(4,\), expected \(2, 4\)", {"state": np.zeros(4)}),
        (convpp.ShapeError, "extents of 1 or more", {"kernel": np.ones(0)}),
        (convpp.ShapeError, "out has shape", {"out": np.ones((2, 24))}),
        (ValueError, "not given", {"kernel": None}),
    ],
)
def test_errors(error: type[Exception], message: str, changed: dict[str, Any]) -> None:
    call: dict[str, Any] = {"a": A, "kernel": K, "mode": "causal", "state": "zeros"} | changed
    for _ in range(2):
        with pytest.raises(error, match=message):
            convpp.convolve(**call)
        convpp.convolve(A, K, mode="causal", state="zeros")


def test_several_kernels_of_one_signal() -> None:
    """Whose axis is not the kernels' first one."""
    rng = np.random.default_rng(8)
    a = rng.integers(-9, 9, 20).astype(float)
    for count, taps in ((2, 3), (5, 2), (3, 7)):
        kernels = rng.integers(-9, 9, (count, taps)).astype(float)
        whole = convpp.convolve(a, kernels=kernels, mode="causal")
        state, parts = "zeros", []
        for chunk in np.split(a, [1, 2, 9]):
            y, state = convpp.convolve(chunk, kernels=kernels, axes=0, mode="causal", state=state)
            parts.append(y)
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
