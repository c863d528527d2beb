"""Draws the figures of docs/backpropagation.md and docs/architecture.md as SVG: `python docs/figures/draw.py`.

In: the names in the table of strategies.  Out: one .svg beside this file for each function in FIGURES, the same bytes
on every run and machine (tests/test_docs.py compares them with the committed files).  Standard library only.  Next:
canvas.py.

Read first: three_passes(), the picture of one whole layer.  There a colour means an output channel k, the
three greys are the input channels c, and the darkest cell of a kernel is tap (0, 0): one sees it rotate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from canvas import ACCENT, HAIRLINE, MUTED, SERIF, Canvas, arrow, grid, mix, room

SOURCES = Path(__file__).resolve().parents[2] / "cpp" / "src"
OUTPUT_COLOURS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#9b6fb0")  # k = 0..4
INPUT_COLOURS = ("#e2e8f0", "#b6c2d1", "#8896a9")  # c = 0..2
CELL = 6.0  # one pixel of a drawn feature map
TAP = 9.0  # one tap of a drawn kernel
KERNEL = 3 * TAP
DEPTH_STEP = 10.0  # from one channel of a volume to the next, right and up


# ---------------------------------------------------------------- the parts of the pictures


def volume(canvas: Canvas, x: float, y: float, extent: int, colours: Sequence[str], name: str, shape: str) -> None:
    """A stack of feature maps; channel 0 in front at (x, y), the others behind it up and to the right."""
    side = extent * CELL
    for index in reversed(range(len(colours))):
        shift = index * DEPTH_STEP
        canvas.rect(x + shift, y - shift, side, side, mix(colours[index], 0.72), mix(colours[index], 1.0), rx="2")
    canvas.label(x + side / 2, y + side + 32, name, shape)


def prism(canvas: Canvas, x: float, y: float, side: float, reach: float) -> None:
    """The window that one output pixel reads: a square on the front map, carried through the whole depth."""
    for ax, ay in ((x, y), (x + side, y), (x + side, y + side)):
        canvas.lines([(ax, ay), (ax + reach, ay - reach)], ACCENT, stroke_width="1.4")
    back = [(x + reach, y - reach), (x + side + reach, y - reach), (x + side + reach, y + side - reach)]
    canvas.lines(back, ACCENT, stroke_width="1.4")
    canvas.rect(x, y, side, side, "none", ACCENT, stroke_width="1.8")


def kernel(canvas: Canvas, x: float, y: float, colour: str, rotated: bool = False) -> None:
    """One 3x3 kernel; the darkest cell is tap (0, 0)."""
    for place in range(9):
        tap = 8 - place if rotated else place
        fill = mix(colour, 1.0 if tap == 0 else 0.62 - 0.055 * tap)
        canvas.rect(x + place % 3 * TAP, y + place // 3 * TAP, TAP, TAP, fill, "#ffffff", stroke_width="0.8")
    canvas.rect(x, y, KERNEL, KERNEL, "none", mix(colour, 1.0), stroke_width="1")


def kernels(canvas: Canvas, x: float, middle: float, swapped: bool, name: str, rest: str) -> None:
    """The weights as a matrix of 3x3 kernels, one filter a row: K x C, or (swapped and rotated) C x K."""
    gap_x, gap_y = 9.0, 16.0
    rows, columns, row_name, column_name = (3, 5, "c", "k") if swapped else (5, 3, "k", "c")
    width = columns * (KERNEL + gap_x) - gap_x
    top = middle - (rows * (KERNEL + gap_y) - gap_y) / 2
    for column in range(columns):
        canvas.text(
            x + column * (KERNEL + gap_x) + KERNEL / 2,
            top - 13,
            f"{column_name}={column}",
            12,
            "middle",
            MUTED,
        )
    for row in range(rows):
        canvas.rect(x - 6, top - 6, width + 12, KERNEL + 12, "none", HAIRLINE, rx="5")
        canvas.text(x - 14, top + KERNEL / 2 + 4, f"{row_name}={row}", 12, "end", MUTED)
        for column in range(columns):
            colour = OUTPUT_COLOURS[column if swapped else row]
            kernel(canvas, x + column * (KERNEL + gap_x), top, colour, rotated=swapped)
        top += KERNEL + gap_y
    canvas.label(x + width / 2, top - gap_y + 30, name, rest)


def heading(canvas: Canvas, y: float, name: str, formula: str, gist: str) -> None:
    """Title of one panel, its equation, and one sentence."""
    canvas.text(28, y, name, 19, font_weight="bold")
    canvas.text(canvas.width - 28, y, formula, 17, "end", font_family=SERIF, font_style="italic")
    canvas.text(28, y + 25, gist, 15, fill=MUTED)


# ---------------------------------------------------------------- the figures


def three_passes() -> Canvas:
    """Forward, input gradient and weight gradient of X 3x20x20 under five 3x3x3 filters."""
    panel = 352.0
    canvas = Canvas(900, 3 * panel, "Forward pass, input gradient and weight gradient of one convolution layer")
    left, star_x, equals_x, right = 88.0, 312.0, 606.0, 680.0
    for divider in (panel, 2 * panel):
        canvas.lines([(28, divider), (872, divider)], HAIRLINE)

    top, middle = 40.0, 204.0
    heading(
        canvas, top, "Forward", "O[k] = b[k] + Σ|c|w[k,c] ⋆ X[c]",
        "Each filter is as deep as X, and gives one map. w ⋆ X: the kernel slides over the channel, as it is.",
    )  # fmt: skip
    volume(canvas, left, middle - 50, 20, INPUT_COLOURS, "X", "3 × 20 × 20")
    prism(canvas, left + 4 * CELL, middle - 50 + 7 * CELL, 3 * CELL, 2 * DEPTH_STEP)
    canvas.star(star_x, middle)
    kernels(canvas, 410, middle, False, "w", "five filters of 3 × 3 × 3")
    canvas.equals(equals_x, middle)
    volume(canvas, right, middle - 36, 18, OUTPUT_COLOURS, "O", "5 × 18 × 18")
    canvas.rect(right + 4 * CELL, middle - 36 + 7 * CELL, CELL, CELL, ACCENT, ACCENT)

    top, middle = top + panel, middle + panel
    heading(
        canvas, top, "Input gradient", "dX[c] = Σ|k|rot180(w[k,c]) ⋆ pad(dO[k], 2)",
        "The same 135 weights as three filters, as deep as dO: 5 × 3 kernels become 3 × 5, each one rotated.",
    )  # fmt: skip
    volume(canvas, left, middle - 36, 18, OUTPUT_COLOURS, "dO", "5 × 18 × 18, padded by 2")
    canvas.rect(left - 2 * CELL, middle - 36 - 2 * CELL, 22 * CELL, 22 * CELL, "none", MUTED, stroke_dasharray="4 3")
    prism(canvas, left - 2 * CELL, middle - 36 - 2 * CELL, 3 * CELL, 4 * DEPTH_STEP)
    canvas.star(star_x, middle)
    kernels(canvas, 390, middle, True, "w", "three of 5 × 3 × 3, rotated")
    canvas.equals(equals_x, middle)
    volume(canvas, right, middle - 50, 20, INPUT_COLOURS, "dX", "3 × 20 × 20")
    canvas.rect(right, middle - 50, CELL, CELL, ACCENT, ACCENT)

    top, middle = top + panel, middle + panel
    heading(
        canvas, top, "Weight gradient", "dw[k,c] = dO[k] ⋆ X[c]",
        "Each pair (k, c) by itself. dO[k] fits into X[c] in 3 × 3 places, one for each tap.",
    )  # fmt: skip
    volume(canvas, left, middle - 50, 20, INPUT_COLOURS, "X", "3 × 20 × 20")
    for shift, more in ((0.0, {}), (2 * CELL, {"stroke_dasharray": "4 3"})):
        canvas.rect(
            left + shift,
            middle - 50 + shift,
            18 * CELL,
            18 * CELL,
            "none",
            ACCENT,
            stroke_width="1.8",
            **more,
        )
    canvas.star(star_x - 20, middle)
    volume(canvas, 356, middle - 36, 18, OUTPUT_COLOURS, "dO", "5 × 18 × 18")
    canvas.equals(equals_x - 20, middle)
    kernels(canvas, 710, middle, False, "dw", "five times 3 × 3 × 3")
    return canvas


def one_pixel() -> Canvas:
    """A pixel of dX[1], the boxes of dO that it is made of, and the rotated kernels over them."""
    canvas = Canvas(900, 322, "One pixel of the input gradient, and what it is made of in each of the five maps")
    heading(
        canvas, 40, "One pixel of dX", "dX[1,6,8] = Σ|k|rot180(w[k,1]) · box of dO[k]",
        "All five maps have a part in it: 5 boxes of 3 × 3, 45 products. Its channel c = 1 chooses the kernels.",
    )  # fmt: skip
    cell, row, column, top = 5.0, 6, 8, 104.0
    for c in (0, 2, 1):  # the chosen channel in front
        shift = {1: 0, 2: 9, 0: 18}[c]
        side = 20 * cell
        canvas.rect(34 + shift, top + 22 - shift, side, side, mix(INPUT_COLOURS[c], 0.72), mix(INPUT_COLOURS[c], 1.0))
    canvas.rect(34 + column * cell, top + 22 + row * cell, cell, cell, ACCENT, ACCENT)
    canvas.label(84, 278, "dX[1]", "in front")
    canvas.equals(190, 180)
    for k, colour in enumerate(OUTPUT_COLOURS):
        x = 222 + 132 * k
        canvas.rect(x, top, 22 * cell, 22 * cell, "none", MUTED, stroke_dasharray="4 3")
        canvas.rect(x + 2 * cell, top + 2 * cell, 18 * cell, 18 * cell, mix(colour, 0.3), mix(colour, 1.0), rx="2")
        box = (x + column * cell, top + row * cell, 3 * cell, 3 * cell)
        canvas.rect(*box, mix(colour, 1.0), ACCENT, stroke_width="1.8")
        kernel(canvas, x + 11 * cell - KERNEL / 2, top + 22 * cell + 16, colour, rotated=True)
        canvas.label(x + 11 * cell, 278, f"dO[{k}]")
        canvas.text(x + 11 * cell, 298, f"w[{k},1] rotated", 13, "middle", MUTED)
        if k:
            canvas.text(x - 11, 186, "+", 20, "middle")
    return canvas


def matrix_product() -> Canvas:
    """The three passes as one matrix product with different operands, extents drawn by their square root."""
    passes = (
        ("Forward", "w", "patches of X", "O", (5, "filters"), (27, "= 3·3·3 taps"), (324, "= 18·18 pixels")),
        ("Input gradient", "w swapped, rotated", "patches of dO", "dX",
         (3, "channels"), (45, "= 5·3·3 taps"), (400, "= 20·20 pixels")),
        ("Weight gradient", "dO", "patches of X", "dw",
         (5, "filters"), (324, "= 18·18 pixels"), (27, "= 3·3·3 taps")),
    )  # fmt: skip
    centres, y = (280.0, 520.0, 765.0), 66.0
    heights = [9 * math.sqrt(max(m[0], k[0])) + 84 for *_, m, k, _ in passes]
    canvas = Canvas(900, y + sum(heights) + 6, "The three passes as one matrix product")
    canvas.text(28, 40, "One matrix product, three passes", 19, font_weight="bold")
    canvas.text(872, 40, "the contraction in red; sides drawn by their square roots", 15, "end", MUTED)
    for (title, a, b, c, m, k, n), height in zip(passes, heights, strict=True):
        middle = y + height / 2
        canvas.lines([(28, y), (872, y)], HAIRLINE)
        canvas.text(28, middle + 5, title, 16, font_weight="bold")
        for centre, name, rows, columns, contracted, colour in (
            (centres[0], a, m, k, "columns", OUTPUT_COLOURS[0]),
            (centres[1], b, k, n, "rows", INPUT_COLOURS[2]),
            (centres[2], c, m, n, "", OUTPUT_COLOURS[1]),
        ):
            tall, wide = 9 * math.sqrt(rows[0]), 9 * math.sqrt(columns[0])
            x, top = centre - wide / 2, middle - tall / 2
            canvas.rect(x, top, wide, tall, mix(colour, 0.45), mix(colour, 1.0), rx="2")
            across = ACCENT if contracted == "columns" else MUTED
            canvas.text(centre, top - 8, f"{columns[0]} {columns[1]}", 13, "middle", across)
            down = ACCENT if contracted == "rows" else MUTED
            canvas.text(x - 7, middle + 5, str(rows[0]), 13, "end", down)
            canvas.label(centre, top + tall + 20, name)
        canvas.lines([(374, middle - 6), (386, middle + 6)], stroke_width="2.5")
        canvas.lines([(374, middle + 6), (386, middle - 6)], stroke_width="2.5")
        canvas.equals(634, middle)
        y += height
    return canvas


def stride() -> Canvas:
    """Input gradient at stride 2, dO 3x3, kernel 3x3, dX 7x7: with inserted zeros, and by residue classes."""
    canvas = Canvas(900, 348, "Input gradient at stride 2: inserted zeros and residue classes")
    canvas.text(28, 40, "Zeros inserted into dO", 17, font_weight="bold")
    canvas.text(28, 64, "9 products for each of 49 pixels: 441", 15, fill=MUTED)
    inner = {2, 4, 6}
    value, inserted, padding = mix(OUTPUT_COLOURS[0], 0.85), "#d7dde5", "#eef1f5"
    grid(
        canvas, 44, 92, 23,
        [
            [
                value if {i, j} <= inner else inserted if min(i, j) >= 2 and max(i, j) <= 6 else padding
                for j in range(9)
            ]
            for i in range(9)
        ],
    )  # fmt: skip
    canvas.rect(44 + 3 * 23, 92 + 2 * 23, 69, 69, "none", ACCENT, stroke_width="2.2")
    canvas.text(148, 324, "blue: dO; grey: zeros; red: the kernel", 14, "middle", MUTED)
    canvas.lines([(314, 28), (314, 320)], HAIRLINE)

    colours = {(0, 0): "#4e79a7", (0, 1): "#f28e2b", (1, 0): "#59a14f", (1, 1): "#e15759"}
    canvas.text(336, 40, "Residue classes: the kernel split, no zeros inserted", 17, font_weight="bold")
    canvas.text(336, 64, "4, 2, 2 or 1 products for a pixel: 16·4 + 12·2 + 12·2 + 9·1 = 121 in all", 15, fill=MUTED)
    fills = {place: mix(colour, 0.8) for place, colour in colours.items()}
    grid(canvas, 352, 146, 30, [[fills[r % 2, s % 2] for s in range(3)] for r in range(3)])
    canvas.label(397, 324, "w", "3 × 3")
    arrow(canvas, [(458, 191), (488, 191)])
    for (r, s), fill in fills.items():
        grid(canvas, 506 + 76 * s, 136 + 76 * r, 30, [[fill] * (2 - s)] * (2 - r))
    canvas.label(562, 324, "", "four kernels, each with stride 1")
    arrow(canvas, [(628, 191), (658, 191)])
    grid(canvas, 676, 100, 26, [[fills[i % 2, j % 2] for j in range(7)] for i in range(7)])
    canvas.label(767, 324, "dX", "7 × 7")
    return canvas


def rooms() -> Canvas:
    """The folders of cpp/src as rooms: what is decided before any data is seen, and the way of the data."""
    canvas = Canvas(900, 596, "The folders of the C++ core, and the way of the data through them")
    canvas.text(28, 40, "The rooms of cpp/src", 19, font_weight="bold")
    canvas.text(872, 40, "red: the way of the data; black: decided before any is seen", 15, "end", MUTED)
    strategy, moving, multiplying, repairing, planning = OUTPUT_COLOURS
    floor = INPUT_COLOURS[2]

    room(canvas, (28, 66, 236, 84), floor, "api/", "checks arrays, takes memory,", "carries the plan out")
    room(canvas, (340, 66, 532, 84), planning, "plan/", "from shapes alone: the order of the sum, the strategy,",
         "tasks, buffers, all memory that a call may take")  # fmt: skip
    arrow(canvas, [(264, 96), (340, 96)])
    canvas.text(302, 88, "Setting", 13, "middle", MUTED)
    arrow(canvas, [(340, 122), (264, 122)])
    canvas.text(302, 141, "Plan", 13, "middle", MUTED)

    arrow(canvas, [(108, 150), (108, 204)], ACCENT)
    canvas.text(120, 182, "run, with x and w, dy and w, or dy and x", 13, fill=ACCENT)
    arrow(canvas, [(606, 150), (606, 204)])
    canvas.text(618, 182, "which fits best? its plan", 13, fill=MUTED)
    room(canvas, (28, 204, 844, 104), strategy, "strategies/", "one folder for each way of multiplying, and a table")
    names = re.findall(r"&(\w+)_strategy", (SOURCES / "strategies/list.cpp").read_text(encoding="utf-8"))
    pitch = 824 // len(names)
    for place, name in enumerate(names):
        canvas.rect(40 + pitch * place, 262, pitch - 6, 32, "#ffffff", mix(strategy, 0.6), rx="6")
        canvas.text(40 + pitch * place + (pitch - 6) / 2, 283, name, 14, "middle")

    arrow(canvas, [(108, 308), (108, 362)], ACCENT)
    canvas.text(120, 340, "each task, by one thread", 13, fill=ACCENT)
    room(canvas, (28, 362, 160, 62), moving, "source/", "what the taps read")
    room(canvas, (28, 436, 160, 62), moving, "weights/", "as panels")
    for y in (393.0, 467.0):
        arrow(canvas, [(188, y), (236, y)], ACCENT)
    room(canvas, (236, 362, 170, 136), multiplying, "kernels/", "register tiles;", "moving of memory;",
         "compiled for each", "instruction set")  # fmt: skip
    arrow(canvas, [(406, 430), (454, 430)], ACCENT)
    room(canvas, (454, 362, 154, 136), moving, "result/", "put into order;", "residual, activation;", "rounded, stored")
    arrow(canvas, [(608, 430), (656, 430)], ACCENT)
    room(canvas, (656, 362, 150, 136), repairing, "repair/", "if needed: NaN and", "Inf beside padding,",
         "the halo of dx")  # fmt: skip
    arrow(canvas, [(806, 430), (838, 430)], ACCENT)
    for y, name in ((413.0, "y"), (435.0, "dx"), (457.0, "dw")):
        canvas.text(846, y, name, 15, fill=ACCENT, font_weight="bold")

    room(canvas, (28, 520, 414, 54), floor, "problem/", "which source element meets which result, at which tap")
    room(canvas, (458, 520, 414, 54), floor, "machine/", "CPU, caches, threads, memory")
    return canvas


FIGURES: dict[str, Callable[[], Canvas]] = {
    "three_passes.svg": three_passes,
    "one_pixel.svg": one_pixel,
    "matrix_product.svg": matrix_product,
    "stride.svg": stride,
    "rooms.svg": rooms,
}


def main() -> None:
    """Write every figure beside this file."""
    for name, draw in FIGURES.items():
        Path(__file__).with_name(name).write_text(draw().svg(), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
