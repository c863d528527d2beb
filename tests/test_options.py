"""Each option of each function does what it says: one that is in a signature needs a check (CHECKS).

Operands are whole numbers, so that nothing is rounded.  Which options there are: test_signatures.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import convpp
from signatures import FUNCTIONS, keywords_of

Array = Any
Results = list[tuple[str, Array]]  # ("x", dx): shaped like x, and so on

# ------------------------------------------------------------------------------------------------ calls

GEOMETRY: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 0), (1, 2)), "groups": 2}
INPUT, KERNEL, BATCH = (7, 6), (3, 2), 3


def drawn(seed: int, shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)


def moved(kind: str, array: Array, to_last: bool, batched: bool) -> Array:
    if kind not in ("x", "y"):
        return array
    channel = int(batched)
    return np.ascontiguousarray(np.moveaxis(array, channel, -1) if to_last else np.moveaxis(array, -1, channel))


def results(name: str, *, batched: bool = True, samples: slice = slice(None), **options: Any) -> Results:
    """What the function makes of fixed operands, in channels first whatever the layout."""
    transposed, last = "transpose" in name, options.get("layout") == "channels_last"
    each = bool(options.get("per_sample"))
    groups = options.get("groups", 1)
    w_shape = (4, 6 // groups, *KERNEL) if transposed else (6, 4 // groups, *KERNEL)
    geometry = {k: v for k, v in options.items() if k in (*GEOMETRY, "dilation", "output_padding", "output_size")}
    output_shape = convpp.conv_transpose_output_shape if transposed else convpp.conv_output_shape
    y_shape = output_shape((BATCH, 4, *INPUT), w_shape, **geometry)
    shapes = {"x": (BATCH, 4, *INPUT), "y": y_shape, "w": (BATCH, *w_shape) if each else w_shape, "b": (6,)}

    def operand(kind: str, seed: int) -> Array:
        array = drawn(seed, shapes[kind])
        if kind in ("x", "y") or (kind == "w" and each):
            array = array[samples]
        if kind in ("x", "y"):
            array = array if batched else array[0]
            return moved(kind, array, True, batched) if last else array
        return array

    x, y, w, b = (operand(kind, seed) for seed, kind in enumerate("xywb"))
    x_dot, w_dot, b_dot = (operand(kind, 10 + seed) for seed, kind in enumerate("xwb"))
    what = name.replace("_transpose", "")
    function: Any = getattr(convpp, name)
    found: Any
    if what == "conv":
        kinds, found = "y", [function(x, w, b, **options)]
    elif what == "conv_input_grad":
        kinds, found = "x", [function(y, w, x.shape, **options)]
    elif what == "conv_weight_grad":
        kinds, found = "w", [function(y, x, w.shape, **options)]
    elif what == "conv_bias_grad":
        kinds, found = "b", [function(y, batched=batched, **options)]
    elif what == "conv_backward":
        kinds, found = "xwb", function(y, x, w, **options)
    elif what == "conv_double_backward":
        kinds, found = "yxw", function(x_dot, w_dot, b_dot, y, x, w, **options)
    elif what == "conv_jvp":
        kinds, found = "yy", function((x, w, b), (x_dot, w_dot, b_dot), **options)
    elif what == "conv_output_shape":
        kinds, found = "y", [np.zeros(function(x.shape, w.shape, **options))]
    elif what == "prepare_weights":
        kinds, found = "y", [convpp.conv(x, function(w, x.shape, **options), b)]
    else:
        assert what == "explain"
        kinds, found = "y", [np.zeros(function(x.shape, w.shape, **options).output_shape)]
    pairs = [(kind, array) for kind, array in zip(kinds, found, strict=True) if array is not None]
    return [(kind, moved(kind, array, False, batched) if last else array) for kind, array in pairs]


def of(name: str, **more: Any) -> dict[str, Any]:
    """The usual geometry, as far as the function has one."""
    return {k: v for k, v in (GEOMETRY | more).items() if k in keywords_of(name) or k in ("batched", "samples")}


def assert_same(got: Results, want: Results) -> None:
    assert len(got) == len(want)
    for (kind, a), (other, b) in zip(got, want, strict=True):
        assert kind == other
        np.testing.assert_array_equal(a, b, strict=True)


def differ(one: Results, other: Results) -> bool:
    return any(a.shape != b.shape or not np.array_equal(a, b) for (_, a), (_, b) in zip(one, other, strict=True))


def computed(name: str) -> bool:
    """Whether values are computed, and not shapes alone."""
    return "output_shape" not in name and name != "explain"


# ----------------------------------------------------------------------------------------------- checks


def check_geometry(name: str, option: str, *values: Any) -> None:
    """The option reaches the definition, and changes the result."""
    for value in values:
        options = of(name, **{option: value})
        got = results(name, **options)
        if "algorithm" in keywords_of(name):
            assert_same(got, results(name, **options, algorithm="reference"))
        assert differ(got, results(name, **of(name))) or not computed(name)


def check_padding(name: str) -> None:
    transposed = "transpose" in name
    strides, dilations = (2, 1), (1, 2)
    for padding in ("valid", "same", "same_lower", "full", "causal", -1, (0, -1), 2):
        pairs = []
        for axis, (n, k) in enumerate(zip(INPUT, KERNEL, strict=True)):
            s, reach = strides[axis], dilations[axis] * (k - 1)
            span = s * (n - 1) + reach + 1
            total = span - n * s if transposed else max((math.ceil(n / s) - 1) * s + reach + 1 - n, 0)
            half = max(total, 0) // 2
            explicit = {
                "valid": (0, 0),
                "same": (half, total - half),
                "same_lower": (max(total, 0) - half, min(total, 0) + half),
                "full": (reach, reach),
                "causal": (reach, 0),
                -1: (-1, -1),
                2: (2, 2),
            }
            pairs.append((padding[axis],) * 2 if isinstance(padding, tuple) else explicit[padding])
        geometry = {"stride": strides, "dilation": dilations, "groups": 2}
        got = results(name, **geometry, padding=padding)
        assert_same(got, results(name, **geometry, padding=tuple(pairs)))


def check_flip(name: str) -> None:
    if not computed(name):
        assert_same(results(name, **of(name, flip=True)), results(name, **of(name)))
    else:
        check_geometry(name, "flip", True)


def check_layout(name: str) -> None:
    for batched in (True, False):
        options = of(name, batched=batched)
        assert_same(results(name, **options, layout="channels_last"), results(name, **options))


def check_per_sample(name: str) -> None:
    together = results(name, **of(name, per_sample=True))
    assert differ(together, results(name, **of(name))) or not computed(name)
    for n in range(BATCH):
        alone = results(name, **of(name, per_sample=True, samples=slice(n, n + 1)))
        for (kind, of_all), (_, of_one) in zip(together, alone, strict=True):
            if kind == "b" and "backward" in name:  # shared: its gradient is the sum
                continue
            np.testing.assert_array_equal(of_all[n : n + 1], of_one[:BATCH], strict=True)


def check_algorithm(name: str) -> None:
    usual = results(name, **of(name))
    for algorithm in ("direct", "reference"):
        assert_same(results(name, **of(name, algorithm=algorithm)), usual)
    with pytest.raises(ValueError, match="algorithm"):
        results(name, **of(name, algorithm="fast"))


def check_threads(name: str) -> None:
    usual = results(name, **of(name))
    for threads in (1, 3):
        assert_same(results(name, **of(name, threads=threads)), usual)
    with pytest.raises(ValueError, match="threads"):
        results(name, **of(name, threads=0))


def several(name: str) -> bool:
    return name.endswith("_backward")


def check_out(name: str) -> None:
    want = results(name, **of(name))
    arrays = [np.full_like(a, np.nan) for _, a in want]
    got = results(name, **of(name, out=tuple(arrays) if several(name) else arrays[0]))
    assert_same(got, want)
    for (_, a), out in zip(got, arrays, strict=True):
        assert a is out
    for i, out in enumerate(arrays):
        wrong = [np.full_like(a, 7) for a in arrays]
        wrong[i] = np.full((*out.shape[:-1], out.shape[-1] + 1), 7.0)
        with pytest.raises(convpp.ShapeError, match="out"):
            results(name, **of(name, out=tuple(wrong) if several(name) else wrong[i]))
        assert all((a == 7).all() for a in wrong)


def check_accumulate(name: str) -> None:
    want = results(name, **of(name))
    arrays = [np.full_like(a, 5) for _, a in want]
    got = results(name, **of(name, out=tuple(arrays) if several(name) else arrays[0], accumulate=True))
    assert_same(got, [(kind, a + 5) for kind, a in want])
    with pytest.raises(ValueError, match="out is None"):
        results(name, **of(name, accumulate=True))


def check_output_padding(name: str) -> None:
    options = of(name, output_padding=(1, 0))
    got = results(name, **options)
    if computed(name):
        assert_same(got, results(name, **options, algorithm="reference"))
    size = convpp.conv_transpose_output_shape((BATCH, 4, *INPUT), (4, 3, *KERNEL), **GEOMETRY, output_padding=(1, 0))
    for sizes in (size[2:], size):
        assert_same(results(name, **of(name, output_size=sizes)), got)
    assert any(
        a.shape != b.shape or not computed(name)
        for (_, a), (_, b) in zip(got, results(name, **of(name)), strict=True)
        if a.shape
    ) or differ(got, results(name, **of(name)))


def check_needs(name: str) -> None:
    everything = results(name, **of(name))
    for count in range(4):
        for needs in itertools.combinations(("x", "w", "bias"), count):
            kinds = [n[0] for n in needs]
            assert_same(results(name, **of(name, needs=needs)), [r for r in everything if r[0] in kinds])


def check_padding_mode(name: str) -> None:
    assert_same(results(name, **of(name, padding_mode="zeros")), results(name, **of(name)))
    with pytest.raises(ValueError, match="padding_mode"):
        results(name, **of(name, padding_mode="mirror"))
    # (What it means is told by test_padding_mode.py and test_transposed_padding_mode.py.)
    results(name, **of(name, padding_mode="reflect", padding=1))


def check_activation(name: str) -> None:
    ((_, y),) = results(name, **of(name))
    ((_, got),) = results(name, **of(name, activation="relu"))
    np.testing.assert_array_equal(got, np.maximum(y, 0))


def check_add(name: str) -> None:
    ((_, y),) = results(name, **of(name))
    ((_, got),) = results(name, **of(name, add=np.full_like(y, 3)))
    np.testing.assert_array_equal(got, y + 3)


def check_state(name: str) -> None:
    """That it begins with zeros; what it means is told by test_streaming.py."""
    x, w = drawn(0, (2, 4, 9)), drawn(1, (6, 2, 3))
    causal: dict[str, Any] = {"padding": "causal", "groups": 2}
    y, state = getattr(convpp, name)(x, w, state="zeros", **causal)
    np.testing.assert_array_equal(y, convpp.conv(x, w, **causal))
    np.testing.assert_array_equal(state, x[..., -2:])


def check_batched(name: str) -> None:
    dy = drawn(0, (6, 7, 8))
    np.testing.assert_array_equal(convpp.conv_bias_grad(dy, batched=False), convpp.conv_bias_grad(dy[None]))


def check_explain(name: str) -> None:
    for op in ("forward", "input_grad", "weight_grad"):
        for dtype in ("float32", "float64"):
            said = convpp.explain((1, 3, 9, 9), (4, 3, 3, 3), op=op, dtype=dtype)
            assert said.op == op
            assert dtype in str(said)


CHECKS: dict[str, Callable[[str], None]] = {
    "stride": lambda name: check_geometry(name, "stride", 1, (1, 3)),
    "padding": check_padding,
    "dilation": lambda name: check_geometry(name, "dilation", 2, (1, 3)),
    "groups": lambda name: check_geometry(name, "groups", 1),
    "padding_mode": check_padding_mode,
    "flip": check_flip,
    "layout": check_layout,
    "per_sample": check_per_sample,
    "algorithm": check_algorithm,
    "threads": check_threads,
    "out": check_out,
    "accumulate": check_accumulate,
    "output_padding": check_output_padding,
    "output_size": check_output_padding,
    "needs": check_needs,
    "activation": check_activation,
    "add": check_add,
    "state": check_state,
    "batched": check_batched,
    "op": check_explain,
    "dtype": check_explain,
}


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name in FUNCTIONS for option in sorted(keywords_of(name))]
)
def test_option(name: str, option: str) -> None:
    CHECKS[option](name)


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "conv_bias_grad"])
def test_a_sample_without_n(name: str) -> None:
    batch = results(name, **of(name, samples=slice(0, 1)))
    alone = results(name, **of(name), batched=False)
    assert_same([(kind, a[None] if kind in ("x", "y") else a) for kind, a in alone], batch)


# ------------------------------------------------------------- gradients of each sample, by shared filters


@pytest.mark.parametrize("name", ["conv_backward", "conv_transpose_backward"])
@pytest.mark.parametrize("layout", ["channels_first", "channels_last"])
def test_gradients_of_each_sample(name: str, layout: str) -> None:
    function = getattr(convpp, name)
    transposed = "transpose" in name
    w = drawn(1, (4, 3, *KERNEL) if transposed else (6, 2, *KERNEL))
    x = drawn(2, (BATCH, 4, *INPUT))
    output_shape = convpp.conv_transpose_output_shape if transposed else convpp.conv_output_shape
    dy = drawn(3, output_shape(x.shape, w.shape, **GEOMETRY))
    if layout == "channels_last":
        x, dy = (np.ascontiguousarray(np.moveaxis(a, 1, -1)) for a in (x, dy))
    dx, dw, db = function(dy, x, w, **GEOMETRY, layout=layout, per_sample=True)
    whole = function(dy, x, w, **GEOMETRY, layout=layout)
    assert dw.shape == (BATCH, *w.shape)
    assert db.shape == (BATCH, 6)
    np.testing.assert_array_equal(dx, whole[0], strict=True)
    np.testing.assert_array_equal(dw.sum(axis=0), whole[1], strict=True)
    np.testing.assert_array_equal(db.sum(axis=0), whole[2], strict=True)
    for n in range(BATCH):
        alone = function(dy[n], x[n], w, **GEOMETRY, layout=layout)
        for of_all, of_one in zip((dx, dw, db), alone, strict=True):
            np.testing.assert_array_equal(of_all[n], of_one, strict=True)
    with pytest.raises(convpp.ShapeError, match="w has shape"):
        function(dy[0], x[0], w, **GEOMETRY, layout=layout, per_sample=True)
    with pytest.raises(ValueError, match="per_sample"):
        convpp.conv_bias_grad(dy[0], batched=False, per_sample=True)


def test_out_that_overlaps_the_operands_is_written_last() -> None:
    x, w = drawn(1, (2, 3, 5, 5)), drawn(2, (3, 3, 3, 3))
    dy = drawn(3, (2, 3, 5, 5))
    want = convpp.conv_backward(dy, x, w, padding=1)
    got = convpp.conv_backward(dy, x, w, padding=1, out=(dy, w, None))
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    assert got[0] is dy
    assert got[1] is w


def test_out_of_several_gradients_that_do_not_fit() -> None:
    x, w, dy = drawn(1, (2, 3, 5, 5)), drawn(2, (3, 3, 3, 3)), drawn(3, (2, 3, 5, 5))
    dx = np.full_like(x, 7)
    for out, error, message in (
        ((dx, np.empty((3, 3, 3)), None), convpp.ShapeError, r"out\[1\] has shape \(3, 3, 3\)"),
        ((dx, None, np.empty(3, np.float32)), convpp.DTypeError, r"out\[2\].*float32.*float64"),
        ((dx, None), ValueError, r"out.*\(dx, dw, db\)"),
        (dx, ValueError, r"out.*\(dx, dw, db\)"),
    ):
        with pytest.raises(error, match=message):
            convpp.conv_backward(dy, x, w, padding=1, out=out)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'x'"):
        convpp.conv_backward(dy, x, w, padding=1, needs=("w",), out=(dx, None, None))
    assert (dx == 7).all()
