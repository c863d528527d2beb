"""
Make a blurred photograph sharp
===============================

A blurred and noisy photograph is made sharp again, by three solvers of SciPy on one operator of convpp.

::

    pip install scipy matplotlib
    python examples/deblur.py

The blur is y = A x + noise.  The solvers look for the x near y that makes ``|A x - y|^2 + weight^2 |x - y|^2`` least.
All they need is A and its adjoint: of a convolution, a convolution and its input gradient.  The photograph is the
portrait of Grace Hopper that matplotlib brings (James S. Davis, US Navy, public domain).

LSQR: Paige and Saunders 1982, doi:10.1145/355984.355989.  LSMR: Fong and Saunders 2011, doi:10.1137/10079687X.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook
from scipy.sparse.linalg import LinearOperator, cg, lsmr, lsqr

from convpp.operators import Convolution

NOISE = 0.002  # of a range of 1
WEIGHT = 0.05  # smaller: sharper, and more of the noise
ITERATIONS = 100

photograph = plt.imread(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))) / 255
sharp = photograph[20:300, 130:410] @ [0.299, 0.587, 0.114]

# %%
# Out of focus
# ------------
# A lens out of focus makes a disc of a point.  The operator convolves arrays of one shape; what lies beyond the picture
# is as in a mirror, and the adjoint knows that.

rows, columns = np.mgrid[-5:6, -5:6]
disc = np.clip(5 - np.hypot(rows, columns), 0, 1)
blur = Convolution(sharp.shape, disc / disc.sum(), boundary="symmetric")
blurred = blur(sharp) + NOISE * np.random.default_rng(0).standard_normal(sharp.shape)


def decibels(found: np.ndarray) -> float:
    """The peak signal-to-noise ratio."""
    return float(-10 * np.log10(np.mean((found - sharp) ** 2)))


print(f"a disc of radius 4.5 and some noise: {decibels(blurred):.1f} dB")

# %%
# Three solvers
# -------------
# What is left to be explained by x - y is y - A y.  Conjugate gradients take a symmetric operator: the left side of
# (A^T A + weight^2) x = A^T y.

left = (blurred - blur(blurred)).ravel()
normal = LinearOperator(
    (sharp.size, sharp.size), matvec=lambda x: blur.rmatvec(blur.matvec(x)) + WEIGHT**2 * x, dtype=float
)
steps = {
    "lsqr": lsqr(blur, left, damp=WEIGHT, atol=1e-9, btol=1e-9, iter_lim=ITERATIONS)[0],
    "lsmr": lsmr(blur, left, damp=WEIGHT, atol=1e-9, btol=1e-9, maxiter=ITERATIONS)[0],
    "cg": cg(normal, blur.rmatvec(left), rtol=1e-9, maxiter=ITERATIONS)[0],
}
found = {name: blurred + step.reshape(sharp.shape) for name, step in steps.items()}
for name, image in found.items():
    print(f"{name}: {decibels(image):.1f} dB")
    assert np.abs(image - found["cg"]).max() < 1e-3
assert decibels(found["cg"]) - decibels(blurred) > 3
print("the three agree, and the photograph is sharp again")

# %%

figure, axes = plt.subplots(1, 3, figsize=(9, 3.4), layout="constrained")
pictures = {"the photograph": sharp, "out of focus, noisy": blurred, "solved by LSQR": found["lsqr"]}
for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
    axis.set_title(title)
    axis.set_axis_off()
plt.show()
