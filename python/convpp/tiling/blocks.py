"""A block of a result: what it reads, and the calls that compute it.  Plain values, of indices alone.

In: made by ``tiles.py``.   Out: ``Block``, ``Part``, ``Call``.   Next: ``compute.py``, which carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from convpp._call.arguments import Shape
from convpp._call.options import ConvOptions
from convpp.tiling.axes import AxisRead

Index = tuple[slice, ...]
#: What is read of an array: of each of its axes.
Source = tuple[AxisRead, ...]


def shape_of(source: Source) -> Shape:
    """The shape of what is read."""
    return tuple(read.extent for read in source)


class Call(NamedTuple):
    """One plain call of ``conv``, ``conv_input_grad`` or ``conv_weight_grad`` on parts of the arrays.

    ``op`` says which ("forward", "input_grad", "weight_grad"), ``options`` are its keywords (``options.keywords()``).
    In them, ``padding`` is what is left to add, the padding mode is zeros, and ``groups`` are those that the block
    touches.
    A transposed convolution is such a call, too: its forward pass is an "input_grad".
    """

    op: str
    #: By the names of the function that was asked for ("x", "w", "dy"): the two operands, in the order of the call's.
    sources: dict[str, Source]
    options: ConvOptions
    x_shape: Shape
    w_shape: Shape
    result_shape: Shape
    #: Where the result lies in that of its part.
    at: Index


class Part(NamedTuple):
    """A sum of a block: the result of its calls, side by side; zeros where no call writes.

    ``targets`` is None where that is the block.  Else, for each axis, what elements of the block are added to: ranges
    of them, one after the other (None: all of the axis).  So a padding mode's gradients are folded.  An element may be
    there more than once, and sums are added in the order of the part's elements.
    """

    shape: Shape
    calls: tuple[Call, ...]
    targets: tuple[tuple[range, ...] | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a result: where it lies, and the parts that are added to it, in their order.

    Every block has a first part, which is the block itself without what padding modes add; only blocks of dx have more.
    ``number`` is the block's among those that are added to the same result (weight gradients), else 0.
    """

    index: Shape
    result: Index
    shape: Shape
    parts: tuple[Part, ...]
    #: Of the result's channels (of weight gradients: of its filters).
    channel_axis: int
    number: int = 0

    @property
    def call(self) -> Call | None:
        """The first part's only call; None where there is none, and the block is zeros."""
        calls = self.parts[0].calls
        return calls[0] if calls else None

    @property
    def sources(self) -> dict[str, Source]:
        """What the first part reads of each array: all that is read, but of blocks of dx with a padding mode."""
        return self.call.sources if self.call is not None else {}
