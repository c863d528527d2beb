"""Weights of other libraries as those of ``conv`` and ``conv_transpose``, and back.

In: arrays of any dtype.   Out: views of them where that is possible.   Public as ``convpp.conventions``.

    layout                          of                                              here
    (*kernel, C/groups, K)          TensorFlow, Keras, JAX, Flax                    from_hwio, to_hwio
    (K, *kernel, C/groups)          MLX, TensorFlow Lite                            from_ohwi, to_ohwi
    (*kernel, C, multiplier)        TensorFlow's and Keras's depthwise layers       from_depthwise, to_depthwise
    (*kernel, C_out/groups, C_in)   TensorFlow's and Keras's transposed layers,     from_hwoi, to_hwoi
                                    JAX's with transpose_kernel=True
    (*kernel, C_in/groups, C_out)   JAX's and Flax's transposed layers              from_jax_transpose,
                                    (transpose_kernel=False: rotated, too)          to_jax_transpose

Next: ``arguments.py``, the same for arguments.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import as_int
from convpp._call.validation import Array, as_array
from convpp.errors import ShapeError
from convpp.functional import adjoint_kernel


def from_hwio(w: npt.ArrayLike) -> Array:
    """Weights of TensorFlow, Keras, JAX ("HWIO") and Flax for ``conv``.

    ``result[k, c, r] = w[r, c, k]``

    Parameters
    ----------
    w : (\\*kernel, C/groups, K), any dtype; 1, 2 or 3 kernel axes

    Returns
    -------
    (K, C/groups, \\*kernel), a view of w
        ``conv`` copies a view once at each call; ``np.ascontiguousarray`` does it for good.

    Raises
    ------
    ShapeError : w has not 3, 4 or 5 axes.
    DTypeError : w is no array, or a masked one.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.conventions import from_hwio
    >>> from_hwio(np.ones((7, 5, 3, 64))).shape
    (64, 3, 7, 5)
    """
    w = _weights(w, "(*kernel, C/groups, K)")
    return w.transpose(w.ndim - 1, w.ndim - 2, *range(w.ndim - 2))


def to_hwio(w: npt.ArrayLike) -> Array:
    """Weights of ``conv`` for TensorFlow, Keras, JAX and Flax: the inverse of `from_hwio`.

    ``result[r, c, k] = w[k, c, r]``

    Parameters
    ----------
    w : (K, C/groups, \\*kernel), any dtype

    Returns
    -------
    (\\*kernel, C/groups, K), a view of w

    Raises
    ------
    ShapeError : w has not 3, 4 or 5 axes.
    DTypeError : w is no array, or a masked one.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.conventions import to_hwio
    >>> to_hwio(np.ones((64, 3, 7, 5))).shape
    (7, 5, 3, 64)
    """
    w = _weights(w, "(K, C/groups, *kernel)")
    return w.transpose(*range(2, w.ndim), 1, 0)


def from_ohwi(w: npt.ArrayLike) -> Array:
    """Weights of MLX and TensorFlow Lite ("OHWI", also "KRSC") for ``conv``.

    ``result[k, c, r] = w[k, r, c]``

    Parameters
    ----------
    w : (K, \\*kernel, C/groups), any dtype; 1, 2 or 3 kernel axes

    Returns
    -------
    (K, C/groups, \\*kernel), a view of w

    Raises
    ------
    ShapeError : w has not 3, 4 or 5 axes.
    DTypeError : w is no array, or a masked one.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.conventions import from_ohwi
    >>> from_ohwi(np.ones((64, 7, 5, 3))).shape
    (64, 3, 7, 5)
    """
    return np.moveaxis(_weights(w, "(K, *kernel, C/groups)"), -1, 1)


def to_ohwi(w: npt.ArrayLike) -> Array:
    """Weights of ``conv`` for MLX and TensorFlow Lite: the inverse of `from_ohwi`.

    ``result[k, r, c] = w[k, c, r]``

    Parameters
    ----------
    w : (K, C/groups, \\*kernel), any dtype

    Returns
    -------
    (K, \\*kernel, C/groups), a view of w

    Raises
    ------
    ShapeError : w has not 3, 4 or 5 axes.
    DTypeError : w is no array, or a masked one.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.conventions import to_ohwi
    >>> to_ohwi(np.ones((64, 3, 7, 5))).shape
    (64, 7, 5, 3)
    """
    return np.moveaxis(_weights(w, "(K, C/groups, *kernel)"), 1, -1)


def from_depthwise(w: npt.ArrayLike) -> Array:
    """Weights of TensorFlow's and Keras's depthwise layers for ``conv(..., groups=C)``.

    ``result[c * multiplier + m, 0, r] = w[r, c, m]``

    Parameters
    ----------
    w : (\\*kernel, C, multiplier), any dtype; 1, 2 or 3 kernel axes

    Returns
    -------
    (C * multiplier, 1, \\*kernel), a view of w where its strides allow it (it is C-contiguous, say), else a copy

    Raises
    ------
    ShapeError : w has not 3, 4 or 5 axes.
    DTypeError : w is no array, or a masked one.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> w = np.ones((3, 3, 16, 2))
    >>> convpp.conventions.from_depthwise(w).shape
    (32, 1, 3, 3)
    >>> convpp.conv(np.ones((1, 16, 8, 8)), convpp.conventions.from_depthwise(w), groups=16).shape
    (1, 32, 6, 6)
    """
    w = _weights(w, "(*kernel, C, multiplier)")
    kernel, (channels, multiplier) = w.shape[:-2], w.shape[-2:]
    first = w.transpose(w.ndim - 2, w.ndim - 1, *range(w.ndim - 2))
    return first.reshape(channels * multiplier, 1, *kernel)


def to_depthwise(w: npt.ArrayLike, groups: int) -> Array:
    """Weights of ``conv(..., groups=C)`` for TensorFlow's and Keras's depthwise layers: inverse of `from_depthwise`.

    ``result[r, c, m] = w[c * multiplier + m, 0, r]``

    Parameters
    ----------
    w : (C * multiplier, 1, \\*kernel), any dtype
    groups : C

    Returns
    -------
    (\\*kernel, C, multiplier), a view of w where its strides allow it, else a copy

    Raises
    ------
    ShapeError : w has not 3, 4 or 5 axes, more than one channel, or filters that ``groups`` does not divide.
    ValueError : ``groups`` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.conventions import to_depthwise
    >>> to_depthwise(np.ones((32, 1, 3, 3)), groups=16).shape
    (3, 3, 16, 2)
    """
    w = _weights(w, "(C * multiplier, 1, *kernel)")
    groups = as_int(groups, "groups")
    if groups < 1:
        raise ValueError(f"groups is {groups}, expected 1 or more")
    if w.shape[1] != 1 or w.shape[0] % groups:
        raise ShapeError(f"w has shape {w.shape}, expected (C * multiplier, 1, *kernel) with C = groups = {groups}")
    split = w.reshape(groups, w.shape[0] // groups, *w.shape[2:])
    return split.transpose(*range(2, split.ndim), 0, 1)


def from_hwoi(w: npt.ArrayLike) -> Array:
    """Weights of TensorFlow's and Keras's transposed layers for ``conv_transpose``.

    ``result[c, k, r] = w[r, k, c]``: nothing is rotated.  They are the weights (\\*kernel, I, O) of the convolution
    whose input gradient the layer is.  JAX's with ``transpose_kernel=True`` are the same.

    Parameters
    ----------
    w : (\\*kernel, C_out/groups, C_in), any dtype; 1, 2 or 3 kernel axes

    Returns
    -------
    (C_in, C_out/groups, \\*kernel), a view of w

    Raises
    ------
    ShapeError : w has not 3, 4 or 5 axes.
    DTypeError : w is no array, or a masked one.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> w = np.ones((4, 4, 8, 16))
    >>> y = convpp.conv_transpose(np.ones((1, 16, 7, 7)), convpp.conventions.from_hwoi(w), stride=2, padding="same")
    >>> y.shape
    (1, 8, 14, 14)
    """
    return from_hwio(_weights(w, "(*kernel, C_out/groups, C_in)"))


def to_hwoi(w: npt.ArrayLike) -> Array:
    """Weights of ``conv_transpose`` for TensorFlow's and Keras's transposed layers: the inverse of `from_hwoi`.

    ``result[r, k, c] = w[c, k, r]``

    Parameters
    ----------
    w : (C_in, C_out/groups, \\*kernel), any dtype

    Returns
    -------
    (\\*kernel, C_out/groups, C_in), a view of w

    Raises
    ------
    ShapeError : w has not 3, 4 or 5 axes.
    DTypeError : w is no array, or a masked one.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.conventions import to_hwoi
    >>> to_hwoi(np.ones((16, 8, 4, 4))).shape
    (4, 4, 8, 16)
    """
    return to_hwio(_weights(w, "(C_in, C_out/groups, *kernel)"))


def from_jax_transpose(w: npt.ArrayLike, groups: int = 1) -> Array:
    """Weights of ``jax.lax.conv_transpose`` and Flax's ``ConvTranspose`` for ``conv_transpose``.

    ``result[c, k, r] = w[kernel - 1 - r, c, k]`` (for one group): rotated, since JAX slides the kernel as it is over
    an input with zeros between its elements.  With ``transpose_kernel=True`` JAX rotates it itself: `from_hwoi`.

    Parameters
    ----------
    w : (\\*kernel, C_in/groups, C_out), any dtype; 1, 2 or 3 kernel axes
    groups : int
        ``feature_group_count`` of ``jax.lax.conv_general_dilated(..., lhs_dilation=...)``.

    Returns
    -------
    (C_in, C_out/groups, \\*kernel), a copy

    Raises
    ------
    ShapeError : w has not 3, 4 or 5 axes, or groups does not divide C_out.
    ValueError : ``groups`` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.conventions import from_jax_transpose
    >>> w = np.arange(3.0).reshape(3, 1, 1)
    >>> from_jax_transpose(w)
    array([[[2., 1., 0.]]])
    """
    return adjoint_kernel(from_hwio(_weights(w, "(*kernel, C_in/groups, C_out)")), groups)


def to_jax_transpose(w: npt.ArrayLike, groups: int = 1) -> Array:
    """Weights of ``conv_transpose`` for ``jax.lax.conv_transpose`` and Flax: the inverse of `from_jax_transpose`.

    ``result[r, c, k] = w[c, k, kernel - 1 - r]`` (for one group)

    Parameters
    ----------
    w : (C_in, C_out/groups, \\*kernel), any dtype
    groups : int

    Returns
    -------
    (\\*kernel, C_in/groups, C_out), a copy

    Raises
    ------
    ShapeError : w has not 3, 4 or 5 axes, or groups does not divide C_in.
    ValueError : ``groups`` is below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from convpp.conventions import to_jax_transpose
    >>> to_jax_transpose(np.ones((16, 8, 4, 4))).shape
    (4, 4, 16, 8)
    """
    return np.ascontiguousarray(to_hwio(adjoint_kernel(_weights(w, "(C_in, C_out/groups, *kernel)"), groups)))


def _weights(w: npt.ArrayLike, form: str) -> Array:
    array = as_array(w, "w")
    if array.ndim not in (3, 4, 5):
        raise ShapeError(f"w has shape {array.shape}, expected {form} with 1, 2 or 3 kernel axes")
    return array
