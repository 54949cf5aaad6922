"""The generator of the perceptual attention CycleGAN for clinical low-dose liver CT. A reconstruction.

Pu et al., Unsupervised Denoising of Real Clinical Low Dose Liver CT with Perceptual Attention Networks, 2026,
arXiv 2605.00793: a U-Net for multi-scale features, attention to fuse them, a residual network to transform them. The
source says no more; widths, depths and places are this project's (docs/methods/perceptual-attention-cycle-gan.md).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ldctpipe.models.attention import DualFeatureAttention
from ldctpipe.models.cycle_gan import ResidualBlock
from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import start_normal
from ldctpipe.models.normalisation import Norm, normalise
from ldctpipe.models.padding import pad_to_multiple


class PerceptualAttentionGenerator(nn.Module):
    """Denoises slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    An encoder of `levels` scales, the width doubled at each; `blocks` residual blocks at the coarsest; on the way up,
    the features of both sides of each scale are fused under channel and spatial attention. `norm`, `output` and
    `residual_scale` are those of `cycle_gan.ResNetGenerator`.
    """

    def __init__(
        self,
        *,
        channels: int = 32,
        levels: int = 4,
        blocks: int = 6,
        attention_reduction: int = 16,
        norm: Norm = "batch",
        output: Literal["direct", "residual"] = "residual",
        residual_scale: float = 1.0,
    ) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(levels)]
        self.encoder = nn.ModuleList(
            _convolutions(narrow, wide, norm) for narrow, wide in zip([1, *widths], widths, strict=False)
        )
        self.transformation = nn.Sequential(*(ResidualBlock(widths[-1], norm) for _ in range(blocks)))
        self.fusions = nn.ModuleList(AttentionFusion(width, attention_reduction, norm) for width in widths[-2::-1])
        self.head = nn.Conv2d(channels, 1, 3, padding=1)
        self.residual, self.residual_scale, self.stride = output == "residual", residual_scale, 2 ** (levels - 1)
        start_normal(self)
        if self.residual:
            nn.init.zeros_(self.head.weight)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        small = min(rows, columns) <= self.stride  # reflection wants two pixels at the coarsest scale
        padded = pad_to_multiple(image, 2 * self.stride if small else self.stride)
        drawn = at_full_precision(self.head, self._features(padded))
        output = padded + self.residual_scale * drawn if self.residual else drawn
        return output[..., :rows, :columns]

    def _features(self, image: Tensor) -> Tensor:
        scales = [self.encoder[0](image)]
        for encode in list(self.encoder)[1:]:
            scales.append(encode(nn.functional.max_pool2d(scales[-1], 2)))
        x = self.transformation(scales.pop())
        for fuse in self.fusions:
            x = fuse(scales.pop(), x)
        return x


class AttentionFusion(nn.Module):
    """Fuses one scale: fine (batch, c, rows, columns) with coarse (batch, 2c, rows/2, columns/2) to the fine shape.

    Both sides are weighed together, by channel and by position, before convolutions merge them: what the encoder kept
    of the noise can be turned down where the coarse side says that there is no structure.
    """

    def __init__(self, channels: int, reduction: int, norm: Norm) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.attention = DualFeatureAttention(2 * channels, reduction)
        self.merge = _convolutions(2 * channels, channels, norm)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        return self.merge(self.attention(torch.cat((fine, self.up(coarse)), dim=1)))


def _convolutions(in_channels: int, out_channels: int, norm: Norm) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (in_channels, out_channels):
        layers += [nn.Conv2d(width, out_channels, 3, padding=1, padding_mode="reflect", bias=norm != "batch")]
        layers += [normalise(out_channels, norm), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
