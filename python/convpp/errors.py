"""The errors of convpp; each message names the argument, what it was and what was expected.

The compiled core raises the same two classes.  Beyond them, a call raises ``ValueError`` (an argument that
makes no sense) or ``MemoryError``; whatever it raises, ``out`` is untouched.
"""


class ShapeError(ValueError):
    """Shapes that do not fit each other, or extents that are too large."""


class DTypeError(TypeError):
    """An element type that convpp does not compute in; the message says which cast to make."""
