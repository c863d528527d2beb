"""What users' checkers of types see: the code of the pages and examples passes them, and all public types are known.

In: a folder to work in, mypy and pyright (session ``types`` of noxfile.py).  convpp is this checkout's, not compiled.
Out: a file for each page of ``tests/pages.py`` that has code, whose lines are those of the page, and one for each other
library that a page has blocks for (``<!-- needs: PACKAGE -->``), with the blocks above it that need nothing, as
``tests/test_docs.py`` runs them; beside them the examples, and ``tests/test_types.py``, which says what checkers are to
conclude.   An exit code of 0 if nothing is wrong.   Next: ``python/convpp/_call/keywords.py``.

What the examples and pages import beside NumPy need not be there: it is then of any type.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # as pytest does

from pages import PAGES, ROOT, Block, blocks

#: Of libraries that are not installed, decorators are of any type.  convpp itself is checked as ours elsewhere.
MYPY = (
    *("--strict", "--python-version=3.11", "--follow-imports=silent"),
    *("--ignore-missing-imports", "--allow-untyped-decorators"),
)
CONVPP = {name: str(ROOT / "python") for name in ("PYTHONPATH", "MYPYPATH")}
PYRIGHT: dict[str, Any] = {
    "pythonVersion": "3.11",
    "useLibraryCodeForTypes": False,
    **dict.fromkeys(("reportMissingImports", "reportMissingModuleSource", "reportWildcardImportFromLibrary"), False),
}
#: Modules of ours with classes of a library's.  Of some, pyright takes our module for the library of that name here.
OF_LIBRARIES = ("convpp.dask.", "convpp.onnx.", "convpp.operators.", "convpp.pytensor.", "convpp.torch.")
BASES = ("Type of base class", "Type of metaclass", "Type argument", "Return type is partially", "Type of parameter")


def text_of(pieces: list[Block]) -> str:
    """Each piece at its own line."""
    lines: list[str] = []
    for piece in pieces:
        lines += [""] * (piece.line - len(lines)) + piece.code.splitlines()
    return "\n".join(lines) + "\n"


def files_of(page: Path) -> dict[str, str]:
    """Names of files, without their ending, and what they hold."""
    found, name = blocks(page), page.stem.lower()
    if page.parent.name == "tour":  # which has a page of the name of another
        name = f"tour_{name}"
    files = {name: text_of([block for block in found if block.needs is None])} if found else {}
    for package in sorted({block.needs for block in found if block.needs is not None}):
        last = max(block.line for block in found if block.needs == package)
        pieces = [block for block in found if block.needs in (None, package) and block.line <= last]
        files[f"{name}_{package}"] = text_of(pieces)
    return files


def write(folder: Path) -> list[str]:
    """All files; their names."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for page in PAGES:
        for name, text in files_of(page).items():
            (folder / f"page_{name}.py").write_text(text, encoding="utf-8")
    for file in (*(ROOT / "examples").glob("*.py"), ROOT / "tests" / "test_types.py"):
        shutil.copy(file, folder)
    (folder / "pyrightconfig.json").write_text(json.dumps(PYRIGHT), encoding="utf-8")
    return sorted(file.name for file in folder.glob("*.py"))


def passes(folder: Path, module: str, *arguments: str) -> bool:
    """Whether a checker has nothing to say; it says it."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=folder, env=os.environ | CONVPP, check=False)
    print(f"{module}: {'right' if done.returncode == 0 else 'WRONG'}", flush=True)
    return done.returncode == 0


def unknown_types() -> list[str]:
    """Public names of convpp whose types pyright does not know, or has to guess; it is told to forgive NumPy."""
    command = [sys.executable, "-m", "pyright", "--verifytypes", "convpp", "--ignoreexternal", "--outputjson"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | CONVPP, check=False)
    found: dict[str, Any] = json.loads(done.stdout)["typeCompleteness"]
    unknown = []
    for symbol in found["symbols"]:
        if not symbol["isExported"] or symbol["isTypeKnown"]:
            continue
        messages = [diagnostic["message"] for diagnostic in symbol["diagnostics"]]
        if not symbol["name"].startswith(OF_LIBRARIES) or not all(text.startswith(BASES) for text in messages):
            unknown.append(f"{symbol['name']}: {'; '.join(messages)}")
    known = found["exportedSymbolCounts"]["withKnownType"]
    print(f"pyright --verifytypes: {known} public types are known, {len(unknown)} are not", flush=True)
    return unknown


def main(folder: Path) -> int:
    """Check; the exit code."""
    names = write(folder)
    right = [passes(folder, "mypy", *MYPY, *names), passes(folder, "pyright")]
    unknown = unknown_types()
    print("\n".join(unknown))
    return 0 if all(right) and not unknown else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
