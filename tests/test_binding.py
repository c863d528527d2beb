"""The compiled module by itself: wrong arguments are errors, objects are whole, the GIL is released.

Nothing here can be reached by the package's functions, which check before; whoever else calls `_core` cannot break it.
Scripts run in a process of their own, which a fault would end.
"""

from __future__ import annotations

import copy
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import convpp
from convpp import _core
from scripts import run_script, succeed


def arguments_of(pass_: str = "forward", dtype: str = "float32", **changes: Any) -> list[Any]:
    """Of a `Convolution` of (2, 4, 7, 6) with 3 x 2 kernels."""
    given: dict[str, Any] = {
        "pass": pass_, "dtype": dtype, "algorithm": "auto", "rank": 2, "batch": 2, "in_channels": 4, "out_channels": 6,
        "groups": 2, "input": (1, 7, 6), "kernel": (1, 3, 2), "stride": (1, 1, 1), "dilation": (1, 1, 1),
        "pad_lo": (0, 0, 0), "pad_hi": (0, 0, 0), "flip": False, "per_sample": False, "channels_last": False,
        "padding_mode": ("zeros",) * 3,
    }  # fmt: skip
    return list((given | changes).values())


FORWARD = _core.Convolution(*arguments_of())
X, W, Y = (np.ones(shape, "float32") for shape in ((2, 4, 7, 6), (6, 2, 3, 2), (2, 6, 5, 5)))
PREPARED = FORWARD.prepare(W, 1)


# ---------------------------------------------------------------- objects


def test_objects_are_whole_or_not_there() -> None:
    base: Any = _core.Convolution.__mro__[1]
    for make in (
        lambda: _core.Convolution.__new__(_core.Convolution),
        _core.PreparedWeights,
        lambda: _core.PreparedWeights.__new__(_core.PreparedWeights),
        lambda: base.__new__(_core.Convolution),
        lambda: base.__new__(_core.PreparedWeights),
        lambda: object.__new__(_core.Convolution),
        lambda: copy.copy(FORWARD),
        lambda: copy.deepcopy(PREPARED),
        lambda: pickle.dumps(FORWARD),
        lambda: type("Derived", (_core.Convolution,), {}),
        lambda: type("Derived", (_core.PreparedWeights,), {}),
        lambda: _core.Convolution(),
    ):
        with pytest.raises(TypeError):
            make()


def test_objects_stay_what_they_are() -> None:
    with pytest.raises(TypeError):
        FORWARD.__class__ = _core.PreparedWeights
    with pytest.raises(TypeError):
        _core.Convolution.execute = None
    FORWARD.__init__(*arguments_of("weight_grad"))  # on what is whole already, as type.__call__ does
    assert FORWARD.summary(1)["op"] == "forward"
    with pytest.raises(TypeError):
        _core.Convolution.summary(PREPARED, 1)
    with pytest.raises(convpp.DTypeError, match="second operand"):
        FORWARD.execute(X, FORWARD, None, None, Y, None, False, 1)


def test_weights_of_another_plan() -> None:
    other = _core.Convolution(*arguments_of())
    with pytest.raises(ValueError, match="another Convolution"):
        other.execute(X, PREPARED, None, None, Y, None, False, 1)


# ---------------------------------------------------------------- sizes


