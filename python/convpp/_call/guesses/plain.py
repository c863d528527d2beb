"""Arrays without channels, which conv does not take, and weights that fit though their axes may be in another order.

In: shapes.   Out: what to call for plain arrays; a warning for weights that fit in two ways.
Next: ``shapes.py``, ``callers.py``, ``../planning.py``.
"""

from __future__ import annotations

import warnings

from convpp._call.guesses.arrays import PICTURE_CHANNELS
from convpp._call.guesses.callers import files_of_package
from convpp._call.options import Options, TransposeOptions

Shape = tuple[int, ...]


def of_plain(x: Shape, w: Shape) -> list[str]:
    """The call for an array and a kernel that have no channels, if they look like that."""
    rank = len(w)
    if not 1 <= rank <= 3 or len(x) < rank or (rank == 3 and len(set(w)) > 1):
        return []
    batch = len(x) - rank
    inner = x[batch - 1 : -1]
    if batch and rank > 1 and x[-1] in PICTURE_CHANNELS and all(k <= n for k, n in zip(w, inner, strict=True)):
        return [f"convpp.convolve(x, w, axes={tuple(range(batch - 1, len(x) - 1))}), for arrays without channels"]
    if batch > 2 or any(k > n for k, n in zip(w, x[batch:], strict=True)):
        return []
    return ["convpp.convolve(x, w), for arrays without channels"]


def looks_like_hwio(w: Shape) -> bool:
    """Whether w, which fits as (K, C/groups, \\*kernel), looks like (\\*kernel, C/groups, K) and fits so, too.

    That is: its first axes are a square kernel of 3, 5 or 7, its last but one is C/groups, and its last ones would be a
    kernel that is neither square nor a column.  (Kernels of one axis do not look like anything.)
    """
    rank = len(w) - 2
    return rank >= 2 and w[0] in (3, 5, 7) and set(w[:rank]) == {w[0]} and w[1] == w[-2] and w[-1] not in (1, w[1])


def warn_of_order(w: Shape, options: Options) -> None:
    """A warning where the call is, for weights that fit in two ways; those of layers are in our order."""
    if options.conv.per_sample or not looks_like_hwio(w):
        return
    files = files_of_package()
    if any(file.parent.name == "nn" for file in files):
        return
    ours, theirs, name = "(K, C/groups, *kernel)", "(*kernel, C/groups, K)", "from_hwio"
    if isinstance(options, TransposeOptions):
        ours, theirs, name = "(C_in, C_out/groups, *kernel)", "(*kernel, C_out/groups, C_in)", "from_hwoi"
    kernels = [" x ".join(map(str, kernel)) for kernel in (w[2:], w[:-2])]
    warnings.warn(
        f"w has shape {w} and is read as {ours}, with kernels of {kernels[0]}; it would fit as {theirs} too, the "
        f"order of TensorFlow and Keras, with kernels of {kernels[1]}: that is convpp.conventions.{name}(w)",
        stacklevel=len(files) + 1,
    )
