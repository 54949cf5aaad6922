"""SCUNet: a residual U-Net whose blocks split their channels between a convolution and a Swin transformer block.

Zhang, Li, Liang, Cao, Zhang, Tang, Fan, Timofte, Van Gool, Machine Intelligence Research 2023,
doi 10.1007/s11633-023-1466-0, arXiv 2203.13278.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.additive_unet import through_additive_unet
from ldctpipe.models.window_attention import SwinBlock

_STRIDE = 64  # three halvings times a window of 8


class ScuNet(nn.Module):
    """Denoises single-channel slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    `blocks` counts the swin-conv blocks of three levels down, the body and three levels up: 4 each in the released
    networks, which are the default here; the public class has 2 each. The output is the image itself, not a
    correction, as published. Every second block shifts its windows at every image size: the public code leaves the
    shift out where the resolution that it is told at construction is not above the window.
    """

    def __init__(
        self,
        *,
        channels: int = 64,
        blocks: tuple[int, ...] = (4, 4, 4, 4, 4, 4, 4),
        head_channels: int = 32,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        if len(blocks) != 7:
            raise ValueError("blocks needs seven values: three levels down, the body, three levels up")
        rates = iter(torch.linspace(0, drop_path, sum(blocks), device="cpu").tolist())
        widths = [channels * 2**level for level in range(4)]

        def level(width: int, count: int) -> list[nn.Module]:
            return [
                SwinConvBlock(width, head_channels, shifted=number % 2 == 1, drop_path=next(rates))
                for number in range(count)
            ]

        self.head = nn.Conv2d(1, channels, kernel_size=3, padding=1, bias=False)
        self.down = nn.ModuleList(
            nn.Sequential(*level(c, count), nn.Conv2d(c, 2 * c, kernel_size=2, stride=2, bias=False))
            for c, count in zip(widths[:3], blocks[:3], strict=True)
        )
        self.body = nn.Sequential(*level(widths[3], blocks[3]))
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(2 * c, c, kernel_size=2, stride=2, bias=False), *level(c, count))
            for c, count in zip(widths[2::-1], blocks[4:], strict=True)
        )
        self.tail = nn.Conv2d(channels, 1, kernel_size=3, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        padded = functional.pad(image, (0, -columns % _STRIDE, 0, -rows % _STRIDE), mode="replicate")
        drawn = through_additive_unet(padded, self.head, self.down, self.body, self.up, self.tail)
        return drawn[..., :rows, :columns]

    def segments(self) -> list[nn.Module]:
        """Return the parts that follow one another, each small beside the whole: for recomputation of activations."""
        return [part for level in (*self.down, self.body, *self.up) for part in level]


class SwinConvBlock(nn.Module):
    """Half of the channels through a residual convolution block, half through a Swin block, mixed and added."""

    def __init__(self, channels: int, head_channels: int, *, shifted: bool, drop_path: float) -> None:
        super().__init__()
        half = channels // 2
        self.split = nn.Conv2d(channels, channels, kernel_size=1)
        self.conv = nn.Sequential(
            nn.Conv2d(half, half, kernel_size=3, padding=1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, kernel_size=3, padding=1, bias=False),
        )
        self.swin = SwinBlock(half, half // head_channels, shift=4 if shifted else 0, drop_path=drop_path)
        self.merge = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        local, wide = self.split(x).chunk(2, dim=1)
        local = local + self.conv(local)
        wide = self.swin(wide.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.merge(torch.cat((local, wide), dim=1))