def test_sizes_are_checked() -> None:
    """Each of these read or wrote beyond an array, or would have."""
    out = np.full(100, 7.0)
    for dy, batch, channels, pixels, last, each, size in (
        (4, 3, 4, 1, True, True, 4),
        (12, 3, 4, 1, True, True, 4),
        (12, 3, 4, 1, False, True, 4),
        (12, 3, 4, 1, False, False, 12),
        (11, 3, 4, 1, False, False, 4),
        (12, -3, -4, 1, True, True, 12),
        (0, 2**40, 2**40, 0, False, True, 0),
        (16, 2**62, 4, 1, True, True, 16),
        (16, 2**62, 4, 1, False, True, 16),
    ):
        with pytest.raises(convpp.ShapeError, match=r"dy|out"):
            _core.bias_grad(np.ones(dy), batch, channels, pixels, last, each, out[:size], False, 1)
    short: Any
    for short in (X[:1], None):
        with pytest.raises(convpp.ShapeError):
            FORWARD.execute(short, W, None, None, Y, None, False, 1)
    with pytest.raises(convpp.ShapeError):
        FORWARD.execute(X, W, np.ones(5, "float32"), None, Y, None, False, 1)
    with pytest.raises(convpp.ShapeError):
        FORWARD.execute(X, W, None, Y[:1], Y, None, False, 1)
    with pytest.raises(convpp.ShapeError):
        FORWARD.prepare(W[:3], 1)
    with pytest.raises(convpp.ShapeError):
        _core.apply_activation(np.ones(4), np.ones(5), None, out[:5], 1)
    with pytest.raises(convpp.ShapeError):
        _core.apply_activation(None, np.ones(5), None, out[:4], 1)
    assert np.all(out == 7)
    with pytest.raises(ValueError, match="bytes is"):
        _core.measure_bandwidth(2**63 - 1, 1)


def test_a_gradient_of_nothing_ends() -> None:
    """However many samples have no channels, or no pixels."""
    many = 2**40
    for layout, shape in (("channels_last", (many, 4, 0)), ("channels_first", (many, 0, 4))):
        got = convpp.conv_bias_grad(np.empty(shape), layout=layout, per_sample=True)
        assert got.shape == (many, 0)
        assert convpp.conv_bias_grad(np.empty(shape), layout=layout).shape == (0,)
    assert convpp.conv_bias_grad(np.empty((many, 2, 0))).tolist() == [0, 0]
    kept = np.ones(2)
    assert convpp.conv_bias_grad(np.empty((many, 2, 0)), out=kept, accumulate=True).tolist() == [1, 1]


def test_wrong_activations() -> None:
    wrong: Any
    for wrong in (
        ("relu",),
        ("relu", 0),
        "relu",
        3,
        (None, 0, 0),
        ("relu", "a", "b"),
        ("none of them", 0, 0),
        object(),
    ):
        with pytest.raises(ValueError, match="activation is"):
            FORWARD.execute(X, W, None, None, Y, wrong, False, 1)


