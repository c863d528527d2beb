"""Makes convpp known to threadpoolctl, so that ``threadpool_info()`` shows it and ``threadpool_limits(n)`` limits it.

In: the module ``threadpoolctl``, if this process imports it, before or after convpp.   Out: a controller for it.
Next: ``runtime.py``, whose numbers of threads it reads and sets.

convpp never imports threadpoolctl.  Where that is there first, it is found in ``sys.modules``; where it comes later,
a finder waits for it: one entry of ``sys.meta_path`` that compares a name for each module that is imported, and is gone
when it has done its work.  A check at each call of convpp instead would come too late: for limits that are set before.

A limit is one of the current thread (and asyncio task), as threadpoolctl asks for and ``with convpp.threads(n)`` does:
threads that set and reset a limit at the same time do not disturb each other, and plans stay as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from convpp import _core
from convpp.runtime import MOST_THREADS, limit_of_context

NAME = "threadpoolctl"


class Unlimited(int):
    """The process's number of threads, as told to who asks; told back, it ends the limit."""


def number() -> int | None:
    """The number of threads of a call; None where the environment asks for one that there is not."""
    limit = limit_of_context.get()
    if limit:
        return limit
    try:
        return Unlimited(_core.num_threads())
    except ValueError:
        return None


def limit(n: int | None) -> None:
    """Calls of this thread use at most ``n`` threads; as many as the process, where ``number`` said so."""
    limit_of_context.set(0 if n is None or isinstance(n, Unlimited) else min(max(n, 1), MOST_THREADS))


def register(threadpoolctl: Any) -> None:
    """Adds a controller for convpp; a threadpoolctl that is too old for others than its own is left alone."""
    if not hasattr(threadpoolctl, "register"):
        return

    class ConvppController(threadpoolctl.LibController):  # type: ignore[misc]
        """How threadpoolctl finds convpp's library, and sets the threads of its calls."""

        user_api = "convpp"
        internal_api = "convpp"
        filename_prefixes = ("_core",)
        check_symbols = ("convpp_version",)  # other packages have modules of this name

        def get_num_threads(self) -> int | None:
            return number()

        def set_num_threads(self, num_threads: int | None) -> None:
            limit(num_threads)

        def get_version(self) -> str:
            return _core.version

    threadpoolctl.register(ConvppController)


class Finder:
    """Finds threadpoolctl by the other finders, and has it registered as soon as it is loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Nothing, but for one name."""
        if name != NAME:
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = Loader(self, spec.loader)  # type: ignore[assignment]
                return spec
        return None


class Loader:
    """Loads threadpoolctl as its own loader does, which it leaves in its place."""

    def __init__(self, finder: Finder, loader: Any) -> None:
        self.finder = finder
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the loader."""
        made: ModuleType | None = self.loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """As the loader; then convpp is registered."""
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        register(module)
        if self.finder in sys.meta_path:
            sys.meta_path.remove(self.finder)


def register_when_imported() -> None:
    """Now, or when threadpoolctl is imported."""
    if sys.modules.get(NAME) is not None:
        register(import_module(NAME))  # and no sooner: another thread may be about to load it
    else:
        sys.meta_path.insert(0, Finder())
