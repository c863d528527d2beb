"""How docs/widget/backpropagation.html looks: on a desk and on a phone, light and dark, alone and within a page.

In: as in test_widget.py, and skipped where that is.  Nothing overlaps, nothing is cut, text has the contrast that WCAG
asks for, and nothing is loaded from anywhere.  Next: widget_pages.py, which looks for all that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from widget_pages import BADLY_PLACED, CONTRASTS, WIDGET, Browser, chromium, problems


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 768, 390, 320])
def test_nothing_overlaps_and_all_can_be_read(browser: Browser, width: int, theme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=theme)
    page = context.new_page()
    found = problems(page)
    page.goto(WIDGET.as_uri())
    assert page.evaluate("document.documentElement.dataset.theme") == theme
    for scheme in ("light", "dark", theme):  # it follows the system, while it is open
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=scheme)
    for state in (
        {},
        {"turn": 100, "channel": 1, "row": 0, "column": 19},
        {"turn": 50, "stride": 2, "row": 4},
        {"stride": 2, "extent": 8, "channel": 2, "row": 7, "column": 7},  # which no output reads
        {"stride": 2, "padding": 1, "row": 3},
    ):
        page.evaluate("changes => inputGradient.set(changes)", state)
        assert page.evaluate(BADLY_PLACED) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        contrasts = page.evaluate(CONTRASTS)
        assert min(value for name, value in contrasts.items() if name != "lit") >= 4.5, contrasts
        assert contrasts.get("lit", 3) >= 3, contrasts
    context.close()
    assert not found


def test_what_is_chosen_does_not_move_the_page(browser: Browser) -> None:
    """Pointing here and there changes numbers, and no heights: nothing jumps away from under the pointer."""
    for width in (1280, 390):
        context = browser.new_context(viewport={"width": width, "height": 844})
        page = context.new_page()
        page.goto(WIDGET.as_uri())
        for stride, extent in ((1, 20), (2, 8)):
            page.evaluate("changes => inputGradient.set(changes)", {"stride": stride, "extent": extent})
            heights = page.evaluate(
                """n => [0, 1, 2, 3, n - 2, n - 1].flatMap((row, _, edges) => edges.map(column => {
                  inputGradient.set({ channel: row % 3, row, column });
                  return document.body.scrollHeight;
                }))""",
                extent,
            )
            assert len(set(heights)) == 1
        context.close()


def test_the_address_sets_how_it_begins(browser: Browser) -> None:
    page = browser.new_page()
    address = "?extent=8&stride=2&padding=1&channel=2&row=3&column=99&turn=100&theme=dark"
    page.goto(WIDGET.as_uri() + address)
    state = {"extent": 8, "stride": 2, "padding": 1, "channel": 2, "row": 3, "column": 7, "turn": 100}
    assert page.evaluate("inputGradient.state()") == state
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.goto(WIDGET.as_uri() + "?extent=9&stride=3&padding=x&theme=pink")  # what there is not, is not taken
    state = page.evaluate("inputGradient.state()")
    assert (state["extent"], state["stride"], state["padding"]) == (20, 1, 0)
    page.close()


@pytest.mark.parametrize("element", ["html", "body"])  # where themes of documentation keep their choice
def test_within_a_page_it_takes_the_theme_and_the_height_it_needs(browser: Browser, element: str) -> None:
    page = browser.new_page(viewport={"width": 900, "height": 700})
    around = f"<!DOCTYPE html><{element} data-theme=dark><iframe src=widget.html width=100% height=300></iframe>"
    page.route("**/page.html", lambda route: route.fulfill(body=around, content_type="text/html"))
    page.route("**/widget.html", lambda route: route.fulfill(path=WIDGET, content_type="text/html"))
    page.goto("http://site.test/page.html")
    frame = page.frame(url=re.compile("widget"))
    frame.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    page.evaluate(f"document.querySelector('{element}').dataset.theme = 'light'")
    frame.wait_for_function("document.documentElement.dataset.theme === 'light'")
    fits = "innerHeight >= document.body.scrollHeight && innerHeight < document.body.scrollHeight + 20"
    for width in (900, 390):
        page.set_viewport_size({"width": width, "height": 700})
        frame.wait_for_function(fits)
    page.close()


def test_the_file_needs_nothing_else() -> None:
    text = WIDGET.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"'`)]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<script[^>]+src|@import|url\(", text)
    assert len(text.splitlines()) <= 400
