"""Arrays that do not fit in memory, or lie on several machines: results in blocks.

In: shapes, and how a result is to be cut.   Out: which part of which array each block needs (``tiles.py``); blocks that
are computed (``compute.py``), and all of them, one after the other (``tiled.py``).
Next: ``axes.py``, one axis; ``channels.py``, groups; ``blocks.py``, what a block is.
"""
