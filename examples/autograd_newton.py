"""
A blur, found by one step of Newton's method
============================================

Which blur made this picture?  Found in one step of Newton's method, with the Hessian from HIPS autograd.

The sum of squares ``|convolve(picture, kernel) - blurred|^2`` is quadratic in the kernel: from anywhere, one step with
the exact Hessian ends at the answer.  It takes derivatives of derivatives of the convolution: autograd asks convpp.

::

    pip install "convpp[autograd]"
"""

from typing import Any

import autograd.numpy as np
from autograd import grad, hessian

import convpp
from convpp.autograd import convolve

rng = np.random.default_rng(0)
picture = rng.random((64, 80))
blur = convpp.gaussian(0.8, ndim=2)[1:-1, 1:-1]
options: dict[str, Any] = {"mode": "same", "boundary": "reflect"}
blurred = convpp.convolve(picture, blur, **options)


def loss(kernel: np.ndarray) -> np.ndarray:
    """Half the sum of squares."""
    return np.sum((convolve(picture, kernel, **options) - blurred) ** 2) / 2


guess = np.zeros(blur.shape)
size = blur.size
step = np.linalg.solve(hessian(loss)(guess).reshape(size, size), grad(loss)(guess).ravel())
found = guess - step.reshape(blur.shape)
print(np.round(found, 4))
print(f"largest error {np.abs(found - blur).max():.0e}")
assert np.abs(found - blur).max() < 1e-10
print("one step found the blur")
