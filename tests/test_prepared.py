"""Weights prepared once: the bits of a plain call, for every use of them, and errors where they do not fit."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import convpp
from convpp._call.validation import dtype_from
from geometry import (
    LAYOUTS,
    Geometry,
    assert_exact,
    assert_same_bits,
    draw_geometry,
    failures_name,
    in_layout,
    integers,
    make_case,
    nan_out,
    normal,
)
from scripts import succeed

SMALL = Geometry(2, 4, 6, (9, 8), (3, 2), groups=2, padding=1)


@pytest.mark.parametrize("batch", range(10))
def test_random_geometries(batch: int) -> None:
    rng = np.random.default_rng((80, batch))
    for _ in range(25):
        g = draw_geometry(rng)
        case = make_case(g, rng)
        for layout in LAYOUTS:
            x, y = in_layout(case.x, layout, g.rank), in_layout(case.y, layout, g.rank)
            prepared = convpp.prepare_weights(case.w, x.shape, **g.exact_keywords(layout))
            with failures_name(g, layout):
                for keywords in ({}, g.keywords(layout)):
                    out = nan_out(y.shape, y.dtype)
                    assert convpp.conv(x, prepared, case.bias, **keywords, out=out, threads=2) is out
                    assert_exact(out, y)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bits_of_many_calls(layout: str, rng: np.random.Generator) -> None:
    g = Geometry(2, 33, 49, (14, 13), (3, 3), padding=1, stride=2)
    w, bias = normal(rng, g.w_shape, g.dtype), normal(rng, (g.k,), g.dtype)
    prepared = convpp.prepare_weights(w, g.x_shape(layout), **g.keywords(layout))
    assert prepared.shape == g.w_shape
    assert prepared.x_shape == g.x_shape(layout)
    assert prepared.nbytes >= w.nbytes
    inputs = [normal(rng, g.x_shape(layout), g.dtype) for _ in range(8)]
    want = [convpp.conv(x, w, bias, **g.keywords(layout)) for x in inputs]
    w[...] = np.nan  # what was prepared is a copy
    with ThreadPoolExecutor(8) as pool:
        for got, expected in zip(pool.map(lambda x: convpp.conv(x, prepared, bias), inputs), want, strict=True):
            assert_same_bits(got, expected)
    for threads in range(1, 9):
        assert_same_bits(convpp.conv(inputs[0], prepared, bias, threads=threads), want[0])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_padding_makes_no_nan(value: float, rng: np.random.Generator) -> None:
    g = Geometry(2, 3, 9, (1, 1), (5, 5), padding=2)
    w = np.full(g.w_shape, value)
    w[:, :, 2, 2] = 1
    x = integers(rng, g.x_shape())
    prepared = convpp.prepare_weights(w, x.shape, padding=2)
    assert_exact(convpp.conv(x, prepared), convpp.conv(x, w, padding=2))
    assert np.all(np.isfinite(convpp.conv(x, prepared)))


def test_per_sample(rng: np.random.Generator) -> None:
    x, w = integers(rng, SMALL.x_shape()), integers(rng, (2, *SMALL.w_shape))
    prepared = convpp.prepare_weights(w, x.shape, **SMALL.keywords(), per_sample=True)
    assert_exact(convpp.conv(x, prepared), convpp.conv(x, w, **SMALL.keywords(), per_sample=True))


def test_out_over_the_input(rng: np.random.Generator) -> None:
    x, w = integers(rng, (2, 5, 9, 8)), integers(rng, (5, 5, 3, 3))
    prepared = convpp.prepare_weights(w, x.shape, padding=1)
    want = convpp.conv(x, prepared)
    assert_exact(convpp.conv(x, prepared, out=x), want)


def test_errors(rng: np.random.Generator) -> None:
    g = SMALL
    x, w = normal(rng, g.x_shape(), "float32"), normal(rng, g.w_shape, "float32")
    prepared = convpp.prepare_weights(w, x.shape, **g.keywords())
    out = np.full(g.y_shape(), 98765, "float32")
    with pytest.raises(ValueError, match="prepared for the geometry"):
        convpp.conv(x, prepared, groups=2, padding=1, stride=2, out=out)
    with pytest.raises(convpp.ShapeError, match=r"x has shape .* expected"):
        convpp.conv(x[:1], prepared, out=out)
    with pytest.raises(convpp.ShapeError, match="bias has shape"):
        convpp.conv(x, prepared, np.ones(4, "float32"), out=out)
    with pytest.raises(convpp.DTypeError, match=r"x has dtype float64, expected float32"):
        convpp.conv(x.astype("float64"), prepared, out=out)
    with pytest.raises(convpp.DTypeError, match="out has dtype"):
        convpp.conv(x, prepared, out=out.astype("float64"))
    assert np.all(out == 98765)
    with pytest.raises(convpp.ShapeError, match="w has shape"):
        convpp.prepare_weights(w[:, :1], x.shape, **g.keywords())
    with pytest.raises(convpp.DTypeError, match="w has dtype int64"):
        convpp.prepare_weights(w.astype("int64"), x.shape, **g.keywords())
    with pytest.raises(ValueError, match="stride"):
        convpp.prepare_weights(w, x.shape, **{**g.keywords(), "stride": 0})
    with pytest.raises(ValueError, match="algorithm is 'winograd', which does not serve this geometry"):
        convpp.prepare_weights(w, x.shape, **{**g.keywords(), "stride": 2}, algorithm="winograd")
    with pytest.raises(convpp.DTypeError, match="w "):
        convpp.conv_input_grad(out, prepared, x.shape, **g.keywords())


def test_other_dtype_or_algorithm_is_refused() -> None:
    x, w = np.ones((1, 2, 5, 5), "f4"), np.ones((3, 2, 3, 3), "f4")
    prepared = convpp.prepare_weights(w, x.shape)
    with pytest.raises(convpp.DTypeError, match="bias has dtype float64, expected float32"):
        convpp.conv(x, prepared, np.ones(3))
    with pytest.raises(ValueError, match="algorithm is 'reference', expected 'auto'"):
        convpp.conv(x, prepared, algorithm="reference")


# ---------------------------------------------------------------- copies


OPTIONS: list[dict[str, Any]] = [
    {},
    {"padding": "same", "groups": 2, "flip": True},
    {"padding": ((1, 0), (0, 2)), "padding_mode": ("reflect", "zeros"), "layout": "channels_last"},
    {"stride": (2, 1), "dilation": 2, "algorithm": "reference"},
    {"padding": 1, "algorithm": "winograd"},
    {"per_sample": True},
]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_pickles_are_the_plain_weights(options: dict[str, Any], dtype: str, rng: np.random.Generator) -> None:
    w_shape = (2, 4, 2, 3, 3) if "per_sample" in options else (6, 4 // options.get("groups", 1), 3, 3)
    x_shape = (2, 9, 8, 4) if "layout" in options else (2, w_shape[-3] * options.get("groups", 1), 9, 8)
    x, w = (normal(rng, shape, "float32").astype(dtype_from(dtype)) for shape in (x_shape, w_shape))
    prepared = convpp.prepare_weights(w, x.shape, **options)
    want = convpp.conv(x, prepared)
    w[...] = 0  # what was prepared is what is stored
    stored = pickle.dumps(prepared)
    assert len(stored) < w.nbytes + 1500
    again = pickle.loads(stored)
    assert repr(again) == repr(prepared)
    assert (again.geometry, again.algorithm) == (prepared.geometry, prepared.algorithm)
    assert_same_bits(convpp.conv(x, again), want)
    assert_same_bits(convpp.conv(x, again, **options), want)


def test_pickles_of_other_processes() -> None:
    x, w = np.arange(98.0).reshape(1, 2, 7, 7), np.arange(36.0).reshape(2, 2, 3, 3)
    stored = pickle.dumps(convpp.prepare_weights(w, x.shape, padding=1))
    script = f"""
    import pickle, sys
    import numpy as np
    prepared = pickle.loads({stored!r})
    import convpp
    print(convpp.conv(np.arange(98.0).reshape(1, 2, 7, 7), prepared).sum())
    """
    assert float(succeed(script)) == convpp.conv(x, w, padding=1).sum()


def test_copies_are_itself() -> None:
    prepared = convpp.prepare_weights(np.ones((1, 1, 3)), (1, 1, 9))
    assert copy.copy(prepared) is prepared
    assert copy.deepcopy([prepared])[0] is prepared
