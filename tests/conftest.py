"""What every test of the suite gets: a generator seeded by the test's own name, and deterministic hypothesis.

The ISA under test is whatever `CONVPP_MAX_ISA` allows; nox runs the suite once for each ISA of the machine, but for the
modules below, which are marked ``one_isa`` and run on the best one alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest

import convpp
from convpp import runtime

# The same examples in every run, and no time limit: a loaded machine must not fail a test.
hypothesis.settings.register_profile("convpp", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("convpp")


#: What these test does not depend on the kernels: arguments, messages, processes and threads, commands, pages; or they
#: go through all instruction sets themselves (fft).
ONE_ISA = frozenset(
    [
        "array_arguments",
        "autograd",
        "bench",
        "benchmarks",
        "binding",
        "cli",
        "concurrency",
        "conventions",
        "convolve_kernels",
        "convolve_memory",
        "convolve_peers",
        "default_algorithm",
        "docs",
        "docstrings",
        "errors",
        "errors_of_arrays",
        "examples",
        "fft",
        "fft_bits",
        "guesses_of_arrays",
        "guesses_of_shapes",
        "guesses_of_words",
        "interrupts",
        "layer_memory",
        "layer_parameters",
        "mutants",
        "notebook",
        "onnx_ops",
        "onnx_peers",
        "onnx_pooling",
        "package",
        "packaging",
        "plain_benchmark",
        "plan_cache",
        "plan_guard",
        "pooling_errors",
        "pooling_peers",
        "pytensor",
        "scale_simulation",
        "settings_meanwhile",
        "shapes",
        "signatures",
        "threadpoolctl",
        "tiled_files",
        "tiles_indices",
        "widget",
        "widget_looks",
        "winograd_transforms",
    ]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem.removeprefix("test_") in ONE_ISA:
            item.add_marker("one_isa")


def pytest_report_header() -> str:
    info = convpp.runtime_info()
    return f"convpp {info['version']}: {info['isa']} of {info['isas_available']}, {info['num_threads']} threads"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that do not change when other tests are added, removed or run in another order."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(params=convpp.runtime_info()["isas_available"])
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each instruction set of the machine in turn."""
    before = convpp.runtime_info()["isa"]
    runtime._select_isa(request.param)
    yield request.param
    runtime._select_isa(before)
