"""Every example runs, and prints what its last lines promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISED = {
    "custom_layer_gradcheck.py": "Forgetful: wrong gradient, worst at",
    "deblur.py": "the three agree, and the photograph is sharp again",
    "edge_detection.py": "strongest edge: 4.47",
    "find_the_filter.py": "[-1. -2. -1.]]",
    "jax_training.py": "their mean is the batch's gradient",
    "resnet_digits.py": "gradients of 1437 samples, which add up to that of all",
}


def test_every_example_is_tested() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == set(PROMISED)


#: What an example needs that the tests do not bring.
NEEDS = {"jax_training.py": "jax"}


@pytest.mark.parametrize("name", PROMISED)
def test_example(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert PROMISED[name] in done.stdout
