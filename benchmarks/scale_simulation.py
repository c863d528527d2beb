"""Ten thousand chunks on 64 to 4,096 workers: a simulation, from `convpp.tiles` and a few bandwidths.

    python benchmarks/scale_simulation.py --page docs/scale.md

In: nothing; it measures nothing, and is the same on every machine.
Out: for each case and number of workers what each worker fetches from others, the time, and what holds it up.

The model.  Chunks lie on the workers in their order, as many on each as on any other, or one more.  A worker computes
the blocks whose chunks it has, one after the other, while it fetches what the next ones read of others' chunks; which
bytes those are, `tiles` says.  A block takes as long as its multiply-adds, or its bytes in memory, whichever is longer.
One scheduler hands out tasks one after the other.  Partial sums of dw are sent up the tree.
"""

from __future__ import annotations

import argparse
import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, product
from pathlib import Path
from typing import Any

from report import replaced
from results import Table, markdown

import convpp
from convpp.tiling.axes import AxisRead
from convpp.tiling.grid import Tiles

#: Of a worker, which is a core: multiply-adds count as two operations; bytes of its memory; bytes of its link, and the
#: time of a message on it.  Tasks of the one scheduler in a second.
FLOPS, MEMORY, LINK, MESSAGE, TASKS = 30e9, 4e9, 1.25e9, 1e-3, 4000.0
WORKERS = (64, 256, 1024, 4096)
#: What may hold a case up beside the scheduler, and is made free to find out.
HELD_UP = ("network", "tree")
#: Less is nothing.
LEAST = 0.95
ITEMSIZE = 4


