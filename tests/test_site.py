"""The site as it was built: links, names, pictures; nothing is asked of another host.

In: the folder that CONVPP_SITE names, which nox's session `docs` builds; without it, these tests are skipped.
Next: test_site_looks.py, in a browser.
"""

from __future__ import annotations

import os
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import convpp

SITE = Path(os.environ.get("CONVPP_SITE", "/nowhere"))
pytestmark = pytest.mark.skipif(not SITE.is_dir(), reason="CONVPP_SITE is not a built site: nox -s docs")
PAGES = sorted(SITE.rglob("*.html")) if SITE.is_dir() else []
#: What is loaded with a page, and not followed.
LOADED = {("img", "src"), ("script", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}


class Reader(HTMLParser):
    """Ids, and what is linked to or loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loaded: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {value for key in ("id", "name") if (value := given.get(key))}
        for key, value in given.items():
            if value and (tag, key) in LOADED and given.get("rel") not in ("index", "search", "next", "prev"):
                self.loaded.add(value)
        if tag == "a" and (href := given.get("href")):
            self.links.add(href)


@cache
def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    return reader


def test_the_pages_are_there() -> None:
    names = {page.relative_to(SITE).as_posix() for page in PAGES}
    expected = {"index", "install", "tour/cpp", "api/convolution", "gallery/index", "gallery/deblur", "backpropagation"}
    assert {f"{name}.html" for name in expected} <= names


def test_links_within_the_site_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        for link in read(page).links | read(page).loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            target = target / "index.html" if target.is_dir() else target
            missing = not target.exists()
            if not missing and parts.fragment and target.suffix == ".html":
                missing = unquote(parts.fragment) not in read(target).ids
            if missing:
                broken.append(f"{page.relative_to(SITE)}: {link}")
    assert broken == []


def test_no_page_loads_anything_from_elsewhere() -> None:
    assert [(page, link) for page in PAGES for link in read(page).loaded if urlsplit(link).scheme == "https"] == []
    assert [(page, link) for page in PAGES for link in read(page).loaded if urlsplit(link).scheme == "http"] == []


def test_every_public_name_has_a_place() -> None:
    ids = {name for page in SITE.glob("api/*.html") for name in read(page).ids}
    modules = ("conventions", "testing")
    names = {f"convpp.{name}" for name in convpp.__all__ if name not in modules and not name.startswith("__")}
    for module in modules:
        names |= {f"convpp.{module}.{name}" for name in getattr(convpp, module).__all__}
    assert names - ids == set()


def test_names_lead_to_other_libraries() -> None:
    links = read(SITE / "api" / "convolution.html").links
    assert "https://numpy.org/doc/stable/reference/generated/numpy.pad.html#numpy.pad" in links
    links = read(SITE / "api" / "arrays.html").links
    assert any(link.startswith("https://docs.scipy.org/doc/scipy/reference/") for link in links)


def test_pages_name_functions_as_links() -> None:
    assert "../api/convolution.html#convpp.conv_input_grad" in read(SITE / "tour" / "layers.html").links


@pytest.mark.parametrize("name", ["deblur", "denoise", "digits", "edge_detection", "missing_data"])
def test_examples_were_run(name: str) -> None:
    loaded = read(SITE / "gallery" / f"{name}.html").loaded
    assert any(f"sphx_glr_{name}_001" in link for link in loaded)
