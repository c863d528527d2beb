"""convpp: convolutions and their gradients for NumPy arrays.

Start with ``conv`` (forward.py), ``conv_input_grad`` and ``conv_weight_grad`` (functional.py), ``conv_backward``
(backward.py), their transposed namesakes (transposed.py), the layers (nn/), ``convpp.testing`` for the readable
reference, and ``convpp.conventions`` for weights and arguments of other libraries.  How a call is made: ``_call/``.
"""

from types import ModuleType
from typing import TYPE_CHECKING

from convpp import _core, _threadpoolctl
from convpp.activation import activate, activation_grad
from convpp.backward import conv_backward, conv_transpose_backward
from convpp.derivatives import conv_double_backward, conv_jvp, conv_transpose_double_backward, conv_transpose_jvp
from convpp.errors import DTypeError, ShapeError
from convpp.explain import Explanation, explain
from convpp.forward import conv
from convpp.functional import adjoint_kernel, conv_bias_grad, conv_input_grad, conv_weight_grad
from convpp.nn.layers import Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from convpp.nn.pooling import AvgPool1d, AvgPool2d, AvgPool3d, MaxPool1d, MaxPool2d, MaxPool3d
from convpp.plain.backward import convolve_backward
from convpp.plain.forward import convolve, correlate
from convpp.plain.kernels import box, gaussian, laplace, sobel
from convpp.pooling import avg_pool, avg_pool_input_grad, max_pool, max_pool_input_grad
from convpp.prepared import PreparedWeights, prepare_weights
from convpp.runtime import (
    algorithm,
    get_algorithm,
    get_cmake_dir,
    get_include,
    get_num_threads,
    runtime_info,
    set_algorithm,
    set_num_threads,
    show_config,
    threads,
)
from convpp.shapes import conv_output_shape, conv_transpose_output_shape, pool_output_shape
from convpp.tiling.convolve import convolve_tiled
from convpp.tiling.tiled import conv_input_grad_tiled, conv_tiled, conv_weight_grad_tiled
from convpp.tiling.tiles import tiles
from convpp.transposed import conv_transpose, conv_transpose_input_grad, conv_transpose_weight_grad

__version__ = _core.version

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "DTypeError",
    "Explanation",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "PreparedWeights",
    "ShapeError",
    "activate",
    "activation_grad",
    "adjoint_kernel",
    "algorithm",
    "avg_pool",
    "avg_pool_input_grad",
    "box",
    "conv",
    "conv_backward",
    "conv_bias_grad",
    "conv_double_backward",
    "conv_input_grad",
    "conv_input_grad_tiled",
    "conv_jvp",
    "conv_output_shape",
    "conv_tiled",
    "conv_transpose",
    "conv_transpose_backward",
    "conv_transpose_double_backward",
    "conv_transpose_input_grad",
    "conv_transpose_jvp",
    "conv_transpose_output_shape",
    "conv_transpose_weight_grad",
    "conv_weight_grad",
    "conv_weight_grad_tiled",
    "convolve",
    "convolve_backward",
    "convolve_tiled",
    "correlate",
    "explain",
    "gaussian",
    "get_algorithm",
    "get_cmake_dir",
    "get_include",
    "get_num_threads",
    "laplace",
    "max_pool",
    "max_pool_input_grad",
    "pool_output_shape",
    "prepare_weights",
    "runtime_info",
    "set_algorithm",
    "set_num_threads",
    "show_config",
    "sobel",
    "threads",
    "tiles",
]


_threadpoolctl.register_when_imported()

#: Modules that are part of the public API, imported when they are first asked for.  (Most need a package of their own:
#: a star import must not ask for them.)
_MODULES = ("autograd", "conventions", "dask", "jax", "onnx", "operators", "pytensor", "testing", "torch")
__all__ += ["conventions", "testing"]

if TYPE_CHECKING:  # who checks types sees what dir lists, and no more
    from convpp import autograd as autograd
    from convpp import conventions as conventions
    from convpp import dask as dask
    from convpp import jax as jax
    from convpp import onnx as onnx
    from convpp import operators as operators
    from convpp import pytensor as pytensor
    from convpp import testing as testing
    from convpp import torch as torch
else:

    def __getattr__(name: str) -> ModuleType:
        if name in _MODULES:
            from importlib import import_module

            return import_module(f"convpp.{name}")
        from convpp._call.guesses import words

        raise AttributeError(f"module 'convpp' has no attribute {name!r}{words.of_attribute(name)}")


def __dir__() -> list[str]:
    """The public API, and nothing else."""
    return sorted(__all__)
