"""A residual network with grouped convolutions that predicts the noise.

Missert et al. 2018, Proc. 5th CT Meeting, "Noise subtraction for low-dose CT images using a deep convolutional neural
network"; layout of "resnet" in ldct-benchmark.
"""

from __future__ import annotations

from torch import Tensor, nn

from ldctpipe.models.full_precision import at_full_precision


class GroupedResNet(nn.Module):
    """Denoises (batch, 1, rows, columns) in [0, 1] to the same shape: the image minus what the network finds."""

    def __init__(self, *, channels: int = 128, blocks: int = 10, groups: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, kernel_size=9, padding=4)
        self.blocks = nn.Sequential(*(_ResidualBlock(channels, groups) for _ in range(blocks)))
        self.last = nn.Conv2d(channels, 1, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return image - at_full_precision(self.last, self.blocks(self.first(image)))

    def segments(self) -> list[nn.Module]:
        """Return the residual blocks, for recomputation of activations."""
        return list(self.blocks)


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=groups),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)
