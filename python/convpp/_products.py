"""A convolution, its gradients and theirs as one product of three: what frameworks of derivatives are told.

In: the options of a call.   Out: a ``Product``, immutable and hashable, that computes each of three passes.
Next: ``autograd.py`` and ``pytensor.py``, which differentiate it; ``functional.py`` and ``plain/``, which compute it.

A convolution is linear in x and in w.  Each of its passes is a gradient of one number t, by the operand it lacks::

    t(x, w, y) = sum(y * conv(x, w))        role    of          is
                                            "y"     x and w     conv
                                            "x"     y and w     conv_input_grad
                                            "w"     y and x     conv_weight_grad

so that the derivatives of each are the others, and there is no fourth: all derivatives of all orders are these three.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from convpp._call.arguments import Algorithm, Layout, Padding, PaddingMode, PerAxis, Shape, entries
from convpp._call.options import Options, TransposeOptions, conv_options, transpose_options
from convpp._call.validation import Array
from convpp.functional import CONV, conv_bias_grad
from convpp.plain.arguments import is_number
from convpp.plain.backward import convolve_backward
from convpp.plain.forward import convolve, correlate
from convpp.plain.operands import common
from convpp.runtime import threads_of_call
from convpp.transposed import TRANSPOSE

#: The roles of the operands of each role's pass, in this order.  The gradient of a pass by its operand of role p is the
#: pass of role p, of the gradient that comes in (in the role of the result) and of the other operand.
OPERANDS = {"y": ("x", "w"), "x": ("y", "w"), "w": ("y", "x")}


class Layer(NamedTuple):
    """``conv``, or ``conv_transpose``."""

    options: Options
    threads: int | None = None

    def compute(self, role: str, first: Any, second: Any, shape: Shape, dtype: Any = None) -> Array:
        """One pass, whose result has this shape; its type is that of the operands."""
        passes = TRANSPOSE if isinstance(self.options, TransposeOptions) else CONV
        how = self.options.keywords() | {"threads": self.threads}
        if role == "y":
            return passes.forward(first, second, **how)
        return (passes.input_grad if role == "x" else passes.weight_grad)(first, second, shape, **how)

    def forward(self, x: Any, w: Any, bias: Any, add: Any) -> Array:
        """The pass of role y with what is added to it."""
        passes = TRANSPOSE if isinstance(self.options, TransposeOptions) else CONV
        return passes.forward(x, w, bias, add=add, **self.options.keywords(), threads=self.threads)

    def bias_grad(self, dy: Any, batched: bool) -> Array:
        """The gradient by the bias."""
        layout: Any = self.options.conv.layout
        return conv_bias_grad(dy, layout=layout, batched=batched, threads=self.threads)

    def derived(self, linear: bool) -> Layer:
        """The product for a derivative: the same."""
        return self


class Plain(NamedTuple):
    """``convolve``, or ``correlate`` with the conjugate of the kernel: no operand is conjugated.

    A number as boundary makes it affine in a: y = product(a, w) + constant(w), where x is in role x.
    """

    turned: bool
    several: bool
    axes: Any
    mode: Any
    boundary: Any
    origin: Any
    stride: Any
    dilation: Any
    method: Any
    dtype: Any
    threads: int | None

    def compute(self, role: str, first: Any, second: Any, shape: Shape, dtype: Any) -> Array:
        """One pass; shape and type are those of the operand of this role (that of role y is told by the others)."""
        options: dict[str, Any] = self._asdict()
        turned, several, of_result = options.pop("turned"), options.pop("several"), options.pop("dtype")
        kernel = "kernels" if several else "kernel"
        if role == "y":
            options[kernel] = second if turned else _conj(second)
            y: Array = (convolve if turned else correlate)(first, **options, dtype=of_result)
            return y
        kind = common(np.dtype(dtype), first.dtype, second.dtype)
        absent = np.broadcast_to(np.zeros((), kind), shape)  # nobody reads it
        if role == "x":
            options[kernel] = _conj(second) if turned else second
            dx, _ = convolve_backward(first, absent, flip=turned, needs="a", **options)
            assert dx is not None
            return dx
        options[kernel] = absent
        _, dw = convolve_backward(_conj(first), second, flip=turned, needs="kernel", **options)
        assert isinstance(dw, np.ndarray)
        return _conj(dw) if turned else dw

    def derived(self, linear: bool) -> Plain:
        """The product for a derivative; ``linear``: role x has a tangent, beyond whose ends nothing lies."""
        boundary = self.boundary
        if linear:
            listed = entries(boundary, "boundary")
            zeroed = tuple("zeros" if is_number(b) else b for b in ((boundary,) if listed is None else listed))
            boundary = zeroed[0] if listed is None else zeroed
        method = "auto" if self.method == "separable" else self.method  # no tangent of a kernel is
        return self._replace(boundary=boundary, method=method)


Product = Layer | Plain


def layer(
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
) -> Layer:
    """The product of ``conv``, or an error that names the wrong option."""
    threads_of_call(threads)
    return Layer(
        conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm), threads
    )


def transposed_layer(*, output_padding: PerAxis = 0, output_size: Iterable[int] | None = None, **options: Any) -> Layer:
    """The product of ``conv_transpose``."""
    conv, threads = layer(**options)
    assert not isinstance(conv, TransposeOptions)
    return Layer(transpose_options(conv, output_padding, output_size), threads)


def _conj(a: Any) -> Any:
    return np.conj(a) if np.iscomplexobj(a) else a