FUZZ = """
import itertools, random
import numpy as np
from convpp import _core

class Bad:
    def __index__(self): raise KeyError("index")
    def __array__(self, *args, **kwargs): raise KeyError("array")
    def __bool__(self): raise KeyError("bool")
    def __len__(self): raise KeyError("len")
    def __iter__(self): raise KeyError("iter")
    def __repr__(self): raise KeyError("repr")

def plan(pass_="forward", dtype="float32"):
    return _core.Convolution(pass_, dtype, "auto", 2, 2, 4, 6, 2, (1, 7, 6), (1, 3, 2), (1, 1, 1), (1, 1, 1),
                             (0, 0, 0), (0, 0, 0), False, False, False, ("zeros",) * 3)

x, w, y = (np.ones(shape, "float32") for shape in ((2, 4, 7, 6), (6, 2, 3, 2), (2, 6, 5, 5)))
plans = [plan(pass_, dtype) for pass_ in ("forward", "input_grad", "weight_grad")
         for dtype in ("float32", "float64", "float16", "bfloat16")]
memory = np.zeros(4096, np.uint8)
frozen = np.ones(5); frozen.flags.writeable = False
arrays = [x, w, y, np.ones(0), np.ones(()), np.ones(5), frozen, y.astype(float), y.astype("f2"), y.astype(object),
          y.astype(">f4"), y.T, y[::-1], memory[1:1201].view("f4").reshape(2, 6, 5, 5), y.astype("U1"), y.astype("i4"),
          np.ma.masked_array(y), np.matrix(np.ones((2, 3))), np.zeros(3, [("a", "f4"), ("b", "i1", 3)])]
numbers = [0, 1, 2, 3, 4, 6, -1, 7, 2**31 - 1, 2**31, 2**63 - 1, 2**63, -2**63, -2**63 - 1, 10**30, 1.5, float("nan"),
           np.int8(3), np.float32(2), True]
texts = ["", "forward", "input_grad", "float32", "bfloat16", "auto", "winograd", "zeros", "reflect", "x" * 10000,
         "\\0", "\\ud800", b"forward"]
extents = [(1, 7, 6), (1, 3, 2), (1, 1, 1), (0, 0, 0), (1, 1), (), (1,) * 4, (-1, 0, 1), (2**63 - 1,) * 3, [1, 2, 3],
           (1.5, 1, 1), ("a",) * 3, ("zeros",) * 3, (2**62, 1, 1)]
others = [None, Bad(), object(), [], {}, type, plans[0], plans[0].prepare(w, 1), ("relu", 0.0, 0.0), ("clip", 1, 0),
          ("relu",), lambda: 0, memoryview(memory), range(3)]
everything = arrays + numbers + texts + extents + others
rng = random.Random(SEED)
pick = lambda *kinds: rng.choice(everything if rng.random() < 0.3 else rng.choice(kinds))
small = [0, 1, 2, 3, 4, 6, -1, 2**63]

def tried(function, *arguments):
    global done, refused
    done += 1
    try:
        function(*arguments)
    except Exception:
        refused += 1

done = refused = 0
for _ in range(ROUNDS):
    n = rng.choice(plans)
    tried(n.execute, pick(arrays), pick(arrays, others), pick(arrays, [None]), pick(arrays, [None]), pick(arrays),
          pick([None], others), pick([False, True]), pick([0, 1, 2, -1, 2**31]))
    tried(n.prepare, pick(arrays), pick([0, 1, 2, -1, 2**40]))
    tried(n.summary, pick(small))
    tried(n.task_flops, pick([0, 1, 3, -1, 2**40]))
    tried(n.candidates, *([pick(others)] if rng.random() < 0.5 else []))
    tried(_core.Convolution, *[pick([value]) for value in (
        rng.choice(texts[1:3]), rng.choice(texts[3:5]), "auto", 2, 2, 4, 6, 2, (1, 7, 6), (1, 3, 2), (1, 1, 1),
        (1, 1, 1), (0, 0, 0), (0, 0, 0), False, False, False, ("zeros",) * 3)][: rng.choice([18, 18, 18, 5])])
    tried(_core.apply_activation, pick(arrays, [None]), pick(arrays), pick(others), pick(arrays), pick([0, 1, 2, -1]))
    tried(_core.derivative_needs_only_result, pick(others))
    tried(_core.bias_grad, pick(arrays), pick(small), pick(small), pick(small), pick([False, True]),
          pick([False, True]), pick(arrays), pick([False, True]), pick([0, 1, 2, -1]))
    tried(_core.set_num_threads, pick(small))
    tried(_core.select_isa, pick(texts))
    tried(_core.allow_bf16_pairs, pick([False, True]))
    tried(_core.measure_peak, pick(texts[:1]), pick([-1, 0]))
    tried(_core.measure_bandwidth, pick([-1, 0, 2**63 - 1]), pick([-1, 2**40]))
    method = rng.choice(["execute", "prepare", "summary", "task_flops", "candidates", "__init__", "_make"])
    tried(getattr(_core.Convolution, method), *[pick(others) for _ in range(rng.randrange(10))])
print(done, refused)
"""


@pytest.mark.parametrize("seed", range(3))
def test_wrong_arguments_of_all_kinds(seed: int) -> None:
    """Whatever is handed over: an exception or a result, and the process goes on."""
    done, refused = map(int, succeed(FUZZ.replace("SEED", str(seed)).replace("ROUNDS", "250")).split())
    assert done == 15 * 250
    assert done // 2 < refused < done  # and some were right


# ---------------------------------------------------------------- the GIL


@pytest.fixture
def others_run() -> Iterator[Callable[[], int]]:
    """How often another thread came to run.  It gets the GIL only from those who give it away of their own accord."""
    interval, ending, ticks = sys.getswitchinterval(), threading.Event(), [0]

    def count() -> None:
        while not ending.is_set():
            ticks[0] += 1
            time.sleep(0)

    other = threading.Thread(target=count)
    other.start()
    sys.setswitchinterval(1e6)
    yield lambda: ticks[0]
    sys.setswitchinterval(interval)
    ending.set()
    other.join()


