"""CaGAN: a CycleGAN whose generator attends along rows and columns and over channels. A reconstruction.

Huang et al., IEEE Transactions on Computational Imaging 2020, doi 10.1109/TCI.2020.3012928. The abstract names the
modules; their places and widths here are this project's (docs/methods/cagan.md).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ldctpipe.models.criss_cross_attention import CrissCrossAttention
from ldctpipe.models.cycle_gan import ResidualBlock, TrunkGenerator
from ldctpipe.models.normalisation import Norm


class CaGan(TrunkGenerator):
    """Denoises slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    CycleGAN's generator with channel attention in each of the residual blocks and criss-cross attention in the middle
    of them. `norm`, `output` and `residual_scale` are those of `cycle_gan.ResNetGenerator`.
    """

    def __init__(
        self,
        *,
        channels: int = 64,
        blocks: int = 9,
        channel_reduction: int = 16,
        query_reduction: int = 8,
        recurrence: int = 2,
        norm: Norm = "instance",
        output: Literal["direct", "residual"] = "direct",
        residual_scale: float = 1.0,
    ) -> None:
        width = 4 * channels
        trunk = nn.Sequential(
            *(ResidualBlock(width, norm, ChannelReweighting(width, channel_reduction)) for _ in range(blocks))
        )
        trunk.insert(blocks // 2 + blocks % 2, CrissCrossAttention(width, query_reduction, recurrence))
        super().__init__(trunk, channels, norm, output, residual_scale)


class ChannelReweighting(nn.Module):
    """Multiplies each feature map by a weight in (0, 1) from the means of all (squeeze and excitation, Hu 2018)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.weigh = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)
