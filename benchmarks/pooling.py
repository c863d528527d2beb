"""Pooling and its gradients beside PyTorch, turn by turn, in one process.

    python benchmarks/pooling.py
    python benchmarks/pooling.py --threads 1 --kernel 2 3 --shape 32 64 32 32 --seconds 1

In: nothing but the machine.
Out: for each kernel, layout and pass the milliseconds of both, and PyTorch's divided by convpp's (above 1, convpp is
faster).  Both write into arrays that are there; windows go by steps of 2, those of 3 with a padding of 1.  PyTorch's
forward pass of a maximum keeps indices, which its gradient needs; convpp's gradient looks at x again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from results import Table, markdown

import convpp

Array = Any
LAYOUTS = ("channels_first", "channels_last")


def contestants(shape: Sequence[int], kernel: int, layout: str, threads: int) -> dict[str, list[Callable[[], Array]]]:
    """For each pass: convpp's call and PyTorch's; each returns its result as convpp has it."""
    import torch

    torch.set_num_threads(threads)
    last = layout == "channels_last"
    memory = torch.channels_last if last else torch.contiguous_format
    sizes: tuple[Any, ...] = ([kernel] * 2, [2, 2], [kernel // 3] * 2)
    x = torch.randn(*shape).contiguous(memory_format=memory)
    y, indices = torch.ops.aten.max_pool2d_with_indices(x, *sizes)
    dy = torch.randn(y.shape).contiguous(memory_format=memory)
    dx = torch.empty_like(x)
    mean, mean_dx = torch.empty_like(y), torch.empty_like(x)

    def array(tensor: Any) -> Array:
        return np.moveaxis(tensor.numpy(), 1, -1) if last else tensor.numpy()

    ours_x, ours_dy = array(x), array(dy)
    out_y, out_dx = np.empty_like(array(y), order="C"), np.empty_like(ours_x, order="C")
    how: dict[str, Any] = {"stride": 2, "padding": kernel // 3, "layout": layout, "threads": threads}
    aten = torch.ops.aten
    return {
        "max": [
            lambda: convpp.max_pool(ours_x, kernel, **how, out=out_y),
            lambda: array(aten.max_pool2d_with_indices.out(x, *sizes, out=y, indices=indices)[0]),
        ],
        "max, gradient": [
            lambda: convpp.max_pool_input_grad(ours_dy, ours_x, kernel, **how, out=out_dx),
            lambda: array(
                aten.max_pool2d_with_indices_backward.grad_input(dy, x, *sizes, [1, 1], False, indices, grad_input=dx)
            ),
        ],
        "mean": [
            lambda: convpp.avg_pool(ours_x, kernel, **how, out=out_y),
            lambda: array(aten.avg_pool2d.out(x, *sizes, out=mean)),
        ],
        "mean, gradient": [
            lambda: convpp.avg_pool_input_grad(ours_dy, ours_x.shape, kernel, **how, out=out_dx),
            lambda: array(aten.avg_pool2d_backward.grad_input(dy, x, *sizes, False, True, None, grad_input=mean_dx)),
        ],
    }


def measured(calls: Sequence[Callable[[], Array]], seconds: float) -> list[float]:
    """The best of each, turn by turn, of calls whose results agree."""
    first, *others = (call() for call in calls)
    for other in others:
        np.testing.assert_allclose(first, other, rtol=1e-5, atol=1e-5)
    best, until = [float("inf")] * len(calls), time.perf_counter() + seconds
    while time.perf_counter() < until:
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def rows(shape: Sequence[int], kernels: Sequence[int], threads: int, seconds: float) -> Iterator[list[str]]:
    """One for each kernel, layout and pass."""
    for kernel in kernels:
        for layout in LAYOUTS:
            for name, calls in contestants(shape, kernel, layout, threads).items():
                ours, theirs = measured(calls, seconds)
                yield [
                    f"{kernel}x{kernel}",
                    layout,
                    name,
                    f"{1e3 * ours:.3f}",
                    f"{1e3 * theirs:.3f}",
                    f"{theirs / ours:.2f}",
                ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=4, default=[32, 64, 32, 32], metavar=("N", "C", "H", "W"))
    parser.add_argument("--kernel", type=int, nargs="+", default=[2, 3])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=0.5, help="for each case")
    args = parser.parse_args()
    for threads in args.threads:
        table: Table = [["window", "layout", "pass", "convpp, ms", "PyTorch, ms", "PyTorch / convpp"]]
        table += rows(args.shape, args.kernel, threads, args.seconds)
        print(f"{tuple(args.shape)} float32, {threads} threads\n\n{markdown(table)}\n")


if __name__ == "__main__":
    main()
