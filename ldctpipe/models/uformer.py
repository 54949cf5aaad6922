"""Uformer: a U-shaped network of window transformers whose feed-forward layers look at neighbours.

Wang, Cun, Bao, Zhou, Liu, Li, CVPR 2022, doi 10.1109/CVPR52688.2022.01716, arXiv 2106.03106.
"""

from __future__ import annotations

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.padding import pad_to_multiple
from ldctpipe.models.window_attention import WindowAttention, initialise_transformer

_LEVELS = 4  # halvings between the image and the bottleneck


class Uformer(nn.Module):
    """Denoises single-channel slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    `depths` and `heads` go through the network: four encoder levels, the bottleneck, four decoder levels. The defaults
    are Uformer-B; T and S have depths of 2 everywhere, with `embed_dim` 16 and 32. It follows the authors' later code,
    where the decoder's blocks carry modulators. The output is always a correction added to the image: the public code
    does that for three channels alone, and a network for one would have to draw the image anew.

    Images are padded by reflection to multiples of 16 windows (128), the size that it was published with for training.
    At that size one window covers the bottleneck, so the bottleneck's windows do not shift, at any size.
    """

    def __init__(
        self,
        *,
        embed_dim: int = 32,
        depths: tuple[int, ...] = (1, 2, 8, 8, 2, 8, 8, 2, 1),
        heads: tuple[int, ...] = (1, 2, 4, 8, 16, 16, 8, 4, 2),
        window: int = 8,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.1,
        modulators: bool = True,
    ) -> None:
        super().__init__()
        if len(depths) != 2 * _LEVELS + 1 or len(heads) != 2 * _LEVELS + 1:
            raise ValueError("depths and heads need nine values each: four levels down, the bottleneck, four levels up")
        widths = [embed_dim * 2**level for level in (0, 1, 2, 3, 4, 4, 3, 2, 1)]
        rates = _drop_rates(depths, drop_path)
        self.multiple = window * 2**_LEVELS

        def stage(at: int) -> nn.Sequential:
            shift = 0 if at == _LEVELS else window // 2
            return nn.Sequential(
                *(
                    LeWinBlock(
                        widths[at],
                        heads[at],
                        window=window,
                        shift=shift if number % 2 else 0,
                        mlp_ratio=mlp_ratio,
                        drop_path=rate,
                        modulated=modulators and at > _LEVELS,
                    )
                    for number, rate in enumerate(rates[at])
                )
            )

        self.head = nn.Sequential(nn.Conv2d(1, embed_dim, kernel_size=3, padding=1), nn.LeakyReLU(inplace=True))
        self.encoder = nn.ModuleList(stage(at) for at in range(_LEVELS))
        self.down = nn.ModuleList(nn.Conv2d(c, 2 * c, kernel_size=4, stride=2, padding=1) for c in widths[:_LEVELS])
        self.bottleneck = stage(_LEVELS)
        deeper = widths[_LEVELS:-1]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(below, width // 2, kernel_size=2, stride=2)
            for below, width in zip(deeper, widths[_LEVELS + 1 :], strict=True)
        )
        self.decoder = nn.ModuleList(stage(at) for at in range(_LEVELS + 1, 2 * _LEVELS + 1))
        self.tail = nn.Conv2d(2 * embed_dim, 1, kernel_size=3, padding=1)
        self.apply(initialise_transformer)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        padded = pad_to_multiple(image, self.multiple)
        x, skips = self.head(padded), []
        for stage, down in zip(self.encoder, self.down, strict=True):
            skips.append(_on_positions(stage, x))
            x = down(skips[-1])
        x = _on_positions(self.bottleneck, x)
        for stage, up in zip(self.decoder, self.up, strict=True):
            x = _on_positions(stage, torch.cat((up(x), skips.pop()), dim=1))
        return (padded.float() + at_full_precision(self.tail, x))[..., :rows, :columns]

    def segments(self) -> list[nn.Module]:
        """Return the parts that follow one another, each small beside the whole: for recomputation of activations."""
        return [block for stage in (*self.encoder, self.bottleneck, *self.decoder) for block in stage]


class LeWinBlock(nn.Module):
    """Locally enhanced window transformer block on (batch, rows, columns, channels)."""

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        window: int,
        shift: int,
        mlp_ratio: float,
        drop_path: float,
        modulated: bool,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, window=window, shift=shift, modulated=modulated)
        self.norm2 = nn.LayerNorm(channels)
        self.feed_forward = LeFF(channels, int(channels * mlp_ratio))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attention(self.norm1(x)))
        return x + self.drop_path(self.feed_forward(self.norm2(x)))


class LeFF(nn.Module):
    """Feed-forward layer with a depthwise 3 × 3 convolution between its two linear ones."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.widen = nn.Linear(channels, hidden)
        self.neighbours = nn.Conv2d(hidden, hidden, kernel_size=3, padding=1, groups=hidden)
        self.narrow = nn.Linear(hidden, channels)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.widen(x)).permute(0, 3, 1, 2)
        return self.narrow(self.act(self.neighbours(x)).permute(0, 2, 3, 1))


def _on_positions(stage: nn.Module, x: Tensor) -> Tensor:
    """Apply blocks that want channels last to features (batch, channels, rows, columns)."""
    return stage(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _drop_rates(depths: tuple[int, ...], highest: float) -> list[list[float]]:
    """Return each block's chance to be skipped: rising through the encoder, falling through the decoder as mirrored."""
    rising = torch.linspace(0, highest, sum(depths[:_LEVELS]), device="cpu").tolist()
    falling = [*reversed(rising)]
    falling += [0.0] * (sum(depths[_LEVELS + 1 :]) - len(falling))  # a decoder deeper than its encoder
    rates = [*rising, *[highest] * depths[_LEVELS], *falling]
    ends = [sum(depths[: at + 1]) for at in range(len(depths))]
    return [rates[end - depth : end] for end, depth in zip(ends, depths, strict=True)]
