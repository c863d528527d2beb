"""Layers: a convolution together with what it learns.

In: NumPy arrays.   Out: NumPy arrays, and gradients that the layer keeps.
Next: ``layers.py`` (the six layers), ``layer.py`` (what they share), ``parameters.py`` (weights and biases).
"""
