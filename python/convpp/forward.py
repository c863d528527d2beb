"""``conv``: the convolution, of a whole signal or of one chunk after the other.

In: NumPy arrays and the geometry.   Out: y; with a ``state``, y and the next one.
Its four steps are those of each function in ``functional.py``: options, operands, plan, run (``_call/``).
Next: ``functional.py``, the gradients; ``streaming.py``, chunks.
"""

from __future__ import annotations

from typing import Unpack, overload

import numpy.typing as npt

from convpp._call.arguments import Activation, Algorithm, Layout, Padding, PaddingMode, PerAxis, check_shape
from convpp._call.keywords import ConvHow, F
from convpp._call.options import conv_options
from convpp._call.planning import PLANS
from convpp._call.run import run
from convpp._call.validation import Array, operands, with_residual
from convpp.prepared import PreparedWeights
from convpp.streaming import State, conv_chunk


@overload
def conv(
    x: npt.NDArray[F],
    w: npt.NDArray[F] | PreparedWeights,
    bias: npt.NDArray[F] | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    activation: Activation | None = None,
    add: npt.NDArray[F] | None = None,
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    out: npt.NDArray[F] | None = None,
    threads: int | None = None,
    state: None = None,
) -> npt.NDArray[F]: ...
@overload
def conv(
    x: npt.ArrayLike,
    w: npt.ArrayLike | PreparedWeights,
    bias: npt.ArrayLike | None = None,
    *,
    add: npt.ArrayLike | None = None,
    out: Array | None = None,
    state: None = None,
    **how: Unpack[ConvHow],
) -> Array: ...
@overload
def conv(
    x: npt.NDArray[F],
    w: npt.NDArray[F],
    bias: npt.NDArray[F] | None = None,
    *,
    add: npt.NDArray[F] | None = None,
    out: npt.NDArray[F] | None = None,
    state: str | npt.NDArray[F],
    **how: Unpack[ConvHow],
) -> tuple[npt.NDArray[F], npt.NDArray[F]]: ...
@overload
def conv(
    x: npt.ArrayLike,
    w: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    *,
    add: npt.ArrayLike | None = None,
    out: Array | None = None,
    state: State,
    **how: Unpack[ConvHow],
) -> tuple[Array, Array]: ...
def conv(
    x: npt.ArrayLike,
    w: npt.ArrayLike | PreparedWeights,
    bias: npt.ArrayLike | None = None,
    *,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
    padding_mode: PaddingMode = "zeros",
    flip: bool = False,
    layout: Layout = "channels_first",
    activation: Activation | None = None,
    add: npt.ArrayLike | None = None,
    per_sample: bool = False,
    algorithm: Algorithm = "auto",
    out: Array | None = None,
    threads: int | None = None,
    state: State | None = None,
) -> Array | tuple[Array, Array]:
    """Convolution of 1-, 2- or 3-D samples with K filters (fprop).

    ``y[n, k, p] = bias[k] + sum over c, r of x[n, c, p*stride - lo + r*dilation] * w[k, c, r]``

    Parameters
    ----------
    x : (N, C, \\*spatial), or (C, \\*spatial) for one sample
        Float32, float64, float16 or bfloat16 (of ``ml_dtypes``); with ``layout="channels_last"``: (N, \\*spatial, C).
        Any strides, alignment and byte order are right; a C-contiguous array is not copied.
    w : (K, C/groups, \\*kernel)
        The filters, in either layout.  The number of spatial axes is ``w.ndim - 2``.
        With ``per_sample=True``: (N, K, C/groups, \\*kernel), a set of filters for each sample.
        Or what ``prepare_weights`` made of it: the geometry is then the one it was prepared for.
    bias : (K,), optional
    stride, dilation : int, or one for each spatial axis
    padding : int, one for each axis, a (lo, hi) pair for each axis, or a name
        "valid" (none), "same" (output extent ceil(in/stride), the odd element behind: TensorFlow's, JAX's and ONNX's
        SAME_UPPER), "same_lower" (in front), "full" (``dilation*(k-1)`` on both sides), "causal" (all in front).
        Negative values crop.
    groups : int
        Channels of group g of x meet only the filters of group g.
    padding_mode : a name, or one for each spatial axis
        What padding holds: "zeros", or x as it goes on beyond its ends: "reflect" (mirrored at its last element,
        which is not repeated), "symmetric" (mirrored, the last element repeated), "replicate" (the last element),
        "circular" (x from its other end).  ``np.pad`` calls them constant, reflect, symmetric, edge and wrap.
        Any amount is fine: mirrors reflect each other.  x is not copied for it.
    flip : bool
        True rotates the filters by 180 degrees: convolution as in signal processing (``scipy.signal.convolve``).
    layout : "channels_first" or "channels_last"
    activation : "relu", "leaky_relu", "silu", "gelu", ("leaky_relu", slope) or ("clip", lo, hi), optional
        Applied to the results before they are written; ``activate`` has the equations, ``activation_grad`` the
        derivatives.
    add : array of the result's shape, optional
        A residual: ``y = activation(conv(x, w) + bias + add)``.
    algorithm : "auto", "direct", "winograd", "fft", "reference" or "stream"
        "auto" is the fastest, or what ``set_algorithm`` or ``with algorithm(...)`` says.  "winograd" does fewer
        multiplications, with errors about 4x direct's (see docs/accuracy.md); where it does not serve the geometry, a
        ValueError says why: it needs a kernel extent of 3 or 5 at stride 1.  "fft" multiplies Fourier transforms of
        tiles, y = F^-1(F(x) conj(F(w))) (overlap-save; Stockham 1966), in any geometry: it is for kernels of many
        taps, and its errors are about eps sqrt(log2 n) for transforms of n elements.  Sums of whole numbers are exact
        by "direct" alone.  "stream" is direct in an order of the sum that looks at no extent of x, so that results, of
        dx too, have the same bits wherever x was cut: what a call with a ``state``, and ``conv_tiled``, take.
    out : array of the result's shape and dtype, C-contiguous, optional
        The result is written here; it may overlap the inputs.  Of float16 and bfloat16 it may also be float32, and is
        then not rounded.
    threads : int, optional
        At most so many threads for this call.  The result does not depend on it.
    state : "zeros", or the state that the call before returned, optional
        Of a signal whose chunk is x, with ``padding="causal"``, 1-D, at stride 1.  "zeros" begins one.  The state is an
        array in the layout of x, its last ``dilation*(k-1)`` elements: (N, C, dilation*(k-1)), as in ONNX's
        CausalConvWithState.  Chunks may have any lengths, and y has the same bits however a signal is cut.

    Returns
    -------
    (N, K, \\*out), with ``out = floor((in + lo + hi - dilation*(k-1) - 1) / stride) + 1``
        In ``np.result_type`` of the inputs; without N if x has none.  float16 and bfloat16 are computed in float32
        and rounded once, to the nearest; together with any other type they count as float32.  (bfloat16 on CPUs that
        multiply two channels at once: in another order of the sum, and numbers below 1.2e-38 count as 0.)

        With a state: y, and the state for the next chunk.

    Raises
    ------
    ShapeError, DTypeError, ValueError, MemoryError
        Each names the argument; ``out`` is then untouched.

    References
    ----------
    Dumoulin and Visin, A guide to convolution arithmetic for deep learning, arXiv:1603.07285.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> x = np.arange(9, dtype=np.float32).reshape(1, 3, 3)          # one sample, one channel
    >>> w = np.ones((1, 1, 2, 2), dtype=np.float32)
    >>> convpp.conv(x, w)
    array([[[ 8., 12.],
            [20., 24.]]], dtype=float32)
    >>> y, state = convpp.conv(np.ones((1, 3)), np.ones((1, 1, 3)), padding="causal", state="zeros")
    >>> convpp.conv(np.ones((1, 2)), np.ones((1, 1, 3)), padding="causal", state=state)[0]
    array([[3., 3.]])
    """
    options = conv_options(stride, padding, dilation, groups, padding_mode, flip, layout, per_sample, algorithm)
    if state is not None:
        return conv_chunk(x, w, bias, state, options, activation, add, algorithm, out, threads)
    if isinstance(w, PreparedWeights):
        return w.run(x, bias, activation, add, options, algorithm, out, threads)
    x, w, bias, dtype = operands(x, w, bias, ("x", "w"))
    if add is not None:
        x, w, bias, add, dtype = with_residual(x, w, bias, add, dtype)
    planned = PLANS["forward", dtype, x.shape, w.shape, options]
    if bias is not None:
        check_shape(bias.shape, (planned.geometry.out_channels,), "bias", "(K,), one for each filter")
    return run(planned, x, w, bias, planned.y_shape, out, False, threads, activation, add)
