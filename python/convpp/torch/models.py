"""Models of PyTorch by convpp: the modules that gain are replaced, or PyTorch's functions for a while.

In: a model, and inputs to measure with.   Out: the same model, a report.
Next: ``functional.py``.
"""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convpp.torch import functional
from convpp.torch.tensors import TYPES

#: A module is replaced if convpp takes at most this share of PyTorch's time: less than that is noise.
WORTH = 0.97
#: Seconds that one module is measured for, with each of the two.
SECONDS = 0.1


class _Conv(nn.modules.conv._ConvNd):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros":  # reversed, as F.pad takes it; here nothing is padded in memory
            flat = self._reversed_padding_repeated_twice
            padding = tuple((flat[i], flat[i + 1]) for i in range(len(flat) - 2, -1, -2))
        rank = len(self.kernel_size)
        geometry = (self.stride, padding, self.dilation, self.groups, self.padding_mode)
        return functional.conv(rank, input, weight, bias, *geometry)


class Conv1d(_Conv, nn.Conv1d):
    """``torch.nn.Conv1d`` by convpp."""


class Conv2d(_Conv, nn.Conv2d):
    """``torch.nn.Conv2d`` by convpp."""


class Conv3d(_Conv, nn.Conv3d):
    """``torch.nn.Conv3d`` by convpp."""


class _ConvTranspose(nn.modules.conv._ConvTransposeNd):
    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        """As PyTorch's."""
        rank = len(self.kernel_size)
        extra = self._output_padding(
            input, output_size, self.stride, self.padding, self.kernel_size, rank, self.dilation
        )
        geometry = (self.stride, self.padding, extra, self.groups, self.dilation)
        return functional.conv_transpose(rank, input, self.weight, self.bias, *geometry)


class ConvTranspose1d(_ConvTranspose, nn.ConvTranspose1d):
    """``torch.nn.ConvTranspose1d`` by convpp."""


class ConvTranspose2d(_ConvTranspose, nn.ConvTranspose2d):
    """``torch.nn.ConvTranspose2d`` by convpp."""


class ConvTranspose3d(_ConvTranspose, nn.ConvTranspose3d):
    """``torch.nn.ConvTranspose3d`` by convpp."""


_OURS: dict[type, type] = {
    nn.Conv1d: Conv1d,
    nn.Conv2d: Conv2d,
    nn.Conv3d: Conv3d,
    nn.ConvTranspose1d: ConvTranspose1d,
    nn.ConvTranspose2d: ConvTranspose2d,
    nn.ConvTranspose3d: ConvTranspose3d,
}
_THEIRS = {ours: theirs for theirs, ours in _OURS.items()}


class Row(NamedTuple):
    """What became of one module; times in milliseconds, if it was measured."""

    name: str
    module: str
    replaced: bool
    torch_ms: float | None
    convpp_ms: float | None
    reason: str


@dataclass(frozen=True)
class Report:
    """What `accelerate` did: ``rows``, and a table as text.  ``undo()`` gives PyTorch its modules back."""

    model: nn.Module
    rows: tuple[Row, ...]

    @property
    def replaced(self) -> int:
        """How many modules convpp computes now."""
        return sum(row.replaced for row in self.rows)

    def undo(self) -> None:
        """All modules are PyTorch's again."""
        for module in self.model.modules():
            module.__class__ = _THEIRS.get(type(module), type(module))

    def __str__(self) -> str:
        width = max([6, *(len(row.name) for row in self.rows)])
        lines = [f"{self.replaced} of {len(self.rows)} convolutions are computed by convpp"]
        for row in self.rows:
            times = "" if row.torch_ms is None else f"{row.torch_ms:9.3f} ms, convpp {row.convpp_ms:9.3f} ms: "
            lines.append(f"{row.name:{width}}  {times}{row.reason}")
        return "\n".join(lines)


def accelerate(model: nn.Module, *inputs: Any) -> Report:
    """Let convpp compute the convolutions of a model that gain by it, and say which.

    Modules of the classes ``Conv1d`` to ``ConvTranspose3d`` change their class, in place: parameters, optimisers, hooks
    and state dicts stay as they are.  Subclasses, modules on other devices and of other types are left alone.

    Parameters
    ----------
    model : torch.nn.Module
        On the CPU.
    inputs : what the model is called with, optional
        The model is called once, and every convolution measured with what reaches it: forward, and backward as well if
        the model is in training mode.  Those that are not faster by 3 % stay.  Without inputs, all are replaced: on
        average, each kind of layer gains (docs/performance.md).

    Returns
    -------
    Report
        ``print`` it; ``undo()`` takes it back.

    Examples
    --------
    >>> import torch
    >>> import convpp.torch
    >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3))
    >>> report = convpp.torch.accelerate(model)
    >>> print(report)
    2 of 2 convolutions are computed by convpp
    0       not measured
    2       not measured
    """
    seen = _inputs_of(model, inputs) if inputs else None
    rows = [
        _accelerated(name, module, seen)
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.conv._ConvNd) and type(module) not in _THEIRS
    ]
    return Report(model, tuple(rows))


