"""The installed package: names, versions, typing marker, headers, and what it imports."""

from __future__ import annotations

import importlib.metadata
import inspect
import re
from pathlib import Path

import pytest

import convpp
from scripts import succeed

FUNCTIONS = [
    "conv", "conv_input_grad", "conv_weight_grad", "conv_bias_grad", "conv_backward",
    "conv_transpose", "conv_transpose_input_grad", "conv_transpose_weight_grad", "conv_transpose_backward",
    "prepare_weights", "conv_double_backward", "conv_jvp",
    "convolve", "correlate", "convolve_backward", "gaussian", "box", "sobel", "laplace",
    "max_pool", "max_pool_input_grad", "avg_pool", "avg_pool_input_grad", "pool_output_shape",
    "conv_output_shape", "conv_transpose_output_shape", "adjoint_kernel", "explain",
    "tiles", "conv_tiled", "conv_input_grad_tiled", "conv_weight_grad_tiled", "convolve_tiled",
    "get_num_threads", "set_num_threads", "threads", "get_algorithm", "set_algorithm", "algorithm",
    "runtime_info", "show_config", "get_include", "get_cmake_dir",
]  # fmt: skip
LAYERS = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d",
]  # fmt: skip
ERRORS = {"ShapeError": ValueError, "DTypeError": TypeError}

PACKAGE = Path(convpp.__file__).parent
REPOSITORY = Path(__file__).parents[1]


def test_public_names() -> None:
    public = {*FUNCTIONS, *LAYERS, *ERRORS}
    assert public <= set(dir(convpp))
    assert public <= set(convpp.__all__)
    assert len(convpp.__all__) == len(set(convpp.__all__))
    for name in convpp.__all__:
        assert hasattr(convpp, name)


def test_dir_is_the_public_api_and_nothing_else() -> None:
    assert dir(convpp) == sorted(convpp.__all__)
    assert {"conventions", "testing"} <= set(dir(convpp))
    assert convpp.testing.gradcheck
    assert convpp.conventions.from_hwio
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        convpp.nothing  # noqa: B018


def test_modules_of_the_public_api_are_imported_when_they_are_asked_for() -> None:
    script = """
import sys, convpp
rare = {f"convpp.{name}" for name in ("testing", "conventions", "_cli")}
print(sorted(rare & set(sys.modules)))
convpp.testing, convpp.conventions
print(sorted(rare & set(sys.modules)))
"""
    assert succeed(script).splitlines() == ["[]", "['convpp.conventions', 'convpp.testing']"]


@pytest.mark.parametrize("statement", ["import convpp", "from convpp import *"])
def test_importing_gives_what_dir_lists(statement: str) -> None:
    """Each name, though modules are imported when they are asked for; nothing of how a call is made, or fails, is."""
    script = f"""
import sys
{statement}
module = sys.modules["convpp"]
print("convpp._call.guesses" in sys.modules)
names = vars(module) if "*" not in {statement!r} else globals()
print([name for name in dir(module) if getattr(module, name) is None or ("*" in {statement!r} and name not in names)])
"""
    assert succeed(script).splitlines() == ["False", "[]"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("conv2d", "did you mean convpp.conv: w says how many axes"),
        ("conv_transpose1d", "did you mean convpp.conv_transpose: w says"),
        ("convolve2d", r"did you mean convpp.convolve \(for arrays without channels\)"),
        ("max_pool2d", "did you mean convpp.max_pool: kernel_size and x say"),
        ("gaussian_filter", "did you mean convpp.gaussian, a kernel for convpp.convolve"),
        ("ReLU", "did you mean convpp.activate, or activation= of conv"),
        ("correlate_backward", "did you mean convpp.convolve_backward with flip=False"),
        ("Convolution", "did you mean convpp.operators.Convolution"),
        ("Conv2D", "did you mean convpp.Conv2d"),
        ("Conv3DTranspose", "did you mean convpp.ConvTranspose3d"),
        ("MaxPooling2D", "did you mean convpp.MaxPool2d"),
        ("nothing", "'nothing'$"),
    ],
)
def test_names_of_other_libraries(name: str, words: str) -> None:
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'.*{words}" if name != "nothing" else words):
        getattr(convpp, name)


@pytest.mark.parametrize("name", FUNCTIONS + LAYERS + list(ERRORS))
def test_documented(name: str) -> None:
    assert inspect.getdoc(getattr(convpp, name))


def test_errors_are_what_numpy_users_catch() -> None:
    for name, base in ERRORS.items():
        assert issubclass(getattr(convpp, name), base)


def test_one_version_everywhere() -> None:
    version = importlib.metadata.version("convpp")
    assert convpp.__version__ == version
    assert convpp.runtime_info()["version"] == version
    cmake = Path(convpp.get_cmake_dir()) / "convppConfigVersion.cmake"
    assert f'set(PACKAGE_VERSION "{version}")' in cmake.read_text()
    citation = (REPOSITORY / "CITATION.cff").read_text()
    assert re.findall(r"^version: (.+)$", citation, re.MULTILINE) == [version]
    assert f"## [{version}]" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert list(PACKAGE.glob("_core.pyi"))


def test_headers_and_cmake_files_come_with_the_package() -> None:
    assert (Path(convpp.get_include()) / "convpp" / "convpp.hpp").is_file()
    assert (Path(convpp.get_cmake_dir()) / "convppConfig.cmake").is_file()


def test_runtime_info(capsys: pytest.CaptureFixture[str]) -> None:
    info = convpp.runtime_info()
    assert {"version", "isa", "isas_available", "num_threads", "algorithm", "openmp", "compiler"} <= set(info)
    assert info["isa"] in info["isas_available"]
    assert "scalar" in info["isas_available"]
    assert info["num_threads"] >= 1
    convpp.show_config()
    shown = capsys.readouterr().out
    assert info["version"] in shown
    assert info["isa"] in shown


def test_imports_nothing_but_numpy_and_the_standard_library() -> None:
    script = """
import sys, numpy, numpy.random
before = set(sys.modules)
import convpp
added = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(added - set(sys.stdlib_module_names) - {"numpy", "convpp"}))
"""
    assert succeed(script).strip() == "[]"


@pytest.mark.parametrize(
    ("module", "package"),
    [("autograd", "autograd"), ("onnx", "onnx"), ("operators", "scipy"), ("pytensor", "pytensor")],
)
def test_a_framework_that_is_missing_is_named(module: str, package: str) -> None:
    """However the module is asked for; the package itself does without."""
    script = f"""
import sys
sys.modules[{package!r}] = None
import convpp
for ask in (lambda: getattr(convpp, {module!r}), lambda: __import__("convpp.{module}")):
    try:
        ask()
    except ImportError as error:
        print(error)
"""
    said = succeed(script).splitlines()
    assert len(said) == 2
    for line in said:
        assert re.fullmatch(rf"convpp\.{module} needs \w+: pip install {package}", line), line
