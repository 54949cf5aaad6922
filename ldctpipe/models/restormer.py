"""Restormer: a U-Net of transformers whose attention runs between channels, so that its cost is linear in pixels.

Zamir, Arora, Khan, Hayat, Khan, Yang, CVPR 2022, doi 10.1109/CVPR52688.2022.00564, arXiv 2111.09881.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.padding import pad_to_multiple

_STRIDE = 8


class Restormer(nn.Module):
    """Denoises single-channel slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    The defaults are the authors' network for Gaussian noise: layer norms that neither subtract the mean nor add a bias
    (`norm` "with_bias" is that of their other tasks). `blocks` and `heads` count levels from the image down; the
    decoder mirrors them, and its last level keeps twice the channels. The output is a correction added to the image.
    """

    def __init__(
        self,
        *,
        channels: int = 48,
        blocks: tuple[int, ...] = (4, 6, 6, 8),
        refinement_blocks: int = 4,
        heads: tuple[int, ...] = (1, 2, 4, 8),
        expansion: float = 2.66,
        norm: Literal["bias_free", "with_bias"] = "bias_free",
    ) -> None:
        super().__init__()
        if len(blocks) != 4 or len(heads) != 4:
            raise ValueError("blocks and heads need four values each, one a level")
        c = channels

        def level(at: int, width: int, count: int) -> nn.Sequential:
            return nn.Sequential(*(TransformerBlock(width, heads[at], expansion, norm) for _ in range(count)))

        self.head = nn.Conv2d(1, c, kernel_size=3, padding=1, bias=False)
        self.encoder = nn.ModuleList(level(at, c * 2**at, blocks[at]) for at in range(3))
        self.down = nn.ModuleList(_smaller(c * 2**at) for at in range(3))
        self.latent = level(3, 8 * c, blocks[3])
        self.up = nn.ModuleList(_larger(c * 2**at) for at in (3, 2, 1))
        self.merge = nn.ModuleList(
            [*(nn.Conv2d(c * 2 ** (at + 1), c * 2**at, kernel_size=1, bias=False) for at in (2, 1)), nn.Identity()]
        )
        self.decoder = nn.ModuleList(level(at, c * 2 ** max(at, 1), blocks[at]) for at in (2, 1, 0))
        self.refinement = level(0, 2 * c, refinement_blocks)
        self.tail = nn.Conv2d(2 * c, 1, kernel_size=3, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        padded = pad_to_multiple(image, _STRIDE)
        x, skips = self.head(padded), []
        for stage, down in zip(self.encoder, self.down, strict=True):
            skips.append(stage(x))
            x = down(skips[-1])
        x = self.latent(x)
        for up, merge, stage in zip(self.up, self.merge, self.decoder, strict=True):
            x = stage(merge(torch.cat((up(x), skips.pop()), dim=1)))
        x = self.refinement(x)
        return (padded.float() + at_full_precision(self.tail, x))[..., :rows, :columns]

    def segments(self) -> list[nn.Module]:
        """Return the parts that follow one another, each small beside the whole: for recomputation of activations."""
        stages = (*self.encoder, self.latent, *self.decoder, self.refinement)
        return [block for stage in stages for block in stage]


class TransformerBlock(nn.Module):
    """Channel attention and a gated feed-forward layer, each after a norm and added to what it was given."""

    def __init__(self, channels: int, heads: int, expansion: float, norm: Literal["bias_free", "with_bias"]) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels, bias=norm == "with_bias")
        self.attention = TransposedAttention(channels, heads)
        self.norm2 = ChannelNorm(channels, bias=norm == "with_bias")
        self.feed_forward = GatedFeedForward(channels, int(channels * expansion))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


class ChannelNorm(nn.Module):
    """Divides by the standard deviation over channels; with `bias` it subtracts their mean and adds a bias too."""

    def __init__(self, channels: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        exact = x.float()
        variance, mean = torch.var_mean(exact, dim=1, keepdim=True, correction=0)
        scale = self.weight * torch.rsqrt(variance + 1e-5)
        return (exact * scale if self.bias is None else (exact - mean) * scale + self.bias).to(x.dtype)


class TransposedAttention(nn.Module):
    """Attention between the channels of each head, each channel a vector of all positions (MDTA)."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.qkv = _pointwise_depthwise(channels, 3 * channels)
        self.project = nn.Conv2d(channels, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(1, (self.heads, -1)).flatten(3) for part in self.qkv(x).chunk(3, dim=1)
        )  # each (batch, heads, channels of a head, positions)
        query, key = functional.normalize(query, dim=-1), functional.normalize(key, dim=-1)
        weights = (query @ key.transpose(-2, -1) * self.temperature).softmax(dim=-1)
        return self.project((weights.to(value.dtype) @ value).flatten(1, 2).unflatten(2, x.shape[-2:]))


class GatedFeedForward(nn.Module):
    """Feed-forward layer whose one half gates the other (GDFN)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.spread = _pointwise_depthwise(channels, 2 * hidden)
        self.project = nn.Conv2d(hidden, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.spread(x).chunk(2, dim=1)
        return self.project(functional.gelu(gate) * value)


def _pointwise_depthwise(channels: int, wide: int) -> nn.Sequential:
    depthwise = nn.Conv2d(wide, wide, kernel_size=3, padding=1, groups=wide, bias=False)
    return nn.Sequential(nn.Conv2d(channels, wide, kernel_size=1, bias=False), depthwise)


def _smaller(channels: int) -> nn.Sequential:
    """Halve rows and columns, double channels."""
    conv = nn.Conv2d(channels, channels // 2, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(conv, nn.PixelUnshuffle(2))


def _larger(channels: int) -> nn.Sequential:
    """Double rows and columns, halve channels."""
    conv = nn.Conv2d(channels, 2 * channels, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(conv, nn.PixelShuffle(2))
