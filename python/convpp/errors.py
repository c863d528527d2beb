"""The errors of convpp; each message names the argument, what it was and what was expected.

In: a message.   Out: an error that NumPy users catch as ValueError or TypeError; the compiled core (next:
cpp/bindings/module.cpp) raises the same two classes.  Beyond them, a call raises ``ValueError`` (an argument that makes
no sense) or ``MemoryError``; whatever it raises, ``out`` is untouched.
"""


class ShapeError(ValueError):
    """Shapes that do not fit each other, or extents that are too large.

    >>> import numpy as np
    >>> import convpp
    >>> try:
    ...     convpp.conv(np.ones((1, 2, 8)), np.ones((4, 3, 5)))
    ... except convpp.ShapeError as error:
    ...     print(error)
    w has shape (4, 3, 5), so x must have C = 3 * groups = 3 channels, but x has shape (1, 2, 8): C = 2
    """


class DTypeError(TypeError):
    """An element type that convpp does not compute in; the message says which cast to make.

    >>> import convpp
    >>> try:
    ...     convpp.conv([[1, 2, 3]], [[[1]]])
    ... except convpp.DTypeError as error:
    ...     print(str(error).split(",")[0])
    x has dtype int64
    """
