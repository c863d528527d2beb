"""
Events and a response, in PyTensor
==================================

What an instrument measured is the truth, convolved with its response, and noise: PyTensor finds both.

The truth is some events, of which a penalty on their sum keeps few; the response decays, and how fast is not known.
The convolution is convpp's, in a graph that PyTensor differentiates and compiles.

::

    pip install "convpp[pytensor]"
"""

import numpy as np
import pytensor
import pytensor.tensor as pt

import convpp
from convpp.pytensor import convolve

rng = np.random.default_rng(3)
times = np.arange(30.0)
DECAY, EVENTS = 5.0, {20: 3, 60: 2, 66: 4, 110: 5, 150: 2}
events = np.zeros(200)
events[list(EVENTS)] = list(EVENTS.values())
measured = convpp.convolve(events, np.exp(-times / DECAY))[:200] + 0.02 * rng.standard_normal(200)

log_events, log_decay = pt.vector("log_events", shape=(200,)), pt.scalar("log_decay")
sizes = pt.exp(log_events)
expected = convolve(sizes, pt.exp(-times / pt.exp(log_decay)))[:200]
loss = ((expected - measured) ** 2).sum() / 2 + 0.01 * sizes.sum()
variables = [log_events, log_decay]
gradients = pytensor.function(variables, pytensor.grad(loss, variables))

# Adam, by hand.
values = [np.full(200, -2.0), np.array(0.5)]
means, squares = [np.zeros_like(v) for v in values], [np.zeros_like(v) for v in values]
for step in range(1, 3001):
    for value, gradient, mean, square in zip(values, gradients(*values), means, squares, strict=True):
        mean += 0.1 * (gradient - mean)
        square += 0.01 * (gradient**2 - square)
        value -= 0.03 * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-9)
found = np.exp(values[0])
for place in sorted(np.argsort(found)[-len(EVENTS) :]):
    print(f"at {place:3}: {found[place]:.2f}, was {events[place]:.0f}")
decay = float(np.exp(values[1]))
print(f"decay {decay:.2f}, was {DECAY}")
assert abs(decay - DECAY) < 0.2
assert np.abs(found - events).max() < 0.3
print("events and response are found")
