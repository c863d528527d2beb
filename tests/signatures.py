"""The functions whose signatures the tests go through, and the options of each.

In: a function's name.  Out: its keywords.
Read next: test_signatures.py (which options there are), test_options.py (what they do).
"""

from __future__ import annotations

import inspect

import convpp

CONV = (
    "conv",
    "conv_input_grad",
    "conv_weight_grad",
    "conv_backward",
    "conv_double_backward",
    "conv_jvp",
    "conv_output_shape",
    "prepare_weights",
    "explain",
)
TRANSPOSED = tuple(name.replace("conv", "conv_transpose") for name in CONV[:-2])
#: Of arrays without channels.
PLAIN = ("convolve", "correlate", "convolve_backward")
#: Block by block, with the options of their namesakes (test_tiled.py).
TILED = tuple(f"{name}_tiled" for name in (*CONV[:3], "convolve"))
FUNCTIONS = (*CONV, *TRANSPOSED, "conv_bias_grad")


def keywords_of(name: str) -> set[str]:
    parameters = inspect.signature(getattr(convpp, name)).parameters.values()
    return {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
