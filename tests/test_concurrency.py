"""Many Python threads at once, forked children, and how the number of threads is set.

What needs a process of its own runs as a script (scripts.py).
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import convpp
from geometry import LAYOUTS, Array, Geometry, assert_same_bits, draw_geometry, normal
from scripts import HANGING_SECONDS, run_script, succeed

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


# ---------------------------------------------------------------- many Python threads


def all_results(g: Geometry, layout: str, threads: int | None) -> list[Array]:
    rng = np.random.default_rng(g.k)
    x, dy = normal(rng, g.x_shape(layout), g.dtype), normal(rng, g.y_shape(layout), g.dtype)
    w, bias = normal(rng, g.w_shape, g.dtype), normal(rng, (g.k,), g.dtype)
    keywords = {**g.keywords(layout), "threads": threads}
    return [
        convpp.conv(x, w, bias, **keywords),
        convpp.conv_input_grad(dy, w, x.shape, **keywords),
        convpp.conv_weight_grad(dy, x, w.shape, **keywords),
        convpp.conv_bias_grad(dy, layout=layout, batched=g.n is not None),
        *convpp.conv_backward(dy, x, w, **keywords),
    ]


@pytest.mark.parametrize("threads", [1, 2, None])
def test_eight_threads_with_different_geometries(threads: int | None, rng: np.random.Generator) -> None:
    geometries = [
        Geometry(3, 33, 65, (23, 21), (3, 3), padding=1),
        Geometry(2, 70, 20, (17, 18), (1, 1), dtype="float64"),
        Geometry(2, 21, 21, (29, 27), (5, 5), padding=2, groups=21),
        Geometry(1, 2, 3, (2001,), (65,), padding="same"),
        *(draw_geometry(rng) for _ in range(20)),
    ]
    tasks = [(g, layout) for g in geometries for layout in LAYOUTS]
    want = [all_results(*task, threads=1) for task in tasks]
    together = threading.Barrier(8)

    def work(number: int) -> None:
        together.wait()
        for step in range(len(tasks)):
            at = (step * (2 * number + 1) + number) % len(tasks)  # each thread in an order of its own
            for got, expected in zip(all_results(*tasks[at], threads=threads), want[at], strict=True):
                assert_same_bits(got, expected)

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, number) for number in range(8)]:
            done.result(timeout=HANGING_SECONDS)


def test_threads_that_share_inputs_and_end(rng: np.random.Generator) -> None:
    """Threads come and go: each may leave a workspace behind, none may leave it to another in use."""
    x, w = normal(rng, (2, 16, 20, 21), "float32"), normal(rng, (24, 16, 3, 3), "float32")
    want = convpp.conv(x, w, padding=1, threads=1)
    results: list[Array] = []
    for _ in range(10):
        threads = [threading.Thread(target=lambda: results.append(convpp.conv(x, w, padding=1))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(HANGING_SECONDS)
    assert len(results) == 80
    for got in results:
        assert_same_bits(got, want)


def test_the_threads_that_plans_are_made_for_change_no_bit(rng: np.random.Generator) -> None:
    """``set_num_threads`` decides how finely work is cut: never the chunks of a weight gradient's sum."""
    before = convpp.get_num_threads()
    shapes = [
        ((2, 64, 28, 28), (64, 64, 3, 3), 1),
        ((2, 300, 14, 14), (64, 300, 1, 1), 0),
        ((4, 3, 40, 40), (16, 3, 5, 5), 2),
    ]
    try:
        for x_shape, w_shape, padding in shapes:
            x, w = normal(rng, x_shape, "float32"), normal(rng, w_shape, "float32")
            dy = normal(rng, (x_shape[0], w_shape[0], *x_shape[2:]), "float32")
            results = []
            for threads in (1, 16, 100, 1024):
                convpp.set_num_threads(threads)
                how = {"padding": padding, "threads": 2, "algorithm": "direct"}
                results.append(
                    [
                        convpp.conv(x, w, **how),
                        convpp.conv_input_grad(dy, w, x_shape, **how),
                        convpp.conv_weight_grad(dy, x, w_shape, **how),
                    ]
                )
            for more in results[1:]:
                for got, expected in zip(more, results[0], strict=True):
                    assert_same_bits(got, expected)
    finally:
        convpp.set_num_threads(before)


# ---------------------------------------------------------------- forked children

