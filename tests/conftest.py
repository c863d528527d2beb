"""What every test of the suite gets: a generator seeded by the test's own name, and deterministic hypothesis.

The ISA under test is whatever `CONVPP_MAX_ISA` allows; nox runs the suite once for each ISA of the machine.
"""

from __future__ import annotations

import zlib

import hypothesis
import numpy as np
import pytest

import convpp

# The same examples in every run, and no time limit: a loaded machine must not fail a test.
hypothesis.settings.register_profile("convpp", derandomize=True, deadline=None, database=None)
hypothesis.settings.load_profile("convpp")


def pytest_report_header() -> str:
    info = convpp.runtime_info()
    return f"convpp {info['version']}: {info['isa']} of {info['isas_available']}, {info['num_threads']} threads"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that do not change when other tests are added, removed or run in another order."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))
