"""The graph: one layer for a whole result, whose tasks are made when someone asks for them.

In: a ``Plan`` and the names of the operands.   Out: a ``Layer`` of dask's high-level graphs, and an array on it.
Next: ``tasks.py``, what the tasks do.

Keys are ``(name, i, j, ...)`` for the chunks of the result.  Beside them a layer has the plan itself (one key, which
all blocks read), for each chunk that others read small parts of, these parts (``halos``), and for sums their partial
sums.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from dask._task_spec import DataNode, List, Task, TaskRef
from dask.array import Array as DaskArray
from dask.base import clone_key
from dask.graph_manipulation import chunks as manipulated
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer

from convpp._call.arguments import Shape
from convpp.dask.chunks import Chunks
from convpp.dask.plan import Plan
from convpp.dask.tasks import add_tree, compute_block, halos

Key = Any


class _Refs(dict[Key, TaskRef]):
    """References to chunks, one for all tasks that read it: so large graphs are made in half the time."""

    def __missing__(self, key: Key) -> TaskRef:
        self[key] = ref = TaskRef(key)
        return ref


class BlockLayer(Layer):
    """Blocks of a result, each computed from the chunks that it reads.

    The chunks of the result are numbered as the plan's grid is.
    """

    has_legacy_tasks = False

    def __init__(self, name: str, plan: Plan) -> None:
        super().__init__()
        self.name = name
        self.plan = plan
        self._kind, _, self._token = name.rpartition("-")
        self._plan = (self._name("plan"),)
        self._halo_names = {self._name(f"halos-of-{of.name}"): of for of in plan.operands if of.halos}
        self._halos_of = {of.name: self._name(f"halos-of-{of.name}") for of in plan.operands}
        self._names = {name, self._plan[0], *self._halo_names, self._name("partial"), self._name("sum")}

    # ------------------------------------------------------------ a layer is a mapping

    def __getitem__(self, key: Key) -> Task | DataNode:
        task = self._task(key, _Refs()) if self._is_own(key) else None
        if task is None:
            raise KeyError(key)
        return task

    def __iter__(self) -> Iterator[Key]:
        """The keys of the result, and what they need of this layer."""
        yield from self._reached(self.get_output_keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: object) -> bool:
        return self._is_own(key) and self._task(key, _Refs()) is not None

    def is_materialized(self) -> bool:
        """Tasks are made, not kept."""
        return False

    def get_output_keys(self) -> set[Key]:
        """The keys of the result's chunks."""
        return {(self.name, *index) for index in itertools.product(*map(range, self._numchunks()))}

    def get_dependencies(self, key: Key, all_hlg_keys: Collection[Key]) -> set[Key]:
        """Those of one task."""
        return set(self[key].dependencies)

    def cull(self, keys: set[Key], all_hlg_keys: Collection[Key]) -> tuple[Layer, dict[Key, set[Key]]]:
        """The tasks that some keys need."""
        tasks = self._reached(key for key in keys if self._is_own(key))
        found = {key: set(task.dependencies) for key, task in tasks.items()}
        return MaterializedLayer(tasks, annotations=self.annotations), found

    def clone(self, keys: set[Key], seed: Any, bind_to: Key | None = None) -> tuple[Layer, bool]:
        """The tasks under other keys; those that read nothing that is cloned wait for ``bind_to``."""
        tasks, bound = {}, False
        own = self._reached(self.get_output_keys())
        renamed = {key: clone_key(key, seed) for key in own}
        for key, task in own.items():
            others = {of: renamed.get(of) or clone_key(of, seed) for of in task.dependencies if of in keys or of in own}
            copy = task.substitute(others, key=renamed[key])
            if bind_to is not None and not others:
                copy, bound = Task(renamed[key], manipulated.bind, copy, TaskRef(bind_to)), True
            tasks[renamed[key]] = copy
        return MaterializedLayer(tasks), bound

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, {' x '.join(map(str, self._numchunks()))} chunks>"

    # ------------------------------------------------------------ tasks

    def _numchunks(self) -> Shape:
        return self.plan.numblocks

    def _name(self, of: str) -> str:
        """Of this layer's keys that are not of the result: dask shows what stands before the token."""
        return f"{self._kind}-{of}-{self._token}"

    def _is_own(self, key: Key) -> bool:
        return isinstance(key, tuple) and len(key) > 0 and key[0] in self._names

    def _task(self, key: Key, refs: _Refs) -> Task | DataNode | None:
        """The task of a key with one of this layer's names; None if there is none."""
        name, index = key[0], key[1:]
        if name == self._plan[0]:
            return DataNode(key, self.plan) if index == () else None
        if (operand := self._halo_names.get(name)) is not None:
            if not _inside(index, tuple(map(len, operand.chunks))):
                return None
            return Task(key, halos, refs[self._plan], operand.name, index, refs[operand.key, *index])
        return self._result(key, name, index, refs)

    def _result(self, key: Key, name: str, index: Shape, refs: _Refs) -> Task | None:
        """The task of a chunk of the result."""
        return self._block(key, index, refs) if name == self.name and _inside(index, self.plan.numblocks) else None

    def _block(self, key: Key, index: Shape, refs: _Refs) -> Task:
        read: list[TaskRef] = []
        for operand in self.plan.operands:
            names = self._halos_of[operand.name], operand.key
            read += [refs[names[whole], *chunk] for chunk, whole in self.plan.chunks_read(operand, index)]
        return Task(key, compute_block, refs[self._plan], index, *read)

    def _reached(self, keys: Iterable[Key]) -> dict[Key, Any]:
        """Tasks, and those of this layer that they need."""
        found: dict[Key, Any] = {}
        waiting, names, refs = list(keys), self._names, _Refs()
        while waiting:
            key = waiting.pop()
            if key in found or (task := self._task(key, refs)) is None:
                continue
            found[key] = task
            waiting += [of for of in task.dependencies if isinstance(of, tuple) and of[0] in names and of not in found]
        return found


