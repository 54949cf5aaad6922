"""The flagship's generator: EfficientNetV2 encoder, dual-feature attention, transposed-convolution decoder.

Hojjat and Shayegan 2025, doi 10.1186/s40001-025-03579-z, "Generator" and figure 2; the encoder is timm's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import timm
import torch
from torch import Tensor, nn

from ldctpipe.models.antialiasing import Binomial
from ldctpipe.models.attention import DualFeatureAttention
from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.local_mean import with_local_mean_of
from ldctpipe.models.padding import pad_to_multiple

STRIDE = 32  # of the deepest features; the input is padded to a multiple of it
_ATTENDED = (2, 3, 4)  # stages 3, 5 and 7 of EfficientNetV2, in timm's counting of features by stride: 8, 16, 32
_SKIPPED = {"all": (0, 1, 2, 3), "coarse": (1, 2, 3), "deep": (2, 3)}  # features beside the deepest, in that counting


class EfficientNetV2UNet(nn.Module):
    """Denoises single-channel slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    `skips` says which encoder features reach the decoder: "all" (strides 2 to 32), "coarse" (4 to 32, not published) or
    "deep" (8 to 32, the literal reading of the paper, in which no path carries fine detail). `output` says what the
    last layer is: "direct", the image as published, or "residual", a correction that is added to the input; that layer
    counts in units of `residual_scale`, so that a step of the optimizer is small against the noise and not against the
    whole HU range.

    Some options, none of them published, keep the network from drawing a mesh in steps of two pixels.
    `full_resolution_channels` above 0 adds a path of `full_resolution_layers` convolutions at stride 1, which reaches
    the decoder's last block and alone has to carry fine detail. It sees what a binomial filter of side 5 takes from the
    image, in units of `full_resolution_scale`; the last layer sees that, too. `encoder_blur` is the side of a binomial
    filter on what the encoder sees (1 for none): what its strided convolutions would fold back is damped before.
    `upsampling` is "transposed", as published, or "bilinear", a convolution and an interpolation.

    `kept_mean`, not published either, is the side in pixels, odd, of the square over which the output keeps the mean of
    the input; 0 for none.
    """

    stride = STRIDE

    def __init__(
        self,
        backbone: str,
        *,
        decoder_channels: tuple[int, int, int, int, int] = (256, 128, 64, 48, 24),
        skips: Literal["all", "coarse", "deep"] = "all",
        output: Literal["direct", "residual"] = "direct",
        residual_scale: float = 1.0,
        kept_mean: int = 0,
        upsampling: Literal["transposed", "bilinear"] = "transposed",
        upsampling_kernel: int = 4,
        full_resolution_channels: int = 0,
        full_resolution_layers: int = 4,
        full_resolution_scale: float = 0.0025,
        encoder_blur: Literal[1, 3, 5] = 1,
        attention_reduction: int = 16,
    ) -> None:
        super().__init__()
        self.encoder = timm.create_model(backbone, features_only=True, pretrained=False)
        channels = self.encoder.feature_info.channels()  # type: ignore[union-attr,operator]
        self.attention = nn.ModuleDict(
            {str(stage): DualFeatureAttention(channels[stage], attention_reduction) for stage in _ATTENDED}
        )
        self._skipped = _SKIPPED[skips]
        self.blur = Binomial(encoder_blur)
        self.smooth, self.fine_scale = Binomial(5), full_resolution_scale
        layers = full_resolution_layers if full_resolution_channels else 0
        self.detail = _detail(full_resolution_channels, layers) if layers else None
        kernel = upsampling_kernel if upsampling == "transposed" else None
        self.decoder = _decoder(channels, decoder_channels, self._skipped, kernel, full_resolution_channels)
        fine = 0 if self.detail is None else 1
        self.head = nn.Conv2d(decoder_channels[-1] + fine, 1, kernel_size=3, padding=1)
        self.residual, self.residual_scale, self.kept_mean = output == "residual", residual_scale, kept_mean
        if self.residual:
            nn.init.zeros_(self.head.weight)  # training starts from the identity instead of from noise
            nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", _statistic(self.encoder, "mean"), persistent=False)
        self.register_buffer("std", _statistic(self.encoder, "std"), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        padded = pad_to_multiple(image, STRIDE)
        features = self.attend(self.encode(padded))
        if self.detail is None:
            drawn = at_full_precision(self.head, self.decode(features))
        else:
            fine = self.fine(padded)
            decoded = self.decode(features, at_full_precision(self.detail, fine))
            drawn = at_full_precision(self.head, torch.cat((decoded.to(fine.dtype), fine), dim=1))
        output = padded + self.residual_scale * drawn if self.residual else drawn
        if self.kept_mean:
            output = with_local_mean_of(padded, output, self.kept_mean)
        return output[..., :rows, :columns]

    def segments(self) -> list[nn.Module]:
        """Return the parts that follow one another, each small beside the whole: for recomputation of activations."""
        stages: Any = self.encoder.blocks
        detail = [self.detail] if self.detail is not None else []
        return [*(block for stage in stages for block in stage), *detail, *self.decoder]

    def encode(self, image: Tensor) -> list[Tensor]:
        """Return features at strides 2, 4, 8, 16, 32 of an image whose sides divide by 32."""
        colour = self.blur(image).expand(-1, 3, -1, -1)  # ImageNet weights want three channels
        return self.encoder((colour - self.mean) / self.std)

    def fine(self, image: Tensor) -> Tensor:
        """Return what the full-resolution path sees: the image without what is coarse."""
        return (image - self.smooth(image)) / self.fine_scale

    def attend(self, features: list[Tensor]) -> list[Tensor]:
        """Return the features with dual-feature attention on stages 3, 5 and 7."""
        return [self.attention[str(i)](f) if i in _ATTENDED else f for i, f in enumerate(features)]

    def decode(self, features: list[Tensor], detail: Tensor | None = None) -> Tensor:
        """Return decoder features at the resolution of the input; `detail` are those of the full-resolution path."""
        x = features[-1]
        for level, block in zip((3, 2, 1, 0), self.decoder, strict=False):
            x = block(x, features[level] if level in self._skipped else None)
        return self.decoder[-1](x, detail)


class DecoderBlock(nn.Module):
    """Doubles rows and columns, then merges the encoder's skip where there is one.

    By a transposed convolution of side `kernel`, or where that is None by interpolation and a convolution.
    """

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, kernel: int | None) -> None:
        super().__init__()
        self.up = nn.Sequential(
            *_doubling(in_channels, out_channels, kernel), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
        )
        merge = nn.Conv2d(out_channels + skip_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.merge = nn.Sequential(merge, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        x = self.up(x)
        return self.merge(x if skip is None else torch.cat((x, skip), dim=1))


def _doubling(in_channels: int, out_channels: int, kernel: int | None) -> list[nn.Module]:
    if kernel is not None:
        padding = (kernel - 2) // 2
        return [nn.ConvTranspose2d(in_channels, out_channels, kernel, stride=2, padding=padding, bias=False)]
    smooth = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return [nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False), smooth]


def _detail(channels: int, layers: int) -> nn.Sequential:
    """Return the full-resolution path, which sees 2 · layers + 1 pixels along rows and columns."""
    parts: list[nn.Module] = []
    for number in range(layers):
        parts += [nn.Conv2d(channels if number else 1, channels, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*parts)


def _decoder(
    encoder_channels: Sequence[int],
    decoder_channels: Sequence[int],
    skipped: Sequence[int],
    kernel: int | None,
    full_resolution_channels: int,
) -> nn.ModuleList:
    blocks, in_channels = [], encoder_channels[-1]
    for level, out_channels in zip((3, 2, 1, 0, None), decoder_channels, strict=True):
        if level is None:
            skip = full_resolution_channels
        else:
            skip = encoder_channels[level] if level in skipped else 0
        blocks.append(DecoderBlock(in_channels, skip, out_channels, kernel))
        in_channels = out_channels
    return nn.ModuleList(blocks)


def _statistic(encoder: nn.Module, name: str) -> Tensor:
    """Return the mean or standard deviation that the encoder's ImageNet weights expect, as (1, 3, 1, 1)."""
    return torch.tensor(encoder.pretrained_cfg[name]).view(1, 3, 1, 1)  # type: ignore[union-attr,index]
