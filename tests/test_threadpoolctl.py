"""threadpoolctl sees convpp and limits it, whichever of the two is imported first; without it, nothing is imported."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convpp
from scripts import succeed

threadpoolctl: Any = pytest.importorskip("threadpoolctl")


def seen() -> list[dict[str, Any]]:
    return [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "convpp"]


def in_another_thread() -> int:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(convpp.get_num_threads()))
    thread.start()
    thread.join()
    return results[0]


def test_convpp_is_seen_once() -> None:
    (library,) = seen()
    assert library["internal_api"] == "convpp"
    assert library["version"] == convpp.__version__
    assert library["num_threads"] == convpp.get_num_threads()
    assert Path(library["filepath"]).samefile(convpp._core.__file__)


def test_limits_count_after_the_first_call() -> None:
    before = convpp.get_num_threads()
    x, w = np.ones((8, 64, 56, 56), "float32"), np.ones((64, 64, 3, 3), "float32")
    y = convpp.conv(x, w)
    for limit in (1, 3):
        with threadpoolctl.threadpool_limits(limit):
            assert convpp.get_num_threads() == limit
            assert convpp.explain(x.shape, w.shape).threads == limit
            assert seen()[0]["num_threads"] == limit
            assert in_another_thread() == before  # a limit of the current thread
            np.testing.assert_array_equal(convpp.conv(x, w), y)
        assert convpp.get_num_threads() == before


def test_limits_by_name_and_within_each_other() -> None:
    before = convpp.get_num_threads()
    with threadpoolctl.threadpool_limits({"convpp": 5}):
        assert convpp.get_num_threads() == 5
        with threadpoolctl.threadpool_limits(2, user_api="convpp"):
            assert convpp.get_num_threads() == 2
        assert convpp.get_num_threads() == 5
        with threadpoolctl.threadpool_limits(1, user_api="blas"):
            assert convpp.get_num_threads() == 5
        with convpp.threads(4):
            assert convpp.get_num_threads() == 4
    assert convpp.get_num_threads() == before


def test_a_limit_that_ended_is_forgotten() -> None:
    """What is set for the process afterwards counts again."""
    before = convpp.get_num_threads()
    with threadpoolctl.threadpool_limits(1):
        pass
    try:
        convpp.set_num_threads(before + 2)
        assert convpp.get_num_threads() == before + 2
    finally:
        convpp.set_num_threads(before)


@pytest.mark.parametrize(("limit", "used"), [(0, 1), (-3, 1), (10**9, 1024)])
def test_limits_that_no_call_can_have(limit: int, used: int) -> None:
    with threadpoolctl.threadpool_limits(limit, user_api="convpp"):
        assert convpp.get_num_threads() == used


LIMITED = """
with threadpoolctl.threadpool_limits(1):
    print(convpp.get_num_threads(), convpp.explain((8, 64, 56, 56), (64, 64, 3, 3)).threads)
print(convpp.get_num_threads(), [i["user_api"] for i in threadpoolctl.threadpool_info()].count("convpp"))
loader = threadpoolctl.__spec__.loader
print(loader is threadpoolctl.__loader__, type(loader).__module__.startswith("convpp"), bool(loader.get_source))
print([finder for finder in sys.meta_path if type(finder).__module__.startswith("convpp")])
"""


@pytest.mark.parametrize("imports", ["convpp, threadpoolctl", "threadpoolctl, convpp"])
def test_the_order_of_imports_does_not_matter(imports: str) -> None:
    """A limit set before the first call counts, and nothing is left behind."""
    got = succeed(f"import sys, {imports}\n{LIMITED}", CONVPP_NUM_THREADS="3")
    assert got.splitlines() == ["1 1", "3 1", "True False True", "[]"]


def test_where_threadpoolctl_is_not_asked_for() -> None:
    """It is not imported, and neither is what it needs; a search for it finds the module itself."""
    script = """
    import sys, numpy
    before = set(sys.modules)
    import convpp
    print(sorted(name for name in set(sys.modules) - before if "ctypes" in name or name == "threadpoolctl"))
    import importlib.util
    spec = importlib.util.find_spec("threadpoolctl")
    print(spec.name, spec.origin.endswith("threadpoolctl.py"), "threadpoolctl" in sys.modules)
    print(importlib.util.find_spec("no_module_of_this_name"))
    """
    assert succeed(script).splitlines() == ["[]", "threadpoolctl True False", "None"]


def test_where_there_is_none() -> None:
    for script in (
        "import sys; sys.modules['threadpoolctl'] = None; import convpp; convpp.get_num_threads()",
        "import convpp, sys; sys.path[:] = []; sys.path_importer_cache.clear()\n"
        "try: import threadpoolctl\nexcept ModuleNotFoundError as error: assert error.name == 'threadpoolctl'\n"
        "else: raise SystemExit(1)",
        "import sys, types; sys.modules['threadpoolctl'] = types.ModuleType('threadpoolctl'); import convpp",
    ):
        succeed(script)


def test_an_environment_that_is_wrong_is_not_threadpoolctls_matter() -> None:
    script = """
    import convpp, threadpoolctl
    print([i["num_threads"] for i in threadpoolctl.threadpool_info() if i["user_api"] == "convpp"])
    with threadpoolctl.threadpool_limits(2):
        print(convpp.get_num_threads())
    try:
        convpp.get_num_threads()
    except ValueError as error:
        print(error)
    """
    got = succeed(script, CONVPP_NUM_THREADS="many").splitlines()
    assert got[:2] == ["[None]", "2"]
    assert "CONVPP_NUM_THREADS is 'many'" in got[2]


def test_the_finder_leaves_other_modules_alone() -> None:
    from convpp._threadpoolctl import Finder

    finder = Finder()
    assert finder.find_spec("json") is None
    sys.meta_path.insert(0, finder)
    try:
        spec = finder.find_spec("threadpoolctl")
    finally:
        sys.meta_path.remove(finder)
    assert spec is not None
    assert spec.name == "threadpoolctl"
