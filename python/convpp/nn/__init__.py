"""Layers: convolutions together with what they learn, and poolings.

In: NumPy arrays.   Out: NumPy arrays, and gradients that a layer keeps.
Next: ``base.py`` (what every layer has); ``layers.py`` (the six convolutions), ``conv_layer.py`` (what they share),
``parameters.py`` (weights and biases); ``pooling.py``.
"""
