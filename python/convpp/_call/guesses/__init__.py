"""What the user probably meant: the ends of error messages, made after a check has failed and never before.

    words.py    names of other libraries, numbers that are nearly right       "NHWC", padding="SAME", stride=2.0
    arrays.py   what is no array, or one of another type                      complex, None, text, decimals, dates
    shapes.py   shapes that a small change makes fit                          layout, axes, groups, order of w
    plain.py    arrays without channels, and weights that fit in two ways     (20, 20) with (3, 3); HWIO

Whoever raises imports them there and then, so that they cost nothing as long as nothing is wrong.  Each returns what is
put behind the message: "" if it knows nothing.  Advice is tried before it is given where that is possible (shapes), and
tests follow all of it (tests/test_guesses*.py).
"""
