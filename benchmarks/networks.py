"""Networks of PyTorch that are trained in end_to_end.py: the published architectures, with random weights.

In: nothing.   Out: ``nn.Module``s that take images (N, 3, H, W), or volumes (N, 1, D, H, W), to scores.
Next: end_to_end.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def normalised(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution and a batch normalisation."""
    pad = kernel // 2
    return [nn.Conv2d(inputs, outputs, kernel, stride, pad, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


def classifier(channels: int, classes: int = 1000) -> list[nn.Module]:
    """The mean over all pixels, and scores."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]


def vgg16() -> nn.Module:
    """Simonyan and Zisserman 2014, arXiv:1409.1556, configuration D."""
    layers: list[nn.Module] = []
    c = 3
    for count, k in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(count):
            layers += [nn.Conv2d(c, k, 3, padding=1), nn.ReLU(inplace=True)]
            c = k
        layers.append(nn.MaxPool2d(2))
    for inputs, outputs in ((512 * 49, 4096), (4096, 4096)):
        layers += [nn.Flatten(), nn.Linear(inputs, outputs), nn.ReLU(inplace=True), nn.Dropout()]
    return nn.Sequential(*layers, nn.Linear(4096, 1000))


class Residual(nn.Module):
    """``relu(f(x) + x)``, or with a convolution of x where its extents change."""

    def __init__(self, inputs: int, outputs: int, stride: int, inner: Sequence[nn.Module]) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else nn.Sequential(*normalised(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        return torch.relu_(self.inner(x) + self.short(x))


def resnet(blocks: Sequence[int], bottleneck: bool) -> nn.Module:
    """He, Zhang, Ren and Sun 2015, arXiv:1512.03385; in bottlenecks, the 3x3 convolution has the stride."""
    layers: list[nn.Module] = [*normalised(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    c = 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        k = 4 * width if bottleneck else width
        for number in range(count):
            stride = 2 if stage and not number else 1
            kernels = [(c, width, 1, 1), (width, width, 3, stride), (width, k, 1, 1)]
            parts = kernels if bottleneck else [(c, k, 3, stride), (k, k, 3, 1)]
            inner: list[nn.Module] = []
            for i, part in enumerate(parts):
                inner += [*([nn.ReLU(inplace=True)] if i else []), *normalised(*part)]
            layers.append(Residual(c, k, stride, inner))
            c = k
    return nn.Sequential(*layers, *classifier(c))


class Inverted(nn.Module):
    """1x1 to more channels, 3x3 depthwise, 1x1 to fewer; added to x where the extents allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        wide = inputs * expand
        layers = [*normalised(inputs, wide, 1), nn.ReLU6(inplace=True)] if expand > 1 else []
        layers += [*normalised(wide, wide, 3, stride, wide), nn.ReLU6(inplace=True), *normalised(wide, outputs, 1)]
        self.inner, self.adds = nn.Sequential(*layers), stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H/stride, W/stride)."""
        return x + self.inner(x) if self.adds else self.inner(x)


def mobilenet_v2() -> nn.Module:
    """Sandler, Howard, Zhu, Zhmoginov and Chen 2018, arXiv:1801.04381, table 2."""
    layers: list[nn.Module] = [*normalised(3, 32, 3, 2), nn.ReLU6(inplace=True)]
    c = 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expand, k, count, stride in table:
        for number in range(count):
            layers.append(Inverted(c, k, 1 if number else stride, expand))
            c = k
    return nn.Sequential(*layers, *normalised(c, 1280, 1), nn.ReLU6(inplace=True), *classifier(1280))


class LastNorm(nn.LayerNorm):
    """Normalises the channels of each pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W)."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ConvNeXtBlock(nn.Module):
    """7x7 depthwise, a normalisation, two linear layers for each pixel."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(c, c, 7, padding=3, groups=c)
        self.inner = nn.Sequential(nn.LayerNorm(c), nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same."""
        return x + self.inner(self.depthwise(x).movedim(1, -1)).movedim(-1, 1)


def convnext_tiny() -> nn.Module:
    """Liu and others 2022, arXiv:2201.03545 (without its scaling of layers)."""
    layers: list[nn.Module] = []
    c = 3
    for k, count in ((96, 3), (192, 3), (384, 9), (768, 3)):
        if c == 3:
            layers += [nn.Conv2d(3, k, 4, 4), LastNorm(k)]
        else:
            layers += [LastNorm(c), nn.Conv2d(c, k, 2, 2)]
        layers += [ConvNeXtBlock(k) for _ in range(count)]
        c = k
    return nn.Sequential(*layers, *classifier(c))


class UNet3d(nn.Module):
    """Two levels down and up again, convolutions of 3x3x3: Cicek and others 2016, arXiv:1606.06650, made smaller."""

    def __init__(self, c: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList([self.block(1, c), self.block(c, 2 * c)])
        self.bottom = self.block(2 * c, 4 * c)
        self.up = nn.ModuleList(
            [nn.ConvTranspose3d(4 * c, 2 * c, 2, stride=2), nn.ConvTranspose3d(2 * c, c, 2, stride=2)]
        )
        self.merge = nn.ModuleList([self.block(4 * c, 2 * c), self.block(2 * c, c)])
        self.head = nn.Conv3d(c, 2, 1)

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Module:
        """Two convolutions, each normalised."""
        layers: list[nn.Module] = []
        for c in (inputs, outputs):
            layers += [nn.Conv3d(c, outputs, 3, padding=1, bias=False), nn.BatchNorm3d(outputs), nn.ReLU(inplace=True)]
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, D, H, W) to (N, 2)."""
        skipped = []
        for block in self.down:
            skipped.append(block(x))
            x = nn.functional.max_pool3d(skipped[-1], 2)
        x = self.bottom(x)
        for up, merge, skip in zip(self.up, self.merge, reversed(skipped), strict=True):
            x = merge(torch.cat([up(x), skip], dim=1))
        return self.head(x).mean((2, 3, 4))
