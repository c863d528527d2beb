"""A call takes no more memory than explain says, and explain does not say much more than some call takes.

Each call is made in a process of its own, in which nothing is kept from calls before it; the peak of resident memory is
reset before the call and read after it.  The calls are those that take most: gradients that are added to ``out`` as a
whole, sums of halves, halos of the padding modes, results that are not finite and are computed again.

What explain says of real layers is held to bounds; cpp/tests/test_plan_memory.cpp holds plans to them at any batch.
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest

import convpp
from geometry import Shape
from rounding import PASSES
from scripts import succeed

pytest.importorskip("ml_dtypes")
import plan_guard

#: What a call takes beside the workspace: pages that arrays and stacks of threads begin and end on, code that runs
#: for the first time, and what the kernel's count of pages lags behind.
SLACK_BYTES = 1 << 20


@dataclass(frozen=True)
class Call:
    """One call: its pass, the shapes, and what else decides how much memory it takes."""

    op: str
    x: Shape
    w: Shape
    dtype: str = "float32"
    geometry: dict[str, Any] = field(default_factory=dict)  # beside a padding of 1
    accumulate: bool = False
    fused: bool = False  # bias, activation and residual
    spoiled: str = ""  # the operand that has a NaN
    most: bool = True  # no other call of this geometry takes more


IMAGE, FILTERS = (8, 64, 56, 56), (64, 64, 3, 3)
WIDE, WIDE_FILTERS = (2, 256, 14, 14), (256, 256, 3, 3)
EACH, OWN_FILTERS = (4, 256, 14, 14), (4, 256, 256, 3, 3)
REFLECT = {"padding_mode": "reflect"}
DIRECT = {"algorithm": "direct"}
WINOGRAD = {"algorithm": "winograd"}
SAMPLES = {"per_sample": True}
#: By Fourier transforms: of many channels, and of one for each filter.
DENSE, DENSE_FILTERS = (4, 16, 96, 96), (16, 16, 15, 15)
DEPTHWISE, DEPTHWISE_FILTERS = (4, 64, 56, 56), (64, 1, 31, 31)
FFT = {"algorithm": "fft", "padding": 7}
FFT_GROUPS = {"algorithm": "fft", "padding": 15, "groups": 64}

CALLS = {
    "dx added by Winograd": Call("input_grad", (16, 64, 112, 112), FILTERS, accumulate=True),
    "dw in halves": Call("weight_grad", WIDE, WIDE_FILTERS, "bfloat16"),
    "dx with a halo": Call("input_grad", IMAGE, FILTERS, geometry=REFLECT, most=False),
    "dx with a halo, added": Call("input_grad", IMAGE, FILTERS, geometry=REFLECT, accumulate=True),
    "dx with a halo, in halves": Call("input_grad", IMAGE, FILTERS, "float16", REFLECT),
    "y, fused": Call("forward", WIDE, WIDE_FILTERS, fused=True),
    "y, per sample": Call("forward", EACH, OWN_FILTERS, geometry=SAMPLES),
    "dx, per sample, added": Call("input_grad", EACH, OWN_FILTERS, geometry=SAMPLES, accumulate=True),
    "dw, per sample, added": Call("weight_grad", EACH, OWN_FILTERS, geometry=SAMPLES, accumulate=True),
    "NaN in w meets padding": Call("input_grad", IMAGE, FILTERS, "float32", DIRECT, True, spoiled="w"),
    "NaN in dy meets padding": Call("weight_grad", WIDE, WIDE_FILTERS, "float32", DIRECT, True, spoiled="dy"),
    "y by the FFT": Call("forward", DENSE, DENSE_FILTERS, geometry=FFT, fused=True),
    "dx by the FFT, added": Call("input_grad", DENSE, DENSE_FILTERS, geometry=FFT, accumulate=True),
    "dw by the FFT, in halves": Call("weight_grad", DENSE, DENSE_FILTERS, "float16", FFT),
    "dx by the FFT, a halo": Call("input_grad", DENSE, DENSE_FILTERS, geometry={**FFT, **REFLECT}, most=False),
    "y by the FFT, depthwise": Call("forward", DEPTHWISE, DEPTHWISE_FILTERS, geometry=FFT_GROUPS),
    "dw by the FFT, depthwise": Call("weight_grad", DEPTHWISE, DEPTHWISE_FILTERS, geometry=FFT_GROUPS, accumulate=True),
    "NaN in x, by the FFT": Call("forward", DENSE, DENSE_FILTERS, geometry=FFT, spoiled="x", most=False),
    "NaN in x, y again": Call("forward", WIDE, WIDE_FILTERS, "float32", WINOGRAD, spoiled="x"),
    "NaN in x, dw again": Call("weight_grad", WIDE, WIDE_FILTERS, "float32", WINOGRAD, True, spoiled="x"),
}

SCRIPT = """
import json
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import convpp