#: Levels of the binary tree that one task adds.
LEVELS = 3


class SumLayer(BlockLayer):
    """Sums of blocks along some axes of the grid, in a binary tree over the blocks' numbers.

    ``kept``: for each axis of the result the grid's axis whose blocks it has; None: one chunk.  The others are summed.
    A task adds ``2 ** LEVELS`` neighbours, which is the same tree.
    """

    def __init__(self, name: str, plan: Plan, kept: tuple[int | None, ...], dtype: Any) -> None:
        super().__init__(name, plan)
        self.kept = kept
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self._summed = [axis for axis in range(len(plan.numblocks)) if axis not in kept]
        self._counts = [math.prod(plan.numblocks[axis] for axis in self._summed)]
        while self._counts[-1] > 1:
            self._counts.append(-(-self._counts[-1] // 2**LEVELS))

    def _numchunks(self) -> Shape:
        return tuple(1 if axis is None else self.plan.numblocks[axis] for axis in self.kept)

    def _result(self, key: Key, name: str, index: Shape, refs: _Refs) -> Task | None:
        if name == self.name:
            return (
                self._sum(key, max(len(self._counts) - 1, 1), 0, index) if _inside(index, self._numchunks()) else None
            )
        if name == self._name("partial"):
            return self._block(key, index, refs) if _inside(index, self.plan.numblocks) else None
        if name == self._name("sum") and len(index) > 2 and 0 < index[0] < len(self._counts) - 1:
            inside = 0 <= index[1] < self._counts[index[0]] and _inside(index[2:], self._numchunks())
            return self._sum(key, index[0], index[1], index[2:]) if inside else None
        return None

    def _sum(self, key: Key, level: int, number: int, index: Shape) -> Task:
        below = range(number << LEVELS, min((number + 1) << LEVELS, self._counts[level - 1]))
        keys = [(self._name("sum"), level - 1, i, *index) if level > 1 else self._partial(i, index) for i in below]
        last = key[0] == self.name
        return Task(key, add_tree, List(*map(TaskRef, keys)), self.dtype if last else None)

    def _partial(self, number: int, index: Shape) -> Key:
        """The block of this number that belongs to a chunk of the result."""
        place = {axis: at for axis, at in zip(self.kept, index, strict=True) if axis is not None}
        for axis in reversed(self._summed):
            number, place[axis] = divmod(number, self.plan.numblocks[axis])
        return (self._name("partial"), *(place[axis] for axis in range(len(self.plan.numblocks))))


def _inside(index: Sequence[Any], counts: Shape) -> bool:
    return len(index) == len(counts) and all(0 <= at < count for at, count in zip(index, counts, strict=True))


def array_on(layer: BlockLayer, chunks: Chunks, dtype: Any, dependencies: Iterable[Any]) -> DaskArray:
    """The dask array whose chunks a layer computes."""
    graph = HighLevelGraph.from_collections(layer.name, layer, dependencies=list(dependencies))
    return DaskArray(graph, layer.name, chunks, meta=np.empty((0,) * len(chunks), dtype))
