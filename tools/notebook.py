"""Writes docs/backpropagation.ipynb, the notebook that is the page docs/backpropagation.md: `python tools/notebook.py`.

In: the page.   Out: its text and its blocks of Python as cells, in their order, with equations in the form that
notebooks show; the same bytes on every run and machine (tests/test_notebook.py compares them with the committed file,
and nox's session docs runs the cells).  Standard library only.   Next: docs/backpropagation.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "backpropagation.md"
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EQUATION = re.compile(r"^```math\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def cell(number: int, kind: str, text: str) -> dict[str, Any]:
    """A cell of text, or of code that has not been run."""
    unrun: dict[str, Any] = {"execution_count": None, "outputs": []} if kind == "code" else {}
    lines = text.strip("\n").splitlines(keepends=True)
    return {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines, **unrun}


def notebook(page: str) -> str:
    """The text of the file."""
    pieces = CODE.split(page)  # text, code, text, ...
    kinds = [("code" if place % 2 else "markdown", piece) for place, piece in enumerate(pieces) if piece.strip()]
    cells = [
        cell(number, kind, piece if kind == "code" else EQUATION.sub(r"$$\n\1$$", piece))
        for number, (kind, piece) in enumerate(kinds)
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    whole = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def main() -> None:
    """Write it beside the page."""
    text = notebook(PAGE.read_text(encoding="utf-8"))
    PAGE.with_suffix(".ipynb").write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
