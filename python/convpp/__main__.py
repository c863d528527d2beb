"""``python -m convpp``: the same as the console script ``convpp``.   Next: ``_cli/cli.py``."""

import sys

from convpp._cli.cli import main

if __name__ == "__main__":
    sys.exit(main())
