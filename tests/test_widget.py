"""The picture to point at, docs/widget/backpropagation.html: what lights up is what `conv_input_grad` says.

In: the file itself, opened in a headless Chromium by playwright; where either is missing, these tests are skipped
(nox's session `widget` installs both).  Every pixel of dX is asked for, by the page's own interface and by a mouse over
the real elements, and held to the input gradient of a one-hot dO; numbers that are shown, to what convpp computes.
Next: docs/widget/backpropagation.html; widget_pages.py, which opens it; test_widget_looks.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import convpp
from geometry import Array
from widget_pages import WIDGET, Browser, chromium, problems

C, K, R = 3, 5, 3
GEOMETRIES = [(stride, padding) for stride in (1, 2) for padding in (0, 1)]

#: All that one state of the page shows, as numbers: pixels of dO and taps that are lit, and what is written.
#: (As text: JSON is read in a hundredth of the time that playwright takes for values.)
SHOWN = """() => {
  const numbers = element => [...element.textContent.matchAll(/[-−]?\\d+/g)].map(m => +m[0].replace("−", "-"));
  const lit = [...document.getElementsByClassName("lit")];
  const data = (tag, names) => lit.filter(e => e.tagName === tag).map(e => names.map(n => +e.dataset[n]));
  return {
    pixels: data("rect", ["k", "p", "q"]), taps: data("g", ["k", "r", "s"]),
    parts: [...document.querySelectorAll(".part")].map(part => numbers(part)[0]),
    sum: numbers(document.querySelector("#sum strong")).slice(3),
    chosen: [...document.getElementsByClassName("chosen")].filter(e => e.tagName === "rect").map(cell => cell.id),
  };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    found = problems(page)
    page.goto(WIDGET.as_uri())
    yield page
    context.close()
    assert not found


def said(extent: int, stride: int, padding: int) -> Array:
    """The number of the tap by which each pixel of dO enters each of dX, or 0: (k, p, q, c, i, j).

    All taps of all kernels differ, so that the input gradient of a one-hot names the one that was met.
    """
    w = np.arange(1, K * C * R * R + 1, dtype=np.float64).reshape(K, C, R, R)
    x_shape = (C, extent, extent)
    shape = convpp.conv_output_shape(x_shape, w.shape, stride=stride, padding=padding)
    size = int(np.prod(shape))
    one_hots = np.eye(size).reshape(size, *shape)
    dx = convpp.conv_input_grad(one_hots, w, (size, *x_shape), stride=stride, padding=padding)
    return dx.reshape(*shape, *x_shape).astype(int)


def check(shown: dict[str, Any], expected: Array, place: tuple[int, int, int], dx: Array, parts: Array) -> None:
    """One pixel of dX: what is lit and written there."""
    assert shown["chosen"] == ["dx-{}-{}-{}".format(*place)]
    met = expected[(..., *place)]
    pixels = np.argwhere(met)
    assert sorted(shown["pixels"]) == pixels.tolist()
    k, c, r, s = np.unravel_index(met[tuple(pixels.T)] - 1, (K, C, R, R))
    assert (c == place[0]).all()
    assert sorted(shown["taps"]) == sorted(np.stack([k, r, s], axis=1).tolist())
    assert shown["parts"] == parts[(slice(None), *place)].tolist()
    assert shown["sum"] == [*(shown["parts"] if len(pixels) else []), dx[place]]


def gradients(page: Any, extent: int, stride: int, padding: int) -> tuple[Array, Array]:
    """dX of the page's own numbers: the whole, and what each map of dO gives."""
    w = np.array(page.evaluate("inputGradient.weights"), float)
    dy = np.array(page.evaluate("inputGradient.outputGradient()"), float)
    assert w.shape == (K, C, R, R)
    options: dict[str, Any] = {"stride": stride, "padding": padding}
    assert dy.shape == convpp.conv_output_shape((C, extent, extent), w.shape, **options)
    x_shape = (C, extent, extent)
    parts = [convpp.conv_input_grad(dy[k : k + 1], w[k : k + 1], x_shape, **options) for k in range(K)]
    return convpp.conv_input_grad(dy, w, x_shape, **options), np.stack(parts)


# ---------------------------------------------------------------- every pixel


@pytest.mark.parametrize("extent", [20, 8])
@pytest.mark.parametrize(("stride", "padding"), GEOMETRIES)
def test_what_lights_up_is_what_conv_input_grad_says(page: Any, extent: int, stride: int, padding: int) -> None:
    page.evaluate("changes => inputGradient.set(changes)", {"extent": extent, "stride": stride, "padding": padding})
    every = page.evaluate(
        f"""([C, n]) => {{
          const shown = {SHOWN}, places = [];
          for (let channel = 0; channel < C; channel++) for (let row = 0; row < n; row++)
            for (let column = 0; column < n; column++) {{
              inputGradient.set({{ channel, row, column }});
              places.push(shown());
            }}
          return JSON.stringify(places);
        }}""",
        [C, extent],
    )
    every = json.loads(every)
    expected, (dx, parts) = said(extent, stride, padding), gradients(page, extent, stride, padding)
    places = list(np.ndindex(C, extent, extent))
    assert len(every) == len(places)
    for place, shown in zip(places, every, strict=True):
        check(shown, expected, place, dx, parts)


@pytest.mark.parametrize(("stride", "padding"), GEOMETRIES)
def test_a_mouse_over_every_pixel_lights_the_same(page: Any, stride: int, padding: int) -> None:
    extent = 8
    page.locator(f'[name=stride][value="{stride}"]').check()
    page.locator(f'[name=padding][value="{padding}"]').check()
    page.locator(f'[name=extent][value="{extent}"]').check()
    expected, (dx, parts) = said(extent, stride, padding), gradients(page, extent, stride, padding)
    middles = page.evaluate(
        """[...document.querySelectorAll("[role=gridcell]")].map(cell => {
          const box = cell.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        })"""
    )
    for place, middle in zip(np.ndindex(C, extent, extent), middles, strict=True):
        page.mouse.move(*middle)
        check(json.loads(page.evaluate(f"JSON.stringify(({SHOWN})())")), expected, place, dx, parts)


@pytest.mark.parametrize(("stride", "padding"), GEOMETRIES)
def test_a_kernel_below_its_map_is_rotated_over_the_window(page: Any, stride: int, padding: int) -> None:
    """The nine weights, and what each is multiplied by, as they stand: zeros between and around dO among them."""
    extent = 8
    page.evaluate("changes => inputGradient.set(changes)", {"extent": extent, "stride": stride, "padding": padding})
    rotated = convpp.adjoint_kernel(np.array(page.evaluate("inputGradient.weights")))
    dy = np.array(page.evaluate("inputGradient.outputGradient()"))
    field = np.zeros((K, extent + R - 1, extent + R - 1), int)
    first, last = R - 1 - padding, R - 1 - padding + stride * (dy.shape[1] - 1)
    field[:, first : last + 1 : stride, first : last + 1 : stride] = dy
    for c, i, j in [(0, 0, 0), (1, 3, 4), (2, 4, 3), (2, 7, 7), (0, 2, 6)]:
        page.evaluate("([channel, row, column]) => inputGradient.set({ channel, row, column })", [c, i, j])
        seen = np.array(in_reading_order(page, ".taps text")).reshape(K, R, 2, R)  # a row of weights, one of "× value"
        assert np.array_equal(seen[:, :, 0], rotated[c])
        assert np.array_equal(seen[:, :, 1], field[:, i : i + R, j : j + R])
        assert page.locator(".window").first.get_attribute("transform") == f"translate({j} {i})"


# ---------------------------------------------------------------- the matrix of kernels


def in_reading_order(page: Any, selector: str) -> list[int]:
    """The numbers of each svg in turn, by where they stand on the screen."""
    found = page.evaluate(
        """selector => [...document.querySelectorAll(selector)].map(text => {
          const box = text.getBoundingClientRect(), svg = text.ownerSVGElement;
          return [[...document.querySelectorAll("svg")].indexOf(svg),
            Math.round((box.top + box.bottom) / 4), (box.left + box.right) / 2, text.textContent];
        })""",
        selector,
    )
    return [int(re.sub(r"[× ]", "", words).replace("−", "-")) for *_, words in sorted(found)]


def test_the_slider_turns_the_matrix_of_kernels(page: Any) -> None:
    weights = np.array(page.evaluate("inputGradient.weights"))
    slider = page.get_by_role("slider")
    # As the numbers stand on the screen: rows of kernels, rows of taps, columns of kernels, columns of taps.
    assert np.array_equal(seen_matrix(page, K, C), weights)
    slider.focus()
    page.keyboard.press("End")
    assert np.array_equal(seen_matrix(page, C, K), convpp.adjoint_kernel(weights))
    assert "Backward" in slider.get_attribute("aria-valuetext")
    slider.fill("50")  # half way: swapped, and not rotated
    assert np.array_equal(seen_matrix(page, C, K), weights.swapaxes(0, 1))
    page.keyboard.press("Home")
    assert np.array_equal(seen_matrix(page, K, C), weights)


def seen_matrix(page: Any, rows: int, columns: int) -> Array:
    numbers = np.array(in_reading_order(page, ".kernel text"))
    return numbers.reshape(rows, R, columns, R).transpose(0, 2, 1, 3)


# ---------------------------------------------------------------- keys, fingers, names


def test_arrow_keys_move_the_pixel(page: Any) -> None:
    def place() -> list[int]:
        state = page.evaluate("inputGradient.state()")
        return [state["channel"], state["row"], state["column"]]

    page.evaluate("inputGradient.set({ channel: 0, row: 0, column: 18 })")
    grids = page.get_by_role("grid")
    grids.nth(0).focus()
    steps = ["ArrowRight", "ArrowRight", "ArrowDown", "ArrowUp", "ArrowUp", "PageDown", "Home", "ArrowLeft", "End"]
    expected = [(0, 19), (0, 19), (1, 19), (0, 19), (0, 19), (19, 19), (19, 0), (19, 0), (19, 19)]
    for key, row_and_column in zip(steps, expected, strict=True):
        page.keyboard.press(key)
        assert place() == [0, *row_and_column]
    assert page.evaluate("scrollY") == 0  # keys that a grid takes do not scroll
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement.getAttribute('role')") != "grid":
        page.keyboard.press("Tab")
    assert place() == [1, 19, 19]
    assert grids.nth(1).get_attribute("aria-activedescendant") == "dx-1-19-19"
    page.get_by_role("button", name="up").click()
    page.get_by_role("button", name="left").click()
    assert place() == [1, 18, 18]


def test_keys_reach_every_choice(page: Any) -> None:
    page.keyboard.press("Tab")
    for name, value in (("stride", 2), ("padding", 1), ("extent", 8)):
        page.keyboard.press("ArrowRight")
        assert page.evaluate("inputGradient.state()")[name] == value
        page.keyboard.press("Tab")


def test_a_finger_chooses(browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(WIDGET.as_uri())
    page.get_by_text("c = 2").first.tap()
    page.locator("#dx-2-5-7").tap()
    state = page.evaluate("inputGradient.state()")
    assert (state["channel"], state["row"], state["column"]) == (2, 5, 7)
    sizes = page.evaluate("[...document.querySelectorAll('button')].map(b => [b.offsetWidth, b.offsetHeight])")
    assert len(sizes) == 4
    assert min(map(min, sizes)) >= 44
    context.close()


def test_everything_that_is_used_has_a_name(page: Any) -> None:
    for group, choices in (("stride", 2), ("padding", 2), ("pixels", 2)):
        radios = page.get_by_role("group", name=group).get_by_role("radio")
        assert radios.count() == choices
    for name in ("left", "up", "down", "right"):
        assert page.get_by_role("button", name=name, exact=True).count() == 1
    for c in range(C):
        assert page.get_by_role("grid", name=f"dX, channel {c}").count() == 1
        assert page.get_by_role("radio", name=f"c = {c}").count() == 1
    for k in range(K):
        assert page.get_by_role("img", name=f"dO, map {k}").count() == 1
        assert page.get_by_role("img", name=f"kernel of map {k}").count() == 1
    assert page.get_by_role("slider", name="Turn the kernels").count() == 1
    assert page.get_by_role("img", name="The matrix of kernels. Forward.").count() == 1
    assert page.get_by_role("gridcell", name="row 6, column 8", exact=True).count() == C
