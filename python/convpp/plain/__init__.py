"""Convolution of plain arrays, which have axes and no channels: ``convolve``, ``correlate`` and ``convolve_backward``.

In: an array, a kernel, and what happens at the ends.   Out: an array.   A thin layer on ``conv``; a call passes:
``arguments.py`` (names and numbers), ``operands.py`` (arrays and their types), ``axes.py`` (extents, padding),
``problem.py`` (which axes are convolved, which are a batch), ``prepare.py``, ``missing.py``, ``whole.py`` and
``fields.py`` (how a kind of numbers is told in real ones), ``blocks.py`` and ``gather.py`` (the source, block by
block), ``engine.py`` and ``separable.py`` (the calls).  ``seen.py`` recognises
small calls that were made before.

Users start in ``forward.py`` and ``backward.py``, and at ``kernels.py`` for Gaussians and their like.
"""
