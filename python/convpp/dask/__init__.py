"""Convolutions and their gradients of dask arrays, chunked along any axes: ``pip install "convpp[dask]"``.

In: dask arrays (weights may be NumPy's), and the geometry.   Out: dask arrays, of which nothing is computed yet.
Start with ``conv`` (functional.py) and its gradients; ``transposed.py``, ``backward.py``; ``plain.py`` (arrays without
channels).  How a result is cut: ``chunks.py``; what a task reads: ``plan.py`` and ``convpp.tiles``; the graph:
``layer.py``; what a worker does: ``tasks.py``.

Dask is imported here and below, and nowhere else in the package.
"""

try:
    import dask.array as _dask_array
except ImportError as _error:
    raise ImportError('convpp.dask needs Dask: pip install "dask[array]"') from _error
if getattr(_dask_array, "ARRAY_EXPR_ENABLED", False):  # an experiment of Dask's, whose arrays are not made of graphs
    raise ImportError(
        'convpp.dask needs arrays of graphs: dask.config.set({"array.query-planning": False}) before all imports of it'
    )

from convpp.dask.backward import conv_backward, conv_bias_grad, conv_transpose_backward
from convpp.dask.functional import conv, conv_input_grad, conv_weight_grad
from convpp.dask.plain import convolve, correlate
from convpp.dask.transposed import conv_transpose, conv_transpose_input_grad, conv_transpose_weight_grad

__all__ = [
    "conv",
    "conv_backward",
    "conv_bias_grad",
    "conv_input_grad",
    "conv_transpose",
    "conv_transpose_backward",
    "conv_transpose_input_grad",
    "conv_transpose_weight_grad",
    "conv_weight_grad",
    "convolve",
    "correlate",
]

del _dask_array
