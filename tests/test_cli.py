"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import convpp
from convpp import runtime
from convpp._cli import check, cli, machine


def failing(*words: str) -> int:
    """The exit code of a call that argparse, or convpp, refuses."""
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert isinstance(caught.value.code, int)
    return caught.value.code


# ------------------------------------------------------------------------------------------- info


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    printed = capsys.readouterr().out
    info = convpp.runtime_info()
    for key in ("version", "isa", "isas_available", "num_threads", "openmp", "compiler"):
        assert key in printed
    assert info["version"] in printed
    assert info["isa"] in printed


def test_info_peak(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(machine, "REPEATS", 1)
    with convpp.threads(2):
        assert cli.main(["info", "--peak"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("peak")]
    assert [re.sub(r"\d+ GFLOP/s", "R GFLOP/s", line) for line in lines] == [
        "peak, float32, 1 thread: R GFLOP/s",
        "peak, float64, 1 thread: R GFLOP/s",
        "peak, float32, 2 threads: R GFLOP/s",
        "peak, float64, 2 threads: R GFLOP/s",
    ]


def test_module_and_version() -> None:
    done = subprocess.run([sys.executable, "-m", "convpp", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"convpp {convpp.__version__}\n"


# ------------------------------------------------------------------------------------------ check


def test_check_passes_on_every_isa(capsys: pytest.CaptureFixture[str]) -> None:
    before = convpp.runtime_info()["isa"]
    assert cli.main(["check"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    isas = convpp.runtime_info()["isas_available"]
    assert [line.split()[:2] for line in lines[::2]] == [[isa, "right:"] for isa in isas]
    counts = [re.fullmatch(COUNTS, line) for line in lines[1::2]]
    assert all(counts)
    cases, halves = check.CASES + len(check.LARGE), len(check._halves())
    results = 3 * 2 * (cases * 2 + len(range(0, cases, check.HALF_EVERY)) * halves)
    assert {count[1] for count in counts if count} == {str(results)}
    assert all(count[3] == count[1] for count in counts if count)  # it serves every geometry
    assert all(int(count[2]) > 100 for count in counts if count)  # one kernel in three has an extent of 3 at stride 1
    assert last.startswith("check passed")
    assert convpp.runtime_info()["isa"] == before


COUNTS = r" +direct: (\d+) results, equal to the reference; winograd: (\d+), fft: (\d+), with relative errors up to .*"
DIFFERENCES = {
    "direct": "first difference at (",
    "winograd": "relative error ",
    "fft": "relative error ",
}


@pytest.mark.parametrize("algorithm", DIFFERENCES)
@pytest.mark.parametrize("pass_name", ["conv", "conv_input_grad", "conv_weight_grad"])
def test_check_finds_one_wrong_number(
    pass_name: str, algorithm: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = getattr(check, pass_name)

    def wrong(*operands: Any, out: Any, **geometry: Any) -> Any:
        right(*operands, out=out, **geometry)
        last = convpp.runtime_info()["isa"] == convpp.runtime_info()["isas_available"][-1]
        if last and out.size and geometry["algorithm"] == algorithm:
            out.flat[-1] += 1
        return out

    monkeypatch.setattr(check, pass_name, wrong)
    monkeypatch.setattr(check, "CASES", 3)
    before = convpp.runtime_info()["isa"]
    assert cli.main(["check"]) == 1
    printed = capsys.readouterr().out
    isas = convpp.runtime_info()["isas_available"]
    assert f"{isas[-1]:8} WRONG:" in printed
    assert printed.count("right:") == len(isas) - 1
    assert f"check failed: {isas[-1]}" in printed
    assert f", {algorithm}, " in printed
    assert DIFFERENCES[algorithm] in printed
    assert DIFFERENCES["winograd" if algorithm == "direct" else "direct"] not in printed
    assert convpp.runtime_info()["isa"] == before


def test_check_finds_unwritten_results(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(check, "conv", lambda *operands, out, **geometry: out)
    monkeypatch.setattr(check, "CASES", 1)
    assert cli.main(["check"]) == 1
    assert "got nan" in capsys.readouterr().out


def test_check_draws_the_same_cases_for_the_same_seed() -> None:
    first, again, other = (next(check._cases(np.random.default_rng(seed))) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.x, again.x)
    assert not np.array_equal(first.x, other.x)


def test_check_puts_the_isa_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*operands: Any, **geometry: Any) -> Any:
        raise MemoryError

    selected: list[str] = []
    select = runtime._select_isa
    monkeypatch.setattr(runtime, "_select_isa", lambda name: (selected.append(name), select(name))[1])
    monkeypatch.setattr(check, "conv", broken)
    monkeypatch.setattr(check, "CASES", 1)
    before = convpp.runtime_info()["isa"]
    with pytest.raises(MemoryError):
        cli.main(["check"])
    assert selected[-1] == convpp.runtime_info()["isa"] == before


# ---------------------------------------------------------------------------------------- explain


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("", {}),
        ("--stride 2 --padding 1", {"stride": 2, "padding": 1}),
        (
            "--stride 2,1 --padding 1,0 --dilation 1,2",
            {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)},
        ),
        ("--padding 1:2,0:3", {"padding": ((1, 2), (0, 3))}),
        ("--padding=-1:2,0:3", {"padding": ((-1, 2), (0, 3))}),
        ("--padding same_lower --groups 1", {"padding": "same_lower"}),
        ("--op input_grad --dtype float64", {"op": "input_grad", "dtype": "float64"}),
        ("--op weight_grad --threads 1", {"op": "weight_grad", "threads": 1}),
        ("--padding 1 --padding-mode reflect --flip", {"padding": 1, "padding_mode": "reflect", "flip": True}),
        (
            "--padding same --padding-mode circular,zeros --dtype float16",
            {"padding": "same", "padding_mode": ("circular", "zeros"), "dtype": "float16"},
        ),
    ],
)
def test_explain_prints_what_the_function_returns(
    words: str, arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["explain", "--x", "8,64,56,56", "--w", "64,64,3,3", *words.split()]) == 0
    expected = convpp.explain((8, 64, 56, 56), (64, 64, 3, 3), **arguments)
    assert capsys.readouterr().out == f"{expected}\n"


def test_the_strategy_that_is_taken_is_marked() -> None:
    lines = str(convpp.explain((8, 64, 56, 56), (64, 64, 3, 3), padding=1)).splitlines()
    (taken,) = (line.split()[0] for line in lines if line.endswith(", taken"))
    assert taken == convpp.explain((8, 64, 56, 56), (64, 64, 3, 3), padding=1).strategy
    assert sum(" no: " in line for line in lines) > 1


def test_no_command_prints_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "explain" in capsys.readouterr().err


def test_explain_channels_last_and_groups(capsys: pytest.CaptureFixture[str]) -> None:
    words = "explain --x 1,9,9,6 --w 6,1,3,3 --groups 6 --layout channels_last"
    assert cli.main(words.split()) == 0
    expected = convpp.explain((1, 9, 9, 6), (6, 1, 3, 3), groups=6, layout="channels_last")
    assert capsys.readouterr().out == f"{expected}\n"


def test_explain_filters_for_each_sample(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["explain", "--x", "2,3,9,9", "--w", "2,4,3,3,3", "--per-sample"]) == 0
    expected = convpp.explain((2, 3, 9, 9), (2, 4, 3, 3, 3), per_sample=True)
    assert capsys.readouterr().out == f"{expected}\n"


def test_the_example_of_explain_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["explain", "--help"])
    assert done.value.code == 0
    example = re.search(r"python -m convpp (explain .*)", capsys.readouterr().out)
    assert example
    assert cli.main(example[1].split()) == 0
    assert "8 x 64 x 56 x 56" in capsys.readouterr().out


# --------------------------------------------------------------------------------------- interrupted


def test_an_interrupt_ends_quietly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(seed: int) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "main", interrupted)
    assert cli.main(["check"]) == 130
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "\n")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
def test_ctrl_c_ends_the_program_quietly() -> None:
    pytest.importorskip("tqdm")
    listens = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a background job is born deaf
    code = f"{listens}; import sys; from convpp._cli.cli import main; sys.exit(main())"
    command = [sys.executable, "-u", "-c", code, "bench", "--network", "lenet", "--seconds", "100"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            assert "convpp" in process.stdout.readline()  # it has begun
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        assert "Traceback" not in errors
        assert process.returncode == 130


# --------------------------------------------------------------------------------------- wrong calls


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("explain --x 1,3,5,5 --w 2,3,7,7", "convpp explain: .*longer than the padded input"),
        ("explain --x 1,3,5,5 --w 2,4,3,3", "convpp explain: .*channels"),
        ("explain --x 1,3,5,5 --w 2,3,1,1 --algorithm winograd", "convpp explain: algorithm is 'winograd'.*3 or 5"),
        ("explain --x 1,3,5,5 --w 2,3,3,3 --padding some", "convpp explain: .*some"),
        ("explain --x 1,3,5,5 --w 2,3,3,3 --padding-mode some", "convpp explain: padding_mode.*some"),
        ("explain --x 1,3,5,5 --w 2,3,3,3 --dtype int32", "convpp explain: .*int32"),
        ("explain --x 1,3,5,5 --w 2,3,3,3 --stride 0", "convpp explain: .*stride"),
        ("explain --x 1,3,5,5 --w 2,3,x,3", "--w: expected integers.*'2,3,x,3'"),
        ("explain --x 1,3,5,5 --w 2,3,3,3 --groups 0", "--groups: must be at least 1"),
        ("explain --x 1,3,5,5 --w 2,3,3,3 --groups 1,1", "--groups: expected one integer"),
        ("explain --x 1,3,5,5 --w 2,3,3,3 --op backward", "--op: invalid choice"),
        ("explain --x 1,3,5,5", "required: --w"),
        ("bench --network lenet5", "convpp bench: network is 'lenet5', expected one of resnet50, vgg16, .*, all"),
        ("bench --seconds 0", "--seconds: must be above 0, got 0"),
        ("bench --seconds soon", "--seconds: expected a number, got 'soon'"),
        ("bench --threads 0", "--threads: must be at least 1"),
        ("demo --plot digits.gif", "--plot: expected a name that ends in .png, .pdf, .svg, got 'digits.gif'"),
        ("demo --plot digits", "--plot: expected a name that ends in"),
        ("bench --dtype float16", "--dtype: invalid choice: 'float16'"),
    ],
)
def test_errors(words: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(*words.split()) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err)
    assert captured.out == ""


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing("train") == 2
    assert "invalid choice: 'train'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "module", "all_of_them"),
    [
        *(
            ("demo --plot x.png", module, "scikit-learn tqdm matplotlib")
            for module in ("sklearn", "tqdm", "matplotlib")
        ),
        ("bench --network lenet", "tqdm", "tqdm"),
    ],
)
def test_what_to_install_is_said(
    words: str, module: str, all_of_them: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find("json"))
    assert failing(*words.split()) == 2
    command = words.split()[0]
    said = f"convpp {command}: the {command} needs {module}: python -m pip install {all_of_them}\n"
    assert capsys.readouterr().err == said


