"""How a pass is computed within a program of XLA's: by the core's handler, or by a callback where there are none.

In: the operands of a pass, a ``Call``.   Out: the result.
Next: ``cpp/bindings/jax_handler.cpp``, where it takes and returns XLA's buffers; or ``_call/run.py``.
"""

from __future__ import annotations

import threading
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
from convpp.jax.call import PASSES, Call

Array = Any

TARGET = "convpp_convolution"

_WITHOUT_HANDLER = (
    "convpp was built without XLA's headers: convpp.jax works, but calls back into Python for each convolution, which "
    "takes more time and memory. To build it with them: CONVPP_JAX=1 pip install --no-binary convpp convpp"
)


def compute(role: str, *operands: Array, call: Call, dtype: np.dtype[Any]) -> Array:
    """The pass with this result; a third operand is a bias."""
    result = jax.ShapeDtypeStruct(call.shape(role), dtype)
    if not has_ffi():
        return jax.pure_callback(_called_back(role, call, dtype), result, *operands)
    return jax.ffi.ffi_call(TARGET, result)(*operands, problem=_numbers(role, call), dtype=operands[0].dtype.name)


def has_ffi() -> bool:
    """Whether convolutions are calls of compiled code (XLA's foreign function interface), and no callbacks.

    The first call, or the first convolution that is compiled, makes that code known to XLA.  (A process that runs
    programs of ``jax.export``, and traces none itself, calls this first.)
    """
    global _registered
    with _lock:
        if _registered is None:
            _registered = _register()
        return _registered


def _register() -> bool:
    jax.devices("cpu")  # If XLA refused what is registered before it has a CPU, it would have none.
    try:
        jax.ffi.register_ffi_target(TARGET, _core.jax_handler, platform="cpu")
    except Exception as error:
        warnings.warn(f"convpp.jax calls back into Python for each convolution: {error}", RuntimeWarning, stacklevel=2)
        return False
    return True


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
        arrays = [plain(array, array.dtype) for array in map(np.asarray, operands)]
        bias = arrays[2] if len(arrays) == 3 else None
        planned = PLANS[PASSES[role], arrays[0].dtype.name, call.x_shape, call.w_shape, call.options]
        shape = call.shape(role)
        return run(planned, arrays[0], arrays[1], bias, shape, np.empty(shape, dtype), False, None)

    return callback


_lock = threading.Lock()
#: None: not tried yet.
_registered: bool | None = None
if _core.jax_handler is None:
    _registered = False
    warnings.warn(_WITHOUT_HANDLER, RuntimeWarning, stacklevel=5)  # whoever imports convpp.jax