call, threads = SimpleNamespace(**{call}), {threads}
if call.dtype == "bfloat16":
    import ml_dtypes
how = {{"padding": 1, **call.geometry}}


def prepared(x_shape, w_shape, how):
    arrays = {{"x": np.ones(x_shape, call.dtype), "w": np.ones(w_shape, call.dtype)}}
    k = w_shape[-4]
    arrays["dy"] = np.ones((x_shape[0], k, *x_shape[2:]), call.dtype)
    if call.spoiled:
        arrays[call.spoiled][(0,) * arrays[call.spoiled].ndim] = np.nan
    x, w, dy = arrays["x"], arrays["w"], arrays["dy"]
    if call.op == "forward":
        more = dict(bias=np.ones(k, call.dtype), activation="gelu", add=np.ones_like(dy)) if call.fused else {{}}
        out = np.ones_like(dy)
        return lambda: convpp.conv(x, w, **how, **more, out=out)
    function, operands, like = {{
        "input_grad": (convpp.conv_input_grad, (dy, w, x_shape), x),
        "weight_grad": (convpp.conv_weight_grad, (dy, x, w_shape), w),
    }}[call.op]
    out = np.ones_like(like)
    return lambda: function(*operands, **how, out=out, accumulate=call.accumulate)


def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


convpp.set_num_threads(threads)
small = {{**how, "padding": 1, "groups": 1}}
prepared((*call.x[:1], 16, 9, 9), (*call.w[:-4], 16, 16, 3, 3), small)()  # what is loaded at a first call is loaded now
run = prepared(call.x, call.w, how)
said = convpp.explain(call.x, call.w, op=call.op, dtype=call.dtype, **how)
try:
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    run()
    print(json.dumps([status("VmHWM") - before, said.workspace_bytes]))
except (OSError, StopIteration):
    print("null")
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", CALLS)
def test_peak_memory_of_a_call(name: str, threads: int) -> None:
    call = CALLS[name]
    # Blocks of this size and more are the system's again when they are freed: the peak counts what the call takes,
    # not what it finds in the heap.
    printed = succeed(SCRIPT.format(call=asdict(call), threads=threads), MALLOC_MMAP_THRESHOLD_="65536")
    measured = json.loads(printed)
    if measured is None:
        pytest.skip("the system does not tell the peak of resident memory, or cannot reset it")
    peak, said = measured
    assert peak <= said + SLACK_BYTES
    if call.most:
        assert peak >= said / 2, said


@pytest.mark.parametrize("options", [{}, {"padding_mode": "reflect"}, {"padding_mode": "reflect", "dtype": "float16"}])
def test_workspace_does_not_grow_with_the_batch(options: dict[str, Any]) -> None:
    few, many = (
        convpp.explain((n, *IMAGE[1:]), FILTERS, op="input_grad", padding=1, threads=1, **options).workspace_bytes
        for n in (16, 512)
    )
    assert many - few <= 65536, "but for a flag of each sample, and how the halo is cut"


@pytest.mark.parametrize("table", ["layers.csv", "convbench.csv"])
def test_workspace_of_real_layers_is_bounded(table: str) -> None:
    mib = 2**20
    for case in plan_guard.rows_of(plan_guard.BENCHMARKS / table):
        for op, (dtype, size), last in itertools.product(PASSES, (("float32", 4), ("float64", 8)), (False, True)):
            said = case.convolution(op, dtype, last).summary(1)
            own = said["workspace_bytes_per_thread"]
            # Winograd: a box's tiles and their products, at each of up to 36 points.
            assert 0 < own <= (3 if said["algorithm"] == "direct" else 12) * mib, case
            weights = case.k * case.c // case.groups * math.prod(case.kernel) * size
            sample = case.c * math.prod(case.input) * size
            results = {
                "forward": 0,
                "input_grad": min(case.n, max(1, 4 * mib // sample)) * sample,
                "weight_grad": weights,
            }
            # Weights have up to 36 points for 9 taps, and are filled up to whole panels.  Gradients of some samples
            # that are added to what is there may be needed as a whole before.
            # (The FFT: spectra of a box, 24 MiB, and of the weights, which have the points of a tile.)
            most = (64 if said["algorithm"] == "fft" else 32) * mib
            assert said["workspace_bytes"] - own <= max(10 * weights, most) + results[op], case