@dataclass(frozen=True)
class Case:
    """A pass on ten thousand chunks."""

    name: str
    op: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    chunks: tuple[int, ...]

    @property
    def tiles(self) -> Tiles:
        """The blocks, whose chunks of x have the same extents in samples and space, and all channels."""
        padding = tuple(extent // 2 for extent in self.w_shape[2:])
        return convpp.tiles(self.op, self.x_shape, self.w_shape, self.chunks, padding=padding)


CASES = (
    Case("image, 5x5, square chunks", "forward", (1, 1, 204_800, 204_800), (1, 1, 5, 5), (1, 1, 2048, 2048)),
    Case("image, 5x5, strips", "forward", (1, 1, 200_000, 200_000), (1, 1, 5, 5), (1, 1, 20, -1)),
    Case("scene, 3x3, 16 to 16", "forward", (1, 16, 51_200, 51_200), (16, 16, 3, 3), (1, -1, 512, 512)),
    Case("scene, 3x3, 16 to 16", "weight_grad", (1, 16, 51_200, 51_200), (16, 16, 3, 3), (1, -1, 512, 512)),
    Case("10,000 images, 3x3, 512 to 512", "weight_grad", (10_000, 512, 28, 28), (512, 512, 3, 3), (1, -1, -1, -1)),
)


@dataclass(frozen=True)
class Row:
    """One case on so many workers."""

    case: Case
    workers: int
    mean: float  # chunks of a worker
    most: int
    fetched: float  # bytes of the worker that fetches the most
    share: float  # of all that is read
    seconds: float
    efficiency: float  # of all workers' time that is computing
    held_up: str
    unscheduled: float  # the efficiency, if the scheduler took no time
    then: str  # what holds it up then


# ---------------------------------------------------------------- what blocks read, and where it lies


def overlaps(read: AxisRead, ends: list[int]) -> Iterator[tuple[int, int]]:
    """The chunks of an axis that are read, and how many elements of each."""
    for part in read.slices:
        at = part.start
        while at < part.stop:
            chunk = bisect_right(ends, at) - 1
            stop = min(part.stop, ends[chunk + 1])
            yield chunk, stop - at
            at = stop


@dataclass(frozen=True)
class Block:
    """Time of computing, and the bytes that are read of each chunk of x, its own among them."""

    seconds: float
    pieces: tuple[tuple[int, int], ...]


@cache
def blocks_of(case: Case) -> list[Block]:
    """All blocks of a case."""
    tiles = case.tiles
    ends = [list(accumulate(extents, initial=0)) for extents in tiles.chunks]
    spatial = math.prod(tiles.numblocks[2:])
    k, depth, *kernel = case.w_shape
    found: dict[Any, list[tuple[int, int]]] = {}
    blocks = []
    for block in tiles:
        source = block.sources["x"]
        each = []
        for axis in (0, 2, 3):
            key = (axis, block.index[axis])
            if key not in found:
                found[key] = list(overlaps(source[axis], ends[axis]))
            each.append(found[key])
        channels = source[1].extent
        pieces = tuple(
            (n * spatial + h * tiles.numblocks[3] + w, of_n * of_h * of_w * channels * ITEMSIZE)
            for (n, of_n), (h, of_h), (w, of_w) in product(*each)
        )
        pixels = math.prod(ends[axis][block.index[axis] + 1] - ends[axis][block.index[axis]] for axis in (0, 2, 3))
        flops = 2 * k * depth * math.prod(kernel) * pixels
        moved = sum(size for _, size in pieces) + pixels * k * ITEMSIZE
        blocks.append(Block(max(flops / FLOPS, moved / MEMORY), pieces))
    return blocks


# ---------------------------------------------------------------- time goes by


def homes(chunks: int, workers: int) -> list[int]:
    """The worker of each chunk."""
    return [chunk * workers // chunks for chunk in range(chunks)]


def finished(case: Case, workers: int, free: frozenset[str]) -> float:
    """When the last result is there."""
    blocks = blocks_of(case)
    home = homes(len(blocks), workers)
    of_worker: list[list[int]] = [[] for _ in range(workers)]
    for number, worker in enumerate(home):
        of_worker[worker].append(number)
    ends = [0.0] * len(blocks)
    links, cores = [0.0] * workers, [0.0] * workers
    handed_out = 0
    for turn in range(max(map(len, of_worker))):  # the first task of each worker, then the second one of each
        for worker, numbers in enumerate(of_worker):
            if turn >= len(numbers):
                continue
            number, handed_out = numbers[turn], handed_out + 1
            dispatched = 0.0 if "scheduler" in free else handed_out / TASKS
            if "network" not in free:
                far = [size for chunk, size in blocks[number].pieces if home[chunk] != worker]
                links[worker] += len(far) * MESSAGE + sum(far) / LINK
            cores[worker] = max(cores[worker], links[worker], dispatched) + blocks[number].seconds
            ends[number] = cores[worker]
    if case.op != "weight_grad" or "tree" in free:
        return max(ends)
    return tree_finished(case, ends, home)


def tree_finished(case: Case, ends: list[float], home: list[int]) -> float:
    """When the sum of all partial sums is there; a sum is made where its first part is."""
    tree = case.tiles.tree
    size = math.prod(case.w_shape) * ITEMSIZE
    times, places = ends, home
    for level in range(1, len(tree.levels)):
        sums = [tree.children(level, number) for number in range(tree.levels[level])]
        made = []
        for parts in sums:
            first = times[parts[0]]
            if len(parts) == 2:
                sent = MESSAGE + size / LINK if places[parts[0]] != places[parts[1]] else 0.0
                first = max(first, times[parts[1]] + sent) + 1 / TASKS + 3 * size / MEMORY
            made.append(first)
        times, places = made, [places[parts[0]] for parts in sums]
    return times[0]


def simulated(case: Case, workers: int) -> Row:
    """What becomes of it."""
    blocks = blocks_of(case)
    home = homes(len(blocks), workers)
    fetched = [0] * workers
    for number, block in enumerate(blocks):
        fetched[home[number]] += sum(size for chunk, size in block.pieces if home[chunk] != home[number])
    all_read = sum(size for block in blocks for _, size in block.pieces)
    seconds = finished(case, workers, frozenset())
    computing = sum(block.seconds for block in blocks)
    most = max(home.count(worker) for worker in range(workers))
    ideal = computing / workers
    without = finished(case, workers, frozenset({"scheduler"}))
    best = {what: finished(case, workers, frozenset({"scheduler", what})) for what in HELD_UP}
    what = min(HELD_UP, key=lambda name: best[name])
    then = what if best[what] < LEAST * without else "balance" if ideal < LEAST * without else "-"
    held_up = "scheduler" if without < LEAST * seconds else then
    each = len(blocks) / workers, most, max(fetched), sum(fetched) / all_read
    return Row(case, workers, *each, seconds, ideal / seconds, held_up, ideal / without, then)


def table(rows: list[Row]) -> Table:
    """As the page has it."""
    head = ["pass", "case", "workers", "chunks of a worker, most", "fetched by a worker, most", "of all that is read"]
    head += ["time", "efficiency", "held up by", "without a scheduler", "held up by"]
    body = [
        [
            row.case.op,
            row.case.name,
            f"{row.workers:,}",
            f"{row.mean:.1f}, {row.most}",
            f"{row.fetched / 2**20:,.2f} MiB",
            f"{row.share:.2%}",
            f"{row.seconds:.2f} s",
            f"{row.efficiency:.0%}",
            row.held_up,
            f"{row.unscheduled:.0%}",
            row.then,
        ]
        for row in rows
    ]
    return [head, *body]


def critical_paths() -> Table:
    """With a worker for each chunk, and a scheduler that takes no time."""
    body = []
    for case in CASES:
        seconds = finished(case, len(blocks_of(case)), frozenset({"scheduler"}))
        alone = sum(block.seconds for block in blocks_of(case))
        body.append([case.op, case.name, f"{alone:,.0f} s", f"{1e3 * seconds:,.0f} ms", f"{alone / seconds:,.0f}"])
    return [["pass", "case", "one worker", "critical path", "ratio"], *body]


def text() -> str:
    """Both tables."""
    rows = [simulated(case, workers) for case in CASES for workers in WORKERS]
    return f"{markdown(table(rows))}\n\n{markdown(critical_paths())}"


def main() -> None:
    """Print, and write the page if it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--page", type=Path, help="write the tables into this page")
    given = parser.parse_args()
    found = text()
    print(found)
    if given.page is not None:
        page = given.page.read_text(encoding="utf-8")
        given.page.write_text(replaced(page, "scale_simulation", found), encoding="utf-8")


if __name__ == "__main__":
    main()
