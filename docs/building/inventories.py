"""The names of other libraries that pages refer to, so that a build needs no network.

In: ``../inventories/*.txt``, each a library's ``objects.inv`` as text: four lines of a header, then a name, its kind,
a priority, where it is below the library's address (``$``: the name), and how it is shown (``-``: as the name).
They hold the functions, classes and methods of the modules that convpp's pages speak of, and no more.
Out: the same, compressed as Sphinx reads it.   Next: ``sphinx.util.inventory``.
"""

from __future__ import annotations

import zlib
from pathlib import Path

#: Where the libraries' pages are.
ADDRESSES = {
    "python": "https://docs.python.org/3/",
    "numpy": "https://numpy.org/doc/stable/",
    "scipy": "https://docs.scipy.org/doc/scipy/",
}
TEXTS = Path(__file__).parents[1] / "inventories"


def write(folder: Path) -> dict[str, tuple[str, str]]:
    """Compress each inventory into a folder: what ``intersphinx_mapping`` takes."""
    folder.mkdir(parents=True, exist_ok=True)
    mapping = {}
    for name, address in ADDRESSES.items():
        lines = (TEXTS / f"{name}.txt").read_text(encoding="utf-8").splitlines(keepends=True)
        file = folder / f"{name}.inv"
        file.write_bytes("".join(lines[:4]).encode() + zlib.compress("".join(lines[4:]).encode()))
        mapping[name] = (address, str(file))
    return mapping
