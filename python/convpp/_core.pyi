from typing import Any, NoReturn, final

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]
_Extents = tuple[int, ...]
_Activation = tuple[str, float, float]

version: str
compiler: str
#: What XLA calls; None where this was built without its headers.
jax_handler: object

@final
class PreparedWeights:
    def __init__(self, *args: Any, **kwargs: Any) -> NoReturn: ...  # ``prepare`` makes them
    @property
    def bytes(self) -> int: ...

@final
class Convolution:
    def __init__(
        self,
        pass_: str,
        dtype: str,
        algorithm: str,
        rank: int,
        batch: int,
        in_channels: int,
        out_channels: int,
        groups: int,
        input: _Extents,
        kernel: _Extents,
        stride: _Extents,
        dilation: _Extents,
        pad_lo: _Extents,
        pad_hi: _Extents,
        flip: bool,
        per_sample: bool,
        channels_last: bool,
        padding_mode: tuple[str, ...],
        /,
    ) -> None: ...
    @property
    def plan_bytes(self) -> int: ...
    def execute(
        self,
        first: _Array,
        second: _Array | PreparedWeights,
        bias: _Array | None,
        residual: _Array | None,
        result: _Array,
        activation: _Activation | None,
        accumulate: bool,
        threads: int,
        /,
    ) -> None: ...
    def prepare(self, w: _Array, threads: int, /) -> PreparedWeights: ...
    def task_flops(self, threads: int = 0) -> list[float]: ...
    def candidates(self) -> dict[str, float | str]: ...
    def summary(self, threads: int, /) -> dict[str, Any]: ...

@final
class Pooling:
    def __init__(
        self,
        rank: int,
        batch: int,
        channels: int,
        input: _Extents,
        kernel: _Extents,
        stride: _Extents,
        dilation: _Extents,
        pad_lo: _Extents,
        pad_hi: _Extents,
        ceil_mode: bool,
        channels_last: bool,
        /,
    ) -> None: ...
    def max_pool(self, x: _Array, y: _Array, indices: npt.NDArray[np.int64] | None, threads: int, /) -> None: ...
    def max_pool_input_grad(self, dy: _Array, x: _Array, dx: _Array, accumulate: bool, threads: int, /) -> None: ...
    def avg_pool(self, x: _Array, y: _Array, count_include_pad: bool, divisor: int, threads: int, /) -> None: ...
    def avg_pool_input_grad(
        self, dy: _Array, dx: _Array, count_include_pad: bool, divisor: int, accumulate: bool, threads: int, /
    ) -> None: ...

def apply_activation(
    dy: _Array | None, value: _Array, activation: _Activation | None, result: _Array, threads: int, /
) -> None: ...
def derivative_needs_only_result(activation: _Activation | None, /) -> bool: ...
def bias_grad(
    dy: npt.NDArray[np.floating[Any]],
    batch: int,
    channels: int,
    pixels: int,
    channels_last: bool,
    per_sample: bool,
    db: _Array,
    accumulate: bool,
    threads: int,
    /,
) -> None: ...
def num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def borrow_threads(address: int, /) -> None: ...
def borrows_threads() -> bool: ...
def isa() -> str: ...
def select_isa(name: str, /) -> None: ...
def allow_bf16_pairs(allowed: bool, /) -> None: ...
def isas_available() -> list[str]: ...
def measure_peak(dtype: str, threads: int, /) -> float: ...
def measure_bandwidth(bytes: int, threads: int, /) -> float: ...
