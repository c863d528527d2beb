"""Gradients of convolve and correlate: adjoints exact on whole numbers, and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from convpp.plain import blocks
from convpp.testing import gradcheck
from plain_reference import Array, draw_case, laid_out, reference, whole


def dot(first: Array, second: Array) -> float:
    """The real scalar product."""
    return float(np.sum(first * np.conj(second)).real)


@pytest.mark.parametrize("kind", ["float", "complex", "complex a", "complex kernel"])
@pytest.mark.parametrize("block_bytes", [300, 6 << 20])
@pytest.mark.parametrize("seed", range(30))
def test_adjoints(seed: int, block_bytes: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """<dy, f(h, w)> = <da, h> and <dy, f(a, v)> = <dw, v>: all sums of whole numbers, so equal to the bit."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", block_bytes)
    rng = np.random.default_rng([seed, len(kind), 1])
    case = draw_case(rng)
    options = case.options

    def numbers(shape: Any, imaginary: bool) -> Array:
        return whole(rng, shape, 5) + (1j * whole(rng, shape, 5) if imaginary else 0)

    of_a, of_kernel = kind in ("complex", "complex a"), kind in ("complex", "complex kernel")
    a, h = numbers(case.shape, of_a), numbers(case.shape, of_a)
    kernel, v = numbers(case.kernel, of_kernel), numbers(case.kernel, of_kernel)
    linear = options | ({"boundary": "zeros"} if options["boundary"] == 7 else {})  # a constant has no derivative
    along_a = reference(h, kernel, case.axes, case.flip, **linear)
    along_kernel = reference(a, v, case.axes, case.flip, **options)
    dy = numbers(along_a.shape, kind != "float")
    da, dkernel = convpp.convolve_backward(
        dy, laid_out(rng, a), kernel, flip=case.flip, method="direct", **case.keywords()
    )
    assert (da.shape, dkernel.shape) == (a.shape, kernel.shape)
    assert (da.dtype, dkernel.dtype) == (a.dtype, kernel.dtype)
    assert dot(dy, along_a) == dot(da, h)
    assert dot(dy, along_kernel) == dot(dkernel, v)


def test_kernels_of_a_batch_and_broadcast_arrays(rng: np.random.Generator) -> None:
    a, kernel = rng.standard_normal((1, 2, 6)), rng.standard_normal((3, 1, 4))

    def function(a: Array, kernel: Array) -> Any:
        y = convpp.convolve(a, kernel, axes=2, boundary="reflect", mode="same")
        return y, lambda dy: convpp.convolve_backward(dy, a, kernel, axes=2, boundary="reflect", mode="same")

    gradcheck(function, a, kernel)


def test_several_kernels(rng: np.random.Generator) -> None:
    def function(a: Array, kernels: Array) -> Any:
        y = convpp.correlate(a, kernels=kernels, axes=(0, 1))
        return y, lambda dy: convpp.convolve_backward(dy, a, kernels=kernels, axes=(0, 1), flip=False)

    gradcheck(function, rng.standard_normal((5, 6, 3)), rng.standard_normal((4, 2, 3)))


def test_lines_of_a_separable_kernel(rng: np.random.Generator) -> None:
    def function(a: Array, first: Array, second: Array) -> Any:
        options: dict[str, Any] = {"method": "separable", "mode": "same", "boundary": "symmetric", "axes": (1, 0)}
        y = convpp.convolve(a, [first, second], **options)

        def backward(dy: Array) -> Any:
            da, lines = convpp.convolve_backward(dy, a, [first, second], **options)
            return (da, *lines)

        return y, backward

    gradcheck(function, rng.standard_normal((5, 6)), rng.standard_normal(3), rng.standard_normal(4))


NORMALISED: list[dict[str, Any]] = [
    {},
    {"boundary": "reflect", "mode": "same"},
    {"boundary": 3.0, "mode": "same", "stride": 2},
    {"boundary": np.nan, "min_weight": 0.3},
]


@pytest.mark.parametrize("options", NORMALISED)
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("kind", ["one", "batch", "several", "mask"])
def test_normalised(kind: str, negative: bool, options: dict[str, Any], rng: np.random.Generator) -> None:
    """Finite differences of the quotient."""
    a = rng.standard_normal((2, 8, 7))
    gone = rng.random(a.shape) < 0.2
    shape = {"batch": (2, 3, 3), "several": (4, 3, 3)}.get(kind, (3, 3))
    kernel = rng.random(shape) + 0.5
    if negative:
        kernel[..., 0, 1] = -0.3
    keywords = options | ({"axes": (1, 2)} if kind == "batch" else {})
    keywords |= {"mask": gone} if kind == "mask" else {}
    keywords["nan"] = "ignore"

    def function(a: Array, kernel: Array) -> Any:
        seen = a if kind == "mask" else np.where(gone, np.nan, a)
        arguments: dict[str, Any] = {"kernels" if kind == "several" else "kernel": kernel}
        y = convpp.convolve(seen, **arguments, fill_value=0.0, **keywords)
        return y, lambda dy: convpp.convolve_backward(dy, seen, **arguments, **keywords)

    gradcheck(function, a, kernel)


def test_what_is_missing_has_no_gradient() -> None:
    a = np.array([1.0, np.nan, 2.0])
    da, dkernel = convpp.convolve_backward(np.ones(3), a, np.ones(3), mode="same", nan="ignore")
    assert da[1] == 0
    assert np.isfinite(dkernel).all()


def test_needs_and_types(rng: np.random.Generator) -> None:
    a, kernel = whole(rng, (4, 5)), whole(rng, (2, 2))
    dy = np.ones((5, 6))
    da, dkernel = convpp.convolve_backward(dy, a, kernel)
    assert convpp.convolve_backward(dy, a, kernel, needs="a")[1] is None
    np.testing.assert_array_equal(convpp.convolve_backward(dy, a, kernel, needs=["kernel"])[1], dkernel)
    assert convpp.convolve_backward(dy, a, kernel, needs=["kernel"])[0] is None
    for cast in np.int16, np.float32, np.float16:
        da_of, dk_of = convpp.convolve_backward(dy, a.astype(cast), kernel.astype(cast))
        assert da_of.dtype == dk_of.dtype == (np.float64 if cast is np.int16 else cast)
        np.testing.assert_array_equal(da_of, da)
        np.testing.assert_array_equal(dk_of, dkernel)
    with pytest.raises(convpp.ShapeError, match=r"dy has shape \(5, 5\), expected \(5, 6\)"):
        convpp.convolve_backward(np.ones((5, 5)), a, kernel)
    with pytest.raises(convpp.DTypeError, match="dy has dtype complex128, expected a real one"):
        convpp.convolve_backward(dy * 1j, a, kernel)
    with pytest.raises(ValueError, match="needs is 'w'"):
        convpp.convolve_backward(dy, a, kernel, needs="w")
