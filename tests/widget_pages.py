"""A headless Chromium for the tests of docs/widget, and what may be wrong with a page that it shows.

In: chromium on the path, or the program that CONVPP_BROWSER names; playwright.  Without either, tests that ask for it
are skipped.   Out: a `Browser`; boxes that overlap or are cut off; contrasts.   Next: test_widget.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WIDGET = Path(__file__).parents[1] / "docs" / "widget" / "backpropagation.html"
Browser = Any  # playwright's, which need not be installed


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser, or the test is skipped."""
    playwright = pytest.importorskip("playwright.sync_api")
    names = [os.environ.get("CONVPP_BROWSER", ""), "chromium", "chromium-browser", "google-chrome"]
    program = next((path for path in map(shutil.which, filter(None, names)) if path), None)
    if program is None:
        pytest.skip("no Chromium on the path")
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # which root cannot have
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=program, args=sandbox)
        yield browser
        browser.close()


def problems(page: Any) -> list[str]:
    """A list that grows by every error of the page, and by every request that leaves it."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("request", lambda request: found.append(request.url) if request.url.startswith(("http:", "ws")) else None)
    return found


#: Pairs of pieces of text on each other, and pieces that leave the window or are cut by what holds them.
BADLY_PLACED = """() => {
  const shown = [...document.querySelectorAll("h1, h2, p, label, legend, figcaption, button, .ends span, svg text")]
    .filter(e => e.textContent.trim() || e.tagName === "BUTTON")
    .filter(e => e.checkVisibility({ opacityProperty: true }) && !e.closest("[opacity='0']"))
    .map(e => ({ name: `${e.tagName} ${e.textContent.trim().slice(0, 40)}`, box: e.getBoundingClientRect(), e }));
  const bad = [];
  for (const { name, box, e } of shown) {
    if (box.left < 0 || box.right > document.documentElement.clientWidth) bad.push(`${name}: beyond the window`);
    if (e instanceof HTMLElement && e.scrollWidth > e.clientWidth + 1 && e.clientWidth) bad.push(`${name}: cut`);
  }
  shown.forEach((a, index) => shown.slice(index + 1).forEach(b => {
    if (a.e.contains(b.e) || b.e.contains(a.e)) return;
    const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
    const tall = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    const lines = a.e.tagName === "text" && b.e.tagName === "text" ? 6 : 1;  // a line's box is taller than its digits
    if (wide > 1 && tall > lines) bad.push(`${a.name} on ${b.name}: ${wide} x ${tall}`);
  }));
  return bad;
}"""

#: The smallest contrast, as WCAG has it, between text and what is painted below it, for each kind of text.
CONTRASTS = """() => {
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const paint = colour => { pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1); };
  const rgb = colour => { paint(colour); return [...pen.getImageData(0, 0, 1, 1).data].slice(0, 3); };
  const light = colour => rgb(colour).map(v => v / 255)
    .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, channel) => sum + v * [.2126, .7152, .0722][channel], 0);
  const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((u, v) => v - u); return (x + .05) / (y + .05); };
  const style = element => getComputedStyle(element), page = style(document.body).backgroundColor;
  const below = text => text.previousElementSibling?.closest("rect") ?? text.parentNode.querySelector("rect");
  const least = {};
  for (const e of document.querySelectorAll("h1, h2, h2 span, p, label, legend, figcaption, .ends span, svg text")) {
    const inside = e.closest(".taps, .kernel"), fill = e.tagName === "text" ? style(e).fill : style(e).color;
    const ground = inside ? style(below(e)).fill : page, name = `${e.tagName} ${inside?.classList[0] ?? ""}`;
    least[name] = Math.min(least[name] ?? 99, ratio(fill, ground));
  }
  for (const cell of document.querySelectorAll("#outputs rect.lit")) {  // which must not look like those that are not
    const other = [...cell.parentNode.querySelectorAll("rect[data-k]:not(.lit)")][0];
    least.lit = Math.min(least.lit ?? 99, ratio(style(cell).stroke, style(other).fill));
  }
  return least;
}"""
