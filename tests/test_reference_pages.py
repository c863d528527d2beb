"""The site's sources: every public name is in the reference, and what pages may refer to exists.

In: docs/api/, docs/inventories/, docs/tour/cpp.md.   Next: test_site.py, for the site as it was built.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

import convpp

ROOT = Path(__file__).parents[1]
API = ROOT / "docs" / "api"
MODULES = ("autograd", "conventions", "dask", "jax", "onnx", "operators", "pytensor", "testing", "torch")


def listed() -> set[str]:
    """Names with their modules, as the reference has them."""
    found = set()
    for page in API.glob("*.rst"):
        text = page.read_text(encoding="utf-8")
        module = re.search(r"^\.\. (?:auto|current)module:: (\S+)$", text, re.MULTILINE)
        names = re.findall(r"^\.\. auto(?:function|class|exception|data):: (\S+)$", text, re.MULTILINE)
        found |= {f"{module[1] if module else ''}.{name}" for name in names if page.name != "index.rst"}
    return found


def public(module: str) -> set[str]:
    """What ``__all__`` of a module's source lists; of frameworks that need not be installed, too."""
    folder = Path(convpp.__file__).parent
    files = [file for file in (folder / module / "__init__.py", folder / f"{module}.py") if file.exists()]
    for file in files:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
                return {f"convpp.{module}.{name}" for name in ast.literal_eval(node.value)}
    return set()


def test_every_public_name_is_in_the_reference() -> None:
    names = {f"convpp.{name}" for name in convpp.__all__ if not inspect.ismodule(getattr(convpp, name))}
    names = {name for name in names if not name.startswith("convpp.__")}
    for module in MODULES:
        names |= public(module)
    assert names - listed() == set()
    assert listed() - names == set()


def test_the_overview_lists_what_the_pages_describe() -> None:
    text = (API / "index.rst").read_text(encoding="utf-8")
    names, module = set(), ""
    for line in text.splitlines():
        if match := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
            module = match[1]
        elif module and (match := re.fullmatch(r"   (\w+)", line)):
            names.add(f"{module}.{match[1]}")
    assert names == listed()


def test_every_page_is_in_the_contents() -> None:
    text = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    trees = "".join(re.findall(r"^```\{toctree\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    entries = {re.sub(r".*<(.*)>", r"\1", line) for line in trees.splitlines()}
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("tour/*.md"), *(ROOT / "docs").glob("project/*.md")]
    names = {page.relative_to(ROOT / "docs").with_suffix("").as_posix() for page in pages}
    assert names - entries == {"index"}


@pytest.mark.parametrize("library", ["numpy", "scipy"])
def test_names_of_other_libraries_exist(library: str) -> None:
    pytest.importorskip(library)
    lines = (ROOT / "docs" / "inventories" / f"{library}.txt").read_text(encoding="utf-8").splitlines()[4:]
    gone, missing = [], object()
    for name in (line.split()[0] for line in lines):
        parts, value = name.split("."), missing
        for end in range(len(parts), 0, -1):
            try:
                value = importlib.import_module(".".join(parts[:end]))
            except ImportError:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what is deprecated is there
                try:
                    for part in parts[end:]:
                        value = getattr(value, part)
                except AttributeError:
                    value = missing
            break
        if value is missing:
            gone.append(name)
    assert gone == []


PROGRAMS = re.findall(r"^```cpp\n(.*?)^```$", (ROOT / "docs/tour/cpp.md").read_text(encoding="utf-8"), re.M | re.S)


@pytest.mark.one_isa
@pytest.mark.parametrize("program", PROGRAMS, ids=["forward", "gradients", "options"])
def test_the_programs_of_the_tour_of_cpp(program: str, tmp_path: Path) -> None:
    compiler, package = shutil.which("c++"), Path(convpp.__file__).parent
    library = package / "lib" / "libconvpp.a"
    if compiler is None or not library.exists():
        pytest.skip("a C++ compiler, and convpp installed with its C++ library")
    (tmp_path / "main.cpp").write_text(program, encoding="utf-8")
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{convpp.get_include()}", "main.cpp"]
    subprocess.run([*command, str(library), "-pthread", "-o", "main"], cwd=tmp_path, check=True)
    subprocess.run([str(tmp_path / "main")], check=True)


def test_the_tour_of_cpp_has_programs() -> None:
    assert len(PROGRAMS) == 3
    assert all("int main()" in program for program in PROGRAMS)
