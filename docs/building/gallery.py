"""The order of the gallery: what is run, from the first steps on, then what needs a framework.

In: the names of scripts.   Out: keys to sort them by.   Next: ``../conf.py``, which lists them.
"""

from __future__ import annotations


class Order:
    """What sphinx-gallery sorts a folder's scripts by."""

    def __init__(self, folder: str) -> None:
        import conf  # which is there while Sphinx runs

        self.names = conf.RUN

    def __call__(self, filename: str) -> tuple[int, str]:
        """First those that are listed, as they are listed."""
        name = filename.removesuffix(".py")
        return (self.names.index(name) if name in self.names else len(self.names), name)
