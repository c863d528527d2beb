"""The algorithm that calls take whose own is "auto": of a ``with`` block, of the process, or of the environment.

In: ``with algorithm("direct")``, ``set_algorithm("direct")``, ``CONVPP_ALGORITHM``, which is read at the first use.
Out: a name of ALGORITHMS.   Next: ``options.py``, where each call asks for it once.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Any, Literal

from convpp._call.arguments import ALGORITHMS, Algorithm, choice

#: What ``with algorithm(name)`` sets, for this Python thread (or task) only; empty: not set.
algorithm_of_context: ContextVar[Algorithm | Literal[""]] = ContextVar("convpp_algorithm", default="")
_of_process: Algorithm | Literal[""] = ""  # empty: nobody has asked yet


def default_algorithm() -> Algorithm:
    """The algorithm of calls that leave it open."""
    return algorithm_of_context.get() or _of_process or _from_environment()


def set_default_algorithm(name: Any) -> None:
    """For the whole process."""
    global _of_process
    _of_process = choice(name, "algorithm", ALGORITHMS)


def _from_environment() -> Algorithm:
    name = choice(os.environ.get("CONVPP_ALGORITHM", "") or "auto", "CONVPP_ALGORITHM", ALGORITHMS)
    set_default_algorithm(name)
    return name
