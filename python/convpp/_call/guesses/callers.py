"""Where in the user's code a call came from: a warning belongs there, and not in a file of the package.

In: the stack.   Out: the files of the package that lead to here.   Next: ``plain.py``, ``../../nn/conv_layer.py``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PACKAGE = f"{Path(__file__).parents[2]}{os.sep}"


def files_of_package() -> list[Path]:
    """The package's files from the caller of this function up to the user's call, one for each function.

    ``stacklevel=len(files) + 1`` is the user's line, for a warning of the caller.
    """
    files, frame = [], sys._getframe(1)
    while frame.f_code.co_filename.startswith(_PACKAGE):
        files.append(Path(frame.f_code.co_filename))
        if frame.f_back is None:
            break
        frame = frame.f_back
    return files
