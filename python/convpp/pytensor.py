"""Convolutions for PyTensor: an Op without C code, with all derivatives of every order, in both modes.

In: PyTensor's variables, or what it takes for them.   Out: variables, whose static shapes are as known as the inputs'.
Next: ``_products.py``, which says why the derivatives of a convolution are three, and computes them.

``conv``, ``conv_transpose``, ``convolve`` and ``correlate`` take the arguments of their namesakes in ``convpp``, but
for what needs values (``out``, masks, NaN) and ``state``.  PyTensor is imported here, and nowhere else in the package:
``pip install pytensor``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from convpp._call.arguments import Algorithm

try:
    import pytensor.tensor as pt
    from pytensor.gradient import DisconnectedType, disconnected_type
    from pytensor.graph.basic import Apply
    from pytensor.graph.op import Op
    from pytensor.tensor.basic import infer_static_shape
except ImportError as _error:
    raise ImportError("convpp.pytensor needs PyTensor: pip install pytensor") from _error
if not hasattr(Op, "pullback"):
    raise ImportError('convpp.pytensor needs PyTensor 3, whose Op has pullback: pip install "pytensor>=3"')

from convpp._call.arguments import Activation, Layout, Padding, PaddingMode, PerAxis, check_activation, entries
from convpp._call.geometry import axes_of, explicit_pads, geometry_of
from convpp._call.options import TransposeOptions
from convpp._products import OPERANDS, Layer, Plain, Product, layer, transposed_layer
from convpp.errors import DTypeError, ShapeError
from convpp.plain.arguments import Axes, Boundary, Method, Mode, one_for_each
from convpp.plain.problem import axes_of as convolved_axes
from convpp.plain.problem import make_problem
from convpp.runtime import threads_of_call

__all__ = ["Pass", "conv", "conv_transpose", "convolve", "correlate"]


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
    threads: int | None = None,
) -> Any:
    """``convpp.conv`` of variables: its arguments, meanings and errors.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> from convpp.pytensor import conv
    >>> x, w = pt.tensor("x", shape=(None, 3, 20, 20)), pt.tensor("w", shape=(5, 3, 3, 3))
    >>> conv(x, w, activation="relu").type.shape
    (None, 5, 18, 18)
    """
    product = layer(
        stride=stride, padding=padding, dilation=dilation, groups=groups, padding_mode=padding_mode, flip=flip,
        layout=layout, per_sample=per_sample, algorithm=algorithm, threads=threads,
    )  # fmt: skip
    return _layer(product, x, w, bias, add, activation)


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
    threads: int | None = None,
) -> Any:
    """``convpp.conv_transpose`` of variables: its arguments, meanings and errors.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> from convpp.pytensor import conv_transpose
    >>> x, w = pt.tensor("x", shape=(None, 16, 7, 7)), pt.tensor("w", shape=(16, 8, 4, 4))
    >>> conv_transpose(x, w, stride=2, padding=1).type.shape
    (None, 8, 14, 14)
    """
    product = transposed_layer(
        stride=stride, padding=padding, output_padding=output_padding, output_size=output_size, dilation=dilation,
        groups=groups, padding_mode=padding_mode, flip=flip, layout=layout, per_sample=per_sample, algorithm=algorithm,
        threads=threads,
    )  # fmt: skip
    return _layer(product, x, w, bias, add, activation)


def _layer(product: Layer, x: Any, w: Any, bias: Any, add: Any, activation: Any) -> Any:
    """A convolution; what is added to it, and the activation, PyTensor fuses and differentiates."""
    checked, w = check_activation(activation), pt.as_tensor_variable(w)
    z = Pass("y", product)(x, w)
    conv = product.options.conv
    for value, name in ((bias, "bias"), (add, "add")):
        if value is None:
            continue
        term = pt.as_tensor_variable(value)
        if term.ndim != (1 if name == "bias" else z.ndim):
            raise ShapeError(f"{name} has {term.ndim} axes, expected {'(K,)' if name == 'bias' else z.ndim}")
        if name == "bias" and not conv.channels_last:
            term = term.dimshuffle(0, *"x" * (w.ndim - 2 - conv.per_sample))
        z = z + term
    if checked is None:
        return z
    kind, low, high = checked
    if kind == "silu":
        return z * pt.sigmoid(z)
    if kind == "gelu":
        return z * (1 + pt.erf(z / np.sqrt(2).astype(z.dtype))) / 2
    # At corners the derivative is that of the lower side, or 0, as in ``activation_grad``.
    zero = pt.zeros((), z.dtype)
    if kind == "clip":
        least, most = (np.asarray(end, z.dtype) for end in (low, high))
        return pt.switch(z <= least, least, pt.switch(z >= most, most, z))
    return pt.switch(z <= 0, zero if kind == "relu" else z * np.asarray(low, z.dtype), z)


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
    threads: int | None = None,
) -> Any:
    """``convpp.convolve`` of real variables: its arguments, meanings and errors.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> from convpp.pytensor import convolve
    >>> a, kernel = pt.matrix("a", shape=(None, 20)), pt.vector("kernel", shape=(5,))
    >>> convolve(a, kernel, mode="valid").type.shape
    (None, 16)
    """
    return _plain(
        a,
        kernel,
        kernels,
        Plain(True, kernels is not None, axes, mode, boundary, origin, stride, dilation, method, None, threads),
    )


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
    threads: int | None = None,
) -> Any:
    """``convpp.correlate`` of real variables.

    Examples
    --------
    >>> import pytensor.tensor as pt
    >>> from convpp.pytensor import correlate
    >>> correlate(pt.vector("a", shape=(20,)), [0.0, 1.0, 5.0], mode="same").type.shape
    (20,)
    """
    return _plain(
        a,
        kernel,
        kernels,
        Plain(False, kernels is not None, axes, mode, boundary, origin, stride, dilation, method, None, threads),
    )


def _plain(a: Any, kernel: Any, kernels: Any, product: Plain) -> Any:
    """``convolve`` and ``correlate``."""
    if product.several == (kernel is not None):
        given = "both" if product.several else "not"
        raise ValueError(f"kernel and kernels are {given} given, expected one of them")
    threads_of_call(product.threads)
    listed: Any = {name: entries(value, name) for name, value in product._asdict().items() if isinstance(value, list)}
    return Pass("y", product._replace(**listed))(a, kernels if product.several else kernel)


class Pass(Op):
    """One of the three passes of a convolution, whose derivatives are the others (``_products.py``).

    Inputs: the two operands, and of gradients the extents of the result.
    """

    __props__: tuple[str, ...] = ("role", "product")

    def __init__(self, role: str, product: Product) -> None:
        self.role = role
        self.product = product

    def make_node(self, first: Any, second: Any, *extents: Any) -> Any:
        """The node, with as much of its shape as is known; all is checked if all is known."""
        operands = [pt.as_tensor_variable(operand) for operand in (first, second)]
        for operand, role in zip(operands, OPERANDS[self.role], strict=True):
            if operand.dtype not in ("float16", "float32", "float64"):
                raise DTypeError(
                    f"{role} has dtype {operand.dtype}, expected float32, float64 or float16: use "
                    f"{role}.astype('float64')"
                )
        # (A half together with another type counts as float32.)
        kinds = {operand.dtype for operand in operands}
        dtype = max(kinds, key=("float16", "float32", "float64").index)
        if self.role == "y":
            shape = _result(self.product, *(operand.type.shape for operand in operands))
            return Apply(self, operands, [pt.tensor(dtype=dtype, shape=tuple(shape))])
        sizes, shape = infer_static_shape(extents)
        return Apply(self, [*operands, *sizes], [pt.tensor(dtype=dtype, shape=tuple(shape))])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        """By the package."""
        first, second, *extents = inputs
        dtype = np.dtype(node.outputs[0].dtype)
        y = self.product.compute(self.role, first, second, tuple(int(extent) for extent in extents), dtype)
        output_storage[0][0] = np.asarray(y, dtype)

    def infer_shape(self, fgraph: Any, node: Any, shapes: Any) -> list[tuple[Any, ...]]:
        """Without computing the result."""
        return [tuple(_result(self.product, shapes[0], shapes[1])) if self.role == "y" else tuple(node.inputs[2:])]

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Extents are given."""
        return [[i < 2] for i in range(len(node.inputs))]

    def pullback(self, inputs: Any, outputs: Any, cotangents: Any) -> list[Any]:
        """The gradients by the two operands."""
        roles = dict(zip(OPERANDS[self.role], inputs[:2], strict=True))
        given, derived = roles | {self.role: cotangents[0]}, self.product.derived(linear=self.role == "x")
        gradients = []
        for role, operand in roles.items():
            first, second = (given[name] for name in OPERANDS[role])
            known = operand.type.shape
            size = [operand.shape[i] if known[i] is None else known[i] for i in range(operand.ndim)]
            gradient = Pass(role, derived)(first, second, *([] if role == "y" else size))
            gradients.append(gradient.astype(operand.dtype))
        return gradients + [disconnected_type() for _ in inputs[2:]]

    def pushforward(self, inputs: Any, outputs: Any, tangents: Any) -> list[Any]:
        """The derivative along tangents of the operands."""
        terms = []
        for position, role in enumerate(OPERANDS[self.role]):
            if not isinstance(tangents[position].type, DisconnectedType):
                operands = list(inputs)
                operands[position] = tangents[position]
                derived = self.product.derived(linear=role == "x")
                terms.append(Pass(self.role, derived)(*operands).astype(outputs[0].dtype))
        return [sum(terms[1:], terms[0]) if terms else disconnected_type()]


