"""What all layers have: ``forward``, ``backward``, ``parameters``; so a list of different layers is a network.

In: a subclass.   Out: the base class of convolutions (``conv_layer.py``) and of poolings (``pooling.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, overload

import numpy.typing as npt

from convpp._call.arguments import PerAxis, per_axis, shown
from convpp._call.keywords import Needs, WithX
from convpp._call.validation import Array
from convpp._gradients import NEEDS
from convpp.errors import ShapeError

#: What ``keep`` may be: how a layer keeps the last x, and y with an activation, for ``backward``.
Keep = Literal["reference", "copy"]
KEEP: tuple[Keep, ...] = ("reference", "copy")


class Layer(ABC):
    """A layer of a network: ``y = layer(x)``, and back ``dx = layer.backward(dy)``."""

    _rank: ClassVar[int]

    def __call__(self, x: npt.ArrayLike, *, keep: bool = True) -> Array:
        """``forward(x, keep=keep)``."""
        return self.forward(x, keep=keep)

    @abstractmethod
    def forward(self, x: npt.ArrayLike, *, keep: bool = True) -> Array:
        """Return y, and keep what ``backward`` needs."""

    @overload
    @abstractmethod
    def backward(self, dy: npt.ArrayLike, *, needs: WithX = NEEDS) -> Array: ...

    @overload
    @abstractmethod
    def backward(self, dy: npt.ArrayLike, *, needs: Needs) -> Array | None: ...

    @abstractmethod
    def backward(self, dy: npt.ArrayLike, *, needs: Needs = NEEDS) -> Array | None:
        """Return dx, the gradient with respect to the x of the last ``forward``; add to those of the parameters."""

    @abstractmethod
    def parameters(self) -> list[Array]:
        """The layer's own arrays, to be changed in place."""

    @abstractmethod
    def gradients(self) -> list[Array]:
        """Their gradients, in the order of ``parameters()``."""

    @abstractmethod
    def zero_grad(self) -> None:
        """Set the gradients to zero, in place."""

    @abstractmethod
    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters, by their names."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy parameters into the layer's arrays."""

    @abstractmethod
    def _forget_batch(self) -> None:
        """As before the first ``forward``."""

    def __getstate__(self) -> dict[str, Any]:
        """What is copied and pickled: all but the last batch."""
        bare = object.__new__(type(self))
        bare.__dict__.update(self.__dict__)
        bare._forget_batch()
        return bare.__dict__

    @classmethod
    def _per_axis(cls, value: PerAxis, argument: str, least: int = 1) -> tuple[int, ...]:
        """One int for each spatial axis."""
        given = per_axis(value, argument)
        values = (given,) * cls._rank if isinstance(given, int) else given
        if len(values) != cls._rank or min(values) < least:
            from convpp._call.guesses import words

            meant = words.of_layer(values, cls.__name__, argument) or words.of_entries(values, cls._rank, argument)
            expected = f"an integer or {cls._rank} integers, each {least} or more"
            raise ShapeError(f"{argument} is {shown(value)}, expected {expected}{meant}")
        return values

    def _unusual(self, usual: dict[str, Any]) -> list[str]:
        """``name=value`` of attributes that are not as usual, for ``repr``."""
        values = {name: getattr(self, name, default) for name, default in usual.items()}
        alike = {name: (default, (default,) * self._rank) for name, default in usual.items()}
        return [f"{name}={value!r}" for name, value in values.items() if value not in alike[name]]
