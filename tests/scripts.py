"""Scripts in a fresh interpreter, for what needs a process of its own: environment, forks, limits.

In: the script's text and environment variables.  Out: the finished process.  A script must end by itself within a
time that only a hang exceeds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

HANGING_SECONDS = 120


def run_script(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=HANGING_SECONDS,
        check=False,
    )


def succeed(script: str, **environment: str) -> str:
    """What the script prints; its failure is the test's."""
    done = run_script(script, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
