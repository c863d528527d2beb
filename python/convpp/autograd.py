"""Convolutions for HIPS autograd, with all derivatives of every order, in both modes.

In: arrays, or what autograd traces.   Out: the same.
Next: ``_products.py``, which says why the derivatives of a convolution are three, and computes them.

``conv``, ``conv_transpose``, ``convolve`` and ``correlate`` take the arguments of their namesakes in ``convpp``, but
for ``state``.  autograd is imported here, and nowhere else in the package: ``pip install autograd``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from convpp._call.arguments import Algorithm

try:
    import autograd.numpy as anp
    from autograd.extend import Box, defjvp, defvjp, primitive
except ImportError as _error:
    raise ImportError("convpp.autograd needs autograd: pip install autograd") from _error

from convpp import forward, transposed
from convpp._call.arguments import Activation, Layout, Padding, PaddingMode, PerAxis, Shape, check_activation, entries
from convpp._call.validation import FLOAT32, HALVES, Array, as_array, as_float, is_masked
from convpp._products import OPERANDS, Layer, Plain, Product, layer, transposed_layer
from convpp.activation import activate, activation_grad
from convpp.errors import DTypeError
from convpp.plain import forward as plain
from convpp.plain.arguments import Axes, Boundary, Method, Mode, Nan, is_number
from convpp.plain.prepare import Options, prepare
from convpp.prepared import PreparedWeights

__all__ = ["conv", "conv_transpose", "convolve", "correlate"]


def conv(
    x: Any,
    w: Any,
    bias: Any = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    activation: Activation | None = None,
    add: Any = None,
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
    threads: int | None = None,
) -> Any:
    """``convpp.conv``, differentiable by x, w, bias and add: its arguments, results and errors.

    ``out`` is for calls in which nothing is differentiated; ``threads`` serves the derivatives, too.

    Examples
    --------
    >>> import numpy as np
    >>> from autograd import grad
    >>> from convpp.autograd import conv
    >>> x, w = np.ones((1, 1, 4)), np.ones((1, 1, 2))
    >>> grad(lambda w: (conv(x, w) ** 2).sum())(w)
    array([[[12., 12.]]])
    """
    geometry: dict[str, Any] = {
        "stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "padding_mode": padding_mode,
        "flip": flip, "layout": layout, "per_sample": per_sample, "algorithm": algorithm, "threads": threads,
    }  # fmt: skip
    if not _traced(x, w, bias, add, out=out):
        return forward.conv(x, w, bias, **geometry, activation=activation, add=add, out=out)
    return _layer(layer(**geometry), x, w, bias, add, activation)


def conv_transpose(
    x: Any,
    w: Any,
    bias: Any = None,
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
    activation: Activation | None = None,
    add: Any = None,
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
    threads: int | None = None,
) -> Any:
    """``convpp.conv_transpose``, differentiable by x, w, bias and add: its arguments, results and errors.

    ``out`` is for calls in which nothing is differentiated; ``threads`` serves the derivatives, too.

    Examples
    --------
    >>> import numpy as np
    >>> from autograd import grad
    >>> from convpp.autograd import conv_transpose
    >>> x, w = np.ones((1, 1, 2)), np.array([[[1.0, 2.0]]])
    >>> grad(lambda x: (conv_transpose(x, w) ** 2).sum())(x)
    array([[[14., 14.]]])
    """
    geometry: dict[str, Any] = {
        "stride": stride, "padding": padding, "output_padding": output_padding, "output_size": output_size,
        "dilation": dilation, "groups": groups, "padding_mode": padding_mode, "flip": flip, "layout": layout,
        "per_sample": per_sample, "algorithm": algorithm, "threads": threads,
    }  # fmt: skip
    if not _traced(x, w, bias, add, out=out):
        return transposed.conv_transpose(x, w, bias, **geometry, activation=activation, add=add, out=out)
    return _layer(transposed_layer(**geometry), x, w, bias, add, activation)


def convolve(
    a: Any,
    kernel: Any = None,
    *,
    kernels: Any = None,
    axes: Axes | None = None,
    mode: Mode = "full",
    boundary: Boundary | Sequence[Boundary] = "zeros",
    origin: PerAxis = 0,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    method: Method = "auto",
    nan: Nan = "propagate",
    mask: Any = None,
    min_weight: float = 0.0,
    fill_value: complex = np.nan,
    dtype: Any = None,
    out: Array | None = None,
    threads: int | None = None,
) -> Any:
    """``convpp.convolve``, differentiable by a and the kernel (or kernels): its arguments, results and errors.

    Of ``nan="ignore"`` and masks the derivatives are those of the quotient; which elements are missing is given.
    ``out`` is for calls in which nothing is differentiated; ``threads`` serves the derivatives, too.

    Examples
    --------
    >>> import numpy as np
    >>> from autograd import grad
    >>> from convpp.autograd import convolve
    >>> a, kernel = np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.5])
    >>> grad(lambda kernel: (convolve(a, kernel) ** 2).sum())(kernel)
    array([36., 30.])
    """
    options = Options(
        axes, mode, boundary, origin, stride, dilation, method, nan, min_weight, fill_value, True, threads
    )
    return _plain(a, kernel, kernels, mask, dtype, out, options)


def correlate(
    a: Any,
    kernel: Any = None,
    *,
    kernels: Any = None,
    axes: Axes | None = None,
    mode: Mode = "full",
    boundary: Boundary | Sequence[Boundary] = "zeros",
    origin: PerAxis = 0,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    method: Method = "auto",
    nan: Nan = "propagate",
    mask: Any = None,
    min_weight: float = 0.0,
    fill_value: complex = np.nan,
    dtype: Any = None,
    out: Array | None = None,
    threads: int | None = None,
) -> Any:
    """``convpp.correlate``, differentiable as ``convolve`` is.

    Examples
    --------
    >>> import numpy as np
    >>> from autograd import grad
    >>> from convpp.autograd import correlate
    >>> grad(lambda a: correlate(a, [0.0, 1.0, 5.0], mode="valid").sum())(np.array([1.0, 2.0, 3.0]))
    array([0., 1., 5.])
    """
    options = Options(
        axes, mode, boundary, origin, stride, dilation, method, nan, min_weight, fill_value, False, threads
    )
    return _plain(a, kernel, kernels, mask, dtype, out, options)


# ---------------------------------------------------------------- what is traced, and what is not


def _traced(*values: Any, out: Any = None) -> bool:
    traced = any(isinstance(value, Box) for value in values)
    if traced and out is not None:
        raise ValueError("out is given, expected None: what is differentiated must not be overwritten")
    return traced


def _raw(value: Any) -> Any:
    """What autograd's boxes hold, several deep where derivatives are taken of derivatives."""
    while isinstance(value, Box):
        value = value._value
    return [_raw(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def _layer(product: Layer, x: Any, w: Any, bias: Any, add: Any, activation: Any) -> Any:
    """``conv`` and ``conv_transpose`` of what is traced."""
    checked = check_activation(activation)
    if isinstance(w, PreparedWeights):
        raise DTypeError("w is PreparedWeights, expected an array: derivatives by x take the weights themselves")
    named = {"x": x, "w": w, "bias": bias, "add": add}
    arrays = (v if v is None or _traced(v) else as_float(v, name) for name, v in named.items())
    z = _forward(*arrays, product)
    return z if checked is None else _activate(z, activation)


def _plain(a: Any, kernel: Any, kernels: Any, mask: Any, dtype: Any, out: Any, options: Options) -> Any:
    """``convolve`` and ``correlate``."""
    listed = isinstance(_raw(kernel), (list, tuple))
    if not _traced(a, kernel, kernels, *(kernel if listed else ()), out=out):
        return _computed(a, options, kernel=kernel, kernels=kernels, mask=mask, dtype=dtype, out=out)
    if is_masked(a):
        raise DTypeError("a is a masked array, expected a plain one: give a.data, and its mask as mask")
    normalised = mask is not None or options.nan != "propagate"
    several = kernels is not None
    if normalised or listed or several == (kernel is not None):
        prepare(_raw(a), _raw(kernel), _raw(kernels), mask, dtype, options)  # for its errors
    if listed:
        kernel = _outer(kernel) if options.method == "separable" else anp.array(list(kernel))
    w = kernels if several else kernel
    how = {name: getattr(options, name) for name in Plain._fields if hasattr(options, name)}
    product = Plain(**how, several=several, dtype=dtype)
    a, w = (v if _traced(v) else as_array(v, name) for v, name in ((a, "a"), (w, "kernel")))
    if not options.turned and anp.iscomplexobj(w):
        w = anp.conj(w)
    return _normalised(a, w, mask, product, options) if normalised else _product("y", a, w, product, None, None)


def _computed(a: Any, options: Options, **given: Any) -> Array:
    """By the package, without derivatives."""
    how = {key: value for key, value in vars(options).items() if key not in ("turned", "stream")}
    y: Array = (plain.convolve if options.turned else plain.correlate)(a, **given, **how)
    return y


def _outer(lines: Any) -> Any:
    """The kernel that is applied axis by axis."""
    first, *others = map(anp.array, lines)
    return reduce(lambda product, line: product[..., None] * line, others, first)


def _normalised(a: Any, w: Any, mask: Any, product: Plain, options: Options) -> Any:
    """A quotient of two products: of what is there, and of where it is."""
    ignore = options.nan == "ignore" and _raw(a).dtype.kind in "fc"
    gone = np.zeros(a.shape, bool) if mask is None else np.broadcast_to(np.asarray(mask), a.shape)
    gone = gone | np.isnan(_raw(a)) if ignore else gone
    kernel = {"kernels" if product.several else "kernel": _raw(w)}
    whole = _computed(np.ma.MaskedArray(_raw(a), mask=gone), options, **kernel, dtype=product.dtype)
    unseen = np.ma.getmaskarray(whole)
    result, real = whole.dtype, np.zeros((), whole.dtype).real.dtype
    wide, real = (FLOAT32 if dtype.name in HALVES else dtype for dtype in (result, real))
    listed = entries(options.boundary, "boundary")
    ends = [_beyond(end, ignore) for end in ((options.boundary,) if listed is None else listed)]
    values, weights = zip(*ends, strict=True) if listed is not None else ends[0]
    sums = _product("y", anp.where(gone, 0, a), w, product._replace(boundary=values, dtype=wide), None, None)
    of = product._replace(boundary=weights, dtype=real)
    weight = _product("y", (~gone).astype(real), w, of, None, None)
    y = anp.where(unseen, options.fill_value, sums / anp.where(unseen, 1, weight))
    return y if y.dtype == result else y.astype(result)


def _beyond(end: Any, ignore: bool) -> tuple[Any, Any]:
    """What lies beyond an end, and its weight."""
    if is_number(end):
        return (0, 0) if ignore and np.isnan(end) else (end, 1)
    return end, 1 if end == "zeros" else end


# ---------------------------------------------------------------- derivatives


def _like(value: Any, operand: Any) -> Any:
    """A gradient as autograd wants it: in the type of the operand, real for a real one."""
    if anp.iscomplexobj(value) and not anp.iscomplexobj(operand):
        value = anp.real(value)
    return value if value.dtype == operand.dtype or operand.dtype.kind not in "fcV" else value.astype(operand.dtype)


@primitive
def _product(role: str, first: Any, second: Any, product: Product, shape: Shape, dtype: Any) -> Array:
    return product.compute(role, first, second, shape, dtype)


def _by(role: str, roles: dict[str, Any], operand: Any, product: Product) -> Any:
    """The gradient by an operand of this role; ``roles`` has the other two."""
    first, second = (roles[name] for name in OPERANDS[role])
    return _like(_product(role, first, second, product, operand.shape, operand.dtype), operand)


def _product_vjp(position: int) -> Callable[..., Any]:
    def make(ans: Any, role: str, first: Any, second: Any, product: Product, shape: Shape, dtype: Any) -> Any:
        operands = (first, second)
        own, other = OPERANDS[role][position], OPERANDS[role][1 - position]
        derived = product.derived(linear=role == "x")
        return lambda g: _by(own, {role: g, other: operands[1 - position]}, operands[position], derived)

    return make


def _product_jvp(position: int) -> Callable[..., Any]:
    def make(g: Any, ans: Any, role: str, first: Any, second: Any, product: Product, shape: Shape, dtype: Any) -> Any:
        operands = (g, second) if position == 0 else (first, g)
        derived = product.derived(linear=OPERANDS[role][position] == "x")
        return _like(_product(role, *operands, derived, shape, dtype), ans)

    return make


defvjp(_product, _product_vjp(0), _product_vjp(1), argnums=(1, 2))
defjvp(_product, _product_jvp(0), _product_jvp(1), argnums=(1, 2))


@primitive
def _forward(x: Any, w: Any, bias: Any, add: Any, product: Layer) -> Array:
    return product.forward(x, w, bias, add)


@primitive
def _bias_grad(dy: Any, product: Layer, batched: bool) -> Array:
    return product.bias_grad(dy, batched)


@primitive
def _spread(bias: Any, shape: Shape, product: Layer, batched: bool) -> Array:
    """A bias for each element of y: the adjoint of ``_bias_grad``."""
    behind = 0 if product.options.conv.channels_last else len(shape) - 1 - batched
    return np.broadcast_to(np.reshape(bias, (-1, *(1,) * behind)), shape).copy()


def _batched(w: Any, y: Any, product: Layer) -> bool:
    return bool(y.ndim == w.ndim - product.options.conv.per_sample)


defvjp(
    _forward,
    lambda ans, x, w, bias, add, product: lambda g: _by("x", {"y": g, "w": w}, x, product),
    lambda ans, x, w, bias, add, product: lambda g: _by("w", {"y": g, "x": x}, w, product),
    lambda ans, x, w, bias, add, product: lambda g: _like(_bias_grad(g, product, _batched(w, ans, product)), bias),
    lambda ans, x, w, bias, add, product: lambda g: _like(g, add),
)
defjvp(
    _forward,
    lambda g, ans, x, w, bias, add, product: _like(_product("y", g, w, product, None, None), ans),
    lambda g, ans, x, w, bias, add, product: _like(_product("y", x, g, product, None, None), ans),
    lambda g, ans, x, w, bias, add, product: _like(_spread(g, ans.shape, product, _batched(w, ans, product)), ans),
    lambda g, ans, x, w, bias, add, product: _like(g, ans),
)
defvjp(_bias_grad, lambda ans, dy, product, batched: lambda g: _like(_spread(g, dy.shape, product, batched), dy))
defjvp(_bias_grad, lambda g, ans, dy, product, batched: _bias_grad(g, product, batched))
defvjp(_spread, lambda ans, bias, shape, product, batched: lambda g: _like(_bias_grad(g, product, batched), bias))
defjvp(_spread, lambda g, ans, bias, shape, product, batched: _spread(g, shape, product, batched))


@primitive
def _activate(z: Any, activation: Activation) -> Array:
    return activate(z, activation)


@primitive
def _slope(z: Any, activation: Activation) -> Array:
    return activation_grad(np.ones_like(z), activation, z=z)


def _curvature(z: Any, activation: Activation) -> Any:
    """The second derivative; from there on autograd knows the way."""
    if activation == "silu":
        s = (1 + anp.tanh(z / 2)) / 2
        return s * (1 - s) * (2 + z * (1 - 2 * s))
    if activation == "gelu":
        return anp.exp(-z * z / 2) * (2 - z * z) / np.sqrt(2 * np.pi).astype(z.dtype)
    return anp.zeros_like(z)  # of the others, which are straight


defvjp(_activate, lambda ans, z, activation: lambda g: _like(g * _slope(z, activation), z))
defjvp(_activate, lambda g, ans, z, activation: _like(g * _slope(z, activation), z))
defvjp(_slope, lambda ans, z, activation: lambda g: _like(g * _curvature(z, activation), z))
defjvp(_slope, lambda g, ans, z, activation: _like(g * _curvature(z, activation), z))
