"""Find an unknown filter from what goes in and what comes out, by gradient descent.

    python examples/find_the_filter.py

``conv_weight_grad`` says how the squared error changes with each weight; thirty steps against it find the
filter that made the data.
"""

import numpy as np

import convpp


def main() -> None:
    """Make data with a hidden filter, forget the filter, find it again."""
    rng = np.random.default_rng(0)
    hidden = np.array([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]])[None, None]
    x = rng.standard_normal((4, 1, 32, 32))
    seen = convpp.conv(x, hidden, padding=1)

    w = np.zeros_like(hidden)
    for step in range(31):
        error = convpp.conv(x, w, padding=1) - seen
        if step % 10 == 0:
            print(f"step {step:2}: mean squared error {np.mean(error**2):.2e}")
        dy = 2 * error / error.size  # the gradient of the mean squared error
        w -= 0.2 * convpp.conv_weight_grad(dy, x, w.shape, padding=1)

    print("\nfound:")
    print(np.round(w[0, 0], 3) + 0.0)
    assert np.allclose(w, hidden, atol=1e-3)


if __name__ == "__main__":
    main()
