"""What explain says: the shapes and the work of the definition, the strategy, and why it was taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from geometry import LAYOUTS, Geometry, draw_geometry, failures_name, with_modes
from layer_kinds import draw_layer
from rounding import PASSES

every_pass = pytest.mark.parametrize("op", PASSES)

#: The table of strategies, in its order (cpp/src/strategies/list.cpp): those of the direct algorithm come first.
DIRECT = ("sliding", "channels", "packed", "rows", "phases", "flat", "indirect", "dots")
STRATEGIES = (*DIRECT, "winograd", "fft", "reference")
BY_RULE = "taken by rule, not by cost"
#: What leaves padding out, by plans of their own (cpp/src/plan/less_padding.hpp).
WITHOUT_PADDING = ("pieces", "fold")

WIDE = ((8, 64, 56, 56), (64, 64, 3, 3))


@every_pass
def test_shapes_and_ranges(op: str, rng: np.random.Generator) -> None:
    shapes = {"forward": Geometry.y_shape, "input_grad": Geometry.x_shape}
    for g in (draw_geometry(rng) for _ in range(30)):
        for layout in LAYOUTS:
            said = convpp.explain(g.x_shape(layout), g.w_shape, op=op, dtype=g.dtype, **g.keywords(layout), threads=2)
            with failures_name(g, layout, op):
                assert said.op == op
                assert said.algorithm in ("direct", "reference")
                assert said.isa == convpp.runtime_info()["isa"]
                assert said.threads in (1, 2)
                assert said.flops >= 0
                assert said.workspace_bytes >= 0
                assert said.output_shape == (g.w_shape if op == "weight_grad" else shapes[op](g, layout))
                assert said.algorithm in str(said)


@every_pass
def test_the_flops_are_those_of_the_definition(op: str) -> None:
    g = Geometry(8, 64, 128, (56, 54), (3, 3), stride=2)
    said = convpp.explain(g.x_shape(), g.w_shape, op=op, stride=2, threads=2)
    assert said.flops == 2 * g.macs
    assert said.threads == 2


def assert_best(said: convpp.Explanation) -> None:
    """The first strategy by rule was taken, else the first of those with the least cost."""
    fits = {name: said.candidates[name] for name in DIRECT}
    by_rule = [name for name, fit in fits.items() if fit == BY_RULE]
    costs = {name: fit for name, fit in fits.items() if isinstance(fit, float)}
    assert said.strategy == (by_rule[0] if by_rule else min(costs, key=costs.__getitem__))


@every_pass
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_the_direct_algorithm_takes_the_best_candidate(op: str, dtype: str, rng: np.random.Generator) -> None:
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")
    taken = set()
    drawn = [draw_layer(rng) for _ in range(60)] + [with_modes(rng, draw_geometry(rng)) for _ in range(30)]
    for g in drawn:
        for layout in LAYOUTS:
            with failures_name(g, layout, op, dtype):
                said = convpp.explain(g.x_shape(layout), g.w_shape, op=op, dtype=dtype, **g.exact_keywords(layout))
                if said.strategy == "none":
                    assert said.candidates == {}
                    continue
                if said.strategy in WITHOUT_PADDING:
                    assert tuple(said.candidates) == (said.strategy, *STRATEGIES)
                    assert said.candidates[said.strategy] == BY_RULE
                    continue
                assert tuple(said.candidates) == STRATEGIES
                assert all(fit > 0 if isinstance(fit, float) else fit for fit in said.candidates.values())
                assert_best(said)
                taken.add(said.strategy)
    assert len(taken) >= 2


def test_every_strategy_is_taken_by_some_layer() -> None:
    depthwise = (32, 1, 3, 3)
    groups: dict[str, Any] = {"groups": 32, "padding": 1}
    taken = [
        convpp.explain((8, 32, 56, 56), depthwise, **groups),
        convpp.explain((8, 56, 56, 32), depthwise, **groups, layout="channels_last"),
        convpp.explain((4, 16000, 1), (512, 1, 10), stride=5, layout="channels_last"),
        convpp.explain((8, 64, 14, 14), (256, 64, 1, 1)),
        convpp.explain((1, 1, 1000), (1, 1, 65)),
        convpp.explain((8, 3, 224, 224), (64, 3, 7, 7), op="input_grad", stride=2, padding=3),
        convpp.explain((8, 3, 64, 64), (64, 3, 7, 7), stride=2),
        convpp.explain((1, 1632, 1, 1), (68, 1632, 1, 1)),
        convpp.explain(*WIDE),
        convpp.explain((1, 1, 100_000), (1, 1, 1024)),
        convpp.explain(*WIDE, algorithm="reference"),
    ]
    assert tuple(said.strategy for said in taken) == STRATEGIES


def test_what_leaves_padding_out_says_so() -> None:
    wide: dict[str, Any] = {"padding": 12, "dilation": 12, "algorithm": "direct"}
    x, w = (8, 512, 14, 14), (256, 512, 3, 3)
    assert "9 index maps, of pixels that read alike" in convpp.explain(x, w, **wide).blocking
    assert convpp.explain(x, w, op="input_grad", **wide).strategy == "indirect"
    assert convpp.explain(x, w, op="weight_grad", **wide).strategy == "pieces"
    said = convpp.explain((64, 3, 17, 17), (768, 3, 16, 16), op="input_grad")
    assert said.strategy == "fold"
    assert "products of each pixel of dy and each tap" in said.blocking


@pytest.mark.parametrize("per_sample", [False, True])
@every_pass
def test_the_algorithm_that_was_asked_for_is_taken(op: str, per_sample: bool) -> None:
    x, w = WIDE
    how: dict[str, Any] = {"op": op, "padding": 1, "per_sample": per_sample}
    of_algorithm = {
        algorithm: convpp.explain(x, (x[0], *w) if per_sample else w, **how, algorithm=algorithm)
        for algorithm in ("auto", "direct", "winograd", "fft", "reference")
    }
    for algorithm, said in of_algorithm.items():
        assert said.algorithm == (algorithm if algorithm != "auto" else "winograd")
        assert said.strategy == (said.algorithm if said.algorithm != "direct" else said.strategy)
        assert (said.candidates["reference"] == "plain loops, taken only when they are asked for") == (
            algorithm != "reference"
        )
        assert (said.candidates["fft"] == "fewer than 16 taps") == (algorithm != "fft")
    assert_best(of_algorithm["direct"])
    # Whatever was asked for, the others' fits are the same: what they would have been.
    fits = [{**said.candidates, "reference": None, "fft": None} for said in of_algorithm.values()]
    assert fits == [fits[0]] * len(fits)
    costs = {name: fit for name, fit in fits[0].items() if isinstance(fit, float)}
    assert min(costs, key=costs.__getitem__) == "winograd"


def test_candidates_depend_on_no_number_of_threads() -> None:
    alone, many = (convpp.explain(*WIDE, padding=1, threads=n) for n in (1, 3))
    assert (alone.threads, many.threads) == (1, 3)
    assert alone.candidates == many.candidates


@pytest.mark.parametrize("shapes", [((0, 3, 9, 9), (4, 3, 3, 3)), ((2, 0, 9, 9), (4, 0, 3, 3))])
def test_a_sum_without_terms_has_no_candidates(shapes: Any) -> None:
    said = convpp.explain(*shapes)
    assert (said.strategy, said.candidates, said.flops) == ("none", {}, 0)


@every_pass
def test_printing(op: str) -> None:
    said = convpp.explain(*WIDE, op=op, padding=1)
    lines = dict(line.split(maxsplit=1) for line in str(said).splitlines())
    assert lines["strategy"] == said.strategy
    assert {name: lines[name].removesuffix(", taken") for name in STRATEGIES} == {
        name: f"no: {fit}" if isinstance(fit, str) else f"{fit:.3g}" for name, fit in said.candidates.items()
    }
    assert ("weights" in lines) == (op == "forward")
    assert all(line.startswith("  ") for line in str(said).splitlines()[-len(STRATEGIES) :])


def test_work_beyond_64_bits() -> None:
    """An operation more than 2**63 was a negative number."""
    e = convpp.explain((1 << 16, 1 << 10, 1 << 20, 1 << 10), (1 << 10, 1 << 10, 1, 1))
    assert e.flops == 2 * (1 << 16) * (1 << 30) * (1 << 20)
