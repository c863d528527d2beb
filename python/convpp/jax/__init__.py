"""convpp's convolutions for JAX: under ``jit``, ``grad``, ``vmap``, in forward and reverse mode, to any order.

``conv_general_dilated`` takes the arguments of ``jax.lax``'s (lax.py); ``conv`` and ``conv_transpose`` those of convpp
(functional.py).  They are made of three bilinear primitives (primitives.py), which are one another's derivatives,
batch without loops (batching.py), and reach the compiled core through XLA's foreign function interface (lowering.py).

JAX is imported here, and nowhere else in the package: ``pip install "convpp[jax]"``.
"""

try:
    import jax as _jax  # noqa: F401  (asked for here, so that what is missing is named)
except ImportError as _error:
    raise ImportError('convpp.jax needs JAX: pip install "convpp[jax]"') from _error

from convpp.jax.functional import conv, conv_transpose
from convpp.jax.lax import conv_general_dilated
from convpp.jax.lowering import has_ffi

__all__ = ["conv", "conv_general_dilated", "conv_transpose", "has_ffi"]
