"""Packages that a command needs and convpp does not.

In: their names.  Out: nothing, or an error of one line, before any work, that says what to install.
Next: ``demo.py`` and ``bench.py``, which ask.
"""

from __future__ import annotations


def require(who: str, *modules: str, install: str) -> None:
    """Raise ModuleNotFoundError if one of the modules is missing; ``install`` is what pip is to be told."""
    from importlib.util import find_spec

    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise ModuleNotFoundError(f"{who} needs {', '.join(missing)}: python -m pip install {install}")
