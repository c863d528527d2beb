"""The call of the engine for one block: correlation of what was gathered, without padding, and its gradients.

In: x (N, channels, \\*positions, trailing), weights, strides, dilations.   Out: y (N, filters, \\*results, trailing).
Next: ``conv`` and its gradients (``functional.py``).

The engine has 1 to 3 axes.  Of more, the taps of the leading ones become channels: x is then brought as its windows
along them, and the sum over channels is the sum over those taps.  A trailing axis is an axis with a kernel extent of 1,
or part of the last axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from convpp._call.arguments import Algorithm, Shape
from convpp._call.options import ConvOptions, conv_options
from convpp._call.validation import Array
from convpp.explain import explain
from convpp.forward import conv
from convpp.functional import conv_input_grad, conv_weight_grad
from convpp.plain.arguments import BOUNDARIES
from convpp.plain.problem import TRAILING_AXIS

MOST_AXES = 3
LAYOUT = "channels_first"


@dataclass(frozen=True)
class Engine:
    """How blocks of a problem are computed; weights are (filters, channels/groups, \\*kernel), or those of a batch."""

    kernel: Shape
    stride: Shape
    dilation: Shape
    trailing: int
    groups: int = 1
    own_kernels: bool = False
    #: For each axis, and what it holds; none for blocks that were gathered with it.
    padding: tuple[tuple[int, int], ...] = ()
    modes: tuple[str, ...] = ()
    algorithm: Algorithm = "auto"
    threads: int | None = None

    @property
    def leading(self) -> int:
        """Axes whose taps become channels."""
        return max(len(self.kernel) - MOST_AXES, 0)

    @property
    def copies(self) -> int:
        """How many times each element of x is brought."""
        return math.prod(self.kernel[: self.leading])

    def with_kernel(self, kernel: Shape, stride: Shape, dilation: Shape) -> Engine:
        """The same for another kernel."""
        return replace(self, kernel=kernel, stride=stride, dilation=dilation)

    def forward(self, x: Array, weights: Array, out: Array | None = None) -> Array:
        """The sums; ``out`` is their memory, in any shape, contiguous."""
        windows = self._windows(x)
        w = self._filters(weights, windows.shape[0])
        results = self._results(x.shape[2 : 2 + len(self.kernel)])
        target = None if out is None or self.leading else out.reshape(self._flat_result(windows.shape[0], w, results))
        y = conv(self._flat(windows), w, out=target, **self._options())
        return self._unwound(y, x, results)

    def workspace_bytes(self, x_shape: Shape, weights: Array) -> int:
        """What ``forward`` takes beside its result."""
        w = self._filters(weights, x_shape[0])
        plan = explain(self._flat_shape(x_shape), w.shape, dtype=w.dtype, **self._options())
        return int(plan.workspace_bytes)

    def input_grad(self, dy: Array, weights: Array, x_shape: Shape, out: Array | None = None) -> Array:
        """The gradient of a block of x; ``out`` is its memory, in any shape, contiguous."""
        wound, n = self._wound(dy), x_shape[0]
        shape = (
            n * math.prod(wound.shape[1 : 1 + self.leading]),
            x_shape[1] * self.copies,
            *x_shape[2 + self.leading :],
        )
        w = self._filters(weights, shape[0])
        flat = self._flat(wound.reshape(shape[0], *wound.shape[1 + self.leading :]))
        target = None if out is None or self.leading else out.reshape(self._flat_shape(shape))
        dx = conv_input_grad(flat, w, self._flat_shape(shape), out=target, **self._options())
        return self._add_windows(dx.reshape(shape), x_shape, wound.shape[1 : 1 + self.leading])

    def weight_grad(self, dy: Array, x: Array, w_shape: Shape) -> Array:
        """The gradient of the weights; of those of a batch if ``own_kernels``."""
        windows, wound = self._windows(x), self._wound(dy)
        flat = self._flat(wound.reshape(windows.shape[0], *wound.shape[1 + self.leading :]))
        lead = 1 if self.own_kernels else 0
        given = (w_shape[lead], w_shape[lead + 1] * self.copies, *self._kernel())
        if lead:
            given = (windows.shape[0], *given)
        dw = conv_weight_grad(flat, self._flat(windows), given, **self._options())
        if lead and self.leading:
            dw = dw.reshape(w_shape[0], -1, *dw.shape[1:]).sum(axis=1)
        return dw.reshape(w_shape)

    def seen_as(self, x: Shape, weights: Shape) -> tuple[Shape, Shape, ConvOptions]:
        """What ``forward`` calls the engine with: the shapes of both arrays, and options."""
        options = self._options()
        del options["threads"]
        return self._flat_shape(x), (*weights[:2], *self._kernel()), conv_options(**options, flip=False, layout=LAYOUT)

    # ---------------------------------------------------------------- the trailing axis

    @property
    def merged(self) -> bool:
        """Whether what trails is part of the last axis."""
        few = self.trailing < TRAILING_AXIS or len(self.kernel) >= MOST_AXES
        return self.trailing == 1 or (self.stride[-1] == 1 and few)

    def _kernel(self) -> Shape:
        kernel = self.kernel[self.leading :]
        return kernel if self.merged else (*kernel, 1)

    def _options(self) -> dict[str, Any]:
        stride, dilation = self.stride[self.leading :], self.dilation[self.leading :]
        padding, modes = self.padding or ((0, 0),) * len(stride), self.modes or ("zeros",) * len(stride)
        if self.merged:
            dilation = (*dilation[:-1], dilation[-1] * self.trailing)
            padding = (*padding[:-1], (padding[-1][0] * self.trailing, padding[-1][1] * self.trailing))
        else:
            stride, dilation, padding, modes = (*stride, 1), (*dilation, 1), (*padding, (0, 0)), (*modes, "zeros")
        return {
            "stride": stride,
            "dilation": dilation,
            "padding": padding,
            "padding_mode": modes,
            "groups": self.groups,
            "per_sample": self.own_kernels,
            "algorithm": self.algorithm,
            "threads": self.threads,
        }

    def _flat_shape(self, shape: Shape) -> Shape:
        """(N, channels, \\*positions, trailing) as the engine sees it."""
        return (*shape[:-2], shape[-2] * shape[-1]) if self.merged else shape

    def _flat(self, x: Array) -> Array:
        return x.reshape(self._flat_shape(x.shape))

    def _flat_result(self, n: int, w: Array, results: Shape) -> Shape:
        filters = w.shape[1] if self.own_kernels else w.shape[0]
        return self._flat_shape((n, filters, *results, self.trailing))

    def _results(self, positions: Shape) -> Shape:
        padding = self.padding or ((0, 0),) * len(positions)
        return tuple(
            (n + lo + hi - d * (k - 1) - 1) // s + 1
            for n, (lo, hi), k, s, d in zip(positions, padding, self.kernel, self.stride, self.dilation, strict=True)
        )

    def takes_whole(self, modes: tuple[str, ...]) -> bool:
        """Whether an array is computed by one call, with these boundaries."""
        last = ("zeros", "circular") if self.trailing > 1 and self.merged else (*BOUNDARIES,)
        return not self.leading and all(mode in BOUNDARIES for mode in modes) and modes[-1] in last

    # ---------------------------------------------------------------- more than three axes

    def _filters(self, weights: Array, samples: int) -> Array:
        lead = 2 if self.own_kernels else 1
        shape = (*weights.shape[:lead], weights.shape[lead] * self.copies, *self._kernel())
        w = weights.reshape(shape)
        return np.repeat(w, samples // w.shape[0], axis=0) if self.own_kernels and samples != w.shape[0] else w

    def _windows(self, x: Array) -> Array:
        """(N * windows, channels * taps, \\*positions, trailing): of the leading axes, what each result reads."""
        lead = self.leading
        if not lead:
            return x
        spans = tuple(d * (k - 1) + 1 for k, d in zip(self.kernel[:lead], self.dilation, strict=False))
        seen = np.lib.stride_tricks.sliding_window_view(x, spans, axis=tuple(range(2, 2 + lead)))
        steps = tuple(slice(None, None, s) for s in self.stride[:lead])
        taps = tuple(slice(None, None, d) for d in self.dilation[:lead])
        seen = seen[(slice(None), slice(None), *steps, *(slice(None),) * (x.ndim - 2 - lead), *taps)]
        rest = tuple(range(2 + lead, x.ndim))
        order = (0, *range(2, 2 + lead), 1, *range(x.ndim, x.ndim + lead), *rest)
        windows = seen.transpose(order)
        n = math.prod(windows.shape[: 1 + lead])
        return windows.reshape(n, x.shape[1] * self.copies, *x.shape[2 + lead :])

    def _unwound(self, y: Array, x: Array, results: Shape) -> Array:
        """The engine's result as (N, filters, \\*results, trailing)."""
        lead = self.leading
        shaped = y.reshape(x.shape[0], *results[:lead], y.shape[1], *results[lead:], self.trailing)
        return np.moveaxis(shaped, 1 + lead, 1) if lead else shaped

    def _wound(self, dy: Array) -> Array:
        """(N, \\*leading results, filters, \\*results, trailing)."""
        return np.ascontiguousarray(np.moveaxis(dy, 1, 1 + self.leading)) if self.leading else dy

    def _add_windows(self, dx: Array, x_shape: Shape, results: Shape) -> Array:
        """The adjoint of ``_windows``."""
        lead = self.leading
        if not lead:
            return dx
        taps = self.kernel[:lead]
        windows = dx.reshape(x_shape[0], *results, x_shape[1], *taps, *x_shape[2 + lead :])
        total = np.zeros(x_shape, dx.dtype)
        everything: tuple[Any, ...] = (slice(None),)
        for tap in product(*(range(k) for k in taps)):
            part = windows[(slice(None), *everything * lead, slice(None), *tap)]
            where: tuple[Any, ...] = tuple(
                slice(t * d, t * d + (p - 1) * s + 1, s)
                for t, d, p, s in zip(tap, self.dilation, results, self.stride, strict=False)
            )
            total[(slice(None), slice(None), *where)] += np.moveaxis(part, 1 + lead, 1)
        return total
