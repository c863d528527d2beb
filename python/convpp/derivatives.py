"""Derivatives of the derivatives: what forward mode, Hessian products and gradient penalties need.

A convolution is bilinear in x and w, and so is a transposed one; each of these is a sum of passes that there are.

In: NumPy arrays.   Out: NumPy arrays.   Next: ``functional.py`` and ``transposed.py``, which have the passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Unpack, overload

import numpy as np
import numpy.typing as npt

from convpp._call.arguments import Algorithm, Layout, Padding, PaddingMode, PerAxis, check_shape
from convpp._call.geometry import Geometry, geometry_of
from convpp._call.keywords import F, GeometryHow, TransposeGeometryHow
from convpp._call.options import Options, conv_options, transpose_options
from convpp._call.run import Passes
from convpp._call.validation import FLOAT32, HALVES, Array, as_float, common_dtype
from convpp.functional import CONV
from convpp.transposed import TRANSPOSE


@overload
def conv_double_backward(
    ddx: npt.NDArray[F] | None,
    ddw: npt.NDArray[F] | None,
    ddb: npt.NDArray[F] | None,
    dy: npt.NDArray[F],
    x: npt.NDArray[F],
    w: npt.NDArray[F],
    **how: Unpack[GeometryHow],
) -> tuple[npt.NDArray[F], npt.NDArray[F], npt.NDArray[F]]: ...
@overload
def conv_double_backward(
    ddx: npt.ArrayLike | None,
    ddw: npt.ArrayLike | None,
    ddb: npt.ArrayLike | None,
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    **how: Unpack[GeometryHow],
) -> tuple[Array, Array, Array]: ...
def conv_double_backward(
    ddx: npt.ArrayLike | None,
    ddw: npt.ArrayLike | None,
    ddb: npt.ArrayLike | None,
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """Backward pass of the backward pass.

    With ``dx, dw, db = conv_backward(dy, x, w)`` and a loss whose gradients with respect to them are ddx, ddw, ddb,
    the gradients of that loss with respect to dy, x and w are

    ``ddy = conv(ddx, w) + conv(x, ddw) + ddb``,
    ``dx = conv_input_grad(dy, ddw)``,
    ``dw = conv_weight_grad(dy, ddx)``.

    Parameters
    ----------
    ddx, ddw, ddb : shaped like x, w and bias (K,); any may be None (zero)
        What is zero costs nothing.
    dy, x, w : as in ``conv_backward``
    per_sample : bool
        True: w and ddw have a leading N axis, filters for each sample.
    stride, padding, dilation, groups, padding_mode, flip, layout, algorithm, threads
        As in ``conv``.

    Returns
    -------
    (ddy, dx, dw), shaped like dy, x and w
        In ``np.result_type`` of all inputs; all zeros where nothing is added.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w, dy = np.ones((1, 2, 5, 5)), np.ones((3, 2, 3, 3)), np.ones((1, 3, 3, 3))
    >>> ddy, dx, dw = convpp.conv_double_backward(None, w, None, dy, x, w)
    >>> ddy.shape, float(dx[0, 0, 2, 2]), float(dw.sum())
    ((1, 3, 3, 3), 27.0, 0.0)
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    return _double_backward(CONV, (ddx, ddw, ddb), (dy, x, w), options, threads)


@overload
def conv_transpose_double_backward(
    ddx: npt.NDArray[F] | None,
    ddw: npt.NDArray[F] | None,
    ddb: npt.NDArray[F] | None,
    dy: npt.NDArray[F],
    x: npt.NDArray[F],
    w: npt.NDArray[F],
    **how: Unpack[TransposeGeometryHow],
) -> tuple[npt.NDArray[F], npt.NDArray[F], npt.NDArray[F]]: ...
@overload
def conv_transpose_double_backward(
    ddx: npt.ArrayLike | None,
    ddw: npt.ArrayLike | None,
    ddb: npt.ArrayLike | None,
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    **how: Unpack[TransposeGeometryHow],
) -> tuple[Array, Array, Array]: ...
def conv_transpose_double_backward(
    ddx: npt.ArrayLike | None,
    ddw: npt.ArrayLike | None,
    ddb: npt.ArrayLike | None,
    dy: npt.ArrayLike,
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    output_size: Iterable[int] | None = None,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    threads: int | None = None,
) -> tuple[Array, Array, Array]:
    """Backward pass of the backward pass of ``conv_transpose``.

    With ``dx, dw, db = conv_transpose_backward(dy, x, w)`` and a loss whose gradients with respect to them are ddx,
    ddw, ddb, the gradients of that loss with respect to dy, x and w are

    ``ddy = conv_transpose(ddx, w) + conv_transpose(x, ddw) + ddb``,
    ``dx = conv_transpose_input_grad(dy, ddw)``,
    ``dw = conv_transpose_weight_grad(dy, ddx)``.

    Parameters
    ----------
    ddx, ddw, ddb : shaped like x, w and bias (C_out,); any may be None (zero)
    dy, x, w : as in ``conv_transpose_backward``
    per_sample : bool
        True: w and ddw have a leading N axis, filters for each sample.
    stride, padding, output_padding, output_size, dilation, groups, padding_mode, flip, layout, algorithm, threads
        As in ``conv_transpose``.

    Returns
    -------
    (ddy, dx, dw), shaped like dy, x and w

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> dy, x, w = np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), np.ones((1, 1, 2, 2))
    >>> ddy, dx, dw = convpp.conv_transpose_double_backward(x, None, None, dy, x, w)
    >>> float(ddy[0, 0, 1, 1]), float(dx.sum()), float(dw[0, 0, 0, 0])
    (4.0, 0.0, 4.0)
    """
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    options = transpose_options(shared, output_padding, output_size)
    return _double_backward(TRANSPOSE, (ddx, ddw, ddb), (dy, x, w), options, threads)