# ------------------------------------------------------------------------------------------- demo


def test_demo_learns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("sklearn", "tqdm", "matplotlib"):
        pytest.importorskip(module)
    picture = tmp_path / "demo.png"
    assert cli.main(["demo", "--epochs", "3", "--plot", str(picture)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "gradient check of the first layer: passed" in lines
    assert any(
        re.search(r"forward \d+\.\d+ ms, input gradient \d+\.\d+ ms, weight gradient \d+\.\d+ ms", line)
        for line in lines
    )
    found = re.fullmatch(r"test accuracy: (0\.\d{4})", lines[-1])
    assert found
    assert float(found[1]) > 0.9  # after 3 of 20 epochs; one digit in ten is chance
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.PDF", b"%PDF"), ("a.svg", b"<?xml")])
def test_the_picture_is_what_its_name_says(name: str, start: bytes, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from convpp._cli import demo

    rng = np.random.default_rng(0)
    file = tmp_path / cli._picture(name)
    demo.plot(file, demo.make_network(rng), rng.random((1, 8, 8), dtype=np.float32), [2.0, 1.0])
    assert file.read_bytes().startswith(start)


@pytest.mark.parametrize("steps", [1, 2, 49, 50, 51, 120])
def test_the_mean_of_a_straight_line_lies_on_it(steps: int) -> None:
    from convpp._cli import demo

    at, mean = demo.running_mean([3 - 0.01 * step for step in range(steps)])
    assert len(at) == max(steps - 49, 1)
    np.testing.assert_allclose(mean, 3 - 0.01 * at, rtol=1e-12)


def test_demo_is_the_same_for_the_same_seed(capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("sklearn", "tqdm"):
        pytest.importorskip(module)
    from convpp._cli import demo

    scores, losses = [], []
    for seed in (1, 1, 2):
        rng = np.random.default_rng(seed)
        train, test = demo.load_data(rng)
        network = demo.make_network(rng)
        losses.append(demo.train(network, (train[0][:320], train[1][:320]), 1, 32, rng))
        scores.append(demo.accuracy(network, test))
    assert losses[0] == losses[1] != losses[2]
    assert scores[0] == scores[1]


def test_demo_layers_have_right_gradients(rng: np.random.Generator) -> None:
    from convpp._cli import demo
    from convpp.testing import gradcheck

    x = rng.standard_normal((2, 3, 4, 6))
    x += 0.1 * np.sign(x)  # away from the kink at 0
    for layer in (demo.ReLU(), demo.MaxPool2d(2), demo.Flatten()):
        assert gradcheck(layer, x)
    assert gradcheck(demo.Linear(5, 4, rng), rng.standard_normal((3, 5)))
    labels = np.array([0, 3, 1])

    def loss(scores: Any) -> Any:
        value, gradient = demo.softmax_cross_entropy(scores, labels)
        return np.float64(value), lambda dy: dy * gradient

    assert gradcheck(loss, rng.standard_normal((3, 4)))


def test_demo_refuses_a_picture_nowhere_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for module in ("sklearn", "tqdm", "matplotlib"):
        pytest.importorskip(module)
    assert failing("demo", "--plot", str(tmp_path / "no" / "demo.png")) == 2
    captured = capsys.readouterr()
    assert "no directory" in captured.err
    assert captured.out == ""


@pytest.mark.skipif(os.name != "posix", reason="pipes are those of POSIX")
@pytest.mark.parametrize("words", ["info", "explain --x 1,3,5,5 --w 2,3,3,3"])
def test_a_reader_that_has_enough_is_no_error(words: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "convpp", *words.split()]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
