"""
Larger than memory
==================

An array on disk is blurred into another one, a strip at a time: only a strip and what the kernel reaches beyond it is
in memory.  The result has the bits of the whole array's.

    pip install scikit-learn matplotlib
    python examples/larger_than_memory.py
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

import convpp

# %%
# A mosaic on disk
# ----------------
# 10 times 8 copies of a photograph, 87 MB.  (Any array that is sliced like one of NumPy's would do.)

photograph = load_sample_image("flower.jpg")[..., 1] / np.float32(255)
height, width = photograph.shape
folder = tempfile.TemporaryDirectory()
shape = (10 * height, 8 * width)
source = np.lib.format.open_memmap(Path(folder.name) / "mosaic.npy", "w+", np.float32, shape)
for row in range(10):
    source[row * height : (row + 1) * height] = np.tile(photograph, 8) * np.float32(1 - row / 12)
print(f"{shape[0]} x {shape[1]} pixels, {source.nbytes / 2**20:.0f} MB")

# %%
# Strip by strip
# --------------
# A row of the result reads ``reach`` rows above and below it.  Those that lie beyond the mosaic are mirrored; all else
# is read from the neighbouring strips: ``mode="valid"`` adds nothing along the rows.

kernel = convpp.gaussian(5.0, ndim=2)
reach, strip = len(kernel) // 2, 256
target = np.lib.format.open_memmap(Path(folder.name) / "blurred.npy", "w+", np.float32, shape)
for first in range(0, shape[0], strip):
    last = min(first + strip, shape[0])
    rows = np.pad(np.arange(shape[0]), reach, mode="symmetric")[first : last + 2 * reach]
    piece = np.pad(source[rows], ((0, 0), (reach, reach)), mode="symmetric")
    target[first:last] = convpp.convolve(piece, kernel.astype(np.float32), mode="valid")
target.flush()

# %%
# The same of the whole, which here does fit:

whole = convpp.convolve(source, kernel.astype(np.float32), mode="same", boundary="symmetric")
print(f"largest difference: {np.abs(whole - target).max():.0e}")

figure, axes = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
for axis, (title, array) in zip(axes, {"on disk": source, "blurred": target}.items(), strict=True):
    axis.imshow(array[: 3 * height : 4, : 3 * width : 4], cmap="gray", vmin=0, vmax=1)
    axis.set_title(title)
    axis.set_axis_off()
plt.show()

# %%
# Files that nobody needs any more are removed.

del source, target
folder.cleanup()
