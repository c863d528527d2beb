"""Arrays of other libraries: taken without a copy where their memory allows, or an error that says what to do.

In: whatever a user passed, if it is not a plain ``np.ndarray``.   Out: something that ``np.asanyarray`` takes.
Next: ``validation.py``, the only caller.

Nothing is imported for it: a value of a library is there only if the library is.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from convpp._call.arguments import attribute
from convpp.errors import DTypeError

#: Libraries whose arrays are computed or read when NumPy asks for them, and how to ask on purpose.
_LAZY = {
    "dask": "a dask array, expected one in memory: {0}.compute(), or the function of the same name in convpp.dask, "
    "which takes dask arrays",
    "xarray": "an xarray object, expected an array: {0}.values, or xarray.apply_ufunc with a function of convpp "
    "(of convpp.dask where {0} is chunked)",
}
#: How an object shows its memory to NumPy; DLPack is asked for only where it has none of these.
_SHOWN = ("__array__", "__array_interface__", "__array_struct__", "__buffer__")


def from_other_library(value: Any, argument: str) -> Any:
    """``value``, or its memory as an array; DTypeError for what is not in memory, or not in this one."""
    library = type(value).__module__.partition(".")[0]
    if library in _LAZY:
        raise DTypeError(f"{argument} is {_LAZY[library].format(argument)}")
    if library == "torch" and str(attribute(value, "dtype")) == "torch.bfloat16":
        return _bfloat16(value)
    if attribute(value, "__dlpack__") is not None and not any(hasattr(type(value), name) for name in _SHOWN):
        try:
            return np.from_dlpack(value)
        except Exception as error:  # BufferError, RuntimeError, or whatever the library raises
            raise DTypeError(f"{argument} is not an array on this CPU: {error}") from error
    return value


def _bfloat16(tensor: Any) -> Any:
    """A tensor of PyTorch's, for which NumPy has no name: its bits, under the name that ``ml_dtypes`` gives them.

    Of one that records gradients, NumPy raises what it raises of others.
    """
    if attribute(tensor, "requires_grad") is True or not attribute(tensor, "is_cpu"):
        return tensor
    from convpp._call.validation import dtype_from

    return tensor.view(sys.modules["torch"].int16).numpy().view(dtype_from("bfloat16"))
