"""Pictures to point at, on the site: after `<!-- widget: widget/NAME.html -->`, a frame shows what can be pointed at.

In: pages of Markdown, where that line is a comment, and the paragraph below it a picture for those who see no frame, as
in the repository's view of the page; docs/widget/.
Out: the frame, with a link to the picture alone, and the files of docs/widget/ beside the pages.
Next: docs/widget/backpropagation.html, which takes the theme of the page around it and the height that it needs.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

PLACE = re.compile(r"^<!-- widget: (widget/[\w.]+) -->\n(?:.+\n)*", re.MULTILINE)
TITLE = re.compile(r"<title>(.*?)</title>")


def frames(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the frame in the place of the picture; raw HTML goes through Markdown as it is."""

    def frame(match: re.Match[str]) -> str:
        title = TITLE.search((Path(app.srcdir) / match[1]).read_text(encoding="utf-8"))
        address = "../" * docname.count("/") + match[1]
        return (
            f'<iframe src="{address}" title="{title[1] if title else docname}" loading="lazy" width="100%" '
            f'height="1500" style="border: 0; width: 100%"></iframe>\n'
            f'<p><a href="{address}" target="_blank">On a page of its own</a></p>\n'
        )

    source[0] = PLACE.sub(frame, source[0])


def files(app: Sphinx, error: Exception | None) -> None:
    """Copy what the frames show."""
    if error is None and app.builder.format == "html":
        shutil.copytree(Path(app.srcdir) / "widget", Path(app.outdir) / "widget", dirs_exist_ok=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """As every extension of Sphinx."""
    app.connect("source-read", frames)
    app.connect("build-finished", files)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