SETUP = """
    import os, signal, sys, time
    import numpy as np
    import convpp

    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 32, 30, 31)).astype("float32")
    w = rng.standard_normal((48, 32, 3, 3)).astype("float32")

    def passes(threads=None):
        y = convpp.conv(x, w, padding=1, threads=threads)
        dx = convpp.conv_input_grad(y, w, x.shape, padding=1, threads=threads)
        dw = convpp.conv_weight_grad(y, x, w.shape, padding=1, threads=threads)
        return b"".join(a.tobytes() for a in (y, dx, dw))
"""


@needs_fork
@pytest.mark.parametrize("parent_threads", [1, 2, 4])
def test_a_forked_child_computes(parent_threads: int) -> None:
    """Its parent's helpers do not survive a fork; a child must not wait for them, and makes its own."""
    script = (
        SETUP
        + """
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of any fork beside threads
    want = passes(PARENT_THREADS)
    for threads in (None, 1, 4):
        child = os.fork()
        if child == 0:
            same = passes(threads) == want and passes(threads) == want
            # (As many threads as its parent has.)
            agree = convpp.explain(x.shape, w.shape, threads=threads).threads == (threads or convpp.get_num_threads())
            os._exit(0 if same and agree else 3)
        deadline = time.monotonic() + 60
        while True:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                sys.exit(f"the child hangs with threads={threads}")
            time.sleep(0.01)
        if status != 0:
            sys.exit(f"the child ended with status {status} with threads={threads}")
    assert passes(PARENT_THREADS) == want  # the parent goes on as before
    """.replace("PARENT_THREADS", str(parent_threads))
    )
    succeed(script)


@needs_fork
def test_a_forked_childs_child_computes() -> None:
    succeed(
        SETUP
        + """
    want = passes(2)
    child = os.fork()
    if child == 0:
        ok = passes(2) == want
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0 if passes(2) == want else 3)
        os._exit(0 if ok and os.waitpid(grandchild, 0)[1] == 0 else 4)
    assert os.waitpid(child, 0)[1] == 0
    """
    )


@needs_fork
def test_forks_while_other_threads_compute() -> None:
    succeed(
        SETUP
        + """
    import threading
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    want = passes(2)
    ending = threading.Event()

    def compute():
        while not ending.is_set():
            assert passes(2) == want

    workers = [threading.Thread(target=compute) for _ in range(3)]
    for worker in workers:
        worker.start()
    for _ in range(20):
        child = os.fork()
        if child == 0:
            os._exit(0 if passes(2) == want else 3)
        assert os.waitpid(child, 0)[1] == 0
    ending.set()
    for worker in workers:
        worker.join()
    """
    )


@needs_fork
def test_a_pool_of_forked_processes() -> None:
    succeed(
        SETUP
        + """
    import multiprocessing
    import warnings
    warnings.simplefilter("ignore", DeprecationWarning)
    want = passes(2)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(passes, [None, 1, 2, 3] * 2).get(60) == [want] * 8
    assert passes(2) == want
    """
    )


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_pool_of_processes_that_start_anew(method: str, tmp_path: Path) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    script = tmp_path / "pool.py"
    script.write_text(
        textwrap.dedent(SETUP)
        + textwrap.dedent(
            f"""
            import multiprocessing
            if __name__ == "__main__":
                want = passes(2)
                with multiprocessing.get_context({method!r}).Pool(2) as pool:
                    assert pool.map_async(passes, [None, 1, 2, 3]).get(60) == [want] * 4
            """
        )
    )
    subprocess.run([sys.executable, script], check=True, timeout=HANGING_SECONDS)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not list threads")
def test_many_python_threads_share_one_team() -> None:
    """Fifty callers that live on keep no threads of their own."""
    succeed(
        SETUP
        + """
    import threading
    passes(2)
    before = len(os.listdir("/proc/self/task"))
    done, ending = threading.Barrier(51), threading.Event()

    def work():
        passes(2)
        done.wait()
        ending.wait()

    workers = [threading.Thread(target=work) for _ in range(50)]
    for worker in workers:
        worker.start()
    done.wait()
    count = len(os.listdir("/proc/self/task"))
    ending.set()
    assert count - before - 50 <= 2, (before, count)
    """
    )


# ---------------------------------------------------------------- how many threads


@pytest.fixture
def before() -> Iterator[int]:
    """The number of threads before the test, set again after it."""
    number = convpp.get_num_threads()
    yield number
    convpp.set_num_threads(number)


