"""
Blur and edges of a photograph
==============================

``convolve`` takes a photograph as it is, (H, W, 3), and blurs each colour.  ``conv`` applies several filters at once:
Sobel's two make the slopes of the picture along its axes, and the slopes make its edges.

::

    pip install scikit-learn matplotlib
    python examples/edge_detection.py
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import convpp

photograph = load_sample_image("china.jpg") / np.float32(255)  # (427, 640, 3), 0 to 1

# %%
# Blur
# ----
# The kernel is a product of a row and a column, which ``convolve`` finds out: it blurs one axis after the other.
# Beyond the picture's ends it goes on as in a mirror, so that the borders do not get dark.

blurred = convpp.convolve(photograph, convpp.gaussian(4.0, ndim=2), axes=(0, 1), mode="same", boundary="reflect")

# %%
# Edges
# -----
# Two filters over one channel are weights of shape (K, C, R, S) = (2, 1, 3, 3).  They are applied to the gray picture,
# a little blurred: edges of single pixels are noise.

gray = photograph @ np.array([0.299, 0.587, 0.114], np.float32)
smooth = convpp.convolve(gray, convpp.gaussian(1.0, ndim=2), mode="same", boundary="reflect")
filters = np.stack([convpp.sobel(0), convpp.sobel(1)])[:, None].astype(np.float32)
slopes = convpp.conv(smooth[None], filters, padding="same", padding_mode="reflect")  # (2, H, W)
edges = np.hypot(slopes[0], slopes[1])
print(f"slopes: {slopes.shape}, the steepest at {divmod(int(edges.argmax()), edges.shape[1])}")

# %%
# The direction of a slope is known, too: it is shown as a colour, and how steep it is as the brightness.

angle = np.arctan2(slopes[0], slopes[1])
colours = plt.get_cmap("twilight")((angle + np.pi) / (2 * np.pi))[..., :3] * np.clip(edges / 0.8, 0, 1)[..., None]

figure, axes = plt.subplots(2, 2, figsize=(8, 5.8), layout="constrained")
pictures = {"photograph": photograph, "blurred": blurred.clip(0, 1), "edges": edges, "their directions": colours}
for axis, (title, picture) in zip(axes.flat, pictures.items(), strict=True):
    axis.imshow(picture, cmap="gray_r")
    axis.set_title(title)
    axis.set_axis_off()
plt.show()
