"""The code of the pages as files, for those who check types: a page's code is a user's.

In: a folder.   Out: in it a file for each page of ``tests/pages.py`` that has code, whose lines are those of the page;
and one for each other library that a page has blocks for (``<!-- needs: PACKAGE -->``), with the blocks above it that
need nothing, as ``tests/test_docs.py`` runs them.   Next: session ``types`` of noxfile.py, which checks them.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))  # as pytest does

from pages import PAGES, Block, blocks


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


def main(folder: Path) -> None:
    """Write them."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        for name, text in files_of(page).items():
            (folder / f"page_{name}.py").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
