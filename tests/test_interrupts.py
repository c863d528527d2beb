"""Signals in the middle of a call: Ctrl-C, handlers that raise, that return, that fork.

Each in a process of its own (scripts.py); the long call would take minutes, which a hanging test is not given.
"""

from __future__ import annotations

import os

import pytest

from scripts import succeed

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="timers and signals are those of POSIX")

SETUP = """
    import os, signal, threading, time
    import numpy as np
    import convpp

    big = np.ones((8, 256, 96, 96), "float32")
    weights = np.ones((256, 256, 3, 3), "float32")

    def compute_for_minutes(threads=2):
        convpp.conv(big, weights, padding=1, algorithm="reference", threads=threads)
        raise SystemExit("the call was not interrupted")

    def after(seconds, handler, signal_number=signal.SIGALRM):
        signal.signal(signal_number, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (2, 8, 40, 40)).astype("float32")
    w = rng.integers(-4, 5, (8, 8, 3, 3)).astype("float32")
    want = convpp.conv(x, w)

    def works_as_before():
        assert (convpp.conv(x, w) == want).all()
        assert (convpp.conv(x, w, threads=3) == want).all()
"""


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_ctrl_c_ends_a_call(threads: int) -> None:
    succeed(
        SETUP
        + f"""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job is born deaf to it
    def press(*_):
        os.kill(os.getpid(), signal.SIGINT)
    after(0.2, press)
    try:
        compute_for_minutes({threads})
    except KeyboardInterrupt:
        pass
    works_as_before()
    """
    )


@pytest.mark.parametrize("algorithm", ["direct", "winograd", "fft"])
def test_ctrl_c_is_heard_between_the_tasks_of_every_algorithm(algorithm: str) -> None:
    """One call, of a second and more on one thread of any CPU, that is interrupted after a tenth of that."""
    kernel = (64, 64, 31, 31) if algorithm == "fft" else (512, 256, 3, 3)
    succeed(
        SETUP
        + f"""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    kernels = np.ones({kernel}, "float32")
    image = np.ones((8, {kernel[1]}, 160, 160), "float32")
    def call(of, threads):
        convpp.conv(of, kernels, padding="same", algorithm="{algorithm}", threads=threads)
        raise SystemExit("the call was not interrupted")
    for threads in (1, 2):
        after(0.1, lambda *_: os.kill(os.getpid(), signal.SIGINT))
        try:
            call(image, threads)
        except KeyboardInterrupt:
            pass
    works_as_before()
    """
    )


def test_a_handlers_exception_passes() -> None:
    succeed(
        SETUP
        + """
    class Mine(Exception):
        pass
    def fail(*_):
        raise Mine("from the handler")
    after(0.2, fail)
    try:
        compute_for_minutes()
    except Mine as error:
        assert str(error) == "from the handler"
    works_as_before()
    """
    )


def test_a_handler_that_returns_changes_nothing() -> None:
    succeed(
        SETUP
        + """
    calls = []
    def note(*_):
        calls.append(1)
        works_as_before()  # a call in the middle of a call
    signal.signal(signal.SIGALRM, note)
    signal.setitimer(signal.ITIMER_REAL, 0.06, 0.06)
    deadline = time.monotonic() + 60
    long = np.ones((1, 16, 64, 64), "float32")
    small = np.ones((16, 16, 3, 3), "float32")
    expected = convpp.conv(long, small, algorithm="direct")
    while len(calls) < 5:
        got = convpp.conv(long, small, algorithm="reference", threads=2)
        assert (got == expected).all()
        assert time.monotonic() < deadline
    signal.setitimer(signal.ITIMER_REAL, 0)
    """
    )


def test_calls_of_other_threads_go_on() -> None:
    succeed(
        SETUP
        + """
    results = []
    def work():
        long = np.ones((1, 16, 64, 64), "float32")
        small = np.ones((16, 16, 3, 3), "float32")
        want = convpp.conv(long, small, algorithm="direct")
        for _ in range(5):
            results.append((convpp.conv(long, small, algorithm="reference") == want).all())
    def fail(*_):
        raise KeyboardInterrupt
    thread = threading.Thread(target=work)
    after(0.05, fail)
    try:
        thread.start()
        compute_for_minutes()
    except KeyboardInterrupt:
        pass
    thread.join()
    assert results == [True] * 5
    """
    )


def test_a_handler_may_fork() -> None:
    succeed(
        SETUP
        + """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    parent = os.getpid()
    def fork(*_):
        global child
        child = os.fork()
        if child != 0:
            raise KeyboardInterrupt
    after(0.2, fork)
    try:
        compute_for_minutes()
    except KeyboardInterrupt:
        assert os.getpid() == parent
    except RuntimeError as error:  # the helpers, and what they had begun, stayed with the parent
        assert os.getpid() != parent and "interrupted" in str(error), error
        works_as_before()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    works_as_before()
    """
    )
