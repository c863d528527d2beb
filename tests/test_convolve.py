"""convolve and correlate on arrays of any axes: whole numbers, tolerance 0, against plain NumPy.

Gradients: test_convolve_backward.py; types: test_convolve_dtypes.py; what is missing: test_convolve_missing.py;
against SciPy and others: test_convolve_peers.py.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import convpp
from convpp.plain import blocks
from plain_reference import BOUNDARIES, MODES, Array, draw_case, laid_out, reference, whole

FUNCTIONS = {True: convpp.convolve, False: convpp.correlate}


@pytest.fixture(params=["small blocks", "one block", "borders apart"])
def _block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 300 if request.param == "small blocks" else 6 << 20)
    if request.param == "borders apart":
        monkeypatch.setattr(blocks, "LARGE", 1)
        monkeypatch.setattr(blocks, "BORDER", 1)


@pytest.mark.usefixtures("_block_bytes")
@pytest.mark.parametrize("kind", ["float", "complex", "complex a", "complex kernel"])
@pytest.mark.parametrize("seed", range(40))
def test_random_cases(seed: int, kind: str) -> None:
    rng = np.random.default_rng([seed, len(kind)])
    case = draw_case(rng)
    a, kernel = whole(rng, case.shape), whole(rng, case.kernel)
    if kind in ("complex", "complex a"):
        a = a + 1j * whole(rng, case.shape)
    if kind in ("complex", "complex kernel"):
        kernel = kernel + 1j * whole(rng, case.kernel)
    got = FUNCTIONS[case.flip](laid_out(rng, a), kernel, method="direct", **case.keywords())
    want = reference(a, kernel, case.axes, case.flip, **case.options)
    assert got.flags.c_contiguous
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want, err_msg=str(case))


@given(
    n=st.integers(1, 24),
    k=st.integers(1, 9),
    mode=st.sampled_from(MODES),
    boundary=st.sampled_from((*BOUNDARIES, 3)),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 3),
    columns=st.sampled_from([1, 2, 3, 17]),
    batch=st.integers(1, 3),
    flip=st.booleans(),
    data=st.randoms(use_true_random=False),
)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_one_axis_of_three(
    n: int,
    k: int,
    mode: Any,
    boundary: Any,
    stride: int,
    dilation: int,
    columns: int,
    batch: int,
    flip: bool,
    data: Any,
) -> None:
    rng = np.random.default_rng(data.randrange(2**32))
    a, kernel = whole(rng, (batch, n, columns)), whole(rng, k)
    options = {"mode": mode, "boundary": boundary, "stride": (stride,), "dilation": (dilation,)}
    if mode == "valid" and dilation * (k - 1) + 1 > n:
        with pytest.raises(convpp.ShapeError, match="longer than a"):
            FUNCTIONS[flip](a, kernel, axes=1, **options)
        return
    got = FUNCTIONS[flip](a, kernel, axes=1, method="direct", **options)
    np.testing.assert_array_equal(got, reference(a, kernel, (1,), flip, **options))


@pytest.mark.parametrize("mode", MODES)
def test_as_numpy(mode: Any, rng: np.random.Generator) -> None:
    for n, k in (9, 1), (9, 4), (9, 5), (9, 9):
        a, kernel = whole(rng, n), whole(rng, k)
        np.testing.assert_array_equal(
            convpp.convolve(a, kernel, mode=mode, method="direct"), np.convolve(a, kernel, mode)
        )


def test_the_last_axes_are_convolved(rng: np.random.Generator) -> None:
    a, kernel = whole(rng, (2, 3, 8, 9)), whole(rng, (3, 4))
    got = convpp.convolve(a, kernel, method="direct")
    assert got.shape == (2, 3, 10, 12)
    np.testing.assert_array_equal(got[1, 2], convpp.convolve(a[1, 2], kernel, method="direct"))


def test_kernels_of_a_batch(rng: np.random.Generator) -> None:
    a, kernel = whole(rng, (1, 4, 7, 8)), whole(rng, (3, 1, 2, 3))
    got = convpp.convolve(a, kernel, axes=(2, 3), method="direct")
    want = np.stack([reference(a[0], kernel[i, 0], (1, 2)) for i in range(3)])
    np.testing.assert_array_equal(got, want)
    shared = convpp.convolve(a, kernel[:1], axes=(-2, -1), method="direct")
    np.testing.assert_array_equal(shared, want[:1])
    along = whole(rng, (3, 5, 2))
    got = convpp.correlate(whole(rng, (3, 9, 2)) * 0 + 1, along, axes=1, mode="valid", method="direct")
    np.testing.assert_array_equal(got, np.repeat(along.sum(1)[:, None], 5, axis=1))


@pytest.mark.parametrize("shape", [(9, 10), (2, 9, 10), (9, 10, 3)])
def test_several_kernels(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    a, kernels = whole(rng, shape), whole(rng, (5, 3, 2))
    axes = (0, 1) if shape[-1] == 3 else (-2, -1)
    for imaginary in 0, 1j:
        ks = kernels + imaginary * whole(rng, kernels.shape)
        got = convpp.correlate(a, kernels=ks, axes=axes, method="direct")
        want = np.stack([convpp.correlate(a, k, axes=axes, method="direct") for k in ks])
        np.testing.assert_array_equal(got, want)


def test_origin_moves_the_kernel(rng: np.random.Generator) -> None:
    a, kernel = whole(rng, 12), whole(rng, 5)
    full = np.convolve(a, kernel)
    for origin in range(-2, 3):
        got = convpp.convolve(a, kernel, mode="same", origin=origin, method="direct")
        np.testing.assert_array_equal(got, full[2 + origin : 14 + origin])
    causal = convpp.convolve(a, kernel, mode="same", origin=-2, method="direct")
    np.testing.assert_array_equal(causal, full[:12])  # a FIR filter
    with pytest.raises(ValueError, match=r"origin is 3, expected -2 to 2"):
        convpp.convolve(a, kernel, mode="same", origin=3)
    with pytest.raises(ValueError, match="only with mode='same'"):
        convpp.convolve(a, kernel, origin=1)


@pytest.mark.usefixtures("_block_bytes")
@pytest.mark.parametrize("boundary", [*BOUNDARIES, 5])
@pytest.mark.parametrize("seed", range(8))
def test_separable(seed: int, boundary: Any) -> None:
    rng = np.random.default_rng([seed, 8])
    ndim = int(rng.integers(2, 5))
    axes = tuple(int(axis) for axis in rng.permutation(ndim)[: int(rng.integers(2, ndim + 1))])
    a = whole(rng, rng.integers(6, 12, ndim))
    lines = [whole(rng, int(rng.integers(1, 6)), 3) for _ in axes]
    kernel: Array = reduce(np.multiply.outer, lines)
    options = {"boundary": boundary, "mode": "same", "stride": tuple(int(s) for s in rng.choice([1, 1, 2], len(axes)))}
    want = reference(a, kernel, axes, **options)
    for cast in np.float64, np.int64:
        got = convpp.convolve(a.astype(cast), [x.astype(cast) for x in lines], method="separable", axes=axes, **options)
        np.testing.assert_array_equal(got, want)
    if kernel.any():
        got = convpp.convolve(a, kernel, method="separable", axes=axes, **options)
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(kernel).sum() * 9)


def test_direct_sums_by_default_are_not_separated() -> None:
    """Whole numbers whose factors are not whole."""
    kernel = np.multiply.outer(np.arange(3.0, 10.0), np.arange(3.0, 10.0))
    a = np.random.default_rng(0).integers(-999, 999, (40, 40)).astype(float)
    with convpp.algorithm("direct"):
        np.testing.assert_array_equal(convpp.convolve(a, kernel), reference(a, kernel, (0, 1)))
    assert not convpp.convolve(a, np.zeros((9, 9)), method="separable").any()


def test_what_is_no_product_is_not_separable(rng: np.random.Generator) -> None:
    a = whole(rng, (9, 9))
    with pytest.raises(ValueError, match="no product of 1-D kernels"):
        convpp.convolve(a, np.eye(3), method="separable")
    with pytest.raises(convpp.ShapeError, match="a 1-D kernel for each axis"):
        convpp.convolve(a, [np.eye(3)], method="separable")
    kernel = np.ones((9, 9))
    kernel[0, 0] = 1 + 1e-9  # by far more than rounding: auto must see it
    got = convpp.correlate(np.eye(9)[:1].repeat(9, 0), kernel, mode="valid")
    assert got[0, 0] == kernel[:, 0].sum()


@pytest.mark.usefixtures("_block_bytes")
def test_nan_and_inf_spread_as_in_the_sum(rng: np.random.Generator) -> None:
    a = whole(rng, (12, 13))
    a[3, 4], a[9, 2] = np.nan, np.inf
    kernel = convpp.gaussian(1.0, ndim=2)
    for method in "direct", "separable", "auto":
        got = convpp.convolve(a, kernel, mode="same", boundary="reflect", method=method)
        want = reference(a, kernel, (0, 1), mode="same", boundary="reflect")
        np.testing.assert_array_equal(np.isfinite(got), np.isfinite(want))
    padded = convpp.convolve(np.zeros((5, 5)), np.ones((3, 3)), mode="same", boundary=np.inf)
    assert np.array_equal(np.isinf(padded), np.pad(np.zeros((3, 3), bool), 1, constant_values=True))


def test_out_may_be_an_input(rng: np.random.Generator) -> None:
    a, kernel = whole(rng, (9, 9)), whole(rng, (3, 3))
    want = reference(a, kernel, (0, 1), mode="same")
    assert convpp.convolve(a, kernel, mode="same", method="direct", out=a) is a
    np.testing.assert_array_equal(a, want)
    with pytest.raises(convpp.ShapeError, match="out has shape"):
        convpp.convolve(a, kernel, out=a)


def test_the_same_bits_for_every_number_of_threads(rng: np.random.Generator) -> None:
    a = rng.standard_normal((300, 310, 3)).astype(np.float32)
    for kernel in rng.standard_normal((3, 3)).astype(np.float32), convpp.gaussian(2.0, ndim=2).astype(np.float32):
        for boundary in "zeros", "reflect":
            results = [
                convpp.convolve(a, kernel, axes=(0, 1), mode="same", boundary=boundary, threads=threads)
                for threads in (1, 2)
            ]
            np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("boundary", ["zeros", "reflect", 2.0])
@pytest.mark.parametrize("shape", [(40, 33), (400, 350)])
def test_direct_sums_have_the_same_bits_in_any_batch(shape: Any, boundary: Any, rng: np.random.Generator) -> None:
    """Alone, beside others in front of it, and beside others behind it."""
    a, kernel = rng.standard_normal((3, *shape)), rng.standard_normal((5, 4))
    options: dict[str, Any] = {"mode": "same", "boundary": boundary, "method": "direct"}
    first = convpp.convolve(a, kernel, **options)
    behind = convpp.convolve(np.ascontiguousarray(np.moveaxis(a, 0, -1)), kernel, axes=(0, 1), **options)
    np.testing.assert_array_equal(np.moveaxis(behind, -1, 0), first)
    np.testing.assert_array_equal(convpp.convolve(a[1], kernel, **options), first[1])


def test_empty_batches() -> None:
    assert convpp.convolve(np.ones((0, 5)), np.ones(3)).shape == (0, 7)
    assert convpp.convolve(np.ones((5, 0)), np.ones(3), axes=0, mode="same").shape == (5, 0)
    da, dk = convpp.convolve_backward(np.ones((0, 7)), np.ones((0, 5)), np.ones(3))
    assert da.shape == (0, 5)
    np.testing.assert_array_equal(dk, 0)


# ---------------------------------------------------------------- errors

A, K = np.ones((20, 20)), np.ones((3, 3))
WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"a": np.ones(5)}, convpp.ShapeError, "kernel has shape .*as many axes as a"),
    ({"a": np.ones((2, 2)), "mode": "valid"}, convpp.ShapeError, "exchange a and kernel"),
    ({"a": np.ones((20, 20, 2)), "mode": "valid"}, convpp.ShapeError, r"axes=\(0, 1\)\?"),
    ({"a": np.ones((0, 5))}, convpp.ShapeError, "1 or more elements along axis 0"),
    ({"kernel": np.ones((0, 3))}, convpp.ShapeError, "kernel has shape"),
    ({"kernel": np.ones((0, 3)), "mode": "same"}, convpp.ShapeError, "kernel has shape .*, expected extents of 1"),
    ({"kernel": [np.ones(3), np.ones(3)]}, convpp.ShapeError, r"method='separable', .* np.stack\(kernel\)"),
    ({"kernel": [np.ones(3), np.ones(5)]}, convpp.ShapeError, r"list of 1-D arrays \(3, 5 elements\)"),
    ({"boundary": 10**400}, ValueError, "boundary is 1000.*, expected a number that float64 holds"),
    ({"kernel": None}, ValueError, "kernel and kernels are not given"),
    ({"kernels": np.ones((2, 3, 3))}, ValueError, "kernel and kernels are both given"),
    ({"mode": "SAME"}, ValueError, "did you mean 'same'"),
    ({"mode": "reflect"}, ValueError, "boundary='symmetric', scipy.ndimage's 'reflect', or with 'reflect', np.pad's"),
    ({"mode": "circular"}, ValueError, "did you mean boundary='circular' with mode='same'"),
    ({"mode": None}, ValueError, "mode is None, expected one of full, same, valid"),
    ({"boundary": "wrap"}, ValueError, "did you mean 'circular'"),
    ({"boundary": "edge"}, ValueError, "did you mean 'replicate'"),
    ({"boundary": "mirror"}, ValueError, "did you mean 'reflect'"),
    ({"boundary": "constant"}, ValueError, "did you mean zeros .or a number."),
    ({"boundary": "same"}, ValueError, "did you mean mode='same'"),
    ({"boundary": (0, 1)}, ValueError, "one number for all axes"),
    ({"boundary": ("zeros",) * 3}, ValueError, "one for each of the 2"),
    ({"boundary": 1j}, convpp.DTypeError, "a real number"),
    ({"axes": (0, 0)}, ValueError, "different axes"),
    ({"axes": 5}, ValueError, "from -2 to 1"),
    ({"axes": 0, "kernel": np.ones((1, 1, 3))}, convpp.ShapeError, "expected 1 axes"),
    ({"stride": 0}, ValueError, "stride is 0, expected 1 or more"),
    ({"dilation": (1, 2, 3)}, ValueError, "one for each convolved axis"),
    ({"method": "oa"}, ValueError, "did you mean 'fft'"),
    ({"nan": "omit"}, ValueError, "did you mean 'ignore'"),
    ({"nan": "ignore", "kernel": np.array([[1.0, -1.0]])}, ValueError, "sums to 0"),
    ({"nan": "ignore", "kernel": K * 1j}, convpp.DTypeError, "expected a real one"),
    ({"min_weight": 2}, ValueError, "from 0 to 1"),
    ({"min_weight": 0.5}, ValueError, "expected it with nan='ignore' or a mask"),
    ({"mask": np.ones((20, 20))}, convpp.DTypeError, "mask has dtype float64, expected bool"),
    ({"mask": np.ones(3, bool)}, convpp.ShapeError, "mask has shape"),
    ({"dtype": np.int64}, convpp.DTypeError, "expected a float type"),
    ({"dtype": "nothing"}, convpp.DTypeError, "expected a type of numbers"),
    ({"kernel": K * 1j, "dtype": np.float64}, convpp.DTypeError, "expected a complex type"),
    ({"a": A.astype(object)}, convpp.DTypeError, r"a has dtype object, .* decimals stay exact as integers"),
    ({"a": None}, convpp.DTypeError, "a is None, expected an array"),
    ({"dtype": object}, convpp.DTypeError, "dtype is object, expected a type of floats"),
    (
        {"a": np.ones((4, 9)), "kernel": np.ones((3, 5)), "axes": 1},
        convpp.ShapeError,
        "several kernels at once, kernels=",
    ),
    ({"a": [["x"]]}, convpp.DTypeError, "these are strings"),
    ({"a": A.astype(np.longdouble)}, convpp.DTypeError, "rounds it to 53 bits"),
    ({"a": np.ma.ones((9, 9)), "out": np.ma.ones((11, 11))}, convpp.DTypeError, "out is a masked array"),
]


@pytest.mark.parametrize(("changes", "error", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_errors_name_the_argument_and_what_was_meant(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {"a": A, "kernel": K} | changes
    with pytest.raises(error, match=message):
        convpp.convolve(**arguments)
