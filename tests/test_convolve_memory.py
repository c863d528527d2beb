"""Beside its result, a call of convolve takes at most 16 MiB, however large the array is."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import succeed

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")

SCRIPT = """
import numpy as np, convpp
from pathlib import Path

def peak():
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) * 1024

gaussian = convpp.gaussian(2.0, ndim=2)
a = np.ones({shape}, {dtype})
small = a[:40, :40]
call = lambda a: convpp.convolve(a, {arguments})
call(small)                                  # what a process keeps, whatever it computes
Path("/proc/self/clear_refs").write_text("5")
before = peak()
y = call(a)
print(peak() - before - y.nbytes, y.nbytes)
"""

CALLS = {
    "separable": ("(4000, 5000, 3)", "'f4'", "gaussian.astype('f4'), axes=(0, 1), mode='same', boundary='reflect'"),
    "picture": ("(4000, 5000, 3)", "'f4'", "np.ones((3, 3), 'f4'), axes=(0, 1), mode='same'"),
    "planes": ("(3, 4000, 5000)", "'f4'", "np.ones((3, 3), 'f4'), mode='same', boundary='reflect'"),
    "other types": ("(4000, 5000)", "'>i2'", "gaussian, mode='same', boundary=1.5"),
    "bytes": ("(4000, 5000)", "'u1'", "np.ones((3, 3), 'i8'), mode='same'"),
    "long integers": ("(2000, 5000)", "'i8'", "np.ones((3, 3), 'i8') << 50, mode='same'"),
    "complex": ("(2000, 5000)", "'c8'", "np.ones((3, 3), 'c8'), mode='same'"),
    "nan": ("(4000, 5000)", "'f4'", "np.ones((9, 9), 'f4'), mode='same', nan='ignore'"),
    "four axes": ("(40, 50, 100, 100)", "'f4'", "np.ones((3, 3, 3, 3), 'f4'), mode='same'"),
    "several": ("(3000, 3000)", "'f4'", "kernels=np.ones((4, 3, 3), 'f4'), mode='same'"),
    "transform": ("(3000, 3000)", "'f4'", "np.ones((31, 31), 'f4'), mode='same', method='fft'"),
}


@pytest.mark.parametrize("name", CALLS)
def test_at_most_16_mib(name: str) -> None:
    shape, dtype, arguments = CALLS[name]
    beside, result = (
        int(word) for word in succeed(SCRIPT.format(shape=shape, dtype=dtype, arguments=arguments)).split()
    )
    assert beside <= 16 << 20, f"{beside / 2**20:.1f} MiB beside a result of {result / 2**20:.0f}"
