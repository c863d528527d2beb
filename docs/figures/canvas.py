"""A sheet to draw on, and the parts that several figures have: text, boxes, lines, arrows.

In: shapes, in pixels from the upper left corner.
Out: the text of an SVG file, the same bytes on every run and machine.
Next: draw.py, whose figures are made of these.  Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.sax.saxutils import escape

INK, MUTED, HAIRLINE, ACCENT = "#1f2937", "#6b7280", "#d1d5db", "#be123c"
SANS = "'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"
SERIF = "Georgia, 'DejaVu Serif', serif"


def number(value: float) -> str:
    """At most two decimals, no trailing zeros: what makes the files small and the same everywhere."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def mix(colour: str, share: float) -> str:
    """`colour` thinned with white: share 1 is the colour itself, 0 is white."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - channel)):02x}" for channel in channels)


class Canvas:
    """Collects SVG elements over a white card, which reads well on light and on dark pages."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.parts: list[str] = []

    def rect(self, x: float, y: float, w: float, h: float, fill: str = "none", stroke: str = INK, **more: str) -> None:
        """A rectangle; like in all parts, `more` holds further SVG attributes with "_" for "-"."""
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
        self.parts.append(
            f'<rect x="{number(x)}" y="{number(y)}" width="{number(w)}" height="{number(h)}"'
            f' fill="{fill}" stroke="{stroke}"{extra}/>'
        )

    def lines(self, points: Sequence[tuple[float, float]], stroke: str = INK, **more: str) -> None:
        """An open path through `points`."""
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
        path = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{stroke}"{extra}/>')

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float = 15,
        anchor: str = "start",
        fill: str = INK,
        **more: str,
    ) -> None:
        """One line; what stands between a pair of bars becomes a subscript: "Σ|c|w"."""
        extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in more.items())
        runs = escape(words).split("|")
        for index in range(1, len(runs), 2):
            runs[index] = f'<tspan dy="4" font-size="{number(0.7 * size)}">{runs[index]}</tspan>'
            runs[index + 1] = f'<tspan dx="4" dy="-4">{runs[index + 1]}</tspan>'
        self.parts.append(
            f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" text-anchor="{anchor}"'
            f' fill="{fill}"{extra}>{"".join(runs)}</text>'
        )

    def label(self, x: float, y: float, name: str, rest: str = "") -> None:
        """Centred: a name in bold and what belongs to it in grey."""
        self.parts.append(
            f'<text x="{number(x)}" y="{number(y)}" font-size="15" text-anchor="middle" fill="{INK}">'
            f'<tspan font-weight="bold">{escape(name)}</tspan>'
            f'<tspan dx="8" fill="{MUTED}">{escape(rest)}</tspan></text>'
        )

    def star(self, x: float, y: float, radius: float = 9) -> None:
        """The operator of cross-correlation, drawn, since not every font has it."""
        tips = [
            (x + r * math.sin(i * math.pi / 5), y - r * math.cos(i * math.pi / 5))
            for i in range(10)
            for r in ((radius, 0.42 * radius)[i % 2],)
        ]
        self.parts.append(f'<polygon points="{" ".join(f"{number(a)},{number(b)}" for a, b in tips)}" fill="{INK}"/>')

    def equals(self, x: float, y: float) -> None:
        """The sign of equality, centred."""
        for dy in (-4.0, 4.0):
            self.lines([(x - 9, y + dy), (x + 9, y + dy)], stroke_width="2.5")

    def svg(self) -> str:
        """The whole file."""
        w, h = number(self.width), number(self.height)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}"'
            f' role="img" font-family="{SANS}">'
        )
        card = (
            f'<rect x="0.5" y="0.5" width="{number(self.width - 1)}" height="{number(self.height - 1)}"'
            f' rx="14" fill="#ffffff" stroke="{HAIRLINE}"/>'
        )
        return "\n".join([head, f"<title>{escape(self.title)}</title>", card, *self.parts, "</svg>"]) + "\n"


def grid(canvas: Canvas, x: float, y: float, side: float, fills: Sequence[Sequence[str]]) -> None:
    """A matrix of coloured squares."""
    for row, line in enumerate(fills):
        for column, fill in enumerate(line):
            canvas.rect(x + column * side, y + row * side, side, side, fill, "#ffffff", stroke_width="1.5")


def arrow(canvas: Canvas, points: Sequence[tuple[float, float]], stroke: str = INK) -> None:
    """A path along the axes, with a head at its end."""
    (ax, ay), (x, y) = points[-2:]
    u, v = (x > ax) - (x < ax), (y > ay) - (y < ay)
    canvas.lines(points, stroke, stroke_width="2")
    tips = [(x - 7 * u - 5 * v, y - 7 * v - 5 * u), (x, y), (x - 7 * u + 5 * v, y - 7 * v + 5 * u)]
    canvas.lines(tips, stroke, stroke_width="2")


def room(canvas: Canvas, place: tuple[float, float, float, float], colour: str, name: str, *gist: str) -> None:
    """A folder: its name, and what happens there, in a box of its colour."""
    x, y, w, h = place
    canvas.rect(x, y, w, h, mix(colour, 0.16), mix(colour, 0.9), rx="8", stroke_width="1.4")
    canvas.text(x + 12, y + 23, name, 15, font_weight="bold")
    for line, words in enumerate(gist):
        canvas.text(x + 12, y + 43 + 17 * line, words, 13, fill=MUTED)
