"""The cache of plans: found by equal arguments, bounded by number and by bytes, for any number of threads and forks."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import convpp
from convpp._call.geometry import geometry_of
from convpp._call.options import ConvOptions
from convpp._call.planning import BYTES_KEPT, PLANS, PLANS_KEPT, PYTHON_BYTES, Key, Planned, Plans
from scripts import HANGING_SECONDS, succeed


def key(length: int, taps: int = 3, pass_: str = "forward") -> Key:
    return (pass_, "float32", (1, 1, length), (1, 1, taps), ConvOptions())


def bytes_of(plans: Plans) -> int:
    return sum(planned.nbytes for planned in plans.values())


def test_what_is_there_is_found() -> None:
    plans = Plans(8, 1 << 20)
    first = plans[key(10)]
    assert isinstance(first, Planned)
    assert plans[key(10)] is first
    assert plans[key(11)] is not first
    assert plans.made == 2
    plans.forget()
    assert (len(plans), plans.nbytes) == (0, 0)
    assert plans[key(10)] is not first
    assert first.convolution.summary(1)["op"] == "forward"  # whoever has one may use it


def test_the_number_is_bounded_and_the_oldest_go_first() -> None:
    plans = Plans(8, 1 << 30)
    for length in range(10, 30):
        plans[key(length)]
        assert len(plans) <= 8
        assert plans.nbytes == bytes_of(plans)
    assert list(plans) == [key(length) for length in range(22, 30)]


def test_bytes_are_bounded() -> None:
    """By what plans say of themselves: many taps are many bytes."""
    small, large = Planned("forward", "float32", geometry_of(*key(10)[2:])), 1 << 18
    plans = Plans(1000, 16 * small.nbytes)
    for length in range(10, 60):
        plans[key(length)]
        assert plans.nbytes == bytes_of(plans) <= 16 * small.nbytes
    assert 8 <= len(plans) <= 16
    before = len(plans)
    many = plans[key(2 * large, large)]  # larger than all that may be kept: it serves the call
    if many.nbytes > plans.most_bytes:
        assert (len(plans), plans.nbytes) == (before, bytes_of(plans))
    assert many.x_shape == (1, 1, 2 * large)


def test_plans_tell_their_bytes() -> None:
    few, many = (PLANS[key(200_000, taps)] for taps in (3, 100_000))
    assert few.nbytes > PYTHON_BYTES
    assert few.convolution.plan_bytes > 500  # at least what every plan holds
    assert many.nbytes >= few.nbytes
    assert PLANS.nbytes == bytes_of(PLANS)


def test_the_cache_of_the_process_is_bounded() -> None:
    assert (PLANS.most, PLANS.most_bytes) == (PLANS_KEPT, BYTES_KEPT) == (1024, 64 << 20)
    for taps in range(20_000, 20_120):
        convpp.explain((1, 1, 30_000), (1, 1, taps), op="weight_grad")
        assert PLANS.nbytes <= BYTES_KEPT
    assert PLANS.nbytes == bytes_of(PLANS)
    assert len(PLANS) <= PLANS_KEPT


def test_wrong_geometries_are_not_kept() -> None:
    plans = Plans(8, 1 << 20)
    for _ in range(3):
        with pytest.raises(convpp.ShapeError):
            plans[key(2)]
    assert (len(plans), plans.nbytes, plans.made) == (0, 0, 0)


def test_a_plan_for_settings_that_changed_meanwhile_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be for another instruction set than the one that was selected since."""
    plans = Plans(8, 1 << 20)

    def planned_slowly(*arguments: Any) -> Planned:
        planned = Planned(*arguments)
        plans.forget()  # as set_num_threads in another thread does
        return planned

    monkeypatch.setattr("convpp._call.planning.Planned", planned_slowly)
    assert isinstance(plans[key(10)], Planned)
    assert (len(plans), plans.nbytes) == (0, 0)


def test_calls_within_calls() -> None:
    """Signal handlers and destructors run anywhere, even where the lock is held."""
    plans = Plans(2, 1 << 20)

    class Within(Plans):
        def _keep(self, at: Key, planned: Planned) -> None:
            super()._keep(at, planned)
            if len(plans) < 2:
                plans[key(11)]

    plans = Within(2, 1 << 20)
    plans[key(10)]
    assert list(plans) == [key(10), key(11)]
    assert plans.nbytes == bytes_of(plans)


def test_many_threads() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    plans = Plans(16, 1 << 20)

    def work(number: int) -> None:
        for step in range(300):
            length = 10 + (step * (2 * number + 1)) % 40
            assert plans[key(length)].x_shape == (1, 1, length)
            if step % 100 == 99:
                plans.forget()

    try:
        with ThreadPoolExecutor(8) as pool:
            for done in [pool.submit(work, number) for number in range(8)]:
                done.result(timeout=HANGING_SECONDS)
    finally:
        sys.setswitchinterval(interval)
    assert plans.nbytes == bytes_of(plans)
    assert len(plans) <= 16


def test_a_child_that_is_forked_while_the_lock_is_held() -> None:
    succeed(
        """
        import os, threading
        import convpp
        from convpp._call.planning import PLANS
        if not hasattr(os, "fork"):
            raise SystemExit
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        held, ending = threading.Event(), threading.Event()

        def hold():
            with PLANS._lock:
                PLANS.nbytes += 12345  # as if about to keep one
                held.set()
                ending.wait()

        other = threading.Thread(target=hold)
        other.start()
        held.wait()
        child = os.fork()
        if child == 0:
            convpp.explain((1, 1, 9), (1, 1, 3))
            os._exit(0 if PLANS.nbytes == sum(planned.nbytes for planned in PLANS.values()) else 3)
        assert os.waitpid(child, 0)[1] == 0
        ending.set()
        other.join()
        """
    )
