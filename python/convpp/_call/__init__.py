"""How a call is made: what every public function does between its arguments and the compiled core.

In: what users write.   Out: the result.   Next, in the order in which a call passes:
``arguments.py`` (numbers and names), ``options.py`` (the geometry options as one value), ``validation.py`` (arrays),
``geometry.py`` (extents), ``planning.py`` (the core's plan, remembered), ``run.py`` (the plan is executed).
"""
