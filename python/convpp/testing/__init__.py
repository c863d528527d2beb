"""Checks for convolutions and for any code with a backward pass: references, finite differences, adjoints.

In: arrays, a layer, or functions.  Out: ``True``, or an ``AssertionError`` that says what is wrong.
All of it is plain NumPy; nothing here needs the compiled core.

Next: ``reference.py`` and ``pooling.py`` (convolutions, pooling and their gradients by definition), ``gradcheck.py``
(finite differences), ``adjoint.py`` (the transpose of a linear map), ``examples/custom_layer_gradcheck.py``.
"""

from convpp.testing.adjoint import adjoint_test
from convpp.testing.differentiable import Layer
from convpp.testing.gradcheck import GradientError, WrongEntry, gradcheck
from convpp.testing.pooling import (
    reference_avg_pool,
    reference_avg_pool_input_grad,
    reference_max_pool,
    reference_max_pool_input_grad,
)
from convpp.testing.reference import reference_conv, reference_input_grad, reference_weight_grad

__all__ = [
    "GradientError",
    "Layer",
    "WrongEntry",
    "adjoint_test",
    "gradcheck",
    "reference_avg_pool",
    "reference_avg_pool_input_grad",
    "reference_conv",
    "reference_input_grad",
    "reference_max_pool",
    "reference_max_pool_input_grad",
    "reference_weight_grad",
]
