"""What the machine can do: the peak of multiply-adds, and the bandwidth of what holds a layer's arrays.

In: dtype and threads; bytes.   Out: GFLOP/s, GB/s, and the rate that a pass can attain: it has to do its operations and
to move its arrays, each once.   Both are measured by convpp's own compiled code, in the run that uses them.
"""

from __future__ import annotations

import numpy as np

from convpp._cli.suite import Layer
from convpp.runtime import _measure_bandwidth, _measure_peak

#: Working sets that the bandwidth is measured for: from the L2 caches of two cores to main memory.
SIZES = tuple(2**k for k in range(18, 29, 2))

#: How often a first value is measured.
MEASURES = 3


class Machine:
    """Measures when asked, bandwidths once for each number of threads.

    Whatever else runs on the machine makes a measure too low, and convpp's share of it too high: so the highest one
    of the run counts.
    """

    def __init__(self) -> None:
        self._peaks: dict[tuple[str, int], float] = {}
        self._bandwidths: dict[int, list[float]] = {}

    def peak(self, dtype: str, threads: int) -> float:
        """GFLOP/s: the highest of all measures so far, of one now among them."""
        key = (dtype, threads)
        again = 1 if key in self._peaks else MEASURES
        self._peaks[key] = max(self._peaks.get(key, 0.0), *(_measure_peak(dtype, threads) for _ in range(again)))
        return self._peaks[key]

    def bandwidths(self, threads: int) -> list[float]:
        """GB/s for each of SIZES."""
        if threads not in self._bandwidths:
            rounds = [[_measure_bandwidth(size, threads) for size in SIZES] for _ in range(MEASURES)]
            self._bandwidths[threads] = [max(of_size) for of_size in zip(*rounds, strict=True)]
        return self._bandwidths[threads]

    def bandwidth(self, nbytes: int, threads: int) -> float:
        """GB/s for a working set of that size: on a straight line, both axes logarithmic, between two measured ones.

        Below the smallest and above the largest size, theirs.
        """
        return float(np.exp(np.interp(np.log(nbytes), np.log(SIZES), np.log(self.bandwidths(threads)))))


def attainable(layer: Layer, dtype: str, peak: float, bandwidth: float) -> float:
    """GFLOP/s: the lower of the peak, and bandwidth times operations a byte."""
    return min(peak, bandwidth * layer.flops / layer.traffic(dtype))