def _accelerated(name: str, module: nn.Module, seen: dict[nn.Module, tuple[Any, ...]] | None) -> Row:
    """The row of one module, which is replaced if that is worth it."""
    about = str(module)
    ours = _OURS.get(type(module))
    weight: Any = getattr(module, "weight", None)
    if ours is None or not isinstance(weight, Tensor):
        return Row(
            name, about, False, None, None, f"left alone: a {type(module).__name__}, which may do something else"
        )
    if weight.device.type != "cpu" or weight.dtype not in TYPES:
        return Row(name, about, False, None, None, f"left alone: {weight.dtype} on {weight.device}")
    if seen is None:
        module.__class__ = ours
        return Row(name, about, True, None, None, "not measured")
    if module not in seen:
        return Row(name, about, False, None, None, "left alone: nothing reaches it, or by name alone")
    theirs, mine = _milliseconds(module, ours, seen[module])
    worth = mine <= WORTH * theirs
    if worth:
        module.__class__ = ours
    return Row(
        name, about, worth, theirs, mine, f"{theirs / mine:.2f} times as fast" if worth else "left alone: no gain"
    )


def _inputs_of(model: nn.Module, inputs: tuple[Any, ...]) -> dict[nn.Module, tuple[Any, ...]]:
    """What reaches each convolution first."""
    seen: dict[nn.Module, tuple[Any, ...]] = {}

    def look(module: nn.Module, given: tuple[Any, ...]) -> None:
        if given:  # (What is passed by name alone, is not measured.)
            seen.setdefault(module, given)

    handles = [
        module.register_forward_pre_hook(look)
        for module in model.modules()
        if isinstance(module, nn.modules.conv._ConvNd)
    ]
    # Batch normalisation and dropout would change: nothing of the model does.
    state, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    try:
        with torch.no_grad():
            model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        model.load_state_dict(state)
        torch.set_rng_state(random)
    return seen


def _milliseconds(module: nn.Module, ours: type, given: tuple[Any, ...]) -> tuple[float, float]:
    """PyTorch's time and convpp's, the best of calls in turn."""
    twins = [copy.deepcopy(module) for _ in range(2)]
    twins[1].__class__ = ours
    x, *rest = (t.detach() if isinstance(t, Tensor) else t for t in given)
    training = module.training and torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters())
    with torch.set_grad_enabled(training):
        if training:
            x.requires_grad_()
        y = twins[0](x, *rest)
        dy = torch.ones_like(y)
        best = [float("inf")] * 2
        end = time.perf_counter() + 2 * SECONDS
        while time.perf_counter() < end or best[1] == float("inf"):
            for i, twin in enumerate(twins):
                start = time.perf_counter()
                y = twin(x, *rest)
                if training:
                    torch.autograd.grad(y, (x, *(p for p in twin.parameters() if p.requires_grad)), dy)
                best[i] = min(best[i], time.perf_counter() - start)
    return 1e3 * best[0], 1e3 * best[1]


_NAMES = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


@contextlib.contextmanager
def use() -> Iterator[None]:
    """While it lasts, ``torch.nn.functional.conv1d`` to ``conv_transpose3d`` are convpp's, in all threads.

    What convpp does not compute (other devices, complex and whole numbers) is passed on to PyTorch.

    Examples
    --------
    >>> import torch
    >>> import convpp.torch
    >>> layer, x = torch.nn.Conv2d(3, 8, 3), torch.ones(1, 3, 9, 9)
    >>> with convpp.torch.use():
    ...     y = layer(x)
    """
    before = {name: getattr(nn.functional, name) for name in _NAMES}
    for name, theirs in before.items():
        setattr(nn.functional, name, _with_fallback(getattr(functional, name), theirs))
    try:
        yield
    finally:
        for name, theirs in before.items():
            setattr(nn.functional, name, theirs)


def _with_fallback(ours: Callable[..., Tensor], theirs: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def function(input: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **named: Any) -> Tensor:
        tensors = (input, weight) if bias is None else (input, weight, bias)
        served = all(isinstance(t, Tensor) and t.device.type == "cpu" and t.dtype in TYPES for t in tensors)
        return (ours if served else theirs)(input, weight, bias, *rest, **named)

    return function
