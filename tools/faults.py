"""Faults that a machine in trouble has, and what the Python package makes of them: errors, never a dead process.

In:   the installed package; libfailing_calls.so (cpp/stress/failing_calls.cpp), in which chosen calls fail.
Out:  a line for each kind of fault; exit status 1 if a call did anything but raise MemoryError or give the right
      result, if ``out`` changed where it raised, or if a process died or hung.
Next: noxfile.py (session ``faults``); cpp/tests/test_faults.cpp does the same for C++.

Each kind runs in processes of its own (``--inside``), since some of what goes wrong would take this one along.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import convpp
from convpp._call.planning import forget_plans

Array = npt.NDArray[Any]
Call = Callable[..., Any]  # writes into its argument ``out``

HANGING_SECONDS = 600
BLOCKS, MALLOCS, THREADS, CALLOCS = 1, 2, 4, 8


class FailingCalls:
    """The preloaded library: which calls fail, and how many there were."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._arm, self._disarm = library.failing_calls_arm, library.failing_calls_disarm
        self._arm.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int]
        self._disarm.restype = ctypes.c_int64

    def during(self, kinds: int, number: int, after: bool, call: Callable[[], Any]) -> tuple[bool, int]:
        """Whether the call came to its end, and how many calls of these kinds there were."""
        self._arm(kinds, number, int(after))
        try:
            call()
        except MemoryError:
            return False, self._disarm()
        finally:
            counted = self._disarm()
        return True, counted


def whole(rng: np.random.Generator, shape: tuple[int, ...], dtype: str = "float32") -> Array:
    """Small whole numbers, whose sums are exact."""
    return rng.integers(-3, 4, shape).astype(dtype)


def calls() -> Iterator[tuple[str, Array, Call]]:
    """Names, arrays like the result, and calls: every pass, the options that take memory of their own."""
    rng = np.random.default_rng(1)
    x, w = whole(rng, (3, 8, 12, 13)), whole(rng, (6, 8, 3, 3))
    big, wide = whole(rng, (2, 32, 24, 24)), whole(rng, (32, 32, 3, 3))
    y, own = whole(rng, (3, 6, 12, 13)), whole(rng, (3, 6, 8, 3, 3))
    spoiled = w.copy()
    spoiled[0, 0, 0, 0] = np.inf
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "strided": {"stride": 2},
        "reflecting": {"padding_mode": "reflect"},
        "threads": {"threads": 2},
        "last": {"layout": "channels_last"},
    }
    for name, more in kinds.items():
        how: dict[str, Any] = {"padding": 1, **more}
        a = np.ascontiguousarray(np.moveaxis(x, 1, -1)) if "layout" in more else x
        d = whole(rng, convpp.conv(a, w, **how).shape)
        yield f"y {name}", d, partial(convpp.conv, a, w, **how)
        yield f"dx {name}", a, partial(convpp.conv_input_grad, d, w, a.shape, **how)
        yield f"dw {name}", w, partial(convpp.conv_weight_grad, d, a, w.shape, **how)
    bias = np.ones(6, "float32")
    yield "y with all that may follow", y, partial(convpp.conv, x, w, bias, padding=1, activation="relu", add=y)
    yield "dx added", x, partial(convpp.conv_input_grad, y, w, x.shape, padding=1, accumulate=True)
    yield "dw added", w, partial(convpp.conv_weight_grad, y, x, w.shape, padding=1, accumulate=True)
    yield "y of samples", y, partial(convpp.conv, x, own, padding=1, per_sample=True)
    half, half_w = x.astype("float16"), w.astype("float16")
    yield "y of halves", half[:, :6], partial(convpp.conv, half, half_w, padding=1)
    yield "dw of halves", half_w, partial(convpp.conv_weight_grad, half[:, :6], half, w.shape, padding=1)
    yield "infinite weights", y, partial(convpp.conv, x, spoiled, padding=1)
    for algorithm in ("direct", "winograd", "fft"):
        yield f"large and {algorithm}", big, partial(convpp.conv, big, wide, padding=1, algorithm=algorithm)
    yield "db", bias, partial(convpp.conv_bias_grad, y)
    last_y = np.ascontiguousarray(np.moveaxis(y, 1, -1))
    yield "db last", bias, partial(convpp.conv_bias_grad, last_y, layout="channels_last")
    yield "activation", y, partial(convpp.activate, y, "gelu")

    def prepared(out: Array) -> None:
        weights = convpp.prepare_weights(w, x.shape, padding=1)
        convpp.conv(x, weights, padding=1, out=out)

    yield "prepared weights", y, prepared


