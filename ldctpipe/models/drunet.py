"""DRUNet: a residual U-Net without biases that is told the noise level, the denoiser prior of DPIR.

Zhang, Li, Zuo, Zhang, Van Gool, Timofte, IEEE TPAMI 2022, doi 10.1109/TPAMI.2021.3088914, arXiv 2008.13751.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ldctpipe.models.additive_unet import through_additive_unet
from ldctpipe.models.noise_level import noise_level as estimated_noise_level
from ldctpipe.models.padding import pad_to_multiple


class DruNet(nn.Module):
    """Denoises single-channel slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    The second input channel is a map of the noise's standard deviation, in units of the image. In the publication it is
    known and the same everywhere; here it is estimated around each pixel where the caller does not give it, so that a
    training patch has the map that its place has in a slice. Nothing has a bias, so the output of a k times brighter
    image with k times the noise is k times brighter. The output is the image, not a correction.
    """

    def __init__(self, *, channels: tuple[int, ...] = (64, 128, 256, 512), blocks: int = 4) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError("channels needs at least two values, one a level")
        levels = list(pairwise(channels))
        self.multiple = 2 ** len(levels)
        self.head = nn.Conv2d(2, channels[0], kernel_size=3, padding=1, bias=False)
        self.down = nn.ModuleList(
            nn.Sequential(*_blocks(fine, blocks), nn.Conv2d(fine, coarse, kernel_size=2, stride=2, bias=False))
            for fine, coarse in levels
        )
        self.body = nn.Sequential(*_blocks(channels[-1], blocks))
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(coarse, fine, kernel_size=2, stride=2, bias=False), *_blocks(fine, blocks))
            for fine, coarse in reversed(levels)
        )
        self.tail = nn.Conv2d(channels[0], 1, kernel_size=3, padding=1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.orthogonal_(module.weight, gain=0.2)

    def forward(self, image: Tensor, noise_level: float | Tensor | None = None) -> Tensor:
        """Return the denoised image; `noise_level` is a number, or a tensor that spreads to the image's shape."""
        rows, columns = image.shape[-2:]
        level = estimated_noise_level(image) if noise_level is None else torch.as_tensor(noise_level).to(image)
        padded = pad_to_multiple(torch.cat((image, level.to(image.dtype).expand_as(image)), dim=1), self.multiple)
        drawn = through_additive_unet(padded, self.head, self.down, self.body, self.up, self.tail)
        return drawn[..., :rows, :columns]

    def segments(self) -> list[nn.Module]:
        """Return the parts that follow one another, each small beside the whole: for recomputation of activations."""
        return [part for level in (*self.down, self.body, *self.up) for part in level]


class ResidualBlock(nn.Module):
    """Two convolutions with a ReLU between, added to what they were given."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convs(x)


def _blocks(channels: int, count: int) -> list[nn.Module]:
    return [ResidualBlock(channels) for _ in range(count)]
