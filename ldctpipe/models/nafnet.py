"""NAFNet: a U-Net of blocks without nonlinear activations, which multiply two halves of their channels instead.

Chen, Chu, Zhang, Sun, ECCV 2022, doi 10.1007/978-3-031-20071-7_2, arXiv 2204.04676.
"""

from __future__ import annotations

import torch
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.padding import pad_to_multiple


class NafNet(nn.Module):
    """Denoises single-channel slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    The defaults are the authors' network for the noise of real cameras (SIDD) with width 32; theirs for motion blur
    has `encoder_blocks` (1, 1, 1, 28), one middle block and `decoder_blocks` of 1. Both have a variant of width 64.
    The output is a correction added to the image. Images are padded by reflection, where the public code pads zeros.
    """

    def __init__(
        self,
        *,
        channels: int = 32,
        encoder_blocks: tuple[int, ...] = (2, 2, 4, 8),
        middle_blocks: int = 12,
        decoder_blocks: tuple[int, ...] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        if len(encoder_blocks) != len(decoder_blocks):
            raise ValueError("encoder_blocks and decoder_blocks need one value a level each")
        widths = [channels * 2**level for level in range(len(encoder_blocks) + 1)]
        self.multiple = 2 ** len(encoder_blocks)
        self.head = nn.Conv2d(1, channels, kernel_size=3, padding=1)
        self.encoder = nn.ModuleList(
            _blocks(width, count) for width, count in zip(widths, encoder_blocks, strict=False)
        )
        self.down = nn.ModuleList(nn.Conv2d(width, 2 * width, kernel_size=2, stride=2) for width in widths[:-1])
        self.middle = _blocks(widths[-1], middle_blocks)
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, 2 * width, kernel_size=1, bias=False), nn.PixelShuffle(2))
            for width in widths[:0:-1]
        )
        self.decoder = nn.ModuleList(
            _blocks(width, count) for width, count in zip(widths[-2::-1], decoder_blocks, strict=True)
        )
        self.tail = nn.Conv2d(channels, 1, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        padded = pad_to_multiple(image, self.multiple)
        x, skips = self.head(padded), []
        for stage, down in zip(self.encoder, self.down, strict=True):
            skips.append(stage(x))
            x = down(skips[-1])
        x = self.middle(x)
        for up, stage in zip(self.up, self.decoder, strict=True):
            x = stage(up(x) + skips.pop())
        return (padded.float() + at_full_precision(self.tail, x))[..., :rows, :columns]

    def segments(self) -> list[nn.Module]:
        """Return the parts that follow one another, each small beside the whole: for recomputation of activations."""
        return [block for stage in (*self.encoder, self.middle, *self.decoder) for block in stage]


class NafBlock(nn.Module):
    """A spatial and a pointwise branch, each normalised before, gated inside and added with a learned weight from 0."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.norm1 = LayerNorm2d(channels, eps=1e-6)
        self.spread = nn.Sequential(
            nn.Conv2d(channels, wide, kernel_size=1),
            nn.Conv2d(wide, wide, kernel_size=3, padding=1, groups=wide),
            Gate(),
        )
        self.attention = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, kernel_size=1))
        self.merge = nn.Conv2d(channels, channels, kernel_size=1)
        self.norm2 = LayerNorm2d(channels, eps=1e-6)
        self.feed_forward = nn.Sequential(
            nn.Conv2d(channels, wide, kernel_size=1), Gate(), nn.Conv2d(channels, channels, kernel_size=1)
        )
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        spatial = self.spread(self.norm1(x))
        x = x + self.beta * self.merge(spatial * self.attention(spatial))
        return x + self.gamma * self.feed_forward(self.norm2(x))


class Gate(nn.Module):
    """The product of the two halves of the channels: the only nonlinearity beside the norms."""

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return first * second


def _blocks(channels: int, count: int) -> nn.Sequential:
    return nn.Sequential(*(NafBlock(channels) for _ in range(count)))
