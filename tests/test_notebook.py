"""docs/backpropagation.ipynb is docs/backpropagation.md, and the page needs no more than it says.

In: both files.  Where jupytext is installed (nox's session docs), it reads the page as the same notebook.
Next: tools/notebook.py, which writes it.
"""

from __future__ import annotations

import json
import re
import sys

import notebook
import pytest

from pages import FENCED, blocks, run

PAGE = notebook.PAGE
FILE = PAGE.with_suffix(".ipynb")


def test_the_notebook_is_what_the_page_says() -> None:
    text = notebook.notebook(PAGE.read_text(encoding="utf-8"))
    assert FILE.read_bytes() == text.encode(), "run tools/notebook.py"  # newlines included


def test_nothing_of_the_page_is_lost() -> None:
    cells = json.loads(FILE.read_text(encoding="utf-8"))["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    assert ["".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code"] == [
        block.code for block in blocks(PAGE)
    ]
    words = " ".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown").split()
    page = FENCED.sub(
        lambda match: "" if match[0].startswith("```python") else match[0], PAGE.read_text(encoding="utf-8")
    )
    assert words == re.sub(r"^```(?:math)?$", "$$", page, flags=re.MULTILINE).split()


@pytest.mark.filterwarnings("ignore")
def test_jupytext_reads_the_page_as_the_same_cells() -> None:
    jupytext = pytest.importorskip("jupytext")
    cells = jupytext.read(PAGE).cells
    codes = [cell.source.strip("\n") for cell in cells if cell.cell_type == "code"]
    assert codes == [block.code.strip("\n") for block in blocks(PAGE)]
    pytest.importorskip("nbformat").validate(json.loads(FILE.read_text(encoding="utf-8")))


def test_blocks_that_do_not_name_the_library_need_numpy_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [block for block in blocks(PAGE) if "convpp" not in block.code]
    assert len(plain) >= 12
    monkeypatch.setitem(sys.modules, "convpp", None)  # an import would fail
    names = run(PAGE, *plain)
    modules = {name for name, value in names.items() if type(value) is type(sys)}
    assert modules == {"np"}


def test_blocks_that_name_the_library_stand_beside_plain_ones() -> None:
    """Each block that computes with the library compares with what plain ones left."""
    for block in blocks(PAGE):
        if "convpp." in block.code:
            assert "np.array_equal" in block.code
