"""
A network in JAX
================

Train a small network in JAX whose convolutions are convpp's: grad, jit and vmap as ever.

::

    pip install "convpp[jax]"
    python examples/jax_training.py

In: nothing: the pictures are drawn here, four shapes at random places, in noise.
Out: the accuracy on pictures that were not trained on; how JAX's own convolution differs in the gradients; and, by
vmap, the norms of the gradients of single pictures, without a loop.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import jax
    import jax.numpy as jnp
except ImportError:
    raise SystemExit("skipped: this example needs JAX (pip install jax)") from None

warnings.filterwarnings("ignore", "convpp was built without", RuntimeWarning)  # then it is slower, and as right
import convpp.jax  # noqa: E402

rng = np.random.default_rng(0)
NUMBERS = ("NHWC", "HWIO", "NHWC")
Weights = dict[str, jax.Array]


def pictures(count: int) -> tuple[jax.Array, jax.Array]:
    """Bars, crosses, squares and frames of 16x16 pixels, and which each is."""
    shapes = np.zeros((4, 7, 7), np.float32)
    shapes[0, :, 3] = shapes[1, :, 3] = shapes[1, 3, :] = 1
    shapes[2, 1:6, 1:6] = shapes[3] = 1
    shapes[3, 1:6, 1:6] = 0
    labels = rng.integers(0, 4, count)
    x = rng.normal(0, 0.4, (count, 16, 16, 1)).astype(np.float32)
    for picture, label, (top, left) in zip(x, labels, rng.integers(0, 10, (count, 2)), strict=True):
        picture[top : top + 7, left : left + 7, 0] += shapes[label]
    return jnp.asarray(x), jnp.asarray(labels)


def network(w: Weights, x: jax.Array, convolve: Callable[..., Any] = convpp.jax.conv_general_dilated) -> jax.Array:
    """Two convolutions, a mean over pixels, and a matrix: the logits."""
    x = jax.nn.relu(convolve(x, w["first"], (1, 1), "SAME", dimension_numbers=NUMBERS))
    x = jax.nn.relu(convolve(x, w["second"], (2, 2), "SAME", dimension_numbers=NUMBERS))
    return x.max((1, 2)) @ w["head"]


def loss(w: Weights, x: jax.Array, labels: jax.Array, **options: Any) -> jax.Array:
    """Cross entropy, the mean over pictures."""
    logits = network(w, x, **options)
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


@jax.jit
def step(w: Weights, x: jax.Array, labels: jax.Array) -> Weights:
    """Weights after a step downhill."""
    gradient = jax.grad(loss)(w, x, labels)
    after: Weights = jax.tree.map(lambda a, g: a - 0.3 * g, w, gradient)
    return after


def normal(*shape: int) -> jax.Array:
    """Random weights that keep the size of what they are applied to."""
    return jnp.asarray(rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1])), jnp.float32)


w = {"first": normal(5, 5, 1, 16), "second": normal(5, 5, 16, 32), "head": normal(32, 4)}
for _ in range(250):
    w = step(w, *pictures(64))

x, labels = pictures(1000)
print(f"accuracy: {(network(w, x).argmax(1) == labels).mean():.3f}")

own = jax.grad(loss)(w, x, labels)
jaxs = jax.grad(loss)(w, x, labels, convolve=jax.lax.conv_general_dilated)
differences = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max() / jnp.abs(b).max()), own, jaxs)
assert max(differences.values()) < 1e-3
print("gradients are those of jax.lax, to rounding")

each = jax.vmap(jax.grad(loss), (None, 0, 0))(w, x[:, None], labels[:, None])
np.testing.assert_allclose(each["second"].mean(0), own["second"], atol=1e-5)
norms = jnp.sqrt(sum((g**2).reshape(len(g), -1).sum(1) for g in jax.tree.leaves(each)))
print(f"gradients of single pictures: norms {norms.min():.3f} to {norms.max():.3f}, their mean is the batch's gradient")
