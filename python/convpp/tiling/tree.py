"""The fixed tree by which partial sums are added: its form is their number, never who computed them, or when.

In: a number of partial sums, in the order of their blocks.   Out: who is added to whom; the sum of arrays that come in
that order, with few in memory.   Next: ``tiles.py``, whose weight gradients are such sums.

Neighbours are added in pairs, then the sums of pairs, and so on; one that is left over goes up as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from convpp._call.validation import Array


@dataclass(frozen=True, slots=True)
class Tree:
    """A binary tree over ``count`` partial sums, level by level: level 0 are they themselves, the last one is the sum.

    Examples
    --------
    >>> from convpp.tiling.tree import Tree
    >>> Tree(5).levels
    (5, 3, 2, 1)
    >>> Tree(5).children(1, 2), Tree(5).children(3, 0)
    ((4,), (0, 1))
    """

    count: int

    @property
    def levels(self) -> tuple[int, ...]:
        """The number of sums of each level."""
        levels = [self.count]
        while levels[-1] > 1:
            levels.append((levels[-1] + 1) // 2)
        return tuple(levels)

    def children(self, level: int, number: int) -> tuple[int, ...]:
        """Of a sum, those of the level below that it adds: two, the first one first, or the one that was left over."""
        below = -(-self.count // 2 ** (level - 1))
        return tuple(i for i in (2 * number, 2 * number + 1) if i < below)


class TreeSum:
    """The same sum, of arrays that are given one after the other: as many are kept as the tree has levels."""

    def __init__(self) -> None:
        #: How many were added, and their sum; the largest first.
        self.sums: list[tuple[int, Array]] = []
        #: Not while one is added: whoever interrupts that leaves half a sum.
        self.whole: bool = True

    @property
    def added(self) -> int:
        """How many."""
        return sum(count for count, _ in self.sums)

    def add(self, partial: Array) -> None:
        """The next one; it may be written over."""
        self.whole = False
        sums, count = list(self.sums), 1
        while sums and sums[-1][0] == count:
            before = sums.pop()[1]
            before += partial
            partial = before
            count *= 2
        sums.append((count, partial))
        self.sums = sums
        self.whole = True

    def result(self) -> Array:
        """The sum of all."""
        _, total = self.sums.pop()
        while self.sums:
            before = self.sums.pop()[1]
            before += total
            total = before
        return total
