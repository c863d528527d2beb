"""Arguments of other libraries as arguments of ``conv``, where names mislead or the order differs.

In: a mode of SciPy, a list of pads of PyTorch or ONNX.   Out: ``padding``, or a dict of keyword arguments.
Public as ``convpp.conventions``.

Next: docs/conventions.md, whose tables run as tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convpp._call.arguments import MOST_ENTRIES, Padding, PerAxis, as_int, choice, pads, per_axis, shape, shown
from convpp._call.geometry import axes_of, explicit_pads
from convpp.errors import ShapeError

_BOUNDARIES = {"fill": "zeros", "wrap": "circular", "symm": "symmetric"}
#: np.pad's names for what ``scipy.ndimage`` calls differently; its "reflect" repeats the edge.
_MODES = {
    "constant": "zeros",
    "grid-constant": "zeros",
    "reflect": "symmetric",
    "grid-mirror": "symmetric",
    "mirror": "reflect",
    "nearest": "replicate",
    "wrap": "circular",
    "grid-wrap": "circular",
}


def torch_padding(pad: Sequence[int], rank: int | None = None) -> tuple[tuple[int, int], ...]:
    """``padding`` for what ``torch.nn.functional.pad`` would do before a convolution.

    PyTorch lists the last axis first: ``(left, right, top, bottom)`` is ``((top, bottom), (left, right))`` here.

    Parameters
    ----------
    pad : two integers for each axis, the last axis first
    rank : int, optional
        The number of spatial axes, where ``pad`` leaves the first of them out.

    Returns
    -------
    a (lo, hi) pair for each axis, for ``padding=``

    Raises
    ------
    ValueError : ``pad`` is no list of pairs, or of more than ``rank``.

    Examples
    --------
    >>> from convpp.conventions import torch_padding
    >>> torch_padding((1, 2, 3, 4))
    ((3, 4), (1, 2))
    >>> torch_padding((1, 2), rank=2)
    ((0, 0), (1, 2))
    """
    ends = shape(pad, "pad")
    axes = len(ends) // 2 if rank is None else as_int(rank, "rank")
    if not 0 <= axes <= MOST_ENTRIES:
        raise ValueError(f"rank is {shown(rank)}, expected the number of spatial axes")
    if len(ends) % 2 or len(ends) > 2 * axes:
        raise ValueError(f"pad is {shown(pad)}, expected two integers for each of at most {axes} axes")
    pairs = [(ends[i], ends[i + 1]) for i in range(0, len(ends), 2)]
    return (*((0, 0),) * (axes - len(pairs)), *reversed(pairs))


def onnx_padding(pads: Sequence[int] | None = None, auto_pad: str = "NOTSET") -> Any:
    """``padding`` for the attributes ``pads`` and ``auto_pad`` of ONNX's Conv and ConvTranspose.

    ONNX lists all low ends, then all high ends: ``[top, left, bottom, right]`` is ``((top, bottom), (left, right))``.

    Parameters
    ----------
    pads : two integers for each axis, optional; without it, 0
    auto_pad : "NOTSET", "VALID", "SAME_UPPER" or "SAME_LOWER"
        Beside "NOTSET", ``pads`` must be left out.

    Returns
    -------
    a (lo, hi) pair for each axis, a name, or 0, for ``padding=``

    Raises
    ------
    ValueError : an unknown ``auto_pad``, ``pads`` beside one, or an odd number of ``pads``.

    Examples
    --------
    >>> from convpp.conventions import onnx_padding
    >>> onnx_padding([1, 2, 3, 4])
    ((1, 3), (2, 4))
    >>> onnx_padding(auto_pad="SAME_UPPER")
    'same'
    """
    names = {"NOTSET": 0, "VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}
    name = choice(auto_pad, "auto_pad", tuple(names))
    if pads is None:
        return names[name]
    ends = shape(pads, "pads")
    if name != "NOTSET" or len(ends) % 2:
        raise ValueError(f"pads is {shown(pads)}, expected two integers for each axis, and auto_pad='NOTSET'")
    axes = len(ends) // 2
    return tuple(zip(ends[:axes], ends[axes:], strict=True))


def onnx_transpose_padding(
    output_shape: Sequence[int],
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    *,
    strides: PerAxis = 1,
    dilations: PerAxis = 1,
    output_padding: PerAxis = 0,
    auto_pad: str = "NOTSET",
) -> tuple[tuple[int, int], ...]:
    """``padding`` of ``conv_transpose`` for the attribute ``output_shape`` of ONNX's ConvTranspose.

    ONNX crops the whole result to ``output_shape``: of
    ``total = stride*(in-1) + output_padding + dilation*(k-1) + 1 - output_shape`` elements, ``total // 2`` behind, or
    in front for SAME_UPPER.  (``output_size`` here, as in PyTorch, crops nothing more: it sets ``output_padding``.)

    Parameters
    ----------
    output_shape : the spatial extents of the result
    x_shape, w_shape : in full, channels first: (N, C_in, \\*spatial), (C_in, C_out/groups, \\*kernel)
    strides, dilations, output_padding, auto_pad : ONNX's attributes
        ``conv_transpose`` gets stride and dilation; output_padding is in the result already.

    Returns
    -------
    a (lo, hi) pair for each axis; hi is negative where ONNX appends to the result

    Raises
    ------
    ShapeError : the shapes have other numbers of axes.
    ValueError : an unknown name, or another number of entries.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((1, 1, 3, 3)), np.ones((1, 2, 3, 3))
    >>> padding = convpp.conventions.onnx_transpose_padding([6, 8], x.shape, w.shape, strides=(2, 3))
    >>> padding
    ((1, 0), (1, 0))
    >>> convpp.conv_transpose(x, w, stride=(2, 3), padding=padding).shape
    (1, 2, 6, 8)
    """
    choice(auto_pad, "auto_pad", ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"))
    wanted, of_x, of_w = shape(output_shape, "output_shape"), shape(x_shape, "x_shape"), shape(w_shape, "w_shape")
    rank = len(of_w) - 2
    if rank < 1 or len(of_x) not in (rank + 1, rank + 2) or len(wanted) != rank:
        raise ShapeError(
            f"output_shape is {wanted}, x_shape {of_x} and w_shape {of_w}, expected the spatial extents of "
            "(N, C_in, *spatial) and (C_in, C_out/groups, *kernel)"
        )
    pairs = []
    given = (
        axes_of(per_axis(strides, "strides"), rank, "strides", 1),
        axes_of(per_axis(dilations, "dilations"), rank, "dilations", 1),
        axes_of(per_axis(output_padding, "output_padding"), rank, "output_padding", 0),
    )
    for out, extent, k, s, d, more in zip(wanted, of_x[-rank:], of_w[-rank:], *given, strict=True):
        full = s * (extent - 1) + d * (k - 1) + 1
        total = max(full + more - out, 0)
        lo = total // 2 if auto_pad == "SAME_UPPER" else total - total // 2
        pairs.append((lo, full - out - lo))
    return tuple(pairs)


def ceil_padding(
    spatial: Sequence[int], kernel: Sequence[int], stride: PerAxis = 1, padding: Padding = 0, dilation: PerAxis = 1
) -> tuple[tuple[int, int], ...]:
    """``padding`` that rounds the number of outputs up: ``ceil_mode=True`` of PyTorch's and ONNX's pooling.

    ``out = ceil((in + lo + hi - dilation*(k-1) - 1) / stride) + 1``, less one where the last window would begin behind
    the input: hi grows until the last window has room, or is less by one element where it had just room behind.

    Parameters
    ----------
    spatial, kernel : spatial extents of x and of w, ``x.shape[2:]`` and ``w.shape[2:]``
    stride, dilation : int, or one for each axis
    padding : int, one for each axis, or a (lo, hi) pair for each axis

    Returns
    -------
    a (lo, hi) pair for each axis, for ``padding=``

    Raises
    ------
    ValueError : a name as padding, or another number of entries.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((1, 1, 6)), np.ones((1, 1, 3))
    >>> convpp.conv(x, w, stride=2)
    array([[[3., 3.]]])
    >>> convpp.conv(x, w, stride=2, padding=convpp.conventions.ceil_padding((6,), (3,), stride=2))
    array([[[3., 3., 2.]]])
    """
    extents, taps = shape(spatial, "spatial"), shape(kernel, "kernel")
    rank = len(taps)
    if not rank or len(extents) != rank:
        raise ValueError(f"spatial is {extents} and kernel is {taps}, expected as many extents of both")
    given = pads(padding)
    if isinstance(given, str):
        raise ValueError(f"padding is {given!r}, expected numbers: a name rounds by itself")
    strides = axes_of(per_axis(stride, "stride"), rank, "stride", 1)
    dilations = axes_of(per_axis(dilation, "dilation"), rank, "dilation", 1)
    pairs = []
    for n, k, s, d, (lo, hi) in zip(extents, taps, strides, dilations, explicit_pads(given, rank), strict=True):
        span = d * (k - 1) + 1
        last = -(-(n + lo + hi - span) // s) * s  # where the last window begins
        if last >= n + lo and last >= s:  # behind the input: the one before is the last, if need be by cropping
            pairs.append((lo, min(hi, last - 1 + span - n - lo)))
        else:
            pairs.append((lo, max(hi, last + span - n - lo) if last >= 0 else hi))
    return tuple(pairs)


def signal_arguments(function: str, mode: str, boundary: str = "fill") -> dict[str, Any]:
    """Arguments of ``conv`` for a function of ``scipy.signal``, or for ``np.convolve`` and ``np.correlate``.

    ``scipy.signal.FUNCTION(image, kernel, mode)`` is ``conv(image[None], kernel[None, None], **arguments)[0]``, for
    a kernel not longer than the image on any axis.  For even kernels, mode "same" depends on the function.

    Parameters
    ----------
    function : "convolve", "correlate" (NumPy's, too), "convolve2d" or "correlate2d"
    mode : "full", "same" or "valid"
    boundary : "fill" (with zeros), "wrap" or "symm", of the functions that have it

    Returns
    -------
    dict of ``padding``, ``padding_mode`` and ``flip``

    Raises
    ------
    ValueError : an unknown name.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> arguments = convpp.conventions.signal_arguments("convolve", "same")
    >>> arguments
    {'padding': 'same_lower', 'padding_mode': 'zeros', 'flip': True}
    >>> signal, taps = np.array([1.0, 2.0, 3.0]), np.array([1.0, 10.0])
    >>> convpp.conv(signal[None], taps[None, None], **arguments)[0]
    array([ 1., 12., 23.])
    >>> np.convolve(signal, taps, "same")
    array([ 1., 12., 23.])
    """
    choice(function, "function", ("convolve", "correlate", "convolve2d", "correlate2d"))
    choice(mode, "mode", ("full", "same", "valid"))
    choice(boundary, "boundary", tuple(_BOUNDARIES))
    if mode == "same" and function != "correlate2d":
        mode = "same_lower"
    return {"padding": mode, "padding_mode": _BOUNDARIES[boundary], "flip": function.startswith("convolve")}


def ndimage_arguments(
    function: str, kernel_shape: Sequence[int], mode: str = "reflect", origin: int | Sequence[int] = 0
) -> dict[str, Any]:
    """Arguments of ``conv`` for ``scipy.ndimage.correlate`` and ``convolve``.

    ``scipy.ndimage.FUNCTION(image, kernel, mode=mode, origin=origin)`` is
    ``conv(image[None], kernel[None, None], **arguments)[0]``.  The names of modes are SciPy's: its "reflect" is
    "symmetric" here and in ``np.pad``, its "mirror" is "reflect", "nearest" is "replicate", "wrap" is "circular",
    and "constant" (with ``cval=0``) is "zeros".

    Parameters
    ----------
    function : "correlate" or "convolve"
    kernel_shape : shape of the kernel; 1, 2 or 3 axes
    mode : as in SciPy, whose default is "reflect"
    origin : int, or one for each axis
        Moves the kernel from its middle.

    Returns
    -------
    dict of ``padding`` (a (lo, hi) pair for each axis), ``padding_mode`` and ``flip``

    Raises
    ------
    ValueError : an unknown name, or an ``origin`` outside the kernel.

    Examples
    --------
    >>> from convpp.conventions import ndimage_arguments
    >>> ndimage_arguments("convolve", (4, 3), mode="mirror")
    {'padding': ((1, 2), (1, 1)), 'padding_mode': 'reflect', 'flip': True}
    """
    choice(function, "function", ("correlate", "convolve"))
    kernel = shape(kernel_shape, "kernel_shape")
    choice(mode, "mode", tuple(_MODES))
    given = per_axis(origin, "origin")
    origins = (given,) * len(kernel) if isinstance(given, int) else given
    if len(origins) != len(kernel) or any(
        not -(k // 2) <= o <= (k - 1) // 2 for k, o in zip(kernel, origins, strict=True)
    ):
        raise ValueError(f"origin is {shown(origin)}, expected -(k // 2) to (k - 1) // 2 for each axis of {kernel}")
    flip = function == "convolve"
    # Element r of the kernel meets the pixel r - (k // 2 + origin) further on; rotated, the middle is mirrored.
    lows = [k - 1 - (k // 2 + o) if flip else k // 2 + o for k, o in zip(kernel, origins, strict=True)]
    pairs = tuple((lo, k - 1 - lo) for k, lo in zip(kernel, lows, strict=True))
    return {"padding": pairs, "padding_mode": _MODES[mode], "flip": flip}
