"""DU-GAN's discriminator: a U-Net that judges the whole image and each of its pixels.

Huang et al. 2022, doi 10.1109/TIM.2021.3128703, after Schönfeld et al. 2020 (arXiv 2002.12655); layout of the authors'
Hzzone/DU-GAN.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import start_gaussian
from ldctpipe.models.padding import pad_to_multiple

_SLOPE = 0.2
_WIDEST = 512


class UNetDiscriminator(nn.Module):
    """Judges (batch, 1, rows, columns): a score an image (batch,) and one a pixel (batch, 1, rows, columns), unbounded.

    `levels` times the encoder halves the resolution, from `channels` on doubling its width up to 512; sides that do not
    divide by 2^`levels` are padded by reflection, and the map of pixels is cropped. `spectral_norm` acts on every
    convolution but those of one output channel or of at most four input channels, and not on the linear layer.
    """

    def __init__(self, *, channels: int = 64, levels: int = 6, spectral_norm: bool = True) -> None:
        super().__init__()
        widths = [1, *(min(channels * 2**level, _WIDEST) for level in range(levels))]
        pairs = list(pairwise(widths))
        self.down = nn.ModuleList(_Down(i, o, halve=True) for i, o in pairs)
        self.bottom = _Down(widths[-1], widths[-1], halve=False)
        self.middle = _two_convolutions(widths[-1], widths[-1])
        self.up = nn.ModuleList(_Up(o, i) for i, o in reversed(pairs))
        self.score = nn.Linear(widths[-1], 1)
        self.pixels = nn.Conv2d(1, 1, kernel_size=1)
        self.multiple = 2**levels
        start_gaussian(self, deviation=0.01)
        if spectral_norm:
            _normalise(self)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = image.shape[-2:]
        x, skips = pad_to_multiple(image, self.multiple), []
        for block in self.down:
            x, skip = block(x)
            skips.append(skip)
        x, _ = self.bottom(x)
        x = x + self.middle(x)
        pooled = functional.leaky_relu(x, _SLOPE).mean(dim=(2, 3))
        score = at_full_precision(self.score, pooled).squeeze(1)
        for block in self.up:
            x = block(x, skips.pop())
        return score, at_full_precision(self.pixels, x)[..., :rows, :columns]


class _Down(nn.Module):
    """Two convolutions and, to `halve` the resolution, a third; beside them a 1×1 convolution as shortcut."""

    def __init__(self, in_channels: int, out_channels: int, *, halve: bool) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=2 if halve else 1)
        self.features = _two_convolutions(in_channels, out_channels)
        self.halve = nn.Conv2d(out_channels, out_channels, kernel_size=4, stride=2, padding=1) if halve else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return what goes down and what goes across to the decoder."""
        across = self.features(x)
        return (across if self.halve is None else self.halve(across)) + self.shortcut(x), across


class _Up(nn.Module):
    """Doubles the resolution bilinearly, then two convolutions over it and the skip, and a 1×1 shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.shortcut = nn.Conv2d(in_channels, out_channels, kernel_size=1)
        self.features = _two_convolutions(2 * in_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.features(torch.cat((x, skip), dim=1)) + self.shortcut(x)


def _two_convolutions(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.LeakyReLU(_SLOPE),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1),
        nn.LeakyReLU(_SLOPE),
    )


def _normalise(network: nn.Module) -> None:
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d) and layer.out_channels != 1 and layer.in_channels > 4:
            parametrizations.spectral_norm(layer)
