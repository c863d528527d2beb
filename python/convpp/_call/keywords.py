"""What calls are told beside arrays, as types: an overload names them all by ``**how: Unpack[ConvHow]``.

In: the types of single arguments (``arguments.py``).   Out: types, for those who check types and for editors; nothing
here is looked at when a call is made.   Used by the overloads in ``forward.py``, ``functional.py``, ``backward.py`` ...

Overloads say what a signature alone cannot: results have the type of the operands where these have one type (of several
types, it is one of theirs), and are None where ``needs`` leaves them out.  The first overload of a function is written
out in full, since it is what editors show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any, Literal, TypedDict, TypeVar

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Activation, Algorithm, Layout, Padding, PaddingMode, PerAxis

#: Of arrays that keep their type, whatever it is.
Scalar = TypeVar("Scalar", bound=np.generic)
#: float16, float32 or float64.  (bfloat16 is no type of NumPy's: checkers know its arrays as arrays of anything.)
F = TypeVar("F", bound=np.floating[Any])

Complex = TypeVar("Complex", bound=np.complexfloating[Any, Any])

#: Which gradients are wanted, in any order, and what then comes back: see the overloads of ``conv_backward``.
Need = Literal["x", "w", "bias"]
Needs = Need | Iterable[Need]
OnlyX = Literal["x"] | tuple[Literal["x"]]
OnlyW = Literal["w"] | tuple[Literal["w"]]
OnlyB = Literal["bias"] | tuple[Literal["bias"]]
NotB = tuple[Literal["x"], Literal["w"]] | tuple[Literal["w"], Literal["x"]]
NotW = tuple[Literal["x"], Literal["bias"]] | tuple[Literal["bias"], Literal["x"]]
NotX = tuple[Literal["w"], Literal["bias"]] | tuple[Literal["bias"], Literal["w"]]
All = (
    tuple[Literal["x"], Literal["w"], Literal["bias"]]
    | tuple[Literal["x"], Literal["bias"], Literal["w"]]
    | tuple[Literal["w"], Literal["x"], Literal["bias"]]
    | tuple[Literal["w"], Literal["bias"], Literal["x"]]
    | tuple[Literal["bias"], Literal["x"], Literal["w"]]
    | tuple[Literal["bias"], Literal["w"], Literal["x"]]
)
#: Names that checkers do not see.  (Not a tuple, whose names they do see: of arrays of any type, a call that matched
#: two overloads of different results would have none.)
Unsaid = list[Need] | Set[Need]
WithX = OnlyX | NotB | NotW | All

#: (dx, dw, db) to write into.
Outs = Sequence[npt.NDArray[F] | None] | None


class GeometryHow(TypedDict, total=False):
    """Of every convolution."""

    stride: PerAxis
    padding: Padding
    dilation: PerAxis
    groups: int
    padding_mode: PaddingMode
    flip: bool
    layout: Layout
    per_sample: bool
    algorithm: Algorithm
    threads: int | None


class TransposeGeometryHow(GeometryHow, total=False):
    """Of every transposed convolution."""

    output_padding: PerAxis
    output_size: Iterable[int] | None


class ConvHow(GeometryHow, total=False):
    """Of ``conv``, but for arrays."""

    activation: Activation | None


class TransposeHow(TransposeGeometryHow, total=False):
    """Of ``conv_transpose``, but for arrays."""

    activation: Activation | None


class GradHow(GeometryHow, total=False):
    """Of the gradients of ``conv``, but for arrays."""

    accumulate: bool


class TransposeGradHow(TransposeGeometryHow, total=False):
    """Of the gradients of ``conv_transpose``, but for arrays."""

    accumulate: bool


class PoolHow(TypedDict, total=False):
    """Of every pooling, but for arrays."""

    stride: PerAxis | None
    padding: Padding
    ceil_mode: bool
    layout: Layout
    threads: int | None


class MaxPoolHow(PoolHow, total=False):
    """Of ``max_pool``."""

    dilation: PerAxis


class MaxPoolGradHow(MaxPoolHow, total=False):
    """Of its gradient."""

    accumulate: bool


class AvgPoolHow(PoolHow, total=False):
    """Of ``avg_pool``."""

    count_include_pad: bool
    divisor_override: int | None


class AvgPoolGradHow(AvgPoolHow, total=False):
    """Of its gradient."""

    accumulate: bool
