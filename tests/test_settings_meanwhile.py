"""Threads compute different things while another changes the number of threads, the instruction set and the plans.

With whole numbers and the direct algorithm every instruction set gives the same bits, so each result has one value.
How many threads at once give the same results: test_concurrency.py.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

import convpp
from convpp import _core
from convpp._call.planning import PLANS, forget_plans
from convpp.runtime import _select_isa
from geometry import LAYOUTS, Array, Case, Geometry, assert_same_bits, draw_geometry, in_layout, make_case
from scripts import HANGING_SECONDS

CALLERS = 8
ISAS = _core.isas_available()


@pytest.fixture
def settings() -> Iterator[None]:
    """Those of the process, set again at the end; and threads that change often."""
    threads, isa, interval = convpp.get_num_threads(), _core.isa(), sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)
    convpp.set_num_threads(threads)
    _select_isa(isa)


def results(g: Geometry, case: Case, layout: str, threads: int | None, prepared: convpp.PreparedWeights) -> list[Array]:
    """All passes, an activation, the gradient of a bias."""
    x, y = in_layout(case.x, layout, g.rank), in_layout(case.y, layout, g.rank)
    how: dict[str, Any] = {**g.exact_keywords(layout), "threads": threads}
    return [
        convpp.conv(x, case.w, case.bias, **how),
        convpp.conv_input_grad(y, case.w, x.shape, **how),
        convpp.conv_weight_grad(y, x, case.w.shape, **how),
        convpp.conv(x, prepared, case.bias, threads=threads),
        convpp.activate(y, "relu", threads=threads),
        convpp.conv_bias_grad(y, layout=layout, batched=g.n is not None),
    ]


def calls(rng: np.random.Generator) -> list[Callable[[], list[Array]]]:
    """Each of a geometry of its own."""
    work: list[Callable[[], list[Array]]] = []
    for number in range(24):
        g = draw_geometry(rng)
        case, layout = make_case(g, rng), LAYOUTS[number % 2]
        prepared = convpp.prepare_weights(case.w, g.x_shape(layout), **g.exact_keywords(layout))
        work.append(partial(results, g, case, layout, (None, 1, 2, 3)[number % 4], prepared))
    return work


def test_results_do_not_notice(settings: None, rng: np.random.Generator) -> None:
    work = calls(rng)
    want = [compute() for compute in work]
    together, ending = threading.Barrier(CALLERS + 1), threading.Event()

    def caller(number: int) -> None:
        together.wait()
        for step in range(8 * len(work)):
            at = (step * (2 * number + 1) + number) % len(work)
            for got, expected in zip(work[at](), want[at], strict=True):
                assert_same_bits(got, expected)

    def changer() -> int:
        together.wait()
        changes = 0
        while not ending.is_set():
            convpp.set_num_threads(1 + changes % 4)
            _select_isa(ISAS[changes % len(ISAS)])
            if changes % 7 == 0:
                forget_plans()
            with convpp.threads(2):
                convpp.explain((1, 2, 9 + changes % 5), (2, 2, 3))
            changes += 1
        return changes

    with ThreadPoolExecutor(CALLERS + 1) as pool:
        changing = pool.submit(changer)
        callers = [pool.submit(caller, number) for number in range(CALLERS)]
        try:
            for done in callers:
                done.result(timeout=HANGING_SECONDS)
        finally:
            ending.set()
        assert changing.result(timeout=HANGING_SECONDS) > 10


@pytest.mark.skipif(len(ISAS) < 2, reason="this machine has one instruction set")
def test_no_plan_of_another_instruction_set_is_left(settings: None) -> None:
    """Whatever threads did meanwhile: what is planned after the last selection is for that one."""
    ending = threading.Event()

    def plan() -> None:
        length = 0
        while not ending.is_set():
            length = (length + 1) % 50
            convpp.explain((1, 1, 50 + length), (1, 1, 3))

    planners = [threading.Thread(target=plan) for _ in range(3)]
    for planner in planners:
        planner.start()
    try:
        for number in range(200):
            isa = ISAS[number % len(ISAS)]
            _select_isa(isa)
            for length in range(50, 100, 7):
                assert convpp.explain((1, 1, length), (1, 1, 3)).isa == isa
    finally:
        ending.set()
        for planner in planners:
            planner.join(HANGING_SECONDS)
    assert {planned.convolution.summary(1)["isa"] for planned in PLANS.values()} == {isa}
