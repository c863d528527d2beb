"""convpp for PyTorch on CPUs: the functions of ``torch.nn.functional``, models that use them, a patch of PyTorch's own.

In: tensors on the CPU.   Out: tensors, with gradients of any order, in the memory format that PyTorch would choose.
Next: ``functional.py`` (PyTorch's signatures), ``derivatives.py`` (autograd, ``vmap``), ``operators.py`` (what
``torch.compile`` sees), ``tensors.py`` (tensors as arrays, without copies), ``models.py`` (``accelerate``, ``use``),
``threads.py`` (whose threads compute).

PyTorch is imported here, and nowhere else in the package: ``pip install "convpp[torch]"``.
"""

try:
    import torch as _torch  # noqa: F401
except ImportError as _error:
    raise ImportError('convpp.torch needs PyTorch: pip install "convpp[torch]"') from _error

from convpp import _core
from convpp.torch.functional import conv1d, conv2d, conv3d, conv_transpose1d, conv_transpose2d, conv_transpose3d
from convpp.torch.models import Report, accelerate, use
from convpp.torch.threads import enter_region

_core.borrow_threads(enter_region())

__all__ = [
    "Report",
    "accelerate",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "use",
]
