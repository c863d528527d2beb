"""Threads, instruction sets and what this build is.

In: numbers of threads, algorithms, and the environment, read at the first use: ``CONVPP_NUM_THREADS``,
``CONVPP_ALGORITHM`` and ``CONVPP_MAX_ISA``.  ``threads=`` on a call wins over ``with threads(n)``, which wins over
``set_num_threads`` and the environment; and so do algorithms.
Out: what a call is told, and what users ask for.   Next: the core (cpp/src), which keeps the process's settings.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from convpp import _core
from convpp._call.arguments import ALGORITHMS, Algorithm, as_int, choice, shown
from convpp._call.default_algorithm import algorithm_of_context, default_algorithm, set_default_algorithm
from convpp._call.planning import forget_plans

#: The number of threads that ``with threads(n)`` sets, for this Python thread (or task) only; 0: not set.
limit_of_context: ContextVar[int] = ContextVar("convpp_threads", default=0)

MOST_THREADS = 1024


def _checked(value: Any) -> int:
    n = as_int(value, "threads")
    if not 1 <= n <= MOST_THREADS:
        raise ValueError(f"threads is {shown(n)}, expected an integer from 1 to {MOST_THREADS}")
    return n


def threads_of_call(threads: Any) -> int:
    """What the core is told: the call's own number, the context's, or 0 (the process's)."""
    return _checked(threads) if threads is not None else limit_of_context.get()


def get_num_threads() -> int:
    """The number of threads a call uses at most (small calls use one).

    Examples
    --------
    >>> import convpp
    >>> convpp.get_num_threads() >= 1
    True
    """
    return limit_of_context.get() or _core.num_threads()


def set_num_threads(n: int) -> None:
    """Sets the number of threads for the whole process.

    Results do not depend on it: their bits are the same for every number of threads.

    Parameters
    ----------
    n : int, 1 to 1024

    Raises
    ------
    ValueError : another value.

    Examples
    --------
    >>> import convpp
    >>> convpp.set_num_threads(convpp.get_num_threads())
    """
    _core.set_num_threads(_checked(n))
    forget_plans()


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Within ``with convpp.threads(n):`` calls of this Python thread use at most ``n`` threads.

    Parameters
    ----------
    n : int, 1 to 1024

    Raises
    ------
    ValueError : another value.

    Examples
    --------
    >>> import convpp
    >>> with convpp.threads(1):
    ...     convpp.get_num_threads()
    1
    """
    token = limit_of_context.set(_checked(n))
    try:
        yield
    finally:
        limit_of_context.reset(token)


def get_algorithm() -> Algorithm:
    """The algorithm of calls with ``algorithm="auto"``: "auto", if nothing else was set.

    Raises
    ------
    ValueError : the environment variable ``CONVPP_ALGORITHM`` is not the name of an algorithm.

    Examples
    --------
    >>> import convpp
    >>> with convpp.algorithm("direct"):
    ...     convpp.get_algorithm()
    'direct'
    """
    return default_algorithm()


def set_algorithm(name: Algorithm) -> None:
    """Sets the algorithm of calls with ``algorithm="auto"``, which is their default, for the whole process.

    They behave as if each of them said ``algorithm=name``.  Before this is called, the environment variable
    ``CONVPP_ALGORITHM`` is looked at, once.  Layers ask at each call; prepared weights stay what they were prepared
    for.

    Parameters
    ----------
    name : "auto", "direct", "winograd", "fft", "reference" or "stream"
        "direct" has the least error, "auto" (the fastest) is what convpp starts with.

    Raises
    ------
    ValueError : another name.

    Examples
    --------
    >>> import convpp
    >>> convpp.set_algorithm(convpp.get_algorithm())
    """
    set_default_algorithm(name)


@contextlib.contextmanager
def algorithm(name: Algorithm) -> Iterator[None]:
    """Within ``with convpp.algorithm(name):`` calls of this Python thread with ``algorithm="auto"`` take that one.

    Other threads, and tasks of ``asyncio`` that are begun before, are not touched. ``with convpp.algorithm("auto"):``
    lets convpp choose again, whatever ``set_algorithm`` says.

    Parameters
    ----------
    name : "auto", "direct", "winograd", "fft", "reference" or "stream"

    Raises
    ------
    ValueError : another name.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((1, 32, 14, 14)), np.ones((32, 32, 3, 3))
    >>> with convpp.algorithm("direct"):
    ...     y = convpp.conv(x, w)
    >>> bool((y == 288).all())
    True
    """
    token = algorithm_of_context.set(choice(name, "algorithm", ALGORITHMS))
    try:
        yield
    finally:
        algorithm_of_context.reset(token)


def runtime_info() -> dict[str, Any]:
    """What this build and this machine are: version, isa, isas_available, num_threads, algorithm, openmp, compiler.

    ``openmp`` says that calls can compute with the threads of an OpenMP library, as ``convpp.torch`` lets them: they
    can in every build, and none needs such a library.

    Examples
    --------
    >>> import convpp
    >>> sorted(convpp.runtime_info())
    ['algorithm', 'compiler', 'isa', 'isas_available', 'num_threads', 'openmp', 'version']
    """
    return {
        "version": _core.version,
        "isa": _core.isa(),
        "isas_available": _core.isas_available(),
        "num_threads": get_num_threads(),
        "algorithm": get_algorithm(),
        "openmp": True,
        "compiler": _core.compiler,
    }


def show_config() -> None:
    """Prints ``runtime_info()``, a line each.

    Examples
    --------
    >>> import convpp
    >>> convpp.show_config()  # doctest: +ELLIPSIS
    version         ...
    """
    for key, value in runtime_info().items():
        print(f"{key:15} {', '.join(value) if isinstance(value, list) else value}")


def get_include() -> str:
    """The directory of the C++ headers (``#include <convpp/convpp.hpp>``).

    Raises
    ------
    FileNotFoundError : convpp was installed without its C++ files.

    Examples
    --------
    >>> import pathlib
    >>> import convpp
    >>> pathlib.Path(convpp.get_include(), "convpp", "convpp.hpp").exists()
    True
    """
    return str(_installed("include"))


def get_cmake_dir() -> str:
    """The directory of convpp's CMake package, for ``find_package(convpp)`` (as ``convpp_DIR``).

    Raises
    ------
    FileNotFoundError : convpp was installed without its C++ files.

    Examples
    --------
    >>> import pathlib
    >>> import convpp
    >>> pathlib.Path(convpp.get_cmake_dir(), "convppConfig.cmake").exists()
    True
    """
    return str(_installed("lib", "cmake", "convpp"))


def _installed(*parts: str) -> Path:
    path = Path(_core.__file__).parent.joinpath(*parts)
    if not path.is_dir():
        raise FileNotFoundError(f"{path} does not exist: this installation of convpp has no C++ files")
    return path


def _select_isa(name: str) -> None:
    """Switches the kernels of this process; for tests and the self-check."""
    _core.select_isa(name)
    forget_plans()


#: GFLOP/s of independent multiply-adds in registers; of dtype and threads.
_measure_peak = _core.measure_peak
#: GB/s of ``a += b`` over a working set of so many bytes, of all threads: two reads and a write for each element.
_measure_bandwidth = _core.measure_bandwidth
