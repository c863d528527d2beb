"""Output shapes without computing: against counting by brute force, and against what the functions return."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import convpp
from geometry import LAYOUTS, Geometry, draw_geometry, failures_name

PADDINGS = st.one_of(
    st.tuples(st.tuples(st.integers(-3, 8), st.integers(-3, 8))),
    st.sampled_from(["valid", "same", "same_lower", "full", "causal"]),
)


def count_outputs(padded: int, span: int, stride: int) -> int:
    """Places ``p`` at which a kernel that starts at ``p * stride`` still ends within the padded input."""
    return sum(1 for _ in itertools.takewhile(lambda p: p * stride + span <= padded, itertools.count()))


@given(
    extent=st.integers(0, 40),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 9),
    dilation=st.integers(1, 5),
    padding=PADDINGS,
    layout=st.sampled_from(LAYOUTS),
)
def test_one_axis_by_counting(extent: int, kernel: int, stride: int, dilation: int, padding: Any, layout: str) -> None:
    g = Geometry(2, 3, 5, (extent,), (kernel,), stride, padding, dilation)
    lo, hi = g.pads[0]
    keywords = g.keywords(layout)
    want = count_outputs(extent + lo + hi, g.spans[0], stride)
    if want == 0:
        with pytest.raises(convpp.ShapeError):
            convpp.conv_output_shape(g.x_shape(layout), g.w_shape, **keywords)
    else:
        shape = (2, 5, want) if layout == "channels_first" else (2, want, 5)
        got = convpp.conv_output_shape(g.x_shape(layout), g.w_shape, **keywords)
        assert got == shape
        assert type(got) is tuple
        assert all(type(extent) is int for extent in got)


@given(extent=st.integers(1, 40), kernel=st.integers(1, 9), stride=st.integers(1, 9), dilation=st.integers(1, 5))
def test_same_divides_by_the_stride(extent: int, kernel: int, stride: int, dilation: int) -> None:
    for padding in ("same", "same_lower"):
        shape = convpp.conv_output_shape(
            (1, 1, extent), (1, 1, kernel), stride=stride, dilation=dilation, padding=padding
        )
        assert shape[2] == -(-extent // stride)


@given(
    extent=st.integers(1, 30),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 6),
    dilation=st.integers(1, 5),
    pads=st.tuples(st.integers(-3, 6), st.integers(-3, 6)),
    data=st.data(),
)
def test_transposed_axis_by_inversion(
    extent: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], data: st.DataObject
) -> None:
    """Exactly the extents from which a convolution leads back to ``extent`` are its possible outputs."""
    keywords = {"stride": stride, "dilation": dilation, "padding": [pads]}
    span = dilation * (kernel - 1) + 1
    sources = [size for size in range(1, 400) if count_outputs(size + sum(pads), span, stride) == extent]
    assume(sources)
    size = data.draw(st.sampled_from(sources))
    least = stride * (extent - 1) + span - sum(pads)
    got = convpp.conv_transpose_output_shape((2, 3, extent), (3, 5, kernel), **keywords, output_padding=size - least)
    assert got == (2, 5, size)
    assert got == convpp.conv_transpose_output_shape((2, 3, extent), (3, 5, kernel), **keywords, output_size=[size])
    assert convpp.conv_output_shape(got, (3, 5, kernel), **keywords) == (2, 3, extent)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shapes_are_those_of_the_results(layout: str, rng: np.random.Generator) -> None:
    for g in (draw_geometry(rng) for _ in range(100)):
        x, w = np.zeros(g.x_shape(layout), "float32"), np.zeros(g.w_shape, "float32")
        with failures_name(g, layout):
            shape = convpp.conv_output_shape(x.shape, w.shape, **g.keywords(layout))
            assert shape == g.y_shape(layout) == convpp.conv(x, w, **g.keywords(layout)).shape
            back = convpp.conv_transpose_output_shape(shape, w.shape, **g.transposed_keywords(layout))
            y = np.zeros(shape, "float32")
            assert back == x.shape == convpp.conv_transpose(y, w, **g.transposed_keywords(layout)).shape
