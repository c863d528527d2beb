"""Find the edges of an image with Sobel's filters.

    python examples/edge_detection.py

One call of ``convpp.conv`` applies both filters: they are two output channels (K = 2) over one input channel.
"""

import numpy as np

import convpp

HEIGHT, WIDTH = 18, 48


def disc_and_square() -> np.ndarray:
    """A picture to look at, (HEIGHT, WIDTH), 0 or 1."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    disc = (rows - 9) ** 2 + ((columns - 13) / 2) ** 2 < 64 / 2
    square = (abs(rows - 9) < 7) & (abs(columns - 35) < 9)
    return (disc | square).astype(np.float32)


def main() -> None:
    """Print the picture and its edges."""
    across = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=np.float32)
    filters = np.stack([across, across.T])[:, None]  # (K, C, R, S) = (2, 1, 3, 3)

    image = disc_and_square()
    x = image[None]  # (C, H, W): one sample needs no N axis
    slopes = convpp.conv(x, filters, padding="same")  # (2, H, W): slope along each axis
    edges = np.hypot(slopes[0], slopes[1])

    for row, edge_row in zip(image, edges, strict=True):
        print("".join(".#"[int(v)] for v in row), " ", "".join(" .-+#"[int(v)] for v in edge_row))
    print(f"\nstrongest edge: {edges.max():.2f}")


if __name__ == "__main__":
    main()
