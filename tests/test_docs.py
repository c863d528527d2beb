"""What the pages say is true: their code runs, the script draws their figures, their links and names exist.

In: README.md, the other pages beside it, and every page of docs/ and docs/tour/.  The blocks of one page run in order
and share their names, as a reader would type them.  A block under a line `<!-- needs: PACKAGE -->` runs where
that package is installed, after the blocks above it that need nothing, or the same.
"""

from __future__ import annotations

import importlib.util
import re
import runpy
from fnmatch import fnmatch
from pathlib import Path

import pytest

import convpp
from pages import FENCED, INLINE, PAGES, ROOT, Block, blocks, run


def page_id(value: object) -> str | None:
    return value.name if isinstance(value, Path) else None


RUNNING = [page for page in PAGES if blocks(page)]
OPTIONAL = [(page, block) for page in PAGES for block in blocks(page) if block.needs]


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an example writes is written there."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", RUNNING, ids=page_id)
def test_the_code_of_a_page_runs(page: Path) -> None:
    run(page, *(block for block in blocks(page) if not block.needs))


@pytest.mark.parametrize(("page", "block"), OPTIONAL, ids=[f"{page.name}-{block.needs}" for page, block in OPTIONAL])
def test_the_code_for_another_library_runs(page: Path, block: Block) -> None:
    pytest.importorskip(str(block.needs))
    run(page, *(other for other in blocks(page) if other.needs in (None, block.needs) and other.line <= block.line))


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_no_block_of_python_is_overlooked(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(re.findall(r"^\s*```\s*(?:python|py|pycon)\b", text, re.MULTILINE)) == len(blocks(page))


def test_the_pages_that_matter_have_code() -> None:
    names = {page.name for page in RUNNING}
    assert {"README.md", "backpropagation.md", "conventions.md"} <= names


# ---------------------------------------------------------------- figures, links, names


def test_figures_are_what_the_script_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = ROOT / "docs" / "figures"
    monkeypatch.syspath_prepend(folder)  # as for any script: canvas.py lies beside it
    figures = runpy.run_path(str(folder / "draw.py"))["FIGURES"]
    assert {path.name for path in folder.glob("*.svg")} == set(figures)
    for name, draw in figures.items():
        # Read as bytes: the same file on every system, newlines included.
        assert (folder / name).read_bytes() == draw().svg().encode(), f"run docs/figures/draw.py: {name} differs"


def headings(page: Path) -> set[str]:
    """The anchors GitHub gives to a page's headings."""
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    text = INLINE.sub("", FENCED.sub("", page.read_text(encoding="utf-8")))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in headings(file), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_files_that_pages_name_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    bases = [ROOT, ROOT / "cpp" / "src"] if page.name == "architecture.md" else [ROOT]  # as it says at its top
    for name in re.findall(r"`([\w.]+/[\w./]+(?:\.\w+|/))`", text):
        assert any((base / name).exists() for base in bases), f"{page.name} names {name}"


def folders() -> set[str]:
    """Those that have a line in architecture.md: rooms, the parts of some of them, and what lies beside the code."""
    parents = ("", "cpp", "cpp/src", "cpp/src/strategies", "cpp/src/kernels", "cpp/include", "python", "python/convpp")
    lines = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = [".*", *(line.strip("/") for line in lines if line.endswith("/"))]
    paths = [path for parent in parents for path in (ROOT / parent).iterdir() if path.is_dir()]
    kept = [path for path in paths if not any(fnmatch(path.name, pattern) for pattern in ignored)]
    # (Where the package was installed in place, it has folders that are none of Python's.)
    kept = [path for path in kept if "python" not in path.relative_to(ROOT).parts or (path / "__init__.py").exists()]
    return {path.relative_to(ROOT).as_posix() for path in kept} - {"cpp", "cpp/src", "cpp/include", "python"}


def test_architecture_has_a_line_for_each_folder() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`[\w/]+/`(?:, )?)+) \|", text, re.MULTILINE)
    listed = {name for row in rows for name in re.findall(r"`([\w/]+)/`", row)}
    missing = folders() - listed
    assert not missing, f"architecture.md has no line for {sorted(missing)}"
    gone = [name for name in listed if not (ROOT / name).is_dir()]
    assert not gone, f"architecture.md has lines for {gone}"


def test_architecture_stays_short() -> None:
    assert len((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()) <= 480


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_names_of_the_package_exist(page: Path) -> None:
    for name in re.findall(r"\bconvpp\.([A-Za-z_]\w*)", page.read_text(encoding="utf-8")):
        if name != "hpp":  # <convpp/convpp.hpp>
            # (Of modules only that they are there: some import what is not installed.)
            known = importlib.util.find_spec(f"convpp.{name}") or hasattr(convpp, name)
            assert known, f"{page.name} speaks of convpp.{name}"


def test_the_page_of_functions_lists_every_public_name() -> None:
    text = (ROOT / "docs" / "functions.md").read_text(encoding="utf-8")
    missing = [name for name in convpp.__all__ if not name.startswith("__") and not re.search(rf"\b{name}\b", text)]
    assert not missing


def test_readme_holds_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert 'python -m pip install ".[demo]" && python -m convpp demo' in lines
    assert "python -m pip install nox && nox" in lines


def test_contributing_lists_every_session_of_nox() -> None:
    files = (ROOT / "noxfile.py", *(ROOT / "tools").glob("*.py"))
    pattern = re.compile(r"^@nox\.session.*\n(?:@.*\n)*def (\w+)", re.MULTILINE)
    sessions = [name for file in files for name in pattern.findall(file.read_text(encoding="utf-8"))]
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(sessions) == set(listed)


def test_changelog_is_headed_by_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^\]]+)\]", text, re.MULTILINE)
    assert convpp.__version__ in versions[:2]
    assert versions[0] in (convpp.__version__, "Unreleased")
