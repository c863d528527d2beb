"""The algorithm of calls that leave it open: of the environment, the process, a ``with`` block, a call.

In: convpp alone, and scripts in processes of their own.   Out: what ``explain`` and results' bits say.
Next: ``python/convpp/_call/default_algorithm.py``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import convpp
from scripts import run_script, succeed

X, W = (1, 32, 14, 14), (32, 32, 3, 3)
HOW = {"padding": 1}
NAMES = ("auto", "direct", "winograd", "reference")


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = convpp.get_algorithm()
    yield
    convpp.set_algorithm(before)


def taken(**how: str) -> str:
    """The algorithm of a layer for which "auto" takes Winograd's."""
    return convpp.explain(X, W, padding=1, **how).algorithm  # type: ignore[arg-type]


def test_the_call_wins_over_the_block_and_the_block_over_the_process() -> None:
    assert (convpp.get_algorithm(), taken()) == ("auto", "winograd")
    convpp.set_algorithm("direct")
    assert (convpp.get_algorithm(), taken(), taken(algorithm="winograd")) == ("direct", "direct", "winograd")
    assert taken(algorithm="auto") == "direct"  # which leaves it open, as if it was not said
    with convpp.algorithm("auto"):
        assert (convpp.get_algorithm(), taken(), taken(algorithm="direct")) == ("auto", "winograd", "direct")
        with convpp.algorithm("reference"):
            assert taken() == "reference"
        assert taken() == "winograd"
    assert taken() == "direct"


def test_a_block_ends_with_an_error() -> None:
    with pytest.raises(ZeroDivisionError), convpp.algorithm("direct"):
        raise ZeroDivisionError
    assert convpp.get_algorithm() == "auto"


def test_all_passes_and_layers_follow() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(X, np.float32), rng.standard_normal(W, np.float32)

    def results(**how: str) -> list[bytes]:
        y = convpp.conv(x, w, padding=1, **how)  # type: ignore[arg-type]
        dx = convpp.conv_input_grad(y, w, X, padding=1, **how)  # type: ignore[arg-type]
        dw = convpp.conv_weight_grad(y, x, W, padding=1, **how)  # type: ignore[arg-type]
        up = convpp.conv_transpose(y, w, padding=1, **how)  # type: ignore[arg-type]
        return [a.tobytes() for a in (y, dx, dw, up)]

    layer = convpp.Conv2d(32, 32, 3, padding=1, bias=False)
    layer.weight[...] = w
    direct, automatic = results(algorithm="direct"), results()
    assert all(a != b for a, b in zip(direct, automatic, strict=True))
    with convpp.algorithm("direct"):
        assert results() == direct
        assert layer(x).tobytes() == direct[0]
    assert results() == automatic
    assert layer(x).tobytes() == automatic[0]


def test_weights_stay_what_they_were_prepared_for() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal(X, np.float32), rng.standard_normal(W, np.float32)
    automatic = convpp.prepare_weights(w, X, padding=1)
    with convpp.algorithm("direct"):
        direct = convpp.prepare_weights(w, X, padding=1)
        assert convpp.conv(x, automatic).tobytes() != convpp.conv(x, direct).tobytes()
        with pytest.raises(ValueError, match="algorithm"):
            convpp.conv(x, direct, algorithm="winograd")
    assert convpp.conv(x, direct).tobytes() == convpp.conv(x, w, padding=1, algorithm="direct").tobytes()
    assert convpp.conv(x, direct, algorithm="direct").tobytes() == convpp.conv(x, direct).tobytes()


def test_a_block_is_of_one_thread() -> None:
    seen: list[str] = []
    with convpp.algorithm("direct"):
        thread = threading.Thread(target=lambda: seen.append(convpp.get_algorithm()))
        thread.start()
        thread.join()
    assert seen == ["auto"]


def test_a_block_is_of_one_task() -> None:
    async def within(name: str) -> tuple[str, str]:
        with convpp.algorithm(name):
            before = convpp.get_algorithm()
            await asyncio.sleep(0)
            return before, convpp.get_algorithm()

    async def together() -> list[tuple[str, str]]:
        return list(await asyncio.gather(*(within(name) for name in NAMES)))

    assert asyncio.run(together()) == [(name, name) for name in NAMES]


@pytest.mark.parametrize("bad", ["fastest", "", None, 1, ("direct",)])
def test_other_names_are_refused(bad: object) -> None:
    for function in (convpp.set_algorithm, convpp.algorithm):
        with pytest.raises(ValueError, match=r"algorithm is .*expected one of .*direct"), function(bad):  # type: ignore[attr-defined, operator]
            pass
    assert convpp.get_algorithm() == "auto"


SHOW = f"import convpp; print(convpp.get_algorithm(), convpp.explain({X}, {W}, padding=1).algorithm)"


def test_the_environment() -> None:
    assert succeed(SHOW, CONVPP_ALGORITHM="direct").split() == ["direct", "direct"]
    assert succeed(SHOW, CONVPP_ALGORITHM="").split() == ["auto", "winograd"]
    asked = "import convpp; convpp.set_algorithm('auto'); print(convpp.get_algorithm())"
    assert succeed(asked, CONVPP_ALGORITHM="direct").split() == ["auto"]
    late = "import convpp, os; os.environ['CONVPP_ALGORITHM'] = 'direct'; print(convpp.runtime_info()['algorithm'])"
    assert succeed(late).split() == ["direct"]  # nothing reads it at import


def test_an_environment_that_names_none() -> None:
    assert succeed("import convpp", CONVPP_ALGORITHM="fastest") == ""
    done = run_script(SHOW, CONVPP_ALGORITHM="fastest")
    assert done.returncode != 0
    assert "CONVPP_ALGORITHM is 'fastest', expected one of auto, direct" in done.stderr
