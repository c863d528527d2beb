"""What a call would do: algorithm, kernels, threads, work and memory.

In: shapes and the geometry.   Out: an ``Explanation``, which prints well.   Nothing is computed.
Next: ``_call/planning.py``, and the core, which decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy.typing as npt

from convpp._call.arguments import Algorithm, Layout, Padding, PaddingMode, PerAxis, choice, shape
from convpp._call.options import conv_options
from convpp._call.planning import PASSES, PLANS, Pass
from convpp._call.validation import dtype_name
from convpp.runtime import threads_of_call


@dataclass(frozen=True)
class Explanation:
    """How convpp carries out one pass of a convolution.

    ``strategy`` is how the core multiplies (docs/architecture.md), ``candidates`` the estimated cost of each
    strategy, in slots of a multiply-add unit, or why it refused; ``flops`` counts a multiply-add as two;
    ``workspace_bytes`` is all memory that a call with ``threads`` threads may take, whatever its other options (a
    gradient that is added to ``out`` may need one more array of its size), ``workspace_bytes_per_thread`` what each
    thread has for itself; ``parallel`` tells whether there is enough work for more than one; ``weight_share``
    (forward) estimates the share of the time that packing or transforming the weights takes, which
    ``prepare_weights`` saves; ``blocking`` says how the work is cut, and what error the FFT has; ``tasks`` is 0 where
    the strategy hands its work out itself (the FFT, the reference).

    Examples
    --------
    >>> import convpp
    >>> e = convpp.explain((1, 8, 7, 7), (16, 8, 3, 3), op="weight_grad", algorithm="direct")
    >>> e.op, e.algorithm, e.output_shape
    ('weight_grad', 'direct', (16, 8, 3, 3))
    """

    op: Pass
    algorithm: Algorithm
    strategy: str
    isa: str
    threads: int
    flops: int
    workspace_bytes: int
    workspace_bytes_per_thread: int
    output_shape: tuple[int, ...]
    dtype: str
    tasks: int
    parallel: bool
    weight_share: float
    blocking: str
    candidates: dict[str, float | str]

    def __str__(self) -> str:
        rows = {
            "op": self.op,
            "algorithm": self.algorithm,
            "strategy": self.strategy,
            "output shape": " x ".join(map(str, self.output_shape)),
            "dtype": self.dtype,
            "isa": self.isa,
            "threads": str(self.threads),
            "work": f"{self.flops / 1e9:.3f} GFLOP",
            "workspace": f"{self.workspace_bytes / 2**20:.2f} MiB",
            "weights": f"about {self.weight_share:.0%} of the time, which prepare_weights saves",
            "blocking": self.blocking,
        }
        if self.op != "forward":
            del rows["weights"]
        rows["strategies"] = "the estimated cost of each, in slots of a multiply-add unit; or why it does not fit"
        for name, fit in self.candidates.items():
            cost = f"no: {fit}" if isinstance(fit, str) else f"{fit:.3g}"
            rows[f"  {name}"] = f"{cost}, taken" if name == self.strategy else cost
        return "\n".join(f"{key:13} {value}" for key, value in rows.items())


def explain(
    x_shape: Iterable[int],
    w_shape: Iterable[int],
    *,
    op: Pass = "forward",
    dtype: npt.DTypeLike = "float32",
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
) -> Explanation:
    """How a pass on arrays of these shapes would be carried out.

    Parameters
    ----------
    x_shape, w_shape : shapes of x and w
    op : "forward", "input_grad" or "weight_grad"
    dtype : float32, float64, float16 or bfloat16
    stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm, threads
        As in ``conv``.

    Returns
    -------
    Explanation
        With ``algorithm, op, isa, threads, flops, workspace_bytes, output_shape`` and more; ``print`` it.

    Raises
    ------
    ShapeError, DTypeError, ValueError

    Examples
    --------
    >>> import convpp
    >>> e = convpp.explain((8, 64, 56, 56), (64, 64, 3, 3), padding=1)
    >>> e.algorithm, e.flops, e.output_shape
    ('winograd', 1849688064, (8, 64, 56, 56))
    """
    choice(op, "op", PASSES)
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    planned = PLANS[op, dtype_name(dtype), shape(x_shape, "x_shape"), shape(w_shape, "w_shape"), options]
    summary = planned.convolution.summary(threads_of_call(threads))
    shapes = {"forward": planned.y_shape, "input_grad": planned.x_shape, "weight_grad": planned.w_shape}
    return Explanation(output_shape=shapes[op], candidates=planned.convolution.candidates(), **summary)
