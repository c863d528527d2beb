"""What a call costs beside its arithmetic: checks, plans, memory, the import.

In: nothing.   Out: seconds and bytes.   Next: ``layers.py``.
"""

from __future__ import annotations

import numpy as np

import convpp


class Calls:
    """Of arrays so small that nothing else is left."""

    def setup(self) -> None:
        """Make the arrays, and the plans by first calls."""
        self.x, self.w = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 3, 3), np.float32)
        self.y = convpp.conv(self.x, self.w)
        self.picture, self.kernel = np.ones((8, 8)), np.ones((3, 3))
        convpp.convolve(self.picture, self.kernel)

    def time_conv(self) -> None:
        """A layer of one channel."""
        convpp.conv(self.x, self.w)

    def time_conv_backward(self) -> None:
        """Its three gradients."""
        convpp.conv_backward(self.y, self.x, self.w)

    def time_convolve(self) -> None:
        """A picture without channels."""
        convpp.convolve(self.picture, self.kernel)


class Plans:
    """Of shapes that no call has had before: each makes its plan."""

    number, rounds, warmup_time = 1, 1, 0.0

    def setup(self) -> None:
        """Take another extent each time."""
        self.w = np.ones((2, 1, 3, 3), np.float32)
        Plans.extent = getattr(Plans, "extent", 8) + 1
        self.x = np.ones((1, 1, Plans.extent, Plans.extent), np.float32)

    def time_first_call(self) -> None:
        """A plan and a small convolution."""
        convpp.conv(self.x, self.w)


class Memory:
    """Of a process that computes one layer."""

    def peakmem_conv(self) -> None:
        """The layer has arrays of 13 MB and 26 MB."""
        convpp.conv(np.ones((1, 64, 224, 224), np.float32), np.ones((128, 64, 3, 3), np.float32), padding=1)


def timeraw_import() -> tuple[str, str]:
    """The package alone, NumPy being imported already."""
    return "import convpp", "import numpy"
