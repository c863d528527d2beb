"""The three passes of some layers of real networks, in float32, on one thread and on all.

In: ``rows.py``.   Out: seconds of a call.   Next: ``calls.py``.

One thread is what changes of kernels and plans show in; with all of them the machine's other work shows, too, and so
three rows are enough for how work is shared out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import convpp

from .rows import ROWS, read

PASSES = ("forward", "input_grad", "weight_grad")
SHARED = (ROWS[2], ROWS[6], ROWS[7])


def prepare(name: str, which: str) -> Callable[[], object]:
    """A call without arguments, whose result is written into an array that is there."""
    row = read()[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(row.x_shape, dtype=np.float32)
    w = rng.standard_normal(row.w_shape, dtype=np.float32)
    y = convpp.conv(x, w, **row.geometry)
    if which == "forward":
        return lambda: convpp.conv(x, w, out=y, **row.geometry)
    if which == "input_grad":
        dx = np.empty_like(x)
        return lambda: convpp.conv_input_grad(y, w, row.x_shape, out=dx, **row.geometry)
    dw = np.empty_like(w)
    return lambda: convpp.conv_weight_grad(y, x, row.w_shape, out=dw, **row.geometry)


class OneThread:
    """Rows and passes on one thread."""

    params = (list(ROWS), list(PASSES))
    param_names = ("layer", "pass")
    rounds = 2
    repeat = (3, 20, 1.0)
    warmup_time = 0.1

    def setup(self, name: str, which: str) -> None:
        """Make the arrays, and the plan by a first call."""
        self.before = convpp.get_num_threads()
        convpp.set_num_threads(1)
        self.call = prepare(name, which)
        self.call()

    def teardown(self, name: str, which: str) -> None:
        """Give the threads back."""
        convpp.set_num_threads(self.before)

    def time_pass(self, name: str, which: str) -> None:
        """A call."""
        self.call()


class AllThreads:
    """Some of them on as many threads as the process has."""

    params = (list(SHARED), list(PASSES))
    param_names = ("layer", "pass")
    rounds = 2
    repeat = (3, 20, 1.0)
    warmup_time = 0.1

    def setup(self, name: str, which: str) -> None:
        """Make the arrays, the plan and the helpers."""
        self.call = prepare(name, which)
        self.call()

    def time_pass(self, name: str, which: str) -> None:
        """A call."""
        self.call()
