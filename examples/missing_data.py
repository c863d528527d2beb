"""
Smooth what is only partly there
================================

A map of depths is smoothed, of the sea alone: land is no sea of depth 0.  With ``mask=`` (or NaN, or a masked array) a
sum is divided by the weights of what is there, so that nothing leaks over the coast.

::

    pip install matplotlib
    python examples/missing_data.py

The map is the one that matplotlib brings: the strait between Vancouver Island and the mainland.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cbook

import convpp

file = str(cbook.get_sample_data("topobathy.npz", asfileobj=False))
heights = np.load(file)["topo"]  # (91, 120), metres above the sea
land = heights >= 0
sea = np.ma.masked_array(heights, mask=land)
kernel = convpp.gaussian(3.0, ndim=2)

# %%
# Three ways
# ----------
# Zeros for the land make the sea too shallow near each coast.  A masked array says what is meant; with
# ``boundary=np.nan`` and ``nan="ignore"`` nothing is known beyond the map, either.

as_zeros = convpp.convolve(np.where(land, 0, heights), kernel, mode="same")
as_mask = convpp.convolve(sea, kernel, mode="same", boundary=np.nan, nan="ignore")
assert isinstance(as_mask, np.ma.MaskedArray)

# %%
# Near a coast, little of the kernel lies in the sea.  A sum with zeros for the land is too small by what does not; the
# mean over what is there is that sum, divided by the share.

share = convpp.convolve(~land, kernel, mode="same")
coast = ~land & (share < 0.5)
print(f"near the coast {share[coast].mean():.0%} of the kernel lies in the sea; the mean depth there is")
for name, depths in {"measured": sea, "zeros for land": as_zeros, "a mask": as_mask}.items():
    print(f"{name:>15}: {-depths[coast].mean():.0f} m")
np.testing.assert_allclose(as_mask[~land], as_zeros[~land] / share[~land], rtol=1e-6)

# %%

figure, axes = plt.subplots(1, 3, figsize=(8, 2.9), layout="constrained")
images = []
pictures = {"depths": sea, "zeros for land": as_zeros, "a mask": as_mask}
for axis, (title, picture) in zip(axes, pictures.items(), strict=True):
    axis.set_facecolor("#d6cfbf")
    sea_alone = np.ma.masked_array(picture, land)
    images.append(axis.imshow(sea_alone, origin="lower", cmap="viridis", vmin=-400, vmax=0))
    axis.set_title(title)
    axis.set_xticks([])
    axis.set_yticks([])
figure.colorbar(images[-1], ax=axes, label="metres", shrink=0.8)
plt.show()