LARGE = _core.Convolution(*arguments_of(batch=8, input=(1, 40, 40)))
BIG = np.ones((8, 4, 40, 40), "float32")
MANY = np.ones(1 << 20, "float32")
WIDE = _core.Convolution(*arguments_of(in_channels=256, out_channels=256, groups=1))
WIDE_W = np.ones((256, 256, 3, 2), "float32")
COMPUTING: dict[str, Callable[[], Any]] = {
    "plan": lambda: _core.Convolution(*arguments_of("input_grad", input=(1, 70, 60), stride=(1, 9, 8))),
    "task_flops": lambda: LARGE.task_flops(7),
    "candidates": LARGE.candidates,
    "execute": lambda: LARGE.execute(BIG, W, None, None, np.empty((8, 6, 38, 39), "float32"), None, False, 1),
    "prepare": lambda: WIDE.prepare(WIDE_W, 1),
    "bias_grad": lambda: _core.bias_grad(MANY, 1, 1, MANY.size, False, False, np.empty(1, "float32"), False, 1),
    "apply_activation": lambda: _core.apply_activation(None, MANY, ("gelu", 0.0, 0.0), MANY, 1),
    "measure_bandwidth": lambda: _core.measure_bandwidth(1 << 16, 1),
}


@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="there is no GIL")
@pytest.mark.parametrize("name", COMPUTING)
def test_others_run_meanwhile(name: str, others_run: Callable[[], int]) -> None:
    """With the GIL held, the other thread would never run; with it released, it must be quick enough now and then."""
    for _ in range(20_000):
        before = others_run()
        COMPUTING[name]()
        if others_run() > before:
            return
    pytest.fail("nobody else came to run")


def test_errors_come_back_with_the_gil() -> None:
    for _ in range(100):
        with pytest.raises(ValueError, match="rank"):
            _core.Convolution(*arguments_of(rank=4))
        with pytest.raises(MemoryError):
            convpp.conv(np.ones((4, 16, 64, 64), "float32"), np.ones((16, 16, 3, 3), "float32"), padding=1 << 24)


# ---------------------------------------------------------------- the end of the interpreter

ENDING = """
import threading, time
import numpy as np
import convpp

x, w = np.ones((8, 64, 28, 28), "float32"), np.ones((64, 64, 3, 3), "float32")
started = threading.Event()

def work():
    while True:
        WORK
        started.set()

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
started.wait()
time.sleep(0.02)
"""
WORKS = {
    "executing": "convpp.conv(x, w, padding=1, threads=1)",
    "executing by two threads": "convpp.conv(x, w, padding=1, threads=2)",
    "preparing": "convpp.prepare_weights(w, x.shape)",
    "planning": "convpp.explain((1, 4, 70, 60), (4, 4, 5, 5), op='input_grad', stride=9);"
    " convpp._call.planning.forget_plans()",
    "activating": "convpp.activate(x, 'gelu', threads=2)",
    "failing": "\n        try: convpp.conv(x, w, padding=1 << 24)\n        except MemoryError: pass",
}


@pytest.mark.parametrize("work", WORKS)
def test_the_interpreter_ends_while_daemon_threads_compute(work: str) -> None:
    """They are stopped where they ask for the GIL again; the process used to die by SIGABRT, every time."""
    for _ in range(3):
        done = run_script(ENDING.replace("WORK", WORKS[work]))
        assert (done.returncode, done.stderr) == (0, "")


def test_work_while_the_interpreter_ends() -> None:
    """In the thread that ends it, calls go on as ever."""
    script = """
    import atexit
    import numpy as np
    import convpp
    x, w = np.ones((1, 2, 9, 9)), np.ones((3, 2, 3, 3))
    class AtTheEnd:
        def __del__(self, conv=convpp.conv):
            print(conv(x, w).sum())
    kept = AtTheEnd()
    kept.itself = kept
    atexit.register(lambda: print(convpp.conv(x, w).sum()))
    """
    assert set(succeed(script).split()) == {"2646.0"}
