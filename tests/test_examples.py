"""Every example runs, and prints what its last lines promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PROMISED = {
    "autograd_newton.py": "one step found the blur",
    "custom_layer_gradcheck.py": "Forgetful: wrong gradient, worst at",
    "deblur.py": "the three agree, and the photograph is sharp again",
    "denoise.py": "learned: ",
    "digits.py": "of 360 digits that it has not seen",
    "distributed_training.py": "one process: the same losses and parameters, to the last bit",
    "edge_detection.py": "slopes: (2, 427, 640)",
    "filter_a_recording.py": "6000 Hz: 0.40 before, 0.00 after",
    "find_the_filter.py": "[-1. -2. -1.]]",
    "gradients_of_samples.py": "have one of the 40 wrong labels",
    "jax_training.py": "their mean is the batch's gradient",
    "larger_than_memory.py": "largest difference: 0e+00",
    "missing_data.py": "zeros for land: 17 m",
    "onnx_model.py": "the same results",
    "pytensor_response.py": "events and response are found",
    "resnet_digits.py": "gradients of 1437 samples, which add up to that of all",
    "torch_training.py": "the same network, by two libraries",
    "xarray_rainfall.py": "the same in chunks as in memory, with its dimensions and coordinates",
}


def test_every_example_is_tested() -> None:
    assert {file.name for file in EXAMPLES.glob("*.py")} == set(PROMISED)


#: What an example needs that the tests do not bring.
NEEDS = {
    "autograd_newton.py": "autograd",
    "distributed_training.py": "distributed",
    "jax_training.py": "jax",
    "pytensor_response.py": "pytensor",
    "torch_training.py": "torch",
    "xarray_rainfall.py": "xarray",
}


@pytest.mark.parametrize("name", PROMISED)
def test_example(name: str) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if name == "xarray_rainfall.py":
        pytest.importorskip("dask")  # which xarray does without
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert PROMISED[name] in done.stdout
