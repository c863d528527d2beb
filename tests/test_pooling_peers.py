"""Pooling beside PyTorch's: random geometries, values, places and gradients; skipped where PyTorch is not installed.

`nox -s conventions` installs it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from geometry import Array, assert_exact, failures_name, pick
from pools import EXTENTS, SPECIAL

torch: Any = pytest.importorskip("torch")
DTYPES = ("float32", "float64", "float16", "bfloat16")


def draw(rng: np.random.Generator, rank: int) -> tuple[tuple[int, ...], dict[str, Any]]:
    """What both libraries take: symmetric padding; windows that read something of x."""
    while True:
        kernel = tuple(int(k) for k in rng.integers(1, 7, rank))
        keywords = {
            "kernel_size": kernel,
            "stride": pick(rng, ((2,) * rank, kernel, tuple(int(s) for s in rng.integers(1, 6, rank)))),
            "padding": pick(rng, ((0,) * rank, tuple(int(rng.integers(k // 2 + 1)) for k in kernel))),
            "dilation": pick(rng, ((1,) * rank, (1,) * rank, tuple(int(d) for d in rng.integers(1, 4, rank)))),
            "ceil_mode": bool(rng.random() < 0.5),
        }
        spatial = (int(n) for n in rng.integers(1, EXTENTS[rank], rank))
        shape = (pick(rng, (1, 2, 3)), pick(rng, (1, 2, 5, 16, 17)), *spatial)
        try:
            convpp.pool_output_shape(shape, **keywords)
            convpp.pool_output_shape(shape, **{**keywords, "dilation": 1})
        except ValueError:
            continue
        _, indices = convpp.max_pool(np.zeros(shape), **keywords, return_indices=True)
        if (indices >= 0).all():
            return shape, keywords


def ours(tensor: Any, last: bool) -> Array:
    """A tensor (N, C, *spatial) as an array in the layout, of one of the four types."""
    array: Array = tensor.detach().float().numpy() if tensor.dtype == torch.bfloat16 else tensor.detach().numpy()
    if tensor.dtype == torch.bfloat16:
        array = array.astype(pytest.importorskip("ml_dtypes").bfloat16)
    return np.ascontiguousarray(np.moveaxis(array, 1, -1) if last else array)


def compare(got: Array, want: Any, last: bool, signs: bool = True) -> None:
    """Equal, and of zeros the sign."""
    expected = ours(want, last)
    assert got.dtype == expected.dtype
    assert_exact(got.astype(float), expected.astype(float))
    zeros = (got == 0) & signs
    assert (np.signbit(got[zeros].astype(float)) == np.signbit(expected[zeros].astype(float))).all()


def check_max_pool(shape: tuple[int, ...], keywords: dict[str, Any], dtype: str, i: int, rng: Any) -> None:
    """Values, places and gradients; ``i`` says in which layout, on how many threads, and whether with NaN."""
    function = getattr(torch.nn.functional, f"max_pool{len(shape) - 2}d")
    values, last = SPECIAL if i % 3 == 0 else np.arange(-3, 4), i % 2 == 1
    x = torch.tensor(rng.choice(np.array(values, float), shape)).to(getattr(torch, dtype)).requires_grad_()
    with failures_name(shape, keywords, last):
        y, indices = function(x, **keywords, return_indices=True)
        how = {**keywords, "layout": "channels_last" if last else "channels_first", "threads": 1 + i % 3}
        got, at = convpp.max_pool(ours(x, last), **how, return_indices=True)
        compare(got, y, last)
        assert_exact(at, ours(indices, last))
        compare(convpp.max_pool(ours(x, last), **how), y, last)
        dy = torch.tensor(rng.integers(-3, 4, y.shape)).to(y.dtype)
        if dtype in ("float16", "bfloat16"):  # PyTorch rounds after each addition: here sums stay small
            dy = (dy != 0).to(y.dtype)
        y.backward(dy)
        compare(convpp.max_pool_input_grad(ours(dy, last), ours(x, last), **how), x.grad, last)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool(rank: int, dtype: str) -> None:
    rng = np.random.default_rng((171, rank))
    for i in range(100):
        check_max_pool(*draw(rng, rank), dtype, i, rng)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("kernel", "padding"), [(2, 0), (3, 0), (3, 1)])
def test_planes_that_are_halved(kernel: int, padding: int, dtype: str) -> None:
    """They have kernels of their own."""
    rng = np.random.default_rng((173, kernel, padding))
    for i in range(60):
        extents = (int(n) for n in rng.integers(3, 80, 2))
        shape = (pick(rng, (1, 2, 3)), pick(rng, (1, 2, 5, 16, 17)), *extents)
        keywords = {"kernel_size": kernel, "stride": 2, "padding": padding, "ceil_mode": bool(rng.random() < 0.5)}
        check_max_pool(shape, keywords, dtype, i, rng)


@pytest.mark.parametrize(
    ("rank", "dtype"),
    [(rank, dtype) for rank in (1, 2, 3) for dtype in DTYPES if rank < 3 or "16" not in dtype],  # PyTorch has no others
)
def test_avg_pool(rank: int, dtype: str) -> None:
    """Means of whole numbers are one division; gradients are compared within the roundings of both."""
    rng = np.random.default_rng((172, rank))
    function = getattr(torch.nn.functional, f"avg_pool{rank}d")
    for i in range(100):
        shape, keywords = draw(rng, rank)
        if rank == 3 and any(n < k for n, k in zip(shape[2:], keywords["kernel_size"], strict=True)):
            continue  # PyTorch refuses these
        del keywords["dilation"]
        keywords["count_include_pad"] = bool(i % 4 < 2)
        if rank > 1:
            keywords["divisor_override"] = pick(rng, (None, None, 5, -2))
        last = i % 2 == 1
        x = torch.tensor(rng.integers(-3, 4, shape)).to(getattr(torch, dtype)).requires_grad_()
        with failures_name(shape, keywords, last):
            y = function(x, **keywords)
            how = {**keywords, "layout": "channels_last" if last else "channels_first", "threads": 1 + i % 3}
            compare(convpp.avg_pool(ours(x, last), **how), y, last, signs=False)
            dy = torch.tensor(rng.integers(-3, 4, y.shape)).to(y.dtype)
            y.backward(dy)
            got = convpp.avg_pool_input_grad(ours(dy, last), ours(x, last).shape, **how)
            terms = np.prod(keywords["kernel_size"])
            bound = 3 * terms * terms * torch.finfo(x.dtype).eps
            assert np.abs(got.astype(float) - ours(x.grad, last).astype(float)).max() <= bound
