"""``python -m convpp bench`` and the layers that it measures."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

import convpp
from cases import LAYERS
from convpp._cli import bench, cli
from convpp._cli.suite import NETWORKS, PASSES, Layer

#: Rows of each class, but for input gradients.
CLASSES = {
    "regular": "resnet50/conv3x3_64-64@56 resnet50/conv3x3s2_128-128@56 dilated/aspp_d2_256@28",
    "first layer": "resnet50/conv7x7s2_3-64@224 conv3d/c3d_stem",
    "depthwise or grouped": "mobilenet_v1/dw3x3_32-32@112 resnext/g32_512@14 largekernel/dw31_64@56",
    "dilated": "dilated/aspp_d2_256@28",
    "many taps": "largekernel/dw31_64@56 largekernel/image_11x11 conv1d/fir1024",
    "single channel": "largekernel/image_11x11 conv1d/fir1024",
    "conv1d": "conv1d/fir1024",
    "conv3d": "conv3d/c3d_stem",
    "other": "odd/c17_k19_s3_61",
}
#: Multiply-adds of an image of 224x224, in thousands of millions, as the networks' papers and their readers give them.
WORK = {"vgg16": 15.3, "mobilenet_v1": 0.568, "resnet50": 4.1}


def test_the_table_of_layers() -> None:
    source = Path(__file__).parents[1] / "benchmarks" / "layers.csv"
    assert Path(convpp._core.__file__).with_name("layers.csv").read_bytes() == source.read_bytes()
    assert list(LAYERS) == ["/".join(row.split(",")[:2]) for row in source.read_text("utf-8").splitlines()[1:]]
    assert len(LAYERS) == 76
    assert bench.layers_of("all") == list(LAYERS.values())
    for network in NETWORKS:
        layers = bench.layers_of(network)
        assert {layer.suite for layer in layers} == {network}
        work = sum(layer.count * layer.flops / layer.n for layer in layers) / 2e9
        assert math.isclose(work, WORK.get(network, work), rel_tol=0.02 if network == "resnet50" else 0.01)


def test_shapes_work_and_tasks_are_those_of_convpp() -> None:
    for layer in LAYERS.values():
        assert layer.y_shape == convpp.conv_output_shape(layer.x_shape, layer.w_shape, **layer.geometry)
        assert layer.flops == convpp.explain(layer.x_shape, layer.w_shape, **layer.geometry).flops
        for op in PASSES:
            tasks = bench.task_flops(layer, op, "float32", "channels_first", 2)
            said = bench.explain_pass(layer, op, "float32", "channels_first", 2, "auto")
            assert len(tasks) == said.tasks
            assert (said.algorithm == "fft") == (tasks == [])  # it hands its work out step by step
            assert op == "input_grad" or tasks == [] or sum(tasks) == layer.flops
    layer = LAYERS["mobilenet_v1/dw3x3s2_64-64@112"]
    assert (layer.x_shape, layer.w_shape, layer.flops) == ((8, 64, 112, 112), (64, 1, 3, 3), 2 * 8 * 64 * 56 * 56 * 9)
    assert layer.traffic("float64") == 8 * (8 * 64 * (112 * 112 + 56 * 56) + 64 * 9)
    for layout, axis in (("channels_first", 1), ("channels_last", -1)):
        arrays = layer.arrays("float32", layout)
        assert [a.shape[axis] for name, a in arrays.items() if name != "w"] == [64, 64]
        assert all(a.flags.c_contiguous and a.dtype == "float32" for a in arrays.values())


def test_classes() -> None:
    for row in " ".join(CLASSES.values()).split():
        classes = tuple(name for name, rows in CLASSES.items() if row in rows.split())
        assert LAYERS[row].classes("forward") == LAYERS[row].classes("weight_grad") == classes
    assert LAYERS["resnet50/conv3x3s2_128-128@56"].classes("input_grad") == ("regular", "strided input gradient")
    wide = [row for row, layer in LAYERS.items() if layer.is_wide_3x3]
    assert wide == [
        *(f"resnet50/conv3x3_{c}-{c}@{h}" for c, h in ((64, 56), (128, 28), (256, 14))),
        *(row for row in LAYERS if row.startswith("vgg16/") and "_3-64" not in row),
        *("dilated/aspp_d2_256@28", "dilated/rfcn_d3_512@38x57"),
    ]
    others = {"c": 63, "k": 63, "input": (13, 56), "kernel": (3, 5), "stride": (1, 2), "groups": 2}
    for field, value in [*others.items(), ("kernel", (3, 3, 3))]:
        assert not replace(LAYERS[wide[0]], **{field: value}).is_wide_3x3
    assert replace(LAYERS[wide[0]], c=128, k=128, groups=2, input=(14, 13)).is_wide_3x3


@pytest.mark.parametrize(("algorithm", "mark"), [("direct", ""), ("winograd", " eff")])
def test_what_the_command_prints(
    algorithm: str, mark: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("tqdm")
    explain = bench.explain
    monkeypatch.setattr(bench, "explain", lambda *a, **k: replace(explain(*a, **k), algorithm=algorithm))
    words = "bench --network lenet --seconds 1e-9 --threads 1 --dtype float64 --layout channels_last"
    assert cli.main(words.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    info = convpp.runtime_info()
    assert lines[0] == f"convpp {info['version']}, {info['isa']}, 1 thread, float64, channels_last"
    assert re.fullmatch(r"peak of multiply-adds: \d+ GFLOP/s", lines[1])
    assert lines[3] == bench.HEADER
    numbers = rf" +\d+\.\d{{3}} +\d+\.\d{mark} +\d+%{mark} *"
    expected = [rf"lenet/{name} +{op}{numbers}" for name in ("conv1", "conv2", "question") for op in PASSES]
    expected += ["", "total of lenet: 3 layers, N = 1, 64", *(f" +{name}{numbers}" for name in (*PASSES, "all passes"))]
    assert re.fullmatch("\n".join(expected), "\n".join(lines[4:19]))
    assert lines[19:] == (["", bench.LEGEND] if mark else [])


def test_totals_are_weighted_by_count_and_marked_where_a_term_is() -> None:
    def measured(name: str, count: int, algorithms: str, *seconds: float) -> list[bench.Measured]:
        layer = Layer("net", name, count, 5, 100, 100, (10,), (1,), (1,), (0,), (1,), 1)  # 10^6 operations
        return [bench.Measured(layer, *row) for row in zip(PASSES, algorithms.split(), seconds, strict=True)]

    some = measured("a", 1, "winograd direct direct", 0.001, 0.004, 0.010)
    more = measured("b", 3, "reference reference reference", 0.002, 0.002, 0.020)  # which does all operations
    assert [" ".join(line.split()) for line in bench.total_lines([*some, *more], 0.1)] == [
        "",
        "total of net: 4 layers, N = 5",
        "forward 7.000 0.6 eff 571% eff",
        "input_grad 10.000 0.4 400%",
        "weight_grad 70.000 0.1 57%",
        "all passes 87.000 0.1 eff 138% eff",
    ]
    lines = bench.line(some[0], 1.0), bench.line(replace(some[0], algorithm="direct"), 1.0)
    assert [line.split()[3:] for line in lines] == [["1.0", "eff", "100%", "eff"], ["1.0", "100%"]]
    assert lines[0].index("100%") == lines[1].index("100%")  # in one column
