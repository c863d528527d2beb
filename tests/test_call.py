"""How a call is made: options become one value, and geometries and plans are remembered by it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import convpp
from convpp._call.geometry import geometry_of
from convpp._call.options import ConvOptions, TransposeOptions, conv_options, transpose_options
from convpp._call.planning import PLANS

USUAL: dict[str, Any] = {
    "stride": 1,
    "padding": 0,
    "dilation": 1,
    "groups": 1,
    "padding_mode": "zeros",
    "flip": False,
    "layout": "channels_first",
    "per_sample": False,
}


@pytest.mark.parametrize(
    ("given", "normalised"),
    [
        ({}, {}),
        ({"stride": np.int64(2)}, {"stride": 2}),
        ({"dilation": [np.int8(1), 2]}, {"dilation": (1, 2)}),
        ({"padding": np.array([[0, 1], [2, 3]])}, {"padding": ((0, 1), (2, 3))}),
        ({"padding": "same", "flip": np.True_}, {"padding": "same", "flip": True}),
        ({"padding_mode": ["reflect", "zeros"]}, {"padding_mode": ("reflect", "zeros")}),
    ],
)
def test_options_are_what_was_meant_however_it_was_written(given: Any, normalised: Any) -> None:
    options = conv_options(**USUAL | given)
    assert options == ConvOptions(**USUAL | normalised)
    assert hash(options) == hash(ConvOptions(**USUAL | normalised))
    assert conv_options(**options.keywords()) == options
    with pytest.raises(AttributeError):
        options.stride = 3


def test_options_of_a_transposed_convolution_never_equal_those_of_another() -> None:
    shared = ConvOptions()
    options = transpose_options(shared, [1, 0], None)
    assert options == TransposeOptions(shared, (1, 0), None)
    assert options != shared
    assert options.keywords() == shared.keywords() | {"output_padding": (1, 0), "output_size": None}
    assert options.with_per_sample(True).conv.per_sample


def test_a_geometry_is_computed_once() -> None:
    shapes = ((1, 2, 9, 11), (4, 2, 3, 3))
    assert geometry_of(*shapes, ConvOptions()) is geometry_of(*shapes, conv_options(**USUAL))
    assert geometry_of(*shapes, ConvOptions()).result_shape == (1, 4, 7, 9)
    assert geometry_of((1, 4, 7, 9), (4, 2, 3, 3), TransposeOptions(ConvOptions())).result_shape == shapes[0]


@pytest.mark.thread_unsafe
@pytest.mark.parametrize("transposed", [False, True])
def test_backward_plans_only_the_passes_it_needs(transposed: bool) -> None:
    backward = convpp.conv_transpose_backward if transposed else convpp.conv_backward
    x, w = np.ones((2, 3, 13, 7)), np.ones((3, 3, 4, 2))
    dy = np.ones((2, 3, 16, 8) if transposed else (2, 3, 10, 6))
    PLANS.forget()
    made = PLANS.made
    for needs, plans in ((), 0), (("bias",), 0), (("w",), 1), (("x", "w", "bias"), 2):
        backward(dy, x, w, needs=needs)
        assert PLANS.made - made == plans, needs
