"""The peak of multiply-adds, measured several times; and words of warning where something else was running meanwhile.

In: dtype, threads.   Out: a `Peak`; warnings.   Used by ``bench.py`` and by ``convpp info --peak``.

A rate that was measured beside other work is too low, and nothing in it says so: what says so are repeats that differ,
and two threads that reach less than one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from convpp import runtime

REPEATS = 3
#: Repeats of a peak that are further apart, as a part of the largest, were not all alone.
APART = 0.2


@dataclass(frozen=True)
class Peak:
    """GFLOP/s of independent multiply-adds in registers, in each repeat."""

    dtype: str
    threads: int
    rates: tuple[float, ...]

    @property
    def rate(self) -> float:
        """The largest: nothing makes a machine faster than it is."""
        return max(self.rates)

    @property
    def apart(self) -> float:
        """How far the smallest is below the largest, as a part of it."""
        return 1 - min(self.rates) / self.rate

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.dtype}, {self.threads} thread{'s'[: self.threads > 1]}"


def measure_peaks(dtypes: Iterable[str], threads: int) -> list[Peak]:
    """With one thread, and with all of them."""
    return [
        Peak(dtype, count, tuple(runtime._measure_peak(dtype, count) for _ in range(REPEATS)))
        for count in sorted({1, threads})
        for dtype in dtypes
    ]


def warnings_of(peaks: Iterable[Peak]) -> list[str]:
    """Why these rates are not to be trusted; nothing, where they are."""
    found, alone = [], dict[str, Peak]()
    for peak in peaks:
        if peak.apart > APART:
            found.append(f"repeats of the peak ({peak.name}) are {peak.apart:.0%} apart")
        one = alone.setdefault(peak.dtype, peak)
        if peak.threads > one.threads and peak.rate < one.rate:
            found.append(f"the peak of {peak.name} is {peak.rate:.0f} GFLOP/s, and that of one alone {one.rate:.0f}")
    return [f"this machine is busy with something else: {reason}" for reason in found]


def warn(warnings: Iterable[str]) -> None:
    """Where they are not read as results."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
