"""Central differences against a backward pass: is the gradient right, and if not, where is it wrong?

In: a layer or a function, and arrays.   Out: ``True``, or a ``GradientError`` that holds the worst entry.
Public as ``convpp.testing.gradcheck``.  Plain NumPy: nothing here needs the compiled core.

Next: ``differentiable.py`` (layers and functions in one form); ``examples/custom_layer_gradcheck.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from convpp._call.validation import generator
from convpp.testing.differentiable import Differentiable, FloatArray, Function, Layer


@dataclass(frozen=True)
class WrongEntry:
    """One entry of a gradient beside its differences; printed, it says where it is and by how much it is off.

    ``argument`` is the array's name: "x", "array 1", or a parameter's name.  ``index`` is the entry's place in it;
    None for the sum over a random direction, which stands for the entries that were not sampled.  ``output`` is the
    entry of y, with ``jacobian=True``.  ``hint`` says what else than a mistake might be the cause.

    >>> from convpp.testing import WrongEntry
    >>> print(WrongEntry("w", (0, 2), analytic=3.0, numeric=6.0, error=3.0, bound=1e-6))
    w[0, 2]: backward gives 3, differences give 6; error 3, allowed 1e-06
    """

    argument: str
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    error: float
    bound: float
    output: tuple[int, ...] | None = None
    hint: str = ""

    @property
    def excess(self) -> float:
        """How many times the bound the error is; infinite where something is not a number."""
        return self.error / self.bound if math.isfinite(self.error) and self.bound else math.inf

    def __str__(self) -> str:
        place = f"a random direction of {self.argument}" if self.index is None else f"{self.argument}{list(self.index)}"
        if self.output is not None:
            place += f", of output {list(self.output)}"
        return (
            f"{place}: backward gives {self.analytic:.9g}, differences give {self.numeric:.9g}; "
            f"error {self.error:.3g}, allowed {self.bound:.3g}{self.hint}"
        )


class GradientError(AssertionError):
    """A gradient is wrong: ``worst`` is a `WrongEntry`, ``counts`` maps each array's name to (wrong, checked) entries.

    >>> import numpy as np
    >>> from convpp.testing import GradientError, gradcheck
    >>> try:
    ...     gradcheck(lambda x: (x**2, lambda dy: dy * x), np.array([3.0, 0.0]))
    ... except GradientError as error:
    ...     print(error.worst.argument, error.worst.index, error.counts)
    x (0,) {'x': (1, 2)}
    """

    def __init__(self, worst: WrongEntry, counts: dict[str, tuple[int, int]]) -> None:
        self.worst = worst
        self.counts = counts
        width = max(map(len, counts))
        lines = [f"  {name:{width}}  {wrong} of {checked} wrong" for name, (wrong, checked) in counts.items()]
        super().__init__("\n".join([f"wrong gradient, worst at {worst}", *lines]))


def gradcheck(
    layer_or_function: Layer | Function,
    *arrays: npt.ArrayLike,
    step: float | None = None,
    rtol: float = 1e-6,
    atol: float = 1e-8,
    samples: int | None = None,
    jacobian: bool = False,
    accumulates: bool = True,
    rng: int | np.random.Generator | None = 0,
) -> Literal[True]:
    """Compare a backward pass with central differences, in float64.

    For a random ``dy``, backward must return the gradients of ``L = sum over j of dy[j] * y[j]``.  Each entry ``v`` of
    each array is moved by ``+step`` and ``-step``, which changes y by ``change = y(v + step) - y(v - step)``, and

    ``numeric = (sum over j of dy[j] * change[j]) / (2 * step)``,

    ``|analytic - numeric| <= atol + rtol * scale``, ``scale = (sum over j of |dy[j] * change[j]|) / (2 * step)``.

    So an error is measured against the terms that the entry is the sum of: where they cancel it may be as large as
    their rounding, and where they are small it must be small.

    Parameters
    ----------
    layer_or_function : either of

        * a layer: ``y = layer.forward(*arrays)``, then ``dx = layer.backward(dy)`` (for several arrays a tuple), which
          also adds to the gradients of the parameters (see `Layer`).  All of these are checked, and that a second
          backward adds; parameters and gradients are left as they were.
        * a function: ``y, backward = function(*arrays)``, where ``backward(dy)`` returns the gradient of
          each array in order: a tuple or list, or for a single array just the gradient.  ``None`` in the
          place of a gradient leaves that array unchecked.

    *arrays : real numbers of any dtype
        The inputs.  They are copied to float64, and never changed.
    step : float, optional
        Half the width of a difference; by default ``6e-6 * max(1, |v|)``, where the error of the differences
        (``step**2`` times a third derivative) and the rounding of y (1e-16 of y, divided by ``step``) are balanced.
    rtol, atol : float
        The bounds above.  Both are 0 or more, and one is positive.
    samples : int, optional
        Check at most this many entries of each array, chosen at random; by default all.  The others are then
        checked together, by the difference along one random direction.
    jacobian : bool
        True checks every entry of y by itself in place of a random sum: one backward for each entry of y.
        Slower; the message then names the entry of y, too.
    accumulates : bool
        False for layers whose backward overwrites the gradients of the parameters.
    rng : seed or Generator
        For ``dy``, the chosen entries and the direction.  The same seed repeats the same check.

    Returns
    -------
    True, so that ``assert gradcheck(...)`` reads well.

    Raises
    ------
    GradientError : a gradient is wrong; an AssertionError with the worst entry and the number of wrong ones.
    AssertionError : a gradient has another shape or is missing; an array was changed; the forward pass gives two
        results for the same input; a second backward does not add.
    DTypeError : the result or a parameter is not float64 (parameters may be float32), or an array is not real:
        differences in float32 would be noise.
    ValueError : no array, bounds that allow nothing, a step that is too small, or a layer whose parameters have no
        gradients.

    Notes
    -----
    Points without a derivative are the user's matter: at a kink (ReLU at 0, a tie of a maximum) no difference equals
    what backward returns.  Keep inputs away from them by more than ``step``; a message says where it suspects one.

    Examples
    --------
    >>> import numpy as np
    >>> import convpp
    >>> from convpp.testing import gradcheck
    >>> def product(a, b):
    ...     return a * b, lambda dy: (dy * b, dy * a)
    >>> gradcheck(product, np.arange(3.0), np.ones(3))
    True
    >>> gradcheck(convpp.Conv1d(2, 3, 5, padding="same", dtype=np.float64, rng=0), np.ones((2, 2, 9)))
    True
    >>> try:
    ...     gradcheck(lambda a: (a**2, lambda dy: dy * a), [3.0])  # a factor of 2 is missing
    ... except AssertionError as error:
    ...     print(error.worst.argument, error.worst.index, round(error.worst.numeric / error.worst.analytic, 3))
    x (0,) 2.0
    """
    if not (rtol >= 0 and atol >= 0 and rtol + atol > 0):
        raise ValueError(f"rtol is {rtol} and atol is {atol}, expected 0 or more and not both 0")
    random = generator(rng)
    subject = Differentiable(layer_or_function, arrays)
    y = subject.forward()
    if not np.array_equal(y, subject.forward(), equal_nan=True):
        raise AssertionError("the forward pass gives two results for the same input: fix the seed of what is random")
    projection = _Projection(y, jacobian, random)
    analytic = [subject.gradients(dy) for dy in projection.dys()]
    worst: WrongEntry | None = None
    counts = {}
    for place, (name, target) in enumerate(subject.targets.items()):
        if analytic and analytic[0][place] is None:
            continue
        check = _Check(name, target, [of_dy[place] for of_dy in analytic], subject.forward, projection, y, rtol, atol)
        wrong = [entry for entry in check.entries(step, samples, random) if not entry.error <= entry.bound]
        counts[name] = (len(wrong), check.checked)
        worst = max([*([worst] if worst else []), *wrong], key=lambda entry: entry.excess, default=None)
    if worst is not None:
        raise GradientError(worst, counts)
    if accumulates:
        subject.check_accumulation(projection.first())
    return True


class _Projection:
    """What y is multiplied by: one random dy, or every unit vector (``jacobian``)."""

    def __init__(self, y: FloatArray, jacobian: bool, random: np.random.Generator) -> None:
        self.shape = y.shape
        self.jacobian = jacobian
        self._dy: FloatArray = random.standard_normal(y.shape)

    def first(self) -> FloatArray:
        """The random one."""
        return self._dy.copy()

    def dys(self) -> Iterator[FloatArray]:
        """The arrays that backward is called with."""
        if not self.jacobian:
            yield self.first()
            return
        for j in range(self._dy.size):
            unit = np.zeros(self._dy.size)
            unit[j] = 1
            yield unit.reshape(self.shape)

    def apply(self, change: FloatArray) -> FloatArray:
        """For each dy, ``sum(dy * change)``."""
        return change.reshape(-1) if self.jacobian else np.array([np.sum(self._dy * change)])

    def scale(self, change: FloatArray) -> FloatArray:
        """For each dy, ``sum(|dy * change|)``."""
        return np.abs(change.reshape(-1)) if self.jacobian else np.array([np.sum(np.abs(self._dy * change))])


@dataclass
class _Check:
    """The gradient of one array, for each dy, against differences."""

    name: str
    target: npt.NDArray[Any]
    gradients: list[Any]
    forward: Callable[[], FloatArray]
    projection: _Projection
    y: FloatArray
    rtol: float
    atol: float
    checked: int = 0

    def __post_init__(self) -> None:
        shape = (len(self.gradients), *self.target.shape)
        self.gradient: FloatArray = np.array(self.gradients, dtype=np.float64).reshape(shape)
        self.eps = max(_eps(np.asarray(gradient).dtype) for gradient in [self.target, *self.gradients])

    def entries(self, step: float | None, samples: int | None, random: np.random.Generator) -> Iterator[WrongEntry]:
        """Every entry that is looked at, right or wrong; of the entries of y, the worst one for each."""
        size = self.target.size
        chosen = np.arange(size)
        if samples is not None and samples < size:
            chosen = np.sort(random.choice(size, samples, replace=False))
        before = self.target.copy()
        for flat in chosen:
            index = tuple(int(i) for i in np.unravel_index(flat, self.target.shape))
            width = step or _step(self.target[index])
            yield self._compare(before, index, width, np.asarray(1.0))
        if len(chosen) < size:  # the rest, all at once
            width = step or max(map(_step, (before.max(), before.min())))
            direction = random.choice([-1.0, 1.0], before.shape)
            direction.reshape(-1)[chosen] = 0
            yield self._compare(before, None, width, direction)

    def _compare(
        self, before: npt.NDArray[Any], index: tuple[int, ...] | None, width: float, direction: FloatArray
    ) -> WrongEntry:
        where: Any = ... if index is None else index
        key: Any = ... if index is None else (slice(None), *index)
        around = []
        try:
            for sign in (1, -1):
                self.target[where] = before[where] + sign * width * direction
                around.append((np.array(self.target[where], np.float64), self.forward()))
        finally:
            self.target[where] = before[where]
        (above, y_above), (below, y_below) = around
        # The step really made: float32 targets round it.
        span = float(np.max(np.abs(above - below)))
        if span == 0:
            raise ValueError(
                f"step is {width}, expected one that changes {self.name}: its values are too large for that"
            )
        moved = (above - below) / span
        with np.errstate(invalid="ignore", over="ignore"):  # what is not a number is reported, not warned of
            change = y_above - y_below
            numeric = self.projection.apply(change) / span
            scale = self.projection.scale(change) / span
            picked = self.gradient[key]
            terms = picked * moved
            entries = tuple(range(1, terms.ndim))  # none, where a single one is moved
            analytic = np.sum(terms, axis=entries)
            error = np.abs(analytic - numeric)
            bound = self.atol + self.rtol * scale
            if index is None:  # the terms of this sum are rounded to the dtype of the gradient
                bound += self.eps * np.sum(np.abs(terms), axis=entries)
        self.checked += 1
        if not len(error):  # y has no entries
            return WrongEntry(self.name, index, 0.0, 0.0, 0.0, self.atol)
        excess = np.where(np.isfinite(error) & (bound > 0), error / np.where(bound > 0, bound, 1), np.inf)
        excess[error == 0] = 0
        j = int(np.argmax(excess))
        output = None
        if self.projection.jacobian:
            output = tuple(int(i) for i in np.unravel_index(j, self.projection.shape))
        hint = "" if error[j] <= bound[j] else self._hint(y_above, y_below, span, float(error[j]), j)
        return WrongEntry(
            self.name, index, float(analytic[j]), float(numeric[j]), float(error[j]), float(bound[j]), output, hint
        )

    def _hint(self, y_above: FloatArray, y_below: FloatArray, span: float, error: float, j: int) -> str:
        """What else than a mistake an error of this size could come from."""
        with np.errstate(invalid="ignore", over="ignore"):
            bend = abs(float(self.projection.apply(y_above - 2 * self.y + y_below)[j])) / (span / 2)
            size = np.where(y_above != y_below, np.abs(y_above) + np.abs(y_below), 0)
            rounding = float(np.finfo(np.float64).eps * self.projection.scale(size)[j]) / span
        if math.isfinite(error) and rounding >= error:
            return f" (rounding of y alone can make {rounding:.1g}: take a larger step or atol)"
        if math.isfinite(error) and bend >= error:
            return " (the differences to both sides disagree: is there a kink?)"
        return ""


def _step(value: Any) -> float:
    """Half the width of a difference at ``value``, and enough for its dtype to show it."""
    usual = math.cbrt(_eps(np.dtype(np.float64))) * max(1.0, abs(float(value)))
    return max(usual, 8 * float(np.spacing(np.abs(value))))


def _eps(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype if dtype == np.float32 else np.float64).eps)