def fail_each(failing: FailingCalls, kinds: int, after: bool, most: int) -> tuple[int, int]:
    """Every call of the list, with its 1st, 2nd, .. allocation failing, until one comes to its end without.

    Returns how many allocations failed, and how many of the calls came to a right end all the same.
    """
    failed = survived = 0
    for name, like, call in calls():
        right = np.ascontiguousarray(like)
        try:
            call(out=right)
        except (TypeError, ValueError) as error:
            raise SystemExit(f"{name}: {error}") from error
        for number in range(1, most):
            forget_plans()
            out = np.ascontiguousarray(like)
            before = out.copy()
            ended, counted = failing.during(kinds, number, after, partial(call, out=out))
            expected = right if ended else before
            if out.tobytes() != expected.tobytes():
                state = "gave another result" if ended else "changed out and raised MemoryError"
                raise SystemExit(f"{name}: {state} when allocation {number} of kinds {kinds} failed")
            if ended and counted < number:
                break
            failed += 1
            survived += ended
    return failed, survived


def allocations() -> str:
    """Memory of the core."""
    failing = FailingCalls()
    once, survived = fail_each(failing, BLOCKS, after=False, most=5000)
    later, _ = fail_each(failing, BLOCKS, after=True, most=5000)
    return f"{once} allocations of the core failed, {survived} of them without harm, and {later} with all behind them"


def mallocs() -> str:
    """Memory of anybody, Python's and NumPy's large objects included."""
    failed, survived = fail_each(FailingCalls(), MALLOCS | CALLOCS, after=False, most=300)
    return f"{failed} calls of malloc failed, {survived} of them without harm"


def first_calls() -> str:
    """A thread's first call, which may prepare what it keeps for its next ones, while there is no memory.

    (Not for malloc: of that the C library itself makes what a thread has of libstdc++, and ends the process.)
    """
    failing = FailingCalls()
    rng = np.random.default_rng(2)
    x, w = whole(rng, (1, 4, 20, 20)), whole(rng, (5, 4, 3, 3))
    right = convpp.conv(x, w)
    wrong: list[str] = []
    for kinds in (BLOCKS, CALLOCS, BLOCKS | CALLOCS):
        for number in range(1, 40):
            out = np.zeros_like(right)

            def work(kinds: int = kinds, number: int = number, out: Array = out) -> None:
                ended, _ = failing.during(kinds, number, True, partial(convpp.conv, x, w, out=out))
                if out.tobytes() != (right if ended else np.zeros_like(right)).tobytes():
                    wrong.append(f"kinds {kinds}, number {number}")

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
    if wrong:
        raise SystemExit(f"a first call changed out: {wrong}")
    return "117 first calls of threads without memory"


def large_inputs() -> tuple[Array, Array]:
    """Operands of calls that are shared by threads."""
    rng = np.random.default_rng(3)
    return whole(rng, (4, 32, 30, 31)), whole(rng, (48, 32, 3, 3))


def large_passes(inputs: tuple[Array, Array] | None = None) -> bytes:
    """Three passes that are shared by threads, as bytes."""
    x, w = inputs or large_inputs()
    y = convpp.conv(x, w, padding=1, threads=4)
    dx = convpp.conv_input_grad(y, w, x.shape, padding=1, threads=4)
    dw = convpp.conv_weight_grad(y, x, w.shape, padding=1, threads=4, algorithm="direct")
    return b"".join(a.tobytes() for a in (y, dx, dw))


def no_threads() -> str:
    """Threads that cannot be started: from the first, the second, .. on, or one of them."""
    number, after = (int(word) for word in os.environ["CONVPP_FAULT"].split())
    with convpp.threads(1):
        rng = np.random.default_rng(3)
        x, w = whole(rng, (4, 32, 30, 31)), whole(rng, (48, 32, 3, 3))
        right = convpp.conv(x, w, padding=1, threads=1)
    failing = FailingCalls()
    results: list[Array] = []
    for _ in range(3):
        ended, _ = failing.during(
            THREADS, number, bool(after), lambda: results.append(convpp.conv(x, w, padding=1, threads=4))
        )
        if not ended:
            raise SystemExit("MemoryError for a thread that could not be started")
    if any(y.tobytes() != right.tobytes() for y in results):
        raise SystemExit("another result")
    return ""


