"""Equations as MathML, which browsers show without a program of anyone's: no script, no other host.

In: a node of LaTeX.   Out: HTML.   Next: ``docutils.utils.math``, which translates.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

TAG = re.compile(r"\\tag\{(\w+)\}")


def inline(self: HTML5Translator, node: nodes.math) -> None:
    """Within a line of text."""
    self.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block(self: HTML5Translator, node: nodes.math_block) -> None:
    """On a line of its own, with its number where it has one."""
    text = node.astext()
    tag = TAG.search(text)
    number = f'<span class="eqno">({tag[1]})</span>' if tag else ""
    self.body.append(f'<div class="equation">{tex2mathml(TAG.sub("", text), as_block=True)}{number}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """As every extension of Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
