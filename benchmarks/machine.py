"""What the machine can do: the peak of multiply-adds, and the bandwidth of what holds a layer's arrays.

In: dtype and threads; bytes.   Out: GFLOP/s, GB/s, and the rate that a pass can attain: it has to do its operations and
to move its arrays, each once.   Both are measured by convpp's own compiled code, in the run that uses them.
"""

from __future__ import annotations

import numpy as np

from convpp.runtime import _measure_bandwidth, _measure_peak
from convpp.suite import Layer

#: Working sets that the bandwidth is measured for: from the L2 caches of two cores to main memory.
SIZES = tuple(2**k for k in range(18, 29, 2))


class Machine:
    """Measures when asked, bandwidths once for each number of threads."""

    def __init__(self) -> None:
        self._bandwidths: dict[int, list[float]] = {}

    def peak(self, dtype: str, threads: int) -> float:
        """GFLOP/s, measured now: frequencies change in a long run."""
        return _measure_peak(dtype, threads)

    def bandwidths(self, threads: int) -> list[float]:
        """GB/s for each of SIZES."""
        if threads not in self._bandwidths:
            self._bandwidths[threads] = [_measure_bandwidth(size, threads) for size in SIZES]
        return self._bandwidths[threads]

    def bandwidth(self, nbytes: int, threads: int) -> float:
        """GB/s for a working set of that size: on a straight line, both axes logarithmic, between two measured ones.

        Below the smallest and above the largest size, theirs.
        """
        return float(np.exp(np.interp(np.log(nbytes), np.log(SIZES), np.log(self.bandwidths(threads)))))


def attainable(layer: Layer, dtype: str, peak: float, bandwidth: float) -> float:
    """GFLOP/s: the lower of the peak, and bandwidth times operations a byte."""
    return min(peak, bandwidth * layer.flops / layer.traffic(dtype))
