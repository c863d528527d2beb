"""``convpp.jax`` in processes of its own: how it is imported, what XLA is told, several devices, several threads."""

from __future__ import annotations

import sys
import threading
import warnings
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import assert_exact, integers
from scripts import succeed

jax = pytest.importorskip("jax")
with warnings.catch_warnings():
    warnings.simplefilter("ignore", RuntimeWarning)  # of a build without the handler
    import convpp.jax as cj

with_handler = pytest.mark.skipif(not cj.has_ffi(), reason="built without XLA's headers")


def test_without_jax_an_error_says_what_to_install() -> None:
    script = """
import sys
sys.modules["jax"] = None
import convpp
try:
    convpp.jax
except ImportError as error:
    print(error)
print("jax" in dir(convpp))
"""
    assert succeed(script).splitlines() == ['convpp.jax needs JAX: pip install "convpp[jax]"', "False"]


def test_jax_is_not_imported_before_it_is_asked_for() -> None:
    assert succeed("import sys, convpp; print('jax' in sys.modules, convpp.jax.conv.__name__)").split() == [
        "False",
        "conv",
    ]


def test_without_the_handler_there_is_one_warning_and_the_same_result() -> None:
    script = """
import warnings, numpy as np
from convpp import _core
_core.jax_handler = None
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    import convpp.jax
    x, w = np.ones((1, 2, 4), np.float32), np.ones((3, 2, 2), np.float32)
    for _ in range(2):
        y = convpp.jax.conv(x, w)
print([(str(w.message)[:37], w.category.__name__, w.filename) for w in seen], convpp.jax.has_ffi(), y[0, 0, 0])
"""
    warning = ("convpp was built without XLA's headers", "RuntimeWarning", "<string>")
    assert succeed(script).strip() == f"[{(warning[0][:37], *warning[1:])!r}] False 4.0"


@with_handler
def test_programs_call_compiled_code() -> None:
    x, w = np.ones((2, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32)
    step = jax.jit(jax.value_and_grad(lambda w: (cj.conv(x, w, padding=1) ** 2).sum()))
    text = step.lower(w).compile().as_text()
    assert text.count('custom_call_target="convpp_convolution"') == 2  # y and dw: nobody asks for dx
    assert "callback" not in text


@with_handler
def test_what_a_program_of_another_convpp_asks_for_is_refused_and_not_computed() -> None:
    result = jax.ShapeDtypeStruct((1, 1, 4), "float32")
    operands = np.ones((1, 1, 4), np.float32), np.ones((1, 1, 1), np.float32)
    good = cj.lowering._numbers("y", cj.call.Call((1, 1, 4), (1, 1, 1), cj.functional.conv_options(  # type: ignore[attr-defined]
        (1,), ((0, 0),), (1,), 1, ("zeros",), False, "channels_first", False)))  # fmt: skip
    target = cj.lowering.TARGET  # type: ignore[attr-defined]
    call = jax.ffi.ffi_call(target, result)
    assert_exact(np.asarray(call(*operands, problem=good, dtype="float32")), operands[0])
    wrong_pass = good.copy()
    wrong_pass[0] = 7
    for arguments, words in (
        ({"problem": good[:-1], "dtype": "float32"}, "too few numbers"),
        ({"problem": np.append(good, 0), "dtype": "float32"}, "too many numbers"),
        ({"problem": wrong_pass, "dtype": "float32"}, "has no such name"),
        ({"problem": good, "dtype": "int8"}, "dtype is int8"),
        ({"problem": good, "dtype": "float64"}, "not of the plan's type"),
    ):
        with pytest.raises(Exception, match=words):
            jax.block_until_ready(call(*operands, **arguments))
    with pytest.raises(Exception, match="elements"):
        jax.block_until_ready(call(operands[0][..., :3], operands[1], problem=good, dtype="float32"))
    with pytest.raises(Exception, match="expected two operands"):
        jax.block_until_ready(call(operands[0], problem=good, dtype="float32"))


def test_devices_share_a_batch_and_gradients_are_summed() -> None:
    script = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import warnings
warnings.simplefilter("ignore", RuntimeWarning)
import jax, numpy as np, convpp
import convpp.jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
convpp.set_algorithm("direct")
rng = np.random.default_rng(0)
x, w = (rng.integers(-3, 4, s).astype("float32") for s in ((4, 3, 8, 8), (5, 3, 3, 3)))
f = lambda x, w: convpp.jax.conv(x, w, np.ones(5, "float32"), padding=1)
want = f(x, w), jax.grad(lambda w: (f(x, w) ** 2).sum())(w)
for axis_type in (AxisType.Auto, AxisType.Explicit):
    mesh = jax.make_mesh((2,), ("d",), axis_types=(axis_type,))
    xs, ws = jax.device_put(x, NamedSharding(mesh, P("d"))), jax.device_put(w, NamedSharding(mesh, P()))
    for check in (True, False):
        g = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d"), check_vma=check))
        got = g(xs, ws), jax.jit(jax.grad(lambda w: (g(xs, w) ** 2).sum()))(ws)
        print([np.array_equal(a, b) for a, b in zip(got, want)])
    got = jax.jit(f)(xs, ws), jax.jit(jax.grad(lambda w: (f(xs, w) ** 2).sum()))(ws)
    print([np.array_equal(a, b) for a, b in zip(got, want)])
"""
    assert succeed(script).splitlines() == ["[True, True]"] * 6


def test_whole_training_steps_agree_and_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    end_to_end_jax = pytest.importorskip("end_to_end_jax")
    tiny = end_to_end_jax.Network(2, 12, 1, (4, 8), 7, 3)
    monkeypatch.setattr(end_to_end_jax, "NETWORKS", {"tiny": tiny})
    found = list(end_to_end_jax.rows(["tiny"], ["NHWC", "NCHW"], 1))  # compares the losses, too
    head, *rows = end_to_end_jax.table(found)
    assert [row[:2] for row in rows] == [["tiny", "NHWC"], ["tiny", "NCHW"]]
    assert all(len(row) == len(head) for row in rows)
    assert float(rows[-1][-1]) > 0
    assert rows[0][-1] == ""


def test_threads_call_at_the_same_time(rng: np.random.Generator) -> None:
    """Each shape is compiled by whoever comes first; the number of threads changes meanwhile."""
    shapes = [(n, 3, 9 + n, 8) for n in range(1, 5)]
    w = integers(rng, (4, 3, 3, 3), "float32")
    given = [integers(rng, shape, "float32") for shape in shapes]
    want = [convpp.conv(x, w, algorithm="direct") for x in given]
    step = jax.jit(lambda x, w: cj.conv(x, w, algorithm="direct"))
    failures: list[Any] = []

    def work(seed: int) -> None:
        try:
            for i in np.random.default_rng(seed).integers(len(shapes), size=40):
                assert_exact(np.asarray(step(given[i], w)), want[i])
        except BaseException as failure:
            failures.append(failure)

    before = convpp.get_num_threads()
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    try:
        for n in range(60):
            convpp.set_num_threads(1 + n % 3)
            sys.setswitchinterval(1e-4)
    finally:
        sys.setswitchinterval(5e-3)
        for thread in threads:
            thread.join()
        convpp.set_num_threads(before)
    assert not failures, failures[0]
