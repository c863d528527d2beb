"""Every place of the public API that takes an array, with valid arrays by the names that its messages use.

In: nothing.   Out: `PLACES`, each a call of named arrays; fakes of arrays of other libraries.
Read next: test_array_arguments.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

import convpp
from convpp import conventions, testing
from geometry import Array

Arrays = dict[str, Any]


class Place(NamedTuple):
    """A call, the arrays that it takes, whether they may be of any dtype; which may be masked, or complex."""

    call: Callable[[Arrays], Any]
    arrays: dict[str, Array]
    any_dtype: bool = False
    masked: tuple[str, ...] = ()
    complex_numbers: tuple[str, ...] = ()


def filled(*shape: int) -> Array:
    return np.arange(1.0, np.prod(shape) + 1).reshape(shape)


X, W, DY, B = filled(2, 2, 5, 5), filled(3, 2, 2, 2), filled(2, 3, 4, 4), filled(3)
WT, BT, DYT = filled(2, 3, 2, 2), filled(3), filled(2, 3, 6, 6)
DYP = filled(2, 2, 2, 2)
PREPARED = convpp.prepare_weights(W, X.shape)


def layer(transposed: bool = False) -> Any:
    kind = convpp.ConvTranspose2d if transposed else convpp.Conv2d
    made = kind(2, 3, 2, dtype=np.float64, rng=0)
    made(X)
    return made


def loaded(arrays: Arrays) -> None:
    layer().load_state_dict(arrays)


def checked(x: Any) -> Any:
    return testing.gradcheck(lambda v: (v**2, lambda dy: 2 * v * dy), x)


PLACES: dict[str, Place] = {
    "conv": Place(
        lambda a: convpp.conv(a["x"], a["w"], a["bias"], add=a["add"]), {"x": X, "w": W, "bias": B, "add": DY}
    ),
    "conv with prepared weights": Place(
        lambda a: convpp.conv(a["x"], PREPARED, a["bias"], add=a["add"]), {"x": X, "bias": B, "add": DY}
    ),
    "conv_input_grad": Place(lambda a: convpp.conv_input_grad(a["dy"], a["w"], X.shape), {"dy": DY, "w": W}),
    "conv_weight_grad": Place(lambda a: convpp.conv_weight_grad(a["dy"], a["x"], W.shape), {"dy": DY, "x": X}),
    "conv_tiled": Place(
        lambda a: convpp.conv_tiled(a["x"], a["w"], a["bias"], add=a["add"]), {"x": X, "w": W, "bias": B, "add": DY}
    ),
    "conv_input_grad_tiled": Place(
        lambda a: convpp.conv_input_grad_tiled(a["dy"], a["w"], X.shape), {"dy": DY, "w": W}
    ),
    "conv_weight_grad_tiled": Place(
        lambda a: convpp.conv_weight_grad_tiled(a["dy"], a["x"], W.shape), {"dy": DY, "x": X}
    ),
    "conv_bias_grad": Place(lambda a: convpp.conv_bias_grad(a["dy"]), {"dy": DY}),
    "conv_backward": Place(lambda a: convpp.conv_backward(a["dy"], a["x"], a["w"]), {"dy": DY, "x": X, "w": W}),
    "conv_jvp": Place(
        lambda a: convpp.conv_jvp((a["x"], a["w"], a["bias"]), (a["x_dot"], a["w_dot"], a["bias_dot"])),
        {"x": X, "w": W, "bias": B, "x_dot": X, "w_dot": W, "bias_dot": B},
    ),
    "conv_double_backward": Place(
        lambda a: convpp.conv_double_backward(a["ddx"], a["ddw"], a["ddb"], a["dy"], a["x"], a["w"]),
        {"ddx": X, "ddw": W, "ddb": B, "dy": DY, "x": X, "w": W},
    ),
    "conv_transpose": Place(
        lambda a: convpp.conv_transpose(a["x"], a["w"], a["bias"], add=a["add"]),
        {"x": X, "w": WT, "bias": BT, "add": DYT},
    ),
    "conv_transpose_input_grad": Place(
        lambda a: convpp.conv_transpose_input_grad(a["dy"], a["w"], X.shape), {"dy": DYT, "w": WT}
    ),
    "conv_transpose_weight_grad": Place(
        lambda a: convpp.conv_transpose_weight_grad(a["dy"], a["x"], WT.shape), {"dy": DYT, "x": X}
    ),
    "conv_transpose_backward": Place(
        lambda a: convpp.conv_transpose_backward(a["dy"], a["x"], a["w"]), {"dy": DYT, "x": X, "w": WT}
    ),
    "conv_transpose_jvp": Place(
        lambda a: convpp.conv_transpose_jvp((a["x"], a["w"], a["bias"]), (a["x_dot"], a["w_dot"], a["bias_dot"])),
        {"x": X, "w": WT, "bias": BT, "x_dot": X, "w_dot": WT, "bias_dot": BT},
    ),
    "conv_transpose_double_backward": Place(
        lambda a: convpp.conv_transpose_double_backward(a["ddx"], a["ddw"], a["ddb"], a["dy"], a["x"], a["w"]),
        {"ddx": X, "ddw": WT, "ddb": BT, "dy": DYT, "x": X, "w": WT},
    ),
    "convolve": Place(
        lambda a: convpp.convolve(a["a"], a["kernel"]),
        {"a": X, "kernel": W},
        masked=("a",),
        complex_numbers=("a", "kernel"),
    ),
    "correlate": Place(
        lambda a: convpp.correlate(a["a"], kernels=a["kernels"]),
        {"a": X, "kernels": W},
        masked=("a",),
        complex_numbers=("a", "kernels"),
    ),
    "convolve_tiled": Place(
        lambda a: convpp.convolve_tiled(a["a"], a["kernel"], mask=a["mask"]),
        {"a": X, "kernel": W, "mask": X > 7},
        complex_numbers=("a",),
    ),
    "convolve_backward": Place(
        lambda a: convpp.convolve_backward(a["dy"], a["a"], a["kernel"]),
        {"dy": filled(4, 3, 6, 6), "a": X, "kernel": W},
        masked=("dy", "a"),
        complex_numbers=("a", "kernel"),
    ),
    "prepare_weights": Place(lambda a: convpp.prepare_weights(a["w"], X.shape), {"w": W}),
    "activate": Place(lambda a: convpp.activate(a["z"], "relu"), {"z": X}),
    "activation_grad": Place(lambda a: convpp.activation_grad(a["dy"], "relu", y=a["y"]), {"dy": DY, "y": DY}),
    "activation_grad of z": Place(lambda a: convpp.activation_grad(a["dy"], "gelu", z=a["z"]), {"dy": DY, "z": DY}),
    "max_pool": Place(lambda a: convpp.max_pool(a["x"], 2), {"x": X}),
    "avg_pool": Place(lambda a: convpp.avg_pool(a["x"], 2), {"x": X}),
    "max_pool_input_grad": Place(lambda a: convpp.max_pool_input_grad(a["dy"], a["x"], 2), {"dy": DYP, "x": X}),
    "avg_pool_input_grad": Place(lambda a: convpp.avg_pool_input_grad(a["dy"], X.shape, 2), {"dy": DYP}),
    "reference_max_pool": Place(lambda a: testing.reference_max_pool(a["x"], 2), {"x": X}),
    "reference_avg_pool": Place(lambda a: testing.reference_avg_pool(a["x"], 2), {"x": X}),
    "reference_max_pool_input_grad": Place(
        lambda a: testing.reference_max_pool_input_grad(a["dy"], a["x"], 2), {"dy": DYP, "x": X}
    ),
    "reference_avg_pool_input_grad": Place(
        lambda a: testing.reference_avg_pool_input_grad(a["dy"], X.shape, 2), {"dy": DYP}
    ),
    "adjoint_kernel": Place(lambda a: convpp.adjoint_kernel(a["w"]), {"w": W}, any_dtype=True),
    "layer": Place(lambda a: layer()(a["x"], add=a["add"]), {"x": X, "add": DY}),
    "transposed layer": Place(lambda a: layer(True)(a["x"], add=a["add"]), {"x": X, "add": DYT}),
    "backward": Place(lambda a: layer().backward(a["dy"]), {"dy": DY}),
    "backward of a transposed layer": Place(lambda a: layer(True).backward(a["dy"]), {"dy": DYT}),
    "backward_per_sample": Place(lambda a: layer().backward_per_sample(a["dy"]), {"dy": DY}),
    "load_state_dict": Place(loaded, {"weight": W, "bias": B}),
    "reference_conv": Place(lambda a: testing.reference_conv(a["x"], a["w"], a["bias"]), {"x": X, "w": W, "bias": B}),
    "reference_input_grad": Place(lambda a: testing.reference_input_grad(a["dy"], a["w"], X.shape), {"dy": DY, "w": W}),
    "reference_weight_grad": Place(
        lambda a: testing.reference_weight_grad(a["dy"], a["x"], W.shape), {"dy": DY, "x": X}
    ),
    "gradcheck": Place(lambda a: checked(a["x"]), {"x": B}),
    "gradcheck of a result": Place(
        lambda a: testing.gradcheck(lambda v: (a["result"], lambda dy: None), B), {"result": B}
    ),
    "gradcheck of a gradient": Place(
        lambda a: testing.gradcheck(lambda v: (2 * v, lambda dy: a["gradient"]), np.zeros(0)), {"gradient": np.zeros(0)}
    ),
    "adjoint_test": Place(
        lambda a: testing.adjoint_test(lambda x: 2 * np.asarray(x), lambda y: 2 * np.asarray(y), a["x"], a["y"]),
        {"x": B, "y": B},
    ),
    "adjoint_test of results": Place(
        lambda a: testing.adjoint_test(lambda _: a["forward(x)"], lambda _: a["adjoint(y)"], B, B),
        {"forward(x)": B, "adjoint(y)": B},
    ),
}
CONVENTIONS: dict[str, tuple[Array, dict[str, int]]] = {
    name: (filled(4, 1, 3, 2), {"groups": 2} if name == "to_depthwise" else {})
    for name in conventions.__all__
    if name.startswith(("from_", "to_"))
}


def _conventions() -> Iterator[tuple[str, Place]]:
    for name, (w, options) in CONVENTIONS.items():
        function: Any = getattr(conventions, name)
        yield name, Place(lambda a, f=function, o=options: f(a["w"], **o), {"w": w}, any_dtype=True)


PLACES |= dict(_conventions())


class Fake:
    """What stands for an array, as those of other libraries do; ``convert`` is what NumPy gets of it."""

    def __init__(self, array: Array, convert: Callable[[Array], Array], **attributes: Any) -> None:
        self._array = array
        self._convert = convert
        self.ndim, self.shape = array.ndim, array.shape
        self.__dict__.update(attributes)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self._convert(self._array)

    def __iter__(self) -> Iterator[Any]:
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return (Fake(np.asarray(entry), self._convert) for entry in self._array)

    def __index__(self) -> int:
        if self.ndim or self._array.dtype.kind != "i":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self._array)


class Hostile:
    """Fails whatever it is asked, but for its name, which pytest shows."""

    __name__ = "Hostile"

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)

    def fail(self, *arguments: Any, **keywords: Any) -> Any:
        raise KeyError("hostile")

    __array__ = __index__ = __bool__ = __len__ = __iter__ = __repr__ = __float__ = __getitem__ = fail


def raises(error: Exception) -> Callable[[Array], Array]:
    def convert(array: Array) -> Array:
        raise error

    return convert


def recording_gradients(array: Array) -> Fake:
    text = "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
    return Fake(array, raises(RuntimeError(text)), requires_grad=True, detach=lambda: array)
