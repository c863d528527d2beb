"""Planned passes: a geometry that was seen before is recognised in constant time.

In: pass, dtype, shapes and options.   Out: a ``Planned`` pass, kept in a cache that is bounded by number and by bytes.
Next: ``run.py``; ``_core`` (cpp/bindings/module.cpp), the compiled core.
"""

from __future__ import annotations

import os
import threading
from typing import Literal

from convpp import _core
from convpp._call.arguments import Shape
from convpp._call.chunks import Chunk, chunk_of
from convpp._call.geometry import Geometry, geometry_of
from convpp._call.options import ConvOptions, Options

#: Plans are a few kilobytes each; those with many taps or residue classes may be some megabytes.
PLANS_KEPT = 1024
BYTES_KEPT = 64 << 20
#: What a plan takes in Python, about: shapes, options, a ``Geometry``.
PYTHON_BYTES = 4096

#: A forward pass of a chunk with the state in front of it; its key has the shape of the chunk alone.
CHUNK = "chunk"
Pass = Literal["forward", "input_grad", "weight_grad"]
PASSES: tuple[Pass, ...] = ("forward", "input_grad", "weight_grad")

Key = tuple[str, str, Shape, Shape, Options]


class Planned:
    """One pass of one geometry, ready to run: shapes for the checks, and the core's plan."""

    __slots__ = ("chunk", "convolution", "execute", "geometry", "nbytes", "w_shape", "x_shape", "y_shape")

    def __init__(self, pass_: str, dtype: str, geometry: Geometry) -> None:
        self.geometry = geometry
        self.convolution = _core.Convolution(pass_, dtype, geometry.options.conv.algorithm, *geometry.core_arguments())
        self.execute = self.convolution.execute
        self.x_shape = geometry.x_shape
        self.w_shape = geometry.w_shape
        self.y_shape = geometry.y_shape
        self.nbytes = self.convolution.plan_bytes + PYTHON_BYTES
        #: Of a chunk of a signal, whose x_shape is that with the state in front of it.
        self.chunk: Chunk | None = None


class Plans(dict[Key, Planned]):
    """``plans[pass, dtype, x_shape, w_shape, options]``: made where it is not there, and kept while there is room.

    A pass of ``conv``, or of the convolution that ``conv_transpose`` is the adjoint of.  Those that were made first are
    forgotten first: one in steady use is then made again, once for every ``most`` others.  To find a plan takes no
    lock, with or without a GIL.  Whoever keeps or forgets plans holds one, but never while a plan is made; signal
    handlers and destructors, which run anywhere, may take it once more.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        self.most = most
        self.most_bytes = most_bytes
        #: Of the plans that are kept.
        self.nbytes = 0
        #: How many were ever made.
        self.made = 0
        self._times_forgotten = 0
        self._lock = threading.RLock()

    def __missing__(self, key: Key) -> Planned:
        """A new plan."""
        times_forgotten = self._times_forgotten
        pass_, dtype, x_shape, w_shape, options = key
        if pass_ == CHUNK and isinstance(options, ConvOptions):
            chunk = chunk_of(x_shape, w_shape, options)
            planned = Planned("forward", dtype, geometry_of(chunk.planned_shape, w_shape, chunk.options))
            planned.chunk = chunk
        else:
            planned = Planned(pass_, dtype, geometry_of(x_shape, w_shape, options))
        if w_shape[0] == w_shape[1] == w_shape[-2] != w_shape[-1] and len(w_shape) > 3:
            from convpp._call.guesses import plain

            plain.warn_of_order(w_shape, options)
        with self._lock:
            self.made += 1
            # A plan for settings that were changed meanwhile serves this call, and no other.
            if self._times_forgotten == times_forgotten and planned.nbytes <= self.most_bytes:
                self._keep(key, planned)
        return planned

    def _keep(self, key: Key, planned: Planned) -> None:
        if key in self:  # another thread made it at the same time
            return
        self.nbytes += planned.nbytes  # first: what an interrupt leaves may count too much, and never too little
        self[key] = planned
        while len(self) > self.most or self.nbytes > self.most_bytes:
            self.nbytes -= self.pop(next(iter(self))).nbytes
            if not self:
                self.nbytes = 0

    def forget(self) -> None:
        """Empties the cache."""
        with self._lock:
            self._times_forgotten += 1
            self.clear()
            self.nbytes = 0

    def renew_lock(self) -> None:
        """In a forked child, whose parent's other threads may have held it; what they were about is counted anew."""
        self._lock = threading.RLock()
        self.nbytes = sum(planned.nbytes for planned in self.values())


PLANS = Plans(PLANS_KEPT, BYTES_KEPT)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PLANS.renew_lock)


def forget_plans() -> None:
    """Empties the cache: plans are made for one instruction set and number of threads."""
    PLANS.forget()
