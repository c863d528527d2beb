"""
Larger than memory
==================

An array on disk is convolved into another file, block by block: a block and what its filters reach beyond it is in
memory, while the next one is being read.  The result has the bits of the whole array's.

::

    pip install scikit-learn matplotlib
    python examples/larger_than_memory.py
"""

import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import convpp

# %%
# A mosaic on disk
# ----------------
# 10 times 8 copies of a photograph.  (Anything that is sliced like an array would do: HDF5, Zarr.)

photograph = load_sample_image("flower.jpg")[..., 1] / np.float32(255)
height, width = photograph.shape
folder = tempfile.TemporaryDirectory()
mosaic = np.lib.format.open_memmap(
    Path(folder.name, "mosaic.npy"), "w+", dtype=np.float32, shape=(1, 1, 10 * height, 8 * width)
)
for row in range(10):
    mosaic[0, 0, row * height : (row + 1) * height] = np.tile(photograph, 8) * np.float32(1 - row / 12)
print(f"{mosaic.shape[2]} x {mosaic.shape[3]} pixels, {mosaic.nbytes / 2**20:.0f} MiB")

# %%
# Block by block
# --------------
# Two filters, the slopes of a Gaussian: edges across and along.  ``chunks`` is the memory of a block's arrays.  Had it
# been interrupted, ``resume=True`` would go on with the blocks that are not yet in the file.

line = convpp.gaussian(1.0)
slope = np.gradient(line)
w = np.stack([np.outer(slope, line), np.outer(line, slope)])[:, None].astype(np.float32)
how: dict[str, Any] = {"padding": "same", "padding_mode": "reflect"}
edges = convpp.conv_tiled(mosaic, w, **how, chunks="16 MiB", out=Path(folder.name, "edges.npy"))
blocks = convpp.tiles("forward", mosaic.shape, w.shape, "16 MiB", **how)
print(f"{len(blocks)} blocks; the result has {edges.nbytes / 2**20:.0f} MiB")

# %%
# The same of the whole, which here does fit:

whole = convpp.conv(mosaic, w, **how, algorithm="stream")
print(f"largest difference: {np.abs(whole - edges).max():.0e}")

figure, axes = plt.subplots(1, 2, figsize=(8, 3.1), layout="constrained")
part = np.s_[: 3 * height : 4, : 3 * width : 4]
axes[0].imshow(mosaic[0, 0][part], cmap="gray", vmin=0, vmax=1)
axes[1].imshow(np.hypot(edges[0, 0], edges[0, 1])[part], cmap="gray_r", vmax=0.15)
for axis, title in zip(axes, ("a part of what is on disk", "its edges"), strict=True):
    axis.set_title(title)
    axis.set_axis_off()
plt.show()

# %%
# Files that nobody needs any more are removed.

del mosaic, edges
folder.cleanup()
