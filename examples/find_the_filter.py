"""
Find an unknown filter
======================

From what goes in and what comes out, by gradient descent: ``conv_weight_grad`` says how the squared error changes with
each weight; thirty steps against it find the filter that made the data.

::

    python examples/find_the_filter.py
"""

import matplotlib.pyplot as plt
import numpy as np

import convpp

rng = np.random.default_rng(0)
hidden = np.array([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]])[None, None]
x = rng.standard_normal((4, 1, 32, 32))
seen = convpp.conv(x, hidden, padding=1)

# %%
# The loss is the mean squared error, and ``dy`` its gradient.

w = np.zeros_like(hidden)
errors, filters = [], [w.copy()]
for step in range(31):
    error = convpp.conv(x, w, padding=1) - seen
    errors.append(np.mean(error**2))
    if step % 10 == 0:
        print(f"step {step:2}: mean squared error {errors[-1]:.2e}")
    dy = 2 * error / error.size
    w -= 0.2 * convpp.conv_weight_grad(dy, x, w.shape, padding=1)
    filters.append(w.copy())

print("\nfound:")
print(np.round(w[0, 0], 3) + 0.0)
assert np.allclose(w, hidden, atol=1e-3)

# %%
# What the filter was on the way:

figure, axes = plt.subplots(1, 5, figsize=(8, 2), layout="constrained")
for axis, step in zip(axes, (0, 1, 3, 6, 30), strict=True):
    axis.imshow(filters[step][0, 0], cmap="RdBu", vmin=-2, vmax=2)
    axis.set_title(f"step {step}")
    axis.set_axis_off()
plt.show()
