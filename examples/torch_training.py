"""
A network in PyTorch
====================

A PyTorch model is trained on digits, with its convolutions by convpp.

::

    pip install "convpp[torch]" scikit-learn
    python examples/torch_training.py

The model, its optimiser and its state dict stay PyTorch's; one line is new.
"""

import time

import torch
from sklearn.datasets import load_digits
from torch import nn

import convpp.torch


def network() -> nn.Module:
    """Convolutions over 8x8 pixels, and a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(64 * 4, 10),
    )


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int = 4) -> list[float]:
    """Adam on batches of 64 in a fixed order; the loss of each."""
    optimiser, losses = torch.optim.Adam(model.parameters(), 2e-3), []
    for _ in range(epochs):
        for x, y in zip(images.split(64), labels.split(64), strict=True):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return losses


def main() -> None:
    """Train the same network twice, and compare."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.manual_seed(1))
    images = torch.from_numpy(digits.images).float().unsqueeze(1)[order] / 16
    labels = torch.from_numpy(digits.target)[order]
    found = {}
    for name in ("PyTorch", "convpp"):
        model = network()
        if name == "convpp":
            print(convpp.torch.accelerate(model))  # this is the line
        start = time.perf_counter()
        losses = train(model, images[360:], labels[360:])
        seconds = time.perf_counter() - start
        with torch.no_grad():
            right = (model.eval()(images[:360]).argmax(1) == labels[:360]).float().mean().item()
        print(f"{name}: {seconds:.2f} s, loss {losses[0]:.4f} to {losses[-1]:.4f}, right about {right:.1%}")
        found[name] = losses, right
        assert right > 0.95
    assert abs(found["convpp"][0][0] - found["PyTorch"][0][0]) < 1e-5  # the first step is the same but for rounding
    print("the same network, by two libraries")


if __name__ == "__main__":
    main()