def few_processes() -> str:
    """``ulimit -u``: as nobody, who may start no more threads than run already."""
    large = large_inputs()  # nobody may read modules that are not imported yet
    if os.geteuid() == 0:
        os.setresuid(65534, 65534, 65534)
    resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    large_passes(large)
    return ""


def small_address_space() -> str:
    """A limit that leaves room for arrays of some megabytes, and none for large workspaces or stacks."""
    rng = np.random.default_rng(4)
    x, w = whole(rng, (8, 64, 56, 56)), whole(rng, (64, 64, 3, 3))
    out = np.zeros_like(x)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    refused = 0
    for megabytes in (64, 32, 16, 8, 4, 2, 1, 0):
        limit = used + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
        for algorithm in ("direct", "winograd", "fft"):
            out[:] = 7
            try:
                convpp.conv(x, w, padding=1, threads=4, algorithm=algorithm, out=out)
            except MemoryError:
                refused += 1
                if not (out == 7).all():
                    raise SystemExit("out was changed") from None
    return f"{refused} of 24 calls refused"


def daemon_at_exit() -> str:
    """The interpreter ends while daemon threads compute."""
    rng = np.random.default_rng(5)
    x, w = whole(rng, (4, 64, 56, 56)), whole(rng, (64, 64, 3, 3))

    def compute() -> None:
        while True:
            convpp.conv(x, w, padding=1, threads=2)

    for _ in range(3):
        threading.Thread(target=compute, daemon=True).start()
    time.sleep(0.2)
    return ""


def forks() -> str:
    """Forks while other threads compute, and forks of forks: each child computes the same bits."""
    warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of any fork beside threads
    want = large_passes()
    ending = threading.Event()
    wrong: list[str] = []

    def compute() -> None:
        while not ending.is_set():
            if large_passes() != want:
                wrong.append("a thread of the parent")

    threads = [threading.Thread(target=compute) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(30):
        child = os.fork()
        if child == 0:
            signal.alarm(120)
            same = large_passes() == want
            if number % 3 == 0:
                grandchild = os.fork()
                if grandchild == 0:
                    signal.alarm(100)
                    os._exit(0 if large_passes() == want else 3)
                same = same and os.waitpid(grandchild, 0)[1] == 0
            os._exit(0 if same else 4)
        if os.waitpid(child, 0)[1] != 0:
            wrong.append(f"child {number}")
    ending.set()
    for thread in threads:
        thread.join()
    if wrong:
        raise SystemExit(f"wrong: {wrong}")
    return "30 children of a computing process"


def run_inside(kind: str, library: Path, fault: str = "") -> str:
    """One kind in a process of its own; what it says."""
    env = {**os.environ, "LD_PRELOAD": str(library), "CONVPP_FAULT": fault}
    command = [sys.executable, __file__, "--inside", kind]
    done = subprocess.run(command, env=env, timeout=HANGING_SECONDS, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{kind} {fault}: status {done.returncode}\n{done.stdout}{done.stderr}"[-4000:])
    return done.stdout.strip()


KINDS: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        allocations, mallocs, first_calls, no_threads, few_processes, small_address_space, daemon_at_exit, forks,
    )
}  # fmt: skip


def main() -> int:
    """Every kind of fault, or one of them inside a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", type=Path, help="libfailing_calls.so")
    parser.add_argument("--inside", choices=KINDS)
    parser.add_argument("--only", choices=KINDS, nargs="*", default=list(KINDS))
    arguments = parser.parse_args()
    if arguments.inside:
        print(KINDS[arguments.inside]())
        return 0
    faults = {
        "no_threads": [f"{number} {after}" for number in (1, 2, 3) for after in (0, 1)],
        "daemon_at_exit": [str(number) for number in range(20)],
    }
    status = 0
    for kind in arguments.only:
        began = time.monotonic()
        said: list[str] = []
        for fault in faults.get(kind, [""]):
            try:
                said.append(run_inside(kind, arguments.library.resolve(), fault))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                status = 1
                said.append(f"WRONG {error}")
        print(
            f"{kind} ({time.monotonic() - began:.0f} s): {'; '.join(filter(None, said)) or 'nothing died'}", flush=True
        )
    return status


if __name__ == "__main__":
    sys.exit(main())