def _compile_for_numba() -> None:
    """Numba calls ``perform``, as it does for any Op without code of its own, but says nothing."""
    try:
        from pytensor.link.numba.dispatch import basic
    except ImportError:
        return

    @basic.numba_funcify.register(Pass)
    def funcify(op: Any, node: Any = None, **kwargs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Numba will use object mode", UserWarning)
            return basic.generate_fallback_impl(op, node, **kwargs)


_compile_for_numba()


# ---------------------------------------------------------------- shapes, of which a part may be known


def _result(product: Product, first: Sequence[Any], second: Sequence[Any]) -> Sequence[Any]:
    """The shape of a product from the shapes of x and w: of integers, variables, and None for what is not known."""
    numbers = all(isinstance(extent, int) for extent in (*first, *second))
    if isinstance(product, Plain):
        if numbers:
            a, kernel = (np.broadcast_to(np.zeros(()), shape) for shape in (first, second))
            options = (product.axes, product.mode, product.boundary, product.origin, product.stride, product.dilation)
            return make_problem(a, kernel, product.several, product.turned, *options).result_shape
        return _plain_result(product, first, second)
    if numbers:
        return geometry_of(tuple(first), tuple(second), product.options).result_shape
    return _layer_result(product, first, second)


def _layer_result(product: Layer, x: Sequence[Any], w: Sequence[Any]) -> list[Any]:
    options = product.options
    conv = options.conv
    rank = len(w) - 2 - conv.per_sample
    if rank not in (1, 2, 3) or len(x) not in (rank + 1, rank + 2):
        raise ShapeError(f"x has {len(x)} axes and w {len(w)}, expected (N, C, *spatial) and (K, C/groups, *kernel)")
    transposed = isinstance(options, TransposeOptions)
    strides, dilations = axes_of(conv.stride, rank, "stride", 1), axes_of(conv.dilation, rank, "dilation", 1)
    pads = conv.padding if isinstance(conv.padding, str) else explicit_pads(conv.padding, rank)
    spatial = x[-rank - 1 : -1] if conv.channels_last else x[-rank:]
    extra: Any = (0,) * rank
    if isinstance(options, TransposeOptions):
        extra = axes_of(options.output_padding, rank, "output_padding", 0)
        if options.output_size is not None:
            sizes = options.output_size
            given = sizes[-rank - 1 : -1] if conv.channels_last and len(sizes) > rank else sizes[-rank:]
    out: list[Any] = []
    for i, (n, k, s, d) in enumerate(zip(spatial, w[-rank:], strides, dilations, strict=True)):
        if isinstance(options, TransposeOptions) and options.output_size is not None:
            out.append(given[i])
        elif n is None or (k is None and not str(pads).startswith("same")):
            out.append(None)
        elif transposed:
            reach = 0 if k is None else d * (k - 1)
            cropped = (
                {"valid": 0, "full": 2 * reach, "causal": reach}.get(pads) if isinstance(pads, str) else sum(pads[i])
            )
            out.append(s * n if cropped is None else s * (n - 1) + reach + 1 + extra[i] - cropped)
        else:
            reach = 0 if k is None else d * (k - 1)
            total = {"valid": 0, "full": 2 * reach}.get(pads, reach) if isinstance(pads, str) else sum(pads[i])
            out.append((n + total - reach - 1) // s + 1)
    channels: Any = w[-rank - 1] if transposed else w[-rank - 2]
    if transposed and channels is not None:
        channels = channels * conv.groups
    batch = x[: len(x) - rank - 1]
    return [*batch, *out, channels] if conv.channels_last else [*batch, channels, *out]


def _plain_result(product: Plain, a: Sequence[Any], kernel: Sequence[Any]) -> list[Any]:
    like_a, like_kernel = (np.empty((1,) * len(shape)) for shape in (a, kernel))
    numbers, order = convolved_axes(like_a, like_kernel, product.several, product.axes)
    count = len(numbers)
    extents = list(kernel[1:] if product.several else kernel)
    own = len(extents) != count
    if own and (product.several or len(extents) != len(a)):
        raise ShapeError(f"the kernel has {len(extents)} axes, expected {count} or {len(a)}, those of a")
    strides = one_for_each(product.stride, "stride", count, 1)
    dilations = one_for_each(product.dilation, "dilation", count, 1)
    result: list[Any] = [
        n if not own or number in numbers else _broadcast(n, k)
        for number, (n, k) in enumerate(zip(a, extents if own else a, strict=True))
    ]
    for number, place in zip(numbers, order, strict=True):
        n, k = a[number], extents[number if own else place]
        as_many = product.mode in ("same", "causal")  # as many results as a has elements
        if n is None or (k is None and not as_many):
            result[number] = None
        else:
            reach = 0 if as_many else dilations[place] * (k - 1)
            result[number] = (n + (reach if product.mode == "full" else -reach) - 1) // strides[place] + 1
    return [kernel[0], *result] if product.several else result


def _broadcast(n: Any, k: Any) -> Any:
    """An extent of a beside one of the kernel, along an axis that is not convolved."""
    if isinstance(n, int):
        return k if n == 1 else n
    if n is None or k is None:
        return k if isinstance(k, int) and k != 1 else None
    return pt.switch(pt.eq(n, 1), k, n)
