"""Puts the licences of the libraries that a repaired wheel has copies of into that wheel.

    python tools/wheel_licences.py wheelhouse

In: wheels in a folder.  Those into which ``auditwheel repair`` has put nothing are left as they are.
Out: the same files, with texts in their ``.dist-info/licenses`` and a note that says which library is under which.  It
is an error if a library is there whose licence is not known.
Next: ``packaging/licences/`` (the texts), ``[tool.cibuildwheel]`` of pyproject.toml (who calls this), ``try_wheel.py``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import zipfile
from pathlib import Path

TEXTS = Path(__file__).parents[1] / "packaging" / "licences"

#: GCC's libraries, all under the same licence: names of files begin with these.
GCC = ("libgomp", "libstdc++", "libgcc_s")
GCC_TEXTS = ("GPL-3.0.txt", "GCC-exception-3.1.txt")

NOTE = """\
This wheel has copies of libraries of GCC, the GNU Compiler Collection, as they come with its distributions:

{libraries}

They are Copyright (C) the Free Software Foundation, Inc., and under the GNU General Public License, version 3 or later,
with the GCC Runtime Library Exception, version 3.1 (GPL-3.0-or-later WITH GCC-exception-3.1): GPL-3.0.txt and
GCC-exception-3.1.txt beside this file.  Their sources are at https://gcc.gnu.org/.
"""


def bundled(names: list[str]) -> list[str]:
    """The libraries among a wheel's files that were copied into it."""
    return sorted(name for name in names if re.match(r"[^/]+\.libs/[^/]+", name))


def record_line(name: str, data: bytes) -> str:
    """The line of a file in ``RECORD``."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"


def add_licences(wheel: Path) -> list[str]:
    """Write the licences of what is bundled into ``wheel``; returns the libraries."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        libraries = bundled(names)
        if not libraries:
            return []
        unknown = [name for name in libraries if not Path(name).name.startswith(GCC)]
        if unknown:
            raise SystemExit(f"{wheel.name}: the licence of {', '.join(unknown)} is not known")
        (record,) = (name for name in names if name.endswith(".dist-info/RECORD"))
        contents = [(info, archive.read(info)) for info in archive.infolist()]
    folder = record.removesuffix("RECORD") + "licenses/bundled/"
    if any(name.startswith(folder) for name in names):
        return libraries
    added = {folder + name: (TEXTS / name).read_bytes() for name in GCC_TEXTS}
    added[folder + "NOTE.txt"] = NOTE.format(libraries="\n".join(f"  {name}" for name in libraries)).encode()
    lines = "".join(record_line(name, data) for name, data in added.items())
    part = wheel.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in added.items():
            archive.writestr(name, data)
        for info, data in contents:  # (RECORD is the last one, and names itself last)
            archive.writestr(info, lines.encode() + data if info.filename == record else data)
    part.replace(wheel)
    return libraries


def main() -> None:
    """Add licences to each wheel of a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    wheels = sorted(parser.parse_args().folder.glob("*.whl"))
    if not wheels:
        raise SystemExit("there are no wheels")
    for wheel in wheels:
        print(f"{wheel.name}: {', '.join(add_licences(wheel)) or 'nothing bundled'}")


if __name__ == "__main__":
    main()
