"""Whose threads compute tensors: PyTorch's, where its OpenMP library says how; in forked children convpp's own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
from scripts import succeed

SETUP = """
import os
import torch
import convpp.torch
from convpp import _core

torch.set_num_threads(3)
convpp.set_algorithm("direct")  # whole numbers are exact
x, w = torch.ones(8, 16, 40, 40), torch.ones(16, 16, 3, 3)
torch.nn.functional.conv2d(x, w)  # PyTorch's threads are there
threads = lambda: len(os.listdir("/proc/self/task"))
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not list its threads")


def test_no_thread_is_made_beside_pytorchs() -> None:
    made = succeed(
        SETUP + "before = threads()\n"
        "y = convpp.torch.conv2d(x, w)\n"
        "assert torch.equal(y, torch.full_like(y, 144))\n"
        "print(_core.borrows_threads(), threads() - before)"
    )
    assert made.split() == ["True", "0"]


def test_a_forked_child_has_threads_of_its_own() -> None:
    done = succeed(
        SETUP + "convpp.torch.conv2d(x, w)\n"
        "import numpy as np\n"
        "from convpp import conv\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    right = bool((conv(x.numpy(), w.numpy(), threads=3) == 144).all())\n"
        "    os._exit(0 if right and not _core.borrows_threads() else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))"
    )
    assert done.strip() == "0"
