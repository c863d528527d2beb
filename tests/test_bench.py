"""``python -m convpp bench`` and the layers that it measures."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

import convpp
from convpp._cli import bench, cli
from convpp._cli.suite import NETWORKS, PASSES, Layer, read_layers

LAYERS = {layer.row_id: layer for layer in read_layers()}


def failing(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(["bench", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


# --------------------------------------------------------------------------------------------- layers


def test_the_installed_table_is_the_one_of_the_project() -> None:
    source = Path(__file__).parents[1] / "benchmarks" / "layers.csv"
    assert Path(convpp._core.__file__).with_name("layers.csv").read_bytes() == source.read_bytes()
    rows = source.read_text(encoding="utf-8").splitlines()[1:]
    assert len(LAYERS) == len(rows) == 76
    assert list(LAYERS) == ["/".join(row.split(",")[:2]) for row in rows]


def test_a_layer() -> None:
    layer = LAYERS["mobilenet_v1/dw3x3s2_64-64@112"]
    assert (layer.x_shape, layer.w_shape, layer.y_shape) == ((8, 64, 112, 112), (64, 1, 3, 3), (8, 64, 56, 56))
    assert layer.flops == 2 * 8 * 64 * 56 * 56 * 9
    assert layer.traffic("float64") == 8 * (8 * 64 * (112 * 112 + 56 * 56) + 64 * 9)
    for layout, axis in (("channels_first", 1), ("channels_last", -1)):
        arrays = layer.arrays("float32", layout)
        assert [a.shape[axis] for name, a in arrays.items() if name != "w"] == [64, 64]
        assert all(a.flags.c_contiguous and a.dtype == "float32" for a in arrays.values())


def test_shapes_and_work_are_those_of_convpp() -> None:
    for layer in LAYERS.values():
        shape = convpp.conv_output_shape(layer.x_shape, layer.w_shape, **layer.geometry)
        assert layer.y_shape == shape
        assert layer.flops == convpp.explain(layer.x_shape, layer.w_shape, **layer.geometry).flops


def test_wide_3x3_layers() -> None:
    wide = [row for row, layer in LAYERS.items() if layer.is_wide_3x3]
    assert wide == [
        *(f"resnet50/conv3x3_{c}-{c}@{h}" for c, h in ((64, 56), (128, 28), (256, 14))),
        *(row for row in LAYERS if row.startswith("vgg16/") and "_3-64" not in row),
        *("dilated/aspp_d2_256@28", "dilated/rfcn_d3_512@38x57"),
    ]
    layer = LAYERS[wide[0]]
    for other in (
        {"c": 63}, {"k": 63}, {"input": (13, 56)}, {"kernel": (3, 5)}, {"kernel": (3, 3, 3)},
        {"stride": (1, 2)}, {"groups": 2},
    ):  # fmt: skip
        assert not replace(layer, **other).is_wide_3x3
    assert replace(layer, c=128, k=128, groups=2, input=(14, 13)).is_wide_3x3


@pytest.mark.parametrize(
    ("row", "op", "classes"),
    [
        ("resnet50/conv3x3_64-64@56", "forward", ("regular",)),
        ("resnet50/conv3x3s2_128-128@56", "forward", ("regular",)),
        ("resnet50/conv3x3s2_128-128@56", "input_grad", ("regular", "strided input gradient")),
        ("resnet50/conv7x7s2_3-64@224", "weight_grad", ("first layer",)),
        ("mobilenet_v1/dw3x3_32-32@112", "forward", ("depthwise or grouped",)),
        ("resnext/g32_512@14", "forward", ("depthwise or grouped",)),
        ("dilated/aspp_d2_256@28", "forward", ("regular", "dilated")),
        ("largekernel/dw31_64@56", "forward", ("depthwise or grouped", "many taps")),
        ("largekernel/image_11x11", "forward", ("many taps", "single channel")),
        ("conv1d/fir1024", "forward", ("many taps", "single channel", "conv1d")),
        ("conv3d/c3d_stem", "forward", ("first layer", "conv3d")),
        ("odd/c17_k19_s3_61", "forward", ("other",)),
    ],
)
def test_classes(row: str, op: str, classes: tuple[str, ...]) -> None:
    assert LAYERS[row].classes(op) == classes


def test_tasks_hold_all_the_work() -> None:
    for layer in LAYERS.values():
        tasks = {op: bench.task_flops(layer, op, "float32", "channels_first", 2) for op in PASSES}
        assert sum(tasks["forward"]) == sum(tasks["weight_grad"]) == layer.flops
        for op in PASSES:
            assert len(tasks[op]) == bench.explain_pass(layer, op, "float32", "channels_first", 2, "auto").tasks


# --------------------------------------------------------------------------------------------- the command


def test_the_table_has_a_line_for_each_layer_and_pass(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    words = "bench --network lenet --seconds 1e-9 --threads 1 --dtype float64 --layout channels_last"
    assert cli.main(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    info = convpp.runtime_info()
    assert lines[0] == f"convpp {info['version']}, {info['isa']}, 1 thread, float64, channels_last"
    assert re.fullmatch(r"peak of multiply-adds: \d+ GFLOP/s", lines[1])
    assert lines[3] == bench.HEADER
    row = r"(\S+) +(\w+) +\d+\.\d{3} +\d+\.\d(?: eff)? +\d+%(?: eff)?"
    found = [re.fullmatch(row, line) for line in lines[4:13]]
    rows = [f"lenet/{name}" for name in ("conv1", "conv2", "question")]
    assert [match and match.groups() for match in found] == [(row, op) for row in rows for op in PASSES]
    assert lines[14] == "total of lenet: 3 layers, N = 1, 64"
    assert [line.split("  ")[18].strip() for line in lines[15:19]] == [*PASSES, "all passes"]


def test_totals_are_weighted_by_count() -> None:
    def layer(name: str, count: int) -> Layer:
        return Layer("net", name, count, 5, 100, 100, (10,), (1,), (1,), (0,), (1,), 1)  # 10^6 operations

    measured = [
        bench.Measured(layer("a", 1), "forward", "direct", 0.001),
        bench.Measured(layer("a", 1), "input_grad", "direct", 0.004),
        bench.Measured(layer("a", 1), "weight_grad", "direct", 0.010),
        bench.Measured(layer("b", 3), "forward", "direct", 0.002),
        bench.Measured(layer("b", 3), "input_grad", "direct", 0.002),
        bench.Measured(layer("b", 3), "weight_grad", "direct", 0.020),
    ]
    assert [line.split() for line in bench.total_lines(measured, 0.1)] == [
        [],
        ["total", "of", "net:", "4", "layers,", "N", "=", "5"],
        ["forward", "7.000", "0.6", "571%"],
        ["input_grad", "10.000", "0.4", "400%"],
        ["weight_grad", "70.000", "0.1", "57%"],
        ["all", "passes", "87.000", "0.1", "138%"],
    ]


def test_rates_of_another_algorithm_are_marked() -> None:
    layer = LAYERS["lenet/question"]
    direct, other = (bench.Measured(layer, "forward", name, 1e-3) for name in ("direct", "winograd"))
    rate, share = f"{layer.flops / 1e6:.1f}", f"{layer.flops / 1e6:.0%}"
    assert bench.line(direct, 1.0).split()[3:] == [rate, share]
    assert bench.line(other, 1.0).split()[3:] == [rate, "eff", share, "eff"]
    assert bench.line(direct, 1.0).index(share) == bench.line(other, 1.0).index(share)  # in one column
    # A sum is marked if one of its terms is, and the definition itself does all operations.
    others = [
        bench.Measured(layer, op, name, 1e-3) for op, name in zip(PASSES[1:], ("direct", "reference"), strict=True)
    ]
    totals = [line.split() for line in bench.total_lines([other, *others], 1.0)[2:]]
    assert [words.count("eff") for words in totals] == [2, 0, 0, 2]


@pytest.mark.parametrize("algorithm", ["direct", "winograd"])
def test_a_legend_says_what_the_mark_means(
    algorithm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm")
    explain = bench.explain
    monkeypatch.setattr(bench, "explain", lambda *a, **k: replace(explain(*a, **k), algorithm=algorithm))
    bench.main("lenet", "float32", "channels_first", 1, 1e-9)
    lines = capsys.readouterr().out.splitlines()
    effective = algorithm == "winograd"
    assert [line.count(" eff") for line in lines[4:13] + lines[15:19]] == [2 * effective] * 13
    assert lines[19:] == (["", bench.LEGEND] if effective else [])


def test_all_is_every_layer() -> None:
    assert bench.layers_of("all") == list(LAYERS.values())
    for network in NETWORKS:
        assert {layer.suite for layer in bench.layers_of(network)} == {network}
    weighted = {n: sum(layer.count * layer.flops / layer.n for layer in bench.layers_of(n)) for n in NETWORKS}
    # Multiply-adds of one image of 224x224, as the networks' papers and their readers give them.
    assert math.isclose(weighted["vgg16"] / 2e9, 15.3, rel_tol=0.01)
    assert math.isclose(weighted["mobilenet_v1"] / 2e9, 0.568, rel_tol=0.01)
    assert math.isclose(weighted["resnet50"] / 2e9, 4.1, rel_tol=0.02)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--network lenet5", "convpp bench: network is 'lenet5', expected one of resnet50, vgg16, .*, all"),
        ("--seconds 0", "--seconds: must be above 0, got 0"),
        ("--seconds soon", "--seconds: expected a number, got 'soon'"),
        ("--threads 0", "--threads: must be at least 1"),
        ("--dtype float16", "--dtype: invalid choice: 'float16'"),
    ],
)
def test_errors(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(*words.split()) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err)
    assert captured.out == ""


def test_bench_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert failing("--network", "lenet") == 2
    assert capsys.readouterr().err == "convpp bench: the bench needs tqdm: python -m pip install tqdm\n"
