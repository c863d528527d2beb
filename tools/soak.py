"""A long life: thousands of shapes on eight threads, forks in between, and resident memory that stays where it was.

In:   the installed package.
Out:  resident memory as it goes; exit status 1 if it grew by more than the bound below, or if a result was wrong.
Next: noxfile.py (session ``soak``); tests/test_memory.py is the short form.

What may be kept, whatever was called before: the plan cache, bounded by its bytes, and some workspaces.  Those of these
small calls are below a megabyte each; the rest of the bound is what malloc keeps in the arenas of eight threads.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import convpp

THREADS = 8
#: 64 MiB of plans, and as much for workspaces and arenas.
BOUND_BYTES = 128 << 20
WARM_UP = 1000


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def call_all_passes(number: int) -> None:
    """A shape of its own for each number, of up to some hundred kilobytes; dx and dw are adjoint to y."""
    rng = np.random.default_rng(number)
    rank = int(rng.integers(1, 4))
    groups = int(rng.choice([1, 1, 2, 3]))
    c, k = (groups * int(rng.integers(1, 13)) for _ in range(2))
    size = tuple(int(n) for n in rng.integers(3, (400, 40, 10)[rank - 1], rank))
    kernel = tuple(int(rng.integers(1, min(n, 5) + 1)) for n in size)
    last = bool(rng.integers(2))
    how: dict[str, Any] = {
        "padding": "same" if rng.integers(2) else 0,
        "stride": 1,
        "groups": groups,
        "layout": "channels_last" if last else "channels_first",
        "padding_mode": str(rng.choice(["zeros", "zeros", "reflect", "circular"])),
        "threads": int(rng.integers(1, 5)),
        "algorithm": "direct",
    }
    dtype = str(rng.choice(["float32", "float64"]))
    shape = (int(rng.integers(1, 4)), *size, c) if last else (int(rng.integers(1, 4)), c, *size)
    x = rng.integers(-2, 3, shape).astype(dtype)
    w = rng.integers(-2, 3, (k, c // groups, *kernel)).astype(dtype)
    y = convpp.conv(x, w, **how)
    dy = rng.integers(-1, 2, y.shape).astype(dtype)
    dx = convpp.conv_input_grad(dy, w, x.shape, **how)
    dw = convpp.conv_weight_grad(dy, x, w.shape, **how)
    # (Not by a product of BLAS: that of a child that was forked while another thread was in it may wait for ever.)
    inner = [int((a.astype("int64") * b.astype("int64")).sum()) for a, b in ((dy, y), (dx, x), (dw, w))]
    if len(set(inner)) != 1:
        raise AssertionError(f"shape {number}: <dy, y>, <dx, x> and <dw, w> are {inner}")


def fork_once(number: int) -> None:
    """A child that makes one call, and must end well."""
    child = os.fork()
    if child == 0:
        signal.alarm(120)  # a child that hangs
        try:
            call_all_passes(number)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    if (status := os.waitpid(child, 0)[1]) != 0:
        raise AssertionError(f"a forked child failed at shape {number}: status {status}")


def main() -> int:
    """Call until the number of shapes is reached, and watch resident memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", type=int, default=20_000)
    parser.add_argument("--forks", type=int, default=200)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of any fork beside threads
    lock = threading.Lock()
    done, failures = 0, list[BaseException]()
    at_start = 0
    largest = 0

    def work() -> None:
        nonlocal done
        while True:
            with lock:
                number = done
                done += 1
            if number >= arguments.shapes or failures:
                return
            try:
                call_all_passes(number)
            except BaseException as error:
                failures.append(error)

    def live(generation: int) -> None:
        """Threads come and go: each generation takes a part of the shapes."""
        threads = [threading.Thread(target=work, name=f"{generation}.{i}") for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    total = arguments.shapes
    steps = [WARM_UP, *range(total // 10, total + 1, total // 10)]
    began, forked = time.monotonic(), 0
    for step in steps:
        arguments.shapes = step
        background = threading.Thread(target=live, args=(step,))
        background.start()
        while background.is_alive() and at_start:  # forks while the others compute
            if forked * total < arguments.forks * done:
                fork_once(forked)
                forked += 1
            background.join(0.01)
        background.join()
        done = step
        if failures:
            print(f"wrong: {failures[0]}")
            return 1
        resident = resident_bytes()
        at_start = at_start or resident
        largest = max(largest, resident)
        print(
            f"{step:6} shapes, {forked:4} forks, {time.monotonic() - began:5.0f} s: "
            f"{resident / 2**20:.0f} MiB resident, {(resident - at_start) / 2**20:+.0f}",
            flush=True,
        )
    grown = largest - at_start
    print(f"grew by at most {grown / 2**20:.0f} MiB, the bound is {BOUND_BYTES / 2**20:.0f}")
    return 0 if grown <= BOUND_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