def in_another_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(convpp.get_num_threads).result()


def test_the_context_manager_nests(before: int) -> None:
    with convpp.threads(3):
        assert convpp.get_num_threads() == 3
        with convpp.threads(5):
            assert convpp.get_num_threads() == 5
        assert convpp.get_num_threads() == 3
        with pytest.raises(KeyError), convpp.threads(2):
            raise KeyError
        assert convpp.get_num_threads() == 3
    assert convpp.get_num_threads() == before


def test_the_context_manager_is_of_its_own_thread(before: int) -> None:
    with convpp.threads(before + 3):
        assert in_another_thread() == before
        assert convpp.get_num_threads() == before + 3


def test_set_num_threads(before: int) -> None:
    convpp.set_num_threads(before + 2)
    assert convpp.get_num_threads() == before + 2
    assert convpp.runtime_info()["num_threads"] == before + 2
    with convpp.threads(1):
        assert convpp.get_num_threads() == 1
    assert convpp.get_num_threads() == before + 2


def test_explain_tells_the_threads_of_a_call(before: int) -> None:
    """What a call would use: its own threads=, else the context's, else the process's."""

    def threads(**keywords: int) -> int:
        return convpp.explain((8, 64, 56, 56), (64, 64, 3, 3), **keywords).threads

    convpp.set_num_threads(2)
    assert threads() == 2
    with convpp.threads(3):
        assert threads() == 3
        assert threads(threads=4) == 4
    assert threads(threads=1) == 1


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", None, True])
def test_bad_numbers_of_threads(before: int, bad: object) -> None:
    for function in (convpp.set_num_threads, convpp.threads):
        with pytest.raises((ValueError, TypeError), match="threads"), function(bad):
            pass
    assert convpp.get_num_threads() == before


SHOW = "import convpp; print(convpp.get_num_threads(), convpp.runtime_info()['isa'])"


def test_environment_num_threads() -> None:
    assert succeed(SHOW, CONVPP_NUM_THREADS="3").split()[0] == "3"
    assert "same" in succeed(
        SETUP + "    print('same' if passes() == passes(1) else 'different')", CONVPP_NUM_THREADS="3"
    )


@pytest.mark.parametrize("bad", ["0", "-2", "many", "1.5"])
def test_environment_num_threads_that_is_none(bad: str) -> None:
    done = run_script(SETUP + "    passes()", CONVPP_NUM_THREADS=bad)
    assert done.returncode != 0
    assert "CONVPP_NUM_THREADS" in done.stderr
    assert bad in done.stderr


def test_openmps_environment_counts() -> None:
    for text, threads in (("3", "3"), ("5,2", "5")):
        assert succeed(SHOW, OMP_NUM_THREADS=text).split()[0] == threads
    assert succeed(SHOW, OMP_NUM_THREADS="3", CONVPP_NUM_THREADS="4").split()[0] == "4"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not list a process's libraries")
def test_no_openmp_library_is_loaded() -> None:
    """Nor are there threads that one counts as its own: those of others (PyTorch's) would wait asleep from then on."""
    libraries = "len([l for l in open('/proc/self/maps') if 'libgomp' in l or 'libomp' in l or 'libiomp' in l])"
    call = "convpp.conv(np.ones((8, 16, 40, 40)), np.ones((16, 16, 3, 3)), threads=2)"
    before, after = succeed(
        f"import numpy as np\nbefore = {libraries}\nimport convpp\n{call}\nprint(before, {libraries})"
    ).split()
    assert before == after


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_process_on_one_core_has_one_thread() -> None:
    bind = "import os; os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]); "
    assert succeed(bind + SHOW).split()[0] == "1"


def test_environment_max_isa() -> None:
    for isa in convpp.runtime_info()["isas_available"]:
        assert succeed(SHOW, CONVPP_MAX_ISA=isa).split()[1] == isa


@pytest.mark.parametrize("bad", ["avx1024", "AVX-2", "none"])
def test_environment_max_isa_that_is_none(bad: str) -> None:
    done = run_script(SETUP + "    passes()", CONVPP_MAX_ISA=bad)
    assert done.returncode != 0
    assert "CONVPP_MAX_ISA" in done.stderr
    assert bad in done.stderr
    for valid in convpp.runtime_info()["isas_available"]:
        assert valid in done.stderr
