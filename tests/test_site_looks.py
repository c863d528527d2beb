"""The site in a browser: no error, nothing beside the window, no text on text; keys and search work; screenshots.

In: the folder that CONVPP_SITE names (nox's session `site` builds it); a headless Chromium by playwright.  Without
them, these tests are skipped.   Out: pictures in the folder that CONVPP_SHOTS names, to be looked at.
Next: widget_pages.py, which starts the browser.
"""

from __future__ import annotations

import functools
import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from widget_pages import Browser, chromium

SITE = Path(os.environ.get("CONVPP_SITE", "/nowhere"))
pytestmark = pytest.mark.skipif(not SITE.is_dir(), reason="CONVPP_SITE is not a built site: nox -s site")
SHOWN = {
    "landing": "index.html",
    "gallery": "gallery/index.html",
    "example": "gallery/deblur.html",
    "reference": "api/convolution.html",
    "tour": "tour/layers.html",
    "question": "backpropagation.html",
    "tables": "performance.html",
}
WIDTHS = (1280, 390)

#: Texts that lie on other texts or are cut off, among those that a reader sees without opening or scrolling anything.
BADLY_PLACED = """() => {
  const wanted = "h1, h2, h3, p, li, dt, dd, td, th, figcaption, label, button, .caption, pre, summary";
  const leaves = [...document.querySelectorAll(`article :is(${wanted})`)]
    .filter(e => e.checkVisibility() && e.textContent.trim() && !e.querySelector(wanted) && !e.closest("iframe"));
  const scrolls = e => { for (; e; e = e.parentElement)
    if (["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX)) return true; return false; };
  const shown = leaves.map(e => ({ e, box: e.getBoundingClientRect(), free: scrolls(e) }))
    .filter(({ box, e }) => box.width > 1 && box.height > 1 && !e.matches("button"));
  const bad = [], name = e => `${e.tagName} ${e.textContent.trim().slice(0, 40)}`;
  for (const { e, box, free } of shown)
    if (!free && (box.left < -1 || box.right > innerWidth + 1)) bad.push(`${name(e)}: beyond`);
  for (let i = 0; i < shown.length; i++)
    for (let j = i + 1; j < Math.min(shown.length, i + 60); j++) {
      const a = shown[i].box, b = shown[j].box;
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const tall = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      if (wide > 2 && tall > 3 && !shown[i].e.contains(shown[j].e) && !shown[j].e.contains(shown[i].e))
        bad.push(`${name(shown[i].e)} on ${name(shown[j].e)}: ${wide} x ${tall}`);
    }
  return bad;
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The site on a port of this machine: searches do not work from files."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(SITE)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def problems(page: Any, address: str) -> list[str]:
    """A list that grows by every error of the page, and by every request that leaves it."""
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("response", lambda answer: found.append(f"{answer.status} {answer.url}") if answer.status >= 400 else None)
    page.on(
        "request", lambda request: None if request.url.startswith((address, "data:")) else found.append(request.url)
    )
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SHOWN)
def test_a_page_looks_as_it_should(browser: Browser, address: str, name: str, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    found = problems(page, address)
    page.goto(f"{address}/{SHOWN[name]}")
    page.wait_for_load_state("networkidle")
    if "CONVPP_SHOTS" in os.environ:
        folder = Path(os.environ["CONVPP_SHOTS"])
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=str(folder / f"{name}-{width}-{scheme}.png"))
    assert found == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(BADLY_PLACED) == []
    light = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0] > 128")
    assert light == (scheme == "light")
    broken = "[...document.images].filter(i => i.loading !== 'lazy' && !i.naturalWidth).map(i => i.src)"
    assert page.evaluate(broken) == []
    context.close()


def test_the_search_finds_a_function(browser: Browser, address: str) -> None:
    page = browser.new_page()
    found = problems(page, address)
    page.goto(address)
    page.locator("input[name=q]").first.fill("conv_input_grad")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    links = page.locator("#search-results li a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert any("api/convolution.html" in link for link in links)
    page.locator("#search-results li a[href*='convpp.conv_input_grad']").first.click()
    page.wait_for_load_state()
    assert page.url.split("#")[0].endswith("/api/convolution.html")
    assert page.locator("[id='convpp.conv_input_grad']").is_visible()
    assert found == []
    page.close()


def test_keys_reach_what_a_mouse_does(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{address}/install.html")
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('href') || document.activeElement.name"))
        if "gallery/index.html" in reached:
            break
    assert "q" in reached  # the field of the search
    assert "tour/images.html" in reached
    outline = "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
    assert page.evaluate(outline)  # where one is can be seen
    page.keyboard.press("Enter")
    page.wait_for_url("**/gallery/index.html")
    page.close()


def test_the_theme_can_be_chosen(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page.goto(address)
    before = page.evaluate("document.body.dataset.theme")
    page.locator("button.theme-toggle:visible").first.click()
    assert page.evaluate("document.body.dataset.theme") != before
    page.close()


def test_the_menu_of_a_phone_opens(browser: Browser, address: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto(address)
    link = page.locator(".sidebar-tree a[href='install.html']")
    assert page.evaluate("e => e.getBoundingClientRect().right <= 0", link.element_handle())
    page.locator("label[for=__navigation]:visible").first.click()
    page.wait_for_function("e => e.getBoundingClientRect().left >= 0", arg=link.element_handle())
    link.click()
    page.wait_for_url("**/install.html")
    page.close()
