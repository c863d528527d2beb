"""Links of pages that are read in the repository and on the site; names of functions in texts become links, too.

In: Markdown whose relative links lead to files of the repository, and literals like ``conv_input_grad`` or ``np.pad``.
Out: links to the site's pages where a file is one, else to the file (a download) or, of folders, to nothing; literals
that are public names refer to their page, in this site or in NumPy's, SciPy's or Python's.
Next: ``inventories.py``, which knows the names of the other libraries.
"""

from __future__ import annotations

import builtins
import inspect
import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

import convpp

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: Pages whose text is a file outside of docs/: their own file only points there.
TEXTS = {
    "project/changelog": ROOT / "CHANGELOG.md",
    "project/contributing": ROOT / "CONTRIBUTING.md",
    "project/benchmarks": ROOT / "benchmarks" / "README.md",
}
#: Files that are a page under another name.
PAGES = {ROOT / "README.md": "/index.md", **{file: f"/{name}.md" for name, file in TEXTS.items()}}

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")
NAME = re.compile(r"[A-Za-z_][\w.]*")

#: Public names that are words, too, or names of arguments: they are links only with ``convpp.`` before them.
WORDS = {"algorithm", "box", "explain", "threads", "tiles"}
#: How texts call the modules of other libraries.
SHORT = {"np.": "numpy.", "numpy.": "numpy.", "scipy.": "scipy."}


def target_of(file: Path, folder: Path) -> str | None:
    """Where a link to a file leads from a folder of the site; None: nowhere."""
    if file in PAGES:
        return PAGES[file]
    if file == ROOT / "examples":
        return "/gallery/index.rst"
    if file.is_dir():
        return None
    if file.suffix == ".md" and file.is_relative_to(DOCS):
        return f"/{file.relative_to(DOCS).as_posix()}"
    if file.parent == ROOT / "examples" and file.suffix == ".py":
        return f"/gallery/{file.stem}.rst"
    return Path(os.path.relpath(file, folder)).as_posix()


def rewrite(text: str, page: Path, folder: Path) -> str:
    """The text of a page with the site's links; code stays as it is."""

    def link(match: re.Match[str]) -> str:
        path, _, anchor = match[2].partition("#")
        if not path or re.match(r"[a-z]+:", path):
            return match[0]
        target = target_of((page.parent / path).resolve(), folder)
        if target is None:
            return match[1]
        return f"[{match[1]}]({target}{'#' if anchor else ''}{anchor})"

    pieces, at = [], 0
    for code in FENCED.finditer(text):
        pieces += [LINK.sub(link, text[at : code.start()]), code[0]]
        at = code.end()
    return "".join([*pieces, LINK.sub(link, text[at:])])


def read_page(app: Sphinx, docname: str, source: list[str]) -> None:
    """Give Sphinx a page's text as the site has it."""
    page = TEXTS.get(docname) or Path(app.env.doc2path(docname))
    if page.suffix == ".md":
        text = page.read_text(encoding="utf-8") if docname in TEXTS else source[0]
        source[0] = rewrite(text, page, (DOCS / docname).parent)


def public_names() -> set[str]:
    """What texts may call by its name alone."""
    return {
        name for name in convpp.__all__ if not name.startswith("__") and not inspect.ismodule(getattr(convpp, name))
    }


class LiteralLinks(SphinxTransform):
    """Literals that are names refer to what they name, where that has a page."""

    default_priority = 210  # before references are resolved

    def apply(self, **kwargs: Any) -> None:
        """Wrap them."""
        names = public_names()
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, nodes.reference | pending_xref | nodes.title | nodes.term):
                continue
            text = literal.astext().removesuffix("()")
            if not NAME.fullmatch(text):
                continue
            target = f"convpp.{text}" if text in names - WORDS else text
            for short, full in SHORT.items():
                if text.startswith(short):
                    target = full + text.removeprefix(short)
            error = isinstance(getattr(builtins, text, None), type) and text.endswith("Error")
            if target == text and not text.startswith(("convpp.", *SHORT)) and not error:
                continue
            options = {"refdomain": "py", "reftype": "obj", "reftarget": target, "refexplicit": True, "literal": True}
            reference = pending_xref("", refdoc=self.env.docname, **options)
            literal.replace_self(reference)
            reference += literal


def no_page(app: Sphinx, env: Any, node: pending_xref, content: nodes.Node) -> nodes.Node | None:
    """A literal that has no page stays a literal, and is no mistake."""
    return content if node.get("literal") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """As every extension of Sphinx."""
    app.connect("source-read", read_page)
    app.connect("missing-reference", no_page, priority=900)  # after the other libraries were asked
    app.add_transform(LiteralLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
