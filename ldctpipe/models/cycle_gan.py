"""The generator of CycleGAN: two downsamplings, nine residual blocks, two upsamplings.

Zhu, Park, Isola and Efros, ICCV 2017, arXiv 1703.10593, appendix 7.2 (after Johnson, arXiv 1603.08155).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import start_normal
from ldctpipe.models.normalisation import Norm, normalise
from ldctpipe.models.padding import pad_to_multiple

STRIDE = 4  # of the residual trunk; the input is padded to a multiple of it


class TrunkGenerator(nn.Module):
    """Two downsamplings, a `trunk` at 4 · `channels` features, two upsamplings; what its subclasses share."""

    def __init__(
        self,
        trunk: nn.Sequential,
        channels: int,
        norm: Norm,
        output: Literal["direct", "residual"],
        residual_scale: float,
    ) -> None:
        super().__init__()
        self.encoder = downsampler(channels, norm)
        self.trunk = trunk
        self.decoder = upsampler(channels, norm)
        self.head = last_layer(channels)
        self.residual, self.residual_scale = output == "residual", residual_scale
        start_normal(self)
        if self.residual:
            nn.init.zeros_(self.head.weight)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        padded = pad_to_multiple(image, STRIDE)
        drawn = at_full_precision(self.head, self.decoder(self.trunk(self.encoder(padded))))
        output = padded + self.residual_scale * drawn if self.residual else drawn
        return output[..., :rows, :columns]

    def segments(self) -> list[nn.Module]:
        """Return the parts that follow one another, each small beside the whole: for recomputation of activations."""
        return list(self.trunk)


class ResNetGenerator(TrunkGenerator):
    """Denoises slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    The published layout, without the tanh at its end, as the CT port of Kang (2019) has it: tanh would want images in
    [-1, 1]. Instance normalisation, the published choice, takes the mean and the contrast of each feature map away, so
    that a direct output cannot know the mean HU of its slice and depends on what else is in it. `norm="batch"` has
    no such effect once trained, and `output="residual"` adds the network's image to its input, which then carries the
    mean; its last layer starts at 0 and counts in units of `residual_scale`.
    """

    def __init__(
        self,
        *,
        channels: int = 64,
        blocks: int = 9,
        norm: Norm = "instance",
        output: Literal["direct", "residual"] = "direct",
        residual_scale: float = 1.0,
    ) -> None:
        trunk = nn.Sequential(*(ResidualBlock(4 * channels, norm) for _ in range(blocks)))
        super().__init__(trunk, channels, norm, output, residual_scale)


class ResidualBlock(nn.Module):
    """Adds two 3×3 convolutions of its input, reweighted by `attention` where there is one, to that input."""

    def __init__(self, channels: int, norm: Norm, attention: nn.Module | None = None) -> None:
        super().__init__()
        first, second = (
            nn.Conv2d(channels, channels, 3, padding=1, padding_mode="reflect", bias=norm != "batch") for _ in range(2)
        )
        self.body = nn.Sequential(
            first, normalise(channels, norm), nn.ReLU(inplace=True), second, normalise(channels, norm)
        )
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        change = self.body(x)
        return x + (change if self.attention is None else self.attention(change))


def downsampler(channels: int, norm: Norm) -> nn.Sequential:
    """Return the layers from an image to 4 · `channels` features at a quarter of its rows and columns."""
    layers: list[nn.Module] = [nn.Conv2d(1, channels, 7, padding=3, padding_mode="reflect", bias=norm != "batch")]
    layers += [normalise(channels, norm), nn.ReLU(inplace=True)]
    for width in (channels, 2 * channels):
        layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=norm != "batch")]
        layers += [normalise(2 * width, norm), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def upsampler(channels: int, norm: Norm) -> nn.Sequential:
    """Return the layers from 4 · `channels` features to `channels` features at four times the rows and columns."""
    layers: list[nn.Module] = []
    for width in (4 * channels, 2 * channels):
        up = nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1, bias=norm != "batch")
        layers += [up, normalise(width // 2, norm), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def last_layer(channels: int) -> nn.Conv2d:
    """Return the layer from features to an image."""
    return nn.Conv2d(channels, 1, 7, padding=3, padding_mode="reflect")
