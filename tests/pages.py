"""The project's pages: their blocks of Python, and tables whose rows are two ways to compute the same.

In: README.md, the other pages beside it, and every page of docs/ and docs/tour/.
Out: `Block`s and `Row`s, and what they evaluate to.

A block under a line ``<!-- needs: PACKAGE -->`` runs where that package is installed.  A table under a line
``<!-- rows: PACKAGE -->`` holds calls of that library beside convpp's and the error that is allowed between them,
relative to the largest value; of several packages, each has a column.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "tour").glob("*.md")),
]
BLOCK = re.compile(r"^(?:<!-- needs: (?P<needs>\w+) -->\n)?```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"^<!-- rows: (?P<packages>[\w, ]+) -->\n(?P<rows>(?:\|.*\n)+)", re.MULTILINE)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`[^`\n]+`")


class Block(NamedTuple):
    """One piece of code; `line` is where it starts in its page, so that a traceback points there."""

    needs: str | None
    code: str
    line: int


class Row(NamedTuple):
    """A call of another library and the same call of convpp."""

    package: str
    theirs: str
    ours: str
    error: float
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(match["needs"], match["code"], text.count("\n", 0, match.start("code"))) for match in BLOCK.finditer(text)
    ]


def rows(page: Path) -> list[Row]:
    """One for each row and library of the page's tables."""
    text = page.read_text(encoding="utf-8")
    found = []
    for table in TABLE.finditer(text):
        packages = [name.strip() for name in table["packages"].split(",")]
        first = text.count("\n", 0, table.start("rows")) + 1
        for number, line in enumerate(table["rows"].splitlines()[2:], first + 2):  # below header and rule
            *codes, error = [cell.strip() for cell in line.strip("|").split("|")]
            assert len(codes) == len(packages) + 1, f"{page.name}:{number}: a call for each of {packages}, and ours"
            assert all(INLINE.fullmatch(code) for code in codes), f"{page.name}:{number}: each cell is one `call`"
            *theirs, ours = [code.strip("`") for code in codes]
            found += [Row(*pair, ours, float(error), number) for pair in zip(packages, theirs, strict=True)]
    return found


def run(page: Path, *pieces: Block) -> dict[str, Any]:
    """The names that the blocks leave."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for piece in pieces:
        exec(compile("\n" * piece.line + piece.code, str(page), "exec"), names)
    return names


def evaluate(page: Path, code: str, line: int, names: dict[str, Any]) -> Any:
    return eval(compile("\n" * (line - 1) + code, str(page), "eval"), names)
