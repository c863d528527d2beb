"""A blurred and noisy photograph is made sharp again, by three solvers of SciPy on one operator of convpp.

    pip install scipy matplotlib
    python examples/deblur.py [photograph] [--plot file.png]

The blur is y = A x + noise.  The solvers look for the x near y that makes |A x - y|^2 + weight^2 |x - y|^2 least.  All
they need is A and its adjoint: of a convolution, a convolution and its input gradient.  Without a photograph, the
portrait of Grace Hopper that matplotlib brings is used (James S. Davis, US Navy, public domain).

LSQR: Paige and Saunders 1982, doi:10.1145/355984.355989.  LSMR: Fong and Saunders 2011, doi:10.1137/10079687X.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib import cbook
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy.sparse.linalg import LinearOperator, cg, lsmr, lsqr

from convpp.operators import Convolution

NOISE = 0.002  # of a range of 1
WEIGHT = 0.05  # smaller: sharper, and more of the noise
ITERATIONS = 100


def gray(photograph: str | None) -> np.ndarray:
    """A photograph as (H, W) of float64 in [0, 1]."""
    with cbook.get_sample_data("grace_hopper.jpg") if photograph is None else Path(photograph).open("rb") as file:
        image = np.asarray(imread(file), dtype=np.float64)
    if image.max() > 1:
        image /= 255
    return image if image.ndim == 2 else image[..., :3] @ [0.299, 0.587, 0.114]


def disc(radius: float) -> np.ndarray:
    """What a lens out of focus makes of a point."""
    reach = int(np.ceil(radius))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1)
    return inside / inside.sum()


def decibels(found: np.ndarray, truth: np.ndarray) -> float:
    """The peak signal-to-noise ratio."""
    return float(-10 * np.log10(np.mean((found - truth) ** 2)))


def main() -> None:
    """Blur, add noise, solve three times, compare."""
    parser = argparse.ArgumentParser(description="make a blurred photograph sharp again")
    parser.add_argument("photograph", nargs="?")
    parser.add_argument("--plot", metavar="FILE")
    arguments = parser.parse_args()
    sharp = gray(arguments.photograph)
    blur = Convolution(sharp.shape, disc(4.5), boundary="symmetric")
    blurred = blur(sharp) + NOISE * np.random.default_rng(0).standard_normal(sharp.shape)
    print(f"a disc of radius 4.5 and some noise: {decibels(blurred, sharp):.1f} dB")

    left = (blurred - blur(blurred)).ravel()  # what is to be explained by x - y
    # Conjugate gradients take a symmetric operator: the left side of (A^T A + weight^2) x = A^T y.
    normal = LinearOperator(
        (sharp.size, sharp.size), matvec=lambda x: blur.rmatvec(blur.matvec(x)) + WEIGHT**2 * x, dtype=float
    )
    steps: dict[str, np.ndarray] = {
        "lsqr": lsqr(blur, left, damp=WEIGHT, atol=1e-9, btol=1e-9, iter_lim=ITERATIONS)[0],
        "lsmr": lsmr(blur, left, damp=WEIGHT, atol=1e-9, btol=1e-9, maxiter=ITERATIONS)[0],
        "cg": cg(normal, blur.rmatvec(left), rtol=1e-9, maxiter=ITERATIONS)[0],
    }
    found = {name: blurred + step.reshape(sharp.shape) for name, step in steps.items()}
    for name, image in found.items():
        print(f"{name}: {decibels(image, sharp):.1f} dB")
        assert np.abs(image - found["cg"]).max() < 1e-3
    gain = decibels(found["cg"], sharp) - decibels(blurred, sharp)
    assert gain > 3
    print("the three agree, and the photograph is sharp again")
    if arguments.plot:
        plot(arguments.plot, {"the photograph": sharp, "out of focus, noisy": blurred, "solved by LSQR": found["lsqr"]})


def plot(file: str, images: dict[str, np.ndarray]) -> None:
    """Side by side."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, (title, image) in zip(figure.subplots(1, len(images)), images.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title)
        axes.set_axis_off()
    figure.savefig(file, dpi=110)


if __name__ == "__main__":
    main()
