"""Random geometries of convolutions, and what the tests do with one: draw, fill, ask the oracle, compare.

In: a random generator.  Out: a `Geometry` (numbers only: its repr is enough to repeat a failure), a `Case`
(integer arrays for it and the exact results of `convpp.testing`), `check_passes` and `check_accumulation`, which hold
the direct algorithm (others: rounding.py) to them with tolerance 0: the integers are small, so every sum is exact in
float32, whatever its order.

Arrays of a `Case` are channels_first; `in_layout` brings them into the layout under test.
Read next: layer_kinds.py (layers for which there is a strategy of its own), test_random_geometries.py.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

import convpp
from convpp.testing import reference_conv, reference_input_grad, reference_weight_grad

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

FUNCTIONS = {"forward": convpp.conv, "input_grad": convpp.conv_input_grad, "weight_grad": convpp.conv_weight_grad}
LAYOUTS = ("channels_first", "channels_last")
MODES = ("reflect", "replicate", "circular", "symmetric")
DTYPES = ("float32", "float64")
#: Channel counts around the widths of vectors (4, 8, 16, 32) and of tiles made of them.
EDGES = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 70)
#: Extents of images by rank, so that pixel counts lie around the same widths.
EXTENTS = {
    1: (1, 5, 16, 31, 33, 48, 65, 97, 130, 200),
    2: (1, 2, 3, 4, 5, 7, 8, 9, 12, 17, 23),
    3: (1, 2, 3, 4, 5, 7, 9),
}


@dataclass(frozen=True)
class Geometry:
    """One convolution; ``n`` is None for a single sample, the other fields are what a user would pass."""

    n: int | None
    c: int
    k: int
    spatial: Shape
    kernel: Shape
    stride: Any = 1
    padding: Any = 0
    dilation: Any = 1
    groups: int = 1
    flip: bool = False
    bias: bool = False
    dtype: str = "float32"
    padding_mode: Any = "zeros"

    @property
    def rank(self) -> int:
        return len(self.kernel)

    @property
    def strides(self) -> Shape:
        return self._per_axis(self.stride)

    @property
    def dilations(self) -> Shape:
        return self._per_axis(self.dilation)

    @property
    def spans(self) -> Shape:
        """Extent of the dilated kernel."""
        return tuple(d * (r - 1) + 1 for d, r in zip(self.dilations, self.kernel, strict=True))

    @property
    def pads(self) -> tuple[tuple[int, int], ...]:
        if isinstance(self.padding, str):
            axes = zip(self.spatial, self.spans, self.strides, strict=True)
            return tuple(_named_pads(self.padding, *axis) for axis in axes)
        entries = [self.padding] * self.rank if isinstance(self.padding, int) else self.padding
        return tuple((p, p) if isinstance(p, int) else (int(p[0]), int(p[1])) for p in entries)

    @property
    def modes(self) -> tuple[str, ...]:
        """The padding mode of each axis."""
        return (self.padding_mode,) * self.rank if isinstance(self.padding_mode, str) else self.padding_mode

    @property
    def padded(self) -> Shape:
        return tuple(i + lo + hi for i, (lo, hi) in zip(self.spatial, self.pads, strict=True))

    @property
    def out(self) -> Shape:
        return tuple((i - r) // s + 1 for i, r, s in zip(self.padded, self.spans, self.strides, strict=True))

    @property
    def macs(self) -> int:
        per_pixel = self.k * (self.c // self.groups) * math.prod(self.kernel)
        return (1 if self.n is None else self.n) * per_pixel * math.prod(self.out)

    @property
    def w_shape(self) -> Shape:
        return (self.k, self.c // self.groups, *self.kernel)

    def x_shape(self, layout: str = "channels_first") -> Shape:
        return self._with_batch(self.c, self.spatial, layout)

    def y_shape(self, layout: str = "channels_first") -> Shape:
        return self._with_batch(self.k, self.out, layout)

    def keywords(self, layout: str = "channels_first") -> dict[str, Any]:
        names = ("stride", "padding", "dilation", "groups", "flip", "padding_mode")
        return {**{name: getattr(self, name) for name in names}, "layout": layout}

    def exact_keywords(self, layout: str = "channels_first") -> dict[str, Any]:
        """The same with the algorithm whose sums of integers are exact."""
        return {**self.keywords(layout), "algorithm": "direct"}

    def transposed_keywords(self, layout: str = "channels_first") -> dict[str, Any]:
        """For the transposed functions, whose forward pass takes (N, K, *out) to (N, C, *spatial).

        The padding as pairs, since "same" names another crop there; what the strides leave unread at the
        end of x becomes output_padding.
        """
        axes = zip(self.padded, self.spans, self.strides, strict=True)
        unread = tuple((extent - span) % stride for extent, span, stride in axes)
        return {**self.keywords(layout), "padding": self.pads, "output_padding": unread, "padding_mode": "zeros"}

    def _with_batch(self, channels: int, spatial: Shape, layout: str) -> Shape:
        sample = (channels, *spatial) if layout == "channels_first" else (*spatial, channels)
        return sample if self.n is None else (self.n, *sample)

    def _per_axis(self, value: Any) -> Shape:
        return (value,) * self.rank if isinstance(value, int) else tuple(int(v) for v in value)


def _named_pads(name: str, extent: int, span: int, stride: int) -> tuple[int, int]:
    if name == "full":
        return span - 1, span - 1
    if name == "causal":
        return span - 1, 0
    if name == "valid":
        return 0, 0
    total = max((-(-extent // stride) - 1) * stride + span - extent, 0)
    return (total // 2, total - total // 2) if name == "same" else (total - total // 2, total // 2)


# ---------------------------------------------------------------- drawing


def draw_geometry(rng: np.random.Generator, *, min_macs: int = 0, max_macs: int = 300_000) -> Geometry:
    """Draw until there is at least one output, and as many multiplications as asked for."""
    while True:
        geometry = draw_candidate(rng)
        if min(geometry.out) >= 1 and min_macs <= geometry.macs <= max_macs:
            return geometry


def draw_candidate(rng: np.random.Generator) -> Geometry:
    rank = pick(rng, (1, 2, 2, 2, 3))
    kind = pick(rng, ("wide",) * 5 + ("narrow",) * 5 + ("grouped",) * 3 + ("depthwise",) * 2 + ("empty",))
    n = pick(rng, (0, None, None, 1, 1, 1, 1, 2, 2, 2, 3, 3, 5, 5)) if kind != "empty" else pick(rng, (None, 0, 2))
    groups = 1
    if kind == "wide":
        c, k = pick(rng, EDGES), pick(rng, EDGES)
    elif kind == "narrow":
        c, k = pick(rng, range(1, 7)), pick(rng, range(1, 7))
    elif kind == "grouped":
        groups = pick(rng, (2, 3, 4, 5, 8))
        c, k = groups * pick(rng, EDGES[:12]), groups * pick(rng, EDGES[:12])
    elif kind == "depthwise":
        groups = c = pick(rng, EDGES)
        k = c * pick(rng, (1, 1, 2, 3))
    else:
        groups = pick(rng, (1, 1, 2))
        c, k = pick(rng, ((0, 2 * groups), (2 * groups, 0), (0, 0)))
    long = kind in ("narrow", "depthwise")
    spatial = tuple(pick(rng, EXTENTS[rank] if long else EXTENTS[rank][:6]) for _ in range(rank))
    kernels = (1, 1, 2, 3, 3, 4, 5) + ((7, 11, 19) if rank == 1 or (rank == 2 and long) else ())
    return Geometry(
        n=n,
        c=c,
        k=k,
        spatial=spatial,
        kernel=tuple(pick(rng, kernels) for _ in range(rank)),
        stride=_draw_per_axis(rng, rank, (1, 1, 1, 1, 2, 2, 3, 4, 7)),
        padding=_draw_padding(rng, rank),
        dilation=_draw_per_axis(rng, rank, (1,) * 8 + (2,) * 4 + (3, 3, 4, 4) + (29,) * (kind == "narrow")),
        groups=groups,
        flip=bool(rng.random() < 0.25),
        bias=bool(rng.random() < 0.5),
        dtype=pick(rng, DTYPES),
    )


def with_modes(rng: np.random.Generator, geometry: Geometry) -> Geometry:
    """The same with padding modes: one, or one for each axis."""
    each = tuple(pick(rng, (*MODES, "zeros")) for _ in range(geometry.rank))
    return replace(geometry, padding_mode=pick(rng, (pick(rng, MODES), each)))


def _draw_per_axis(rng: np.random.Generator, rank: int, values: tuple[int, ...]) -> Any:
    if rng.random() < 0.6:
        return pick(rng, values)
    drawn = [pick(rng, values) for _ in range(rank)]
    return pick(rng, (tuple, list, np.array))(drawn)


def _draw_padding(rng: np.random.Generator, rank: int) -> Any:
    form = pick(rng, ("int", "axis", "pair", "pair", "name"))
    if form == "int":
        return pick(rng, (0, 0, 1, 2, 3, -1))
    if form == "axis":
        return tuple(pick(rng, (0, 1, 2, 4, -1)) for _ in range(rank))
    if form == "pair":
        return tuple((pick(rng, range(-2, 7)), pick(rng, range(-2, 7))) for _ in range(rank))
    return pick(rng, ("valid", "valid", "same", "same", "same_lower", "same_lower", "full", "causal"))


def pick(rng: np.random.Generator, values: Any) -> Any:
    """One of the values, each as likely as the others."""
    return values[int(rng.integers(len(values)))]


# ---------------------------------------------------------------- arrays and the oracle


@dataclass(frozen=True)
class Passes:
    """Operands and results of all passes, channels_first."""

    x: Array
    w: Array
    bias: Array | None
    dy: Array
    y: Array
    dx: Array
    dw: Array
    db: Array


@dataclass(frozen=True)
class Case(Passes):
    """Integer operands in ``geometry.dtype`` and the exact results."""

    geometry: Geometry


def integers(rng: np.random.Generator, shape: Shape, dtype: Any = "float64") -> Array:
    return rng.integers(-3, 4, shape).astype(dtype)


def normal(rng: np.random.Generator, shape: Shape, dtype: Any = "float64") -> Array:
    return rng.standard_normal(shape).astype(dtype)


def make_case(geometry: Geometry, rng: np.random.Generator) -> Case:
    g, keywords = geometry, geometry.keywords()
    x, w = integers(rng, g.x_shape(), g.dtype), integers(rng, g.w_shape, g.dtype)
    bias = integers(rng, (g.k,), g.dtype) if g.bias else None
    dy = integers(rng, g.y_shape(), g.dtype)
    results = (
        reference_conv(x, w, bias, **keywords),
        reference_input_grad(dy, w, x.shape, **keywords),
        reference_weight_grad(dy, x, w.shape, **keywords),
        dy.sum(axis=all_axes_but_channels(dy.ndim, g.rank), dtype="float64"),
    )
    y, dx, dw, db = (result.astype(g.dtype) for result in results)
    return Case(x, w, bias, dy, y, dx, dw, db, g)


def all_axes_but_channels(ndim: int, rank: int) -> Shape:
    return tuple(axis for axis in range(ndim) if axis != ndim - rank - 1)


def in_layout(array: Array, layout: str, rank: int) -> Array:
    """A channels_first array, C-contiguous in ``layout``."""
    if layout == "channels_last":
        array = np.moveaxis(array, array.ndim - rank - 1, -1)
    return np.ascontiguousarray(array)


def nan_out(shape: Shape, dtype: Any) -> Array:
    """An output in which whatever stays unwritten is seen."""
    return np.full(shape, np.nan, dtype)


# ---------------------------------------------------------------- comparing


@contextlib.contextmanager
def failures_name(*what: Any) -> Iterator[None]:
    """Add what was being done to any failure inside, so that it can be repeated."""
    try:
        yield
    except Exception as failure:
        failure.add_note("\n".join(map(str, what)))
        raise


def assert_exact(got: Array, want: Array) -> None:
    """Same dtype, same shape, same values; NaN equals NaN and the sign of 0 does not count."""
    same = got.dtype == want.dtype and got.shape == want.shape and np.array_equal(got, want)
    if not same:
        np.testing.assert_array_equal(got, want, strict=True)


def assert_needed(needs: Collection[str], got: Sequence[Array | None], want: Sequence[Array]) -> None:
    """Of the gradients in x, w and the bias those that are needed, exactly, and None for each other one."""
    for name, gradient, expected in zip(("x", "w", "bias"), got, want, strict=True):
        if name in needs:
            assert gradient is not None
            assert_exact(gradient, expected)
        else:
            assert gradient is None


def assert_same_bits(got: Array, want: Array) -> None:
    assert_exact(got, want)
    assert got.tobytes() == want.tobytes(), "equal values, but the bits differ (sign of 0 or NaN)"


def check_passes(
    case: Case, layout: str, *, passes: Collection[str] = tuple(FUNCTIONS), fill: bool = True, **options: Any
) -> None:
    """The passes and the bias gradient, in ``layout``; ``options`` are threads= and algorithm= (if not direct)."""
    g = case.geometry
    keywords = {**g.exact_keywords(layout), **options}
    x, dy = in_layout(case.x, layout, g.rank), in_layout(case.dy, layout, g.rank)
    y, dx = in_layout(case.y, layout, g.rank), in_layout(case.dx, layout, g.rank)

    def check(function: Any, want: Array, *arguments: Any, **more: Any) -> None:
        out = nan_out(want.shape, want.dtype) if fill else None
        with failures_name(f"convpp.{function.__name__} with {more}", g):
            got = function(*arguments, **more, out=out)
            assert_exact(got, want)
            assert out is None or got is out

    if "forward" in passes:
        check(convpp.conv, y, x, case.w, case.bias, **keywords)
    if "input_grad" in passes:
        check(convpp.conv_input_grad, dx, dy, case.w, x.shape, **keywords)
    if "weight_grad" in passes:
        check(convpp.conv_weight_grad, case.dw, dy, x, case.w.shape, **keywords)
    check(convpp.conv_bias_grad, case.db, dy, layout=layout, batched=g.n is not None)


def check_accumulation(case: Case, layout: str, rng: np.random.Generator, **options: Any) -> None:
    """The three gradients in ``layout``, added to what is there already."""
    g = case.geometry
    keywords = {**g.exact_keywords(layout), **options}
    x, dy = in_layout(case.x, layout, g.rank), in_layout(case.dy, layout, g.rank)

    def check(function: Any, want: Array, *arguments: Any, **more: Any) -> None:
        before = integers(rng, want.shape, want.dtype)
        out = before.copy()
        with failures_name(f"convpp.{function.__name__} with {more}, accumulate", g):
            assert function(*arguments, **more, out=out, accumulate=True) is out
            assert_exact(out, before + want)

    check(convpp.conv_input_grad, in_layout(case.dx, layout, g.rank), dy, case.w, x.shape, **keywords)
    check(convpp.conv_weight_grad, case.dw, dy, x, case.w.shape, **keywords)
    check(convpp.conv_bias_grad, case.db, dy, layout=layout, batched=g.n is not None)
