"""Weights and arguments of other libraries, as convpp takes them.

In: arrays and arguments in the form of TensorFlow, Keras, JAX, Flax, MLX, ONNX, PyTorch or SciPy.
Out: weights (K, C/groups, \\*kernel), or (C_in, C_out/groups, \\*kernel) for ``conv_transpose``; keyword arguments.
Plain NumPy, any dtype.  PyTorch's and ONNX's weights are convpp's own and need nothing.

Next: ``weights.py``, ``arguments.py``; docs/conventions.md, where each call of these libraries stands beside convpp's.
"""

from convpp.conventions.arguments import (
    ceil_padding,
    ndimage_arguments,
    onnx_padding,
    onnx_transpose_padding,
    signal_arguments,
    torch_padding,
)
from convpp.conventions.weights import (
    from_depthwise,
    from_hwio,
    from_hwoi,
    from_jax_transpose,
    from_ohwi,
    to_depthwise,
    to_hwio,
    to_hwoi,
    to_jax_transpose,
    to_ohwi,
)

__all__ = [
    "ceil_padding",
    "from_depthwise",
    "from_hwio",
    "from_hwoi",
    "from_jax_transpose",
    "from_ohwi",
    "ndimage_arguments",
    "onnx_padding",
    "onnx_transpose_padding",
    "signal_arguments",
    "to_depthwise",
    "to_hwio",
    "to_hwoi",
    "to_jax_transpose",
    "to_ohwi",
    "torch_padding",
]
