"""Nothing outside the arrays is read or written: they lie against forbidden pages (bounds.py)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import HANGING_SECONDS

COUNT = 150


@pytest.mark.skipif(os.name != "posix", reason="forbidden pages are made by mprotect")
@pytest.mark.parametrize("first_seed", range(0, 4 * COUNT, COUNT))
def test_guard_pages(first_seed: int) -> None:
    script = Path(__file__).with_name("bounds.py")
    done = subprocess.run(
        [sys.executable, str(script), str(first_seed), str(COUNT)],
        capture_output=True,
        text=True,
        timeout=HANGING_SECONDS,
        check=False,
    )
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"ended with {done.returncode} at {last}\n{done.stderr}"
    assert len(done.stdout.splitlines()) == 4 * COUNT
