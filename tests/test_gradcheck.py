"""`gradcheck` of functions: right gradients, wrong ones and where; bounds, steps, samples; wrong calls.

Of layers: test_gradcheck_layers.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convpp import DTypeError
from convpp.testing import GradientError, gradcheck, reference_conv, reference_input_grad, reference_weight_grad

X = np.array([[1.0, 2.0], [-1.5, 0.5], [0.25, -3.0]])


def test_functions() -> None:
    def product(a: Any, b: Any) -> Any:
        return a * b, lambda dy: (dy * b, dy * a)

    def spoilt(a: Any, b: Any) -> Any:
        return a * b, lambda dy: (dy * b, dy * a * np.array([1.0, 1.0, 1.01]))

    a, b = np.arange(3.0), np.array([1.0, -2.0, 4.0])
    assert gradcheck(product, a, b)
    with pytest.raises(AssertionError, match=r"array 1\[2\]"):
        gradcheck(spoilt, a, b)
    with pytest.raises(AssertionError, match=r"array 1\[2\], of output \[2\]"):
        gradcheck(spoilt, a, b, jacobian=True)
    assert gradcheck(lambda x: (np.sin(x), lambda dy: dy * np.cos(x.copy())), a)


def test_float32_and_integers_are_promoted() -> None:
    def square(x: Any) -> Any:
        assert x.dtype == np.float64
        return x**2, lambda dy: 2 * dy * x

    assert gradcheck(square, X.astype(np.float32))
    assert gradcheck(square, [1, 2, 3])


def test_none_is_skipped() -> None:
    assert gradcheck(lambda a, b: (a * b, lambda dy: (dy * b, None)), np.ones(2), np.ones(2))


def test_the_worst_of_many_is_reported() -> None:
    def several(x: Any) -> Any:
        return x**2, lambda dy: 2 * dy * x * np.array([1.01, 1.0, 3.0, 1.02])

    with pytest.raises(GradientError, match=r"worst at x\[2\]") as caught:
        gradcheck(several, np.ones(4))
    assert caught.value.counts == {"x": (3, 4)}


def test_nan_shapes_and_counts() -> None:
    with pytest.raises(AssertionError, match=r"x\[0\].*nan"):
        gradcheck(lambda x: (x * 1.0, lambda dy: dy * np.nan), np.ones(1))
    with pytest.raises(AssertionError, match=r"x\[0\].*nan"):
        gradcheck(lambda x: (x * np.nan, lambda dy: dy), np.ones(1))
    with pytest.raises(AssertionError, match=r"shape \(\), expected \(2,\)"):
        gradcheck(lambda x: (x * 1.0, lambda dy: dy.sum()), np.ones(2))
    with pytest.raises(AssertionError, match="returned 1 gradients, expected 2"):
        gradcheck(lambda x, y: (x * y, lambda dy: dy * y), np.ones(2), np.ones(2))


def test_empty_arrays() -> None:
    for jacobian in (False, True):
        assert gradcheck(lambda x: (x * 2, lambda dy: dy * 2), np.ones((0, 3)), jacobian=jacobian)
        assert gradcheck(lambda x: (x[:0], lambda dy: np.zeros(2)), np.ones(2), jacobian=jacobian)


# -------------------------------------------------------------------------------- bounds, steps, samples


def test_the_bound_is_relative_to_the_terms_of_each_entry() -> None:
    factors = np.array([1e-5, 1.0, 1e6])

    def linear(x: Any) -> Any:
        return x * factors, lambda dy: dy * factors * (1 + errors)

    for place in range(3):  # a relative error of 1e-2 is one, in the small entry as in the large one
        errors = np.zeros(3)
        errors[place] = 1e-2
        with pytest.raises(GradientError, match=rf"worst at x\[{place}\]"):
            gradcheck(linear, np.ones(3))
    errors = np.full(3, 1e-8)
    assert gradcheck(linear, np.ones(3))
    with pytest.raises(GradientError):
        gradcheck(linear, np.ones(3), rtol=1e-10, atol=0)


def test_sums_that_cancel_may_err_by_as_much_as_their_terms_round() -> None:
    ones = np.ones(10_000)

    def much_cancels(x: Any) -> Any:  # d(sum of dy * y) is the sum of dy, times 1e6
        return 1e6 * x * ones, lambda dy: np.array([1e6 * dy.sum()])

    assert gradcheck(much_cancels, np.array([0.3]))


def test_values_of_every_size(rng: np.random.Generator) -> None:
    for size in (1e-3, 1.0, 1e4):
        x = size * rng.standard_normal(20)
        assert gradcheck(lambda x: (x**3 / 3, lambda dy: dy * x**2), x)
    assert gradcheck(lambda x: (np.sin(1e6 * x), lambda dy: 1e6 * dy * np.cos(1e6 * x)), 1e-6 * X, step=1e-11)


def test_the_message_suspects_kinks_and_rounding() -> None:
    def relu(x: Any) -> Any:
        return np.maximum(x, 0), lambda dy: dy * (x > 0)

    assert gradcheck(relu, [1.0, -1.0, 0.1])
    with pytest.raises(GradientError, match=r"x\[1\].*is there a kink"):
        gradcheck(relu, [1.0, 0.0, 0.1])
    with pytest.raises(GradientError, match="rounding of y alone"):
        gradcheck(lambda x: (x + 1e9, lambda dy: dy), [0.5])
    with pytest.raises(GradientError) as caught:
        gradcheck(lambda x: (x**2, lambda dy: dy * x), [0.5])
    assert caught.value.worst.hint == ""


def test_samples_limit_the_work() -> None:
    calls = 0

    def counted(x: Any) -> Any:
        nonlocal calls
        calls += 1
        return x * 2, lambda dy: dy * 2

    assert gradcheck(counted, np.ones(1000), samples=5)
    assert calls == 3 + 2 * 5 + 2  # y twice, backward, the samples, the direction


def test_what_is_not_sampled_is_checked_along_a_direction() -> None:
    def spoilt(x: Any) -> Any:
        return 2 * x, lambda dy: 2 * dy * (np.arange(1000) != 456)

    with pytest.raises(GradientError, match="worst at a random direction of x") as caught:
        gradcheck(spoilt, np.ones(1000), samples=3)
    assert caught.value.worst.index is None
    assert caught.value.counts == {"x": (1, 4)}


def test_the_same_seed_samples_the_same_entries() -> None:
    def spoilt(x: Any) -> Any:
        return x * 2, lambda dy: dy * np.linspace(1, 3, 1000)

    def worst(rng: Any) -> Any:
        with pytest.raises(GradientError) as caught:
            gradcheck(spoilt, np.ones(1000), samples=20, rng=rng)
        return caught.value.worst

    assert worst(3) == worst(3) == worst(np.random.default_rng(3))
    assert worst(3) != worst(4)


# --------------------------------------------------------------------------------------- wrong calls


def test_a_forward_pass_that_is_random_or_changes_its_input_is_said() -> None:
    random = np.random.default_rng(0)
    with pytest.raises(AssertionError, match="two results for the same input"):
        gradcheck(lambda x: (x * random.random(), lambda dy: dy), np.ones(2))

    def in_place(x: Any) -> Any:
        def backward(dy: Any) -> Any:
            x[0] = 0
            return dy

        return x * 1.0, backward

    with pytest.raises(AssertionError, match="x was changed"):
        gradcheck(in_place, np.ones(2))


def test_wrong_calls() -> None:
    with pytest.raises(DTypeError, match="float32"):
        gradcheck(lambda x: (x.astype(np.float32), lambda dy: dy), np.ones(2))
    with pytest.raises(DTypeError, match="tuple"):
        gradcheck(lambda x: ((x, x), lambda dy: dy), np.ones(2))
    with pytest.raises(DTypeError, match=r"array 1 has dtype complex128"):
        gradcheck(lambda x, z: (x, lambda dy: dy), np.ones(2), np.ones(2) * 1j)
    with pytest.raises(ValueError, match="at least one array"):
        gradcheck(lambda: (np.ones(1), lambda dy: ()))
    for bounds in ({"rtol": -1.0}, {"atol": np.nan}, {"rtol": 0.0, "atol": 0.0}):
        with pytest.raises(ValueError, match=r"rtol is .* and atol is"):
            gradcheck(lambda x: (x, lambda dy: dy), np.ones(1), **bounds)
    for returned in (np.ones(2), np.ones((1, 2)), (np.ones(2), 3), None, ()):
        with pytest.raises(ValueError, match=r"the function returned .*, expected \(y, backward\)"):
            gradcheck(lambda x, y=returned: y, np.ones(2))
    with pytest.raises(ValueError, match="is given 5, expected a layer or a function"):
        gradcheck(5, np.ones(2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="step is 1e-17, expected one that changes x"):
        gradcheck(lambda x: (x, lambda dy: dy), np.ones(1), step=1e-17)


def test_the_references(rng: np.random.Generator) -> None:
    options: Any = {"stride": 2, "padding": ((1, 2), (0, 1)), "dilation": (1, 2), "groups": 2}

    def function(x: Any, w: Any, b: Any) -> Any:
        def backward(dy: Any) -> Any:
            dx = reference_input_grad(dy, w, x.shape, **options)
            return dx, reference_weight_grad(dy, x, w.shape, **options), dy.sum(axis=(0, 2, 3))

        return reference_conv(x, w, b, **options), backward

    shapes = ((2, 4, 5, 6), (4, 2, 2, 3), (4,))
    assert gradcheck(function, *(rng.standard_normal(shape) for shape in shapes))