@overload
def conv_jvp(
    primals: tuple[npt.NDArray[F], npt.NDArray[F], npt.NDArray[F] | None],
    tangents: tuple[npt.NDArray[F] | None, npt.NDArray[F] | None, npt.NDArray[F] | None],
    **how: Unpack[GeometryHow],
) -> tuple[npt.NDArray[F], npt.NDArray[F]]: ...
@overload
def conv_jvp(
    primals: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None],
    tangents: tuple[npt.ArrayLike | None, npt.ArrayLike | None, npt.ArrayLike | None],
    **how: Unpack[GeometryHow],
) -> tuple[Array, Array]: ...
def conv_jvp(
    primals: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None],
    tangents: tuple[npt.ArrayLike | None, npt.ArrayLike | None, npt.ArrayLike | None],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    threads: int | None = None,
) -> tuple[Array, Array]:
    """The result of ``conv`` and its directional derivative (forward mode).

    ``y = conv(x, w, bias)``, ``y_dot = conv(x_dot, w) + conv(x, w_dot) + bias_dot``

    Parameters
    ----------
    primals : (x, w, bias); bias may be None
    tangents : (x_dot, w_dot, bias_dot), shaped like the primals; any may be None (zero)
    per_sample : bool
        True: w and w_dot have a leading N axis, filters for each sample.
    stride, padding, dilation, groups, padding_mode, flip, layout, algorithm, threads
        As in ``conv``.

    Returns
    -------
    (y, y_dot)

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((1, 1, 3)), np.ones((1, 1, 2))
    >>> y, y_dot = convpp.conv_jvp((x, w, None), (None, w, None))
    >>> y, y_dot
    (array([[[2., 2.]]]), array([[[2., 2.]]]))
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    return _jvp(CONV, primals, tangents, options, threads)


@overload
def conv_transpose_jvp(
    primals: tuple[npt.NDArray[F], npt.NDArray[F], npt.NDArray[F] | None],
    tangents: tuple[npt.NDArray[F] | None, npt.NDArray[F] | None, npt.NDArray[F] | None],
    **how: Unpack[TransposeGeometryHow],
) -> tuple[npt.NDArray[F], npt.NDArray[F]]: ...
@overload
def conv_transpose_jvp(
    primals: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None],
    tangents: tuple[npt.ArrayLike | None, npt.ArrayLike | None, npt.ArrayLike | None],
    **how: Unpack[TransposeGeometryHow],
) -> tuple[Array, Array]: ...
def conv_transpose_jvp(
    primals: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike | None],
    tangents: tuple[npt.ArrayLike | None, npt.ArrayLike | None, npt.ArrayLike | None],
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    output_padding: PerAxis = 0,
    output_size: Iterable[int] | None = None,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    threads: int | None = None,
) -> tuple[Array, Array]:
    """The result of ``conv_transpose`` and its directional derivative (forward mode).

    ``y = conv_transpose(x, w, bias)``,
    ``y_dot = conv_transpose(x_dot, w) + conv_transpose(x, w_dot) + bias_dot``

    Parameters
    ----------
    primals : (x, w, bias); bias may be None
    tangents : (x_dot, w_dot, bias_dot), shaped like the primals; any may be None (zero)
    per_sample : bool
        True: w and w_dot have a leading N axis, filters for each sample.
    stride, padding, output_padding, output_size, dilation, groups, padding_mode, flip, layout, algorithm, threads
        As in ``conv_transpose``.

    Returns
    -------
    (y, y_dot)

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x, w = np.ones((1, 1, 2)), np.ones((1, 1, 2))
    >>> y, y_dot = convpp.conv_transpose_jvp((x, w, None), (2 * x, None, None))
    >>> y, y_dot
    (array([[[1., 2., 1.]]]), array([[[2., 4., 2.]]]))
    """
    shared = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    options = transpose_options(shared, output_padding, output_size)
    return _jvp(TRANSPOSE, primals, tangents, options, threads)


def _double_backward(
    passes: Passes,
    second: tuple[npt.ArrayLike | None, npt.ArrayLike | None, npt.ArrayLike | None],
    first: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    options: Options,
    threads: int | None,
) -> tuple[Array, Array, Array]:
    dy, x, w = (as_float(a, name) for a, name in zip(first, ("dy", "x", "w"), strict=True))
    geometry = geometry_of(x.shape, w.shape, options)
    check_shape(dy.shape, geometry.result_shape, "dy", "the shape of the output")
    ddx, ddw, ddb = _shaped(second, ("ddx", "ddw", "ddb"), x, w, geometry)
    dtype, (dy, x, w, ddx, ddw, ddb) = _in_one_type(dy, x, w, ddx, ddw, ddb)
    keywords = options.keywords() | {"threads": threads}
    ddy = _derivative(passes.forward, (x, w), (ddx, ddw, ddb), geometry, dtype, keywords)
    dx = np.zeros(x.shape, dtype) if ddw is None else passes.input_grad(dy, ddw, x.shape, **keywords)
    dw = np.zeros(w.shape, dtype) if ddx is None else passes.weight_grad(dy, ddx, w.shape, **keywords)
    return ddy, dx, dw


def _jvp(passes: Passes, primals: Any, tangents: Any, options: Options, threads: int | None) -> tuple[Array, Array]:
    given = ((primals, "primals", "(x, w, bias)"), (tangents, "tangents", "(x_dot, w_dot, bias_dot)"))
    for triple, name, meaning in given:
        if not isinstance(triple, Sequence) or len(triple) != 3:
            size = f" of {len(triple)}" if isinstance(triple, Sequence) else ""
            raise ValueError(f"{name} is a {type(triple).__name__}{size}, expected a tuple {meaning}")
    x, w = as_float(primals[0], "x"), as_float(primals[1], "w")
    geometry = geometry_of(x.shape, w.shape, options)
    x_dot, w_dot, bias_dot = _shaped(tangents, ("x_dot", "w_dot", "bias_dot"), x, w, geometry)
    keywords = options.keywords() | {"threads": threads}
    y = passes.forward(x, w, primals[2], **keywords)
    # (y's type first: a bias may be wider than x and w.)
    dtype, (_, x, w, x_dot, w_dot, bias_dot) = _in_one_type(y, x, w, x_dot, w_dot, bias_dot)
    return y, _derivative(passes.forward, (x, w), (x_dot, w_dot, bias_dot), geometry, dtype, keywords)


def _derivative(
    forward: Callable[..., Any],
    primals: tuple[Array, Array],
    tangents: tuple[Array | None, Array | None, Array | None],
    geometry: Geometry,
    dtype: np.dtype[Any],
    keywords: dict[str, Any],
) -> Array:
    """``forward(x_dot, w) + forward(x, w_dot) + bias_dot``: each term is added while the next one is computed."""
    y_shape = geometry.result_shape
    (x, w), (x_dot, w_dot, bias_dot) = primals, tangents
    half = dtype.name in HALVES  # summed in float32, and rounded once
    wide = FLOAT32 if half else dtype
    y_dot: Array | None = None
    for a, b in ((x_dot, w), (x, w_dot)):
        if a is None or b is None:
            continue
        if y_dot is None:
            y_dot = forward(a, b, bias_dot, out=np.empty(y_shape, wide), **keywords)
        elif half:
            y_dot += forward(a, b, out=np.empty(y_shape, wide), **keywords)
        else:
            y_dot = forward(a, b, add=y_dot, **keywords)
    if y_dot is None:
        y_dot = np.zeros(y_shape, wide)
        if bias_dot is not None:
            last = geometry.options.conv.channels_last
            y_dot += bias_dot if last else bias_dot.reshape(-1, *(1,) * geometry.rank)
    return y_dot.astype(dtype) if half else y_dot


def _shaped(
    values: Sequence[npt.ArrayLike | None], names: tuple[str, str, str], x: Array, w: Array, geometry: Geometry
) -> list[Array | None]:
    """What belongs to x, w and bias, each checked; None stays None."""
    bias_shape = (geometry.result_channels,)
    expected = ((x.shape, "the shape of x"), (w.shape, "the shape of w"), (bias_shape, "one for each channel of y"))
    arrays: list[Array | None] = []
    for value, name, (shape, meaning) in zip(values, names, expected, strict=True):
        array = None if value is None else as_float(value, name)
        if array is not None:
            check_shape(array.shape, shape, name, meaning)
        arrays.append(array)
    return arrays


def _in_one_type(*arrays: Any) -> tuple[np.dtype[Any], tuple[Any, ...]]:
    """All in their common type; None stays None."""
    dtype = common_dtype(*(a.dtype for a in arrays if a is not None))
    return dtype, tuple(a if a is None or a.dtype == dtype else a.astype(dtype) for a in arrays)
