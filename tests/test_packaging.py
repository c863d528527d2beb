"""What is static of packaging: versions, classifiers, links, what wheels are made with, workflows and their pins.

Next: tools/try_wheel.py, which builds and tries a wheel (`nox -s wheel`); the session `lint`, which has the tools that
read these files as their services do.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import re
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import release_links
import wheel_licences

ROOT = Path(__file__).parents[1]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT: dict[str, Any] = PYPROJECT["project"]
WHEELS: dict[str, Any] = PYPROJECT["tool"]["cibuildwheel"]
REPOSITORY = "https://example.org/owner/convpp"  # a name that is nobody's, for examples


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def words_after(pattern: str, classifiers: list[str]) -> set[str]:
    return {match[1] for name in classifiers if (match := re.fullmatch(pattern, name))}


# ---------------------------------------------------------------- what is said once, and elsewhere the same


def test_versions_are_the_same() -> None:
    version = PROJECT["version"]
    assert re.findall(r"^version: (.+)$", text("CITATION.cff"), re.MULTILINE) == [version]
    assert re.findall(r'^  version: "(.+)"$', text("packaging/conda/recipe.yaml"), re.MULTILINE) == [version]


def test_the_recipe_needs_what_the_package_needs() -> None:
    recipe = text("packaging/conda/recipe.yaml").replace(" >=", ">=")
    for requirement in PROJECT["dependencies"] + PYPROJECT["build-system"]["requires"]:
        assert f"- {requirement}\n" in recipe
    assert f"- cmake{PYPROJECT['tool']['scikit-build']['cmake']['version']}\n" in recipe
    assert PROJECT["description"] in recipe
    assert f"license: {PROJECT['license']}\n" in recipe


def test_classifiers_name_the_pythons_that_wheels_are_built_for() -> None:
    built = {f"3.{minor}" for minor in re.findall(r"\bcp3(\d+)-\*", WHEELS["build"])}
    assert words_after(r"Programming Language :: Python :: (3\.\d+)", PROJECT["classifiers"]) == built
    assert PROJECT["requires-python"] == f">={min(built, key=lambda name: int(name[2:]))}"
    assert sorted(PROJECT["classifiers"]) == sorted(set(PROJECT["classifiers"]))


def test_free_threading_is_claimed_because_the_module_says_so() -> None:
    claimed = any(":: Free Threading ::" in name for name in PROJECT["classifiers"])
    assert claimed == ("py::mod_gil_not_used()" in text("cpp/bindings/module.cpp"))
    assert claimed == bool(re.search(r"\bcp3\d+t-\*", WHEELS["build"]))


def test_the_licence_is_there_and_no_classifier_repeats_it() -> None:
    assert PROJECT["license"] == "BSD-3-Clause"
    for name in PROJECT["license-files"]:
        assert (ROOT / name).is_file()
    assert not [name for name in PROJECT["classifiers"] if name.startswith("License ::")]


def test_builds_of_different_pythons_and_settings_have_folders_of_their_own() -> None:
    settings = PYPROJECT["tool"]["scikit-build"]
    folders = [settings["build-dir"], *(part["build-dir"] for part in settings["overrides"])]
    assert all("{wheel_tag}" in folder for folder in folders)
    assert len(folders) == len(set(folders))
    assert "/build*/" in text(".gitignore").splitlines()
    # Objects of the folder itself would be deleted with its CMakeFiles, at the next build: they are a subfolder's.
    assert "add_subdirectory(../.. convpp)" in text(f"{settings['cmake']['source-dir']}/CMakeLists.txt")


# ---------------------------------------------------------------- wheels


def test_what_a_wheel_is_tried_with_is_there() -> None:
    files = re.findall(r"\{project\}/(\S+)", " ".join(WHEELS["test-command"]))
    assert len(files) >= 5
    assert all((ROOT / file).is_file() for file in files)
    assert set(WHEELS["test-groups"]) <= set(PYPROJECT["dependency-groups"])
    scripts = re.findall(r"\{package\}/(\S+)", " ".join(WHEELS["linux"]["repair-wheel-command"]))
    assert scripts == ["tools/wheel_licences.py"]


def make_wheel(folder: Path, *files: str) -> Path:
    """A wheel of empty files."""
    wheel = folder / "convpp-1-py3-none-any.whl"
    record = "convpp-1.dist-info/RECORD"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in files:
            archive.writestr(name, "")
        archive.writestr(record, "".join(f"{name},,\n" for name in (*files, record)))
    return wheel


def test_a_wheel_with_copies_of_libraries_has_their_licences(tmp_path: Path) -> None:
    library = "convpp.libs/libgomp-1234abcd.so.1.0.0"
    wheel = make_wheel(tmp_path, "convpp/__init__.py", library)
    for _ in range(2):  # again, it finds them there
        assert wheel_licences.add_licences(wheel) == [library]
        with zipfile.ZipFile(wheel) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
            assert len(names) == len(set(names))
            licences = [name for name in names if "/licenses/" in name]
            assert len(licences) == 3
            note, gpl, exception = (
                archive.read(f"convpp-1.dist-info/licenses/bundled/{name}").decode()
                for name in ("NOTE.txt", "GPL-3.0.txt", "GCC-exception-3.1.txt")
            )
            assert library in note
            assert "GNU GENERAL PUBLIC LICENSE" in gpl
            assert "GCC RUNTIME LIBRARY EXCEPTION" in exception
            # RECORD has a line for each file, whose digest and length are right.
            rows = list(csv.reader(io.StringIO(archive.read("convpp-1.dist-info/RECORD").decode())))
            assert sorted(row[0] for row in rows) == sorted(names)
            for name, digest, length in rows:
                if name in licences:
                    data = archive.read(name)
                    assert wheel_licences.record_line(name, data) == f"{name},{digest},{length}\n"


def test_a_wheel_without_them_is_left_alone(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "convpp/__init__.py")
    before = wheel.read_bytes()
    assert wheel_licences.add_licences(wheel) == []
    assert wheel.read_bytes() == before


def test_a_library_of_unknown_licence_is_an_error(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "convpp.libs/libmystery-1.so")
    with pytest.raises(SystemExit, match=r"libmystery-1\.so is not known"):
        wheel_licences.add_licences(wheel)


# ---------------------------------------------------------------- addresses


def test_at_a_release_links_of_the_readme_are_addresses() -> None:
    readme = release_links.absolute(text("README.md"), REPOSITORY, "v1")
    prose = re.sub(r"^```.*?^```$", "", readme, flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s]+)", prose)
    assert len(targets) > 10
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    for target in targets:
        if target.startswith(REPOSITORY):
            path = re.sub(rf"^{re.escape(REPOSITORY)}/(?:blob|raw|tree)/v1/", "", target).partition("#")[0]
            assert (ROOT / path).exists()
    # Nothing else has changed.
    assert re.sub(r"\]\([^)\s]+", "](", readme) == re.sub(r"\]\([^)\s]+", "](", text("README.md"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("[a](docs/index.md#b)", f"[a]({REPOSITORY}/blob/v1/docs/index.md#b)"),
        ("![a](docs/figures/three_passes.svg)", f"![a]({REPOSITORY}/raw/v1/docs/figures/three_passes.svg)"),
        ("[docs/](docs)", f"[docs/]({REPOSITORY}/tree/v1/docs)"),
        ("[a](#part), [b](https://example.org/)", "[a](#part), [b](https://example.org/)"),
        ("[![c](docs/index.md)](LICENSE)", f"[![c]({REPOSITORY}/raw/v1/docs/index.md)]({REPOSITORY}/blob/v1/LICENSE)"),
        ("```\n[a](LICENSE)\n```", "```\n[a](LICENSE)\n```"),
    ],
)
def test_links(given: str, expected: str) -> None:
    assert release_links.absolute(given, REPOSITORY, "v1") == expected


def test_a_link_to_nothing_is_an_error() -> None:
    with pytest.raises(SystemExit, match="no such file"):
        release_links.absolute("[a](docs/nothing.md)", REPOSITORY, "v1")


def test_at_a_release_the_project_has_addresses() -> None:
    changed = release_links.with_urls(text("pyproject.toml"), REPOSITORY, "v1")
    urls = tomllib.loads(changed)["project"].pop("urls")
    assert urls["Source"] == REPOSITORY
    assert all(url.startswith("https://") for url in urls.values())
    assert tomllib.loads(changed) == PYPROJECT | {"project": PROJECT | {"urls": urls}}


# ---------------------------------------------------------------- workflows and tools


WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_commits_that_have_a_version_beside_them(workflow: Path) -> None:
    uses = re.findall(r"uses: (.+)", workflow.read_text(encoding="utf-8"))
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action)
    # The same action is the same commit everywhere.
    everywhere = {line for file in WORKFLOWS for line in re.findall(r"uses: (.+)", file.read_text(encoding="utf-8"))}
    assert len({line.partition("@")[0] for line in everywhere}) == len(everywhere)


def test_workflows_run_sessions_that_there_are() -> None:
    files = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "noxfile.py", *(ROOT / "tools").glob("*.py")))
    sessions = set(re.findall(r"^@nox\.session.*\n(?:@.*\n)*def (\w+)", files, re.MULTILINE))
    lists = re.findall(r"session: \[(.+)\]", text(".github/workflows/tests.yml"))
    named = [name for line in lists for name in line.split(", ")]
    assert len(named) > 8
    assert set(named) <= sessions


def test_the_hooks_use_tools_that_are_pinned() -> None:
    hooks = set(re.findall(r"^        entry: ([\w-]+)", text(".pre-commit-config.yaml"), re.MULTILINE))
    groups = PYPROJECT["dependency-groups"]
    names = {group["include-group"] for group in groups["lint"] if isinstance(group, dict)}
    pinned = [line for group in (*names, "lint") for line in groups[group] if isinstance(line, str) and "==" in line]
    assert {re.split(r"[\[=]", line)[0] for line in pinned} >= hooks


# ---------------------------------------------------------------- benchmarks over time


def module(name: str) -> ModuleType:
    """A module of benchmarks/asv, imported as asv does: as part of the package of that folder."""
    folder, package = ROOT / "benchmarks" / "asv", "benchmarks_over_time"
    if package not in sys.modules:
        file, parts = folder / "__init__.py", [str(folder)]
        spec = importlib.util.spec_from_file_location(package, file, submodule_search_locations=parts)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    return importlib.import_module(f"{package}.{name}")


def test_rows_that_are_measured_over_time_are_rows_of_the_tables() -> None:
    rows = module("rows")
    assert list(rows.read()) == list(rows.ROWS)
    assert len(set(rows.ROWS)) == len(rows.ROWS) == 20
    assert rows.read()["layers/lenet/question"].x_shape == (1, 3, 20, 20)


@pytest.mark.parametrize("which", ["forward", "input_grad", "weight_grad"])
def test_what_is_measured_over_time_computes(which: str) -> None:
    shapes = {"forward": (1, 5, 18, 18), "input_grad": (1, 3, 20, 20), "weight_grad": (5, 3, 3, 3)}
    assert module("layers").prepare("layers/lenet/question", which)().shape == shapes[which]
    for kind in (module("calls").Calls, module("calls").Plans):
        benchmark = kind()
        benchmark.setup()
        for name in dir(benchmark):
            if name.startswith("time_"):
                getattr(benchmark, name)()


def test_nothing_of_a_release_is_left_in_the_checkout() -> None:
    """The links of the checkout stay relative: they work in each branch, copy and fork."""
    assert not re.search(r"\]\(https?://[^)]*/blob/", text("README.md"))
    assert "urls" not in PROJECT
