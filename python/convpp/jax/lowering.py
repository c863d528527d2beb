"""How a pass is computed within a program of XLA's: by the core's handler, or by a callback where there are none.

In: the operands of a pass, a ``Call``.   Out: the result.
Next: ``cpp/bindings/jax/handler.cpp``, where it takes and returns XLA's buffers; or ``_call/run.py``.
"""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np

from convpp import _core
from convpp._call.arguments import ALGORITHMS, PADDING_MODES
from convpp._call.planning import PASSES as PASS_NUMBERS
from convpp._call.planning import PLANS
from convpp._call.run import run
from convpp._call.validation import plain
from convpp.jax.call import OPERANDS, PASSES, Call

Array = Any

TARGET = "convpp_convolution"

_WITHOUT_HANDLER = (
    "convpp was built without JAX's headers: convpp.jax works, but calls back into Python for each convolution, which "
    "takes more time and memory. To build it with them: CONVPP_JAX=1 pip install --no-binary convpp convpp"
)


def compute(role: str, *operands: Array, call: Call, dtype: np.dtype[Any]) -> Array:
    """The pass with this result; a third operand is a bias."""
    result = jax.ShapeDtypeStruct(call.shape(role), dtype)
    if not has_ffi():
        return jax.pure_callback(_called_back(role, call, dtype), result, *operands)
    return jax.ffi.ffi_call(TARGET, result)(*operands, problem=_numbers(role, call), dtype=operands[0].dtype.name)


def has_ffi() -> bool:
    """Whether convolutions are calls of compiled code (XLA's foreign function interface), and no callbacks."""
    return _registered


def _numbers(role: str, call: Call) -> np.ndarray[Any, np.dtype[np.int64]]:
    """A convolution as the handler reads it: pass, algorithm, and the arguments of ``_core.Convolution``."""
    *arguments, modes = call.geometry.core_arguments()
    numbers = [PASS_NUMBERS.index(PASSES[role]), ALGORITHMS.index(call.options.algorithm)]
    for argument in (*arguments, tuple(PADDING_MODES.index(mode) for mode in modes)):
        numbers.extend(argument if isinstance(argument, tuple) else [int(argument)])
    return np.array(numbers, np.int64)


def _called_back(role: str, call: Call, dtype: np.dtype[Any]) -> Any:
    """A function of plain arrays: the same pass, planned and run as NumPy's callers do."""

    def callback(*operands: Array) -> Array:
        arrays = [np.asarray(operand) for operand in operands]
        first, second, bias = (*(plain(array, array.dtype) for array in arrays), *([None] * (3 - len(arrays))))
        planned = PLANS[PASSES[role], arrays[0].dtype.name, call.x_shape, call.w_shape, call.options]
        shape = call.shape(role)
        assert first is not None
        assert second is not None
        return run(planned, first, second, bias, shape, np.empty(shape, dtype), False, None)

    assert len(OPERANDS[role]) == 2
    return callback


_registered: bool = _core.jax_handler is not None
if _registered:
    jax.ffi.register_ffi_target(TARGET, _core.jax_handler, platform="cpu")
else:
    warnings.warn(_WITHOUT_HANDLER, RuntimeWarning, stacklevel=5)  # whoever imports convpp.jax
