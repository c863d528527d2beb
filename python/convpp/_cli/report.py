"""What ``--json`` prints: one JSON object, whose keys docs/command_line.md explains.

In: what a command has found out.   Out: the object, in a line of its own on standard output.
Used by ``cli.py``; next: ``bench.py``, ``machine.py``, and convpp's ``explain``.

Keys may be added; one that goes, or comes to mean something else, makes a new ``schema``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from convpp import runtime
from convpp._cli.bench import Bench, Measured, Total
from convpp._cli.machine import Peak
from convpp.explain import Explanation

SCHEMA = 1

Report = dict[str, Any]


def show(report: Report) -> None:
    """Print it: numbers that JSON does not have are an error."""
    print(json.dumps(report, allow_nan=False))


def info_report(peaks: Iterable[Peak], warnings: Sequence[str]) -> Report:
    """Of ``convpp info``; without ``--peak`` there are no peaks."""
    return {**_head("info"), **runtime.runtime_info(), "peaks": list(map(_peak, peaks)), "warnings": list(warnings)}


def explain_report(explanation: Explanation, x_shape: Sequence[int], w_shape: Sequence[int]) -> Report:
    """Of ``convpp explain``."""
    shapes = {"x_shape": list(x_shape), "w_shape": list(w_shape)}
    return {**_head("explain"), "version": runtime.runtime_info()["version"], **shapes, **asdict(explanation)}


def bench_report(bench: Bench) -> Report:
    """Of ``convpp bench``."""
    return {
        **_head("bench"),
        **runtime.runtime_info(),
        **{name: getattr(bench, name) for name in ("network", "dtype", "layout", "threads", "seconds")},
        "peaks": list(map(_peak, bench.peaks)),
        "passes": [_pass(measured, bench.peak) for measured in bench.measured],
        "totals": [_total(total, bench.peak) for total in bench.totals()],
        "warnings": bench.warnings(),
    }


def _head(command: str) -> Report:
    return {"schema": SCHEMA, "command": command}


def _peak(peak: Peak) -> Report:
    return {"dtype": peak.dtype, "threads": peak.threads, "gflops": peak.rate, "repeats": list(peak.rates)}


def _pass(measured: Measured, peak: float) -> Report:
    layer = measured.layer
    return {
        "layer": layer.row_id,
        "count": layer.count,
        "op": measured.op,
        "algorithm": measured.algorithm,
        "flops": layer.flops,
        **_rates(measured.seconds, measured.rate, peak, measured.effective),
        "spread": measured.spread,
    }


def _total(total: Total, peak: float) -> Report:
    head = {"network": total.network, "layers": total.layers, "op": total.op}
    return {**head, **_rates(total.seconds, total.rate, peak, total.effective)}


def _rates(seconds: float, rate: float, peak: float, effective: bool) -> Report:
    return {"seconds": seconds, "gflops": rate, "of_peak": rate / peak, "effective": effective}
