"""CPCE: conveying-path convolutional encoder–decoder, in 2-D and, by transfer learning from it, in 3-D.

Shan et al. 2018, IEEE Trans Med Imaging 37(6), doi 10.1109/TMI.2018.2832217; layout of the authors' hmshan/CPCE-3D.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import start_glorot, turn_positive
from ldctpipe.models.padding import pad_to_at_least

_DEPTH = 4  # convolutions, and as many transposed ones
_SMALLEST_SIDE = 2 * _DEPTH + 1
_ENCODER = "encoder.{}.weight"


class Cpce2d(nn.Module):
    """Denoises (batch, 1, rows, columns) in [0, 1] to the same shape.

    Convolutions have no bias and no padding. What the third, second and first convolution give before their ReLU is
    laid beside the output of the transposed convolution of the same size. The last ReLU is the publication's.
    `shortcut` adds the input before it, as a variant in the authors' code does.
    """

    def __init__(self, *, channels: int = 32, shortcut: bool = False) -> None:
        super().__init__()
        widths = [1, *[channels] * _DEPTH]
        self.encoder = nn.ModuleList(nn.Conv2d(i, o, kernel_size=3, bias=False) for i, o in pairwise(widths))
        self.decoder = _Decoder(channels)
        self.shortcut = shortcut
        start_glorot(self)
        turn_positive(self, self.decoder.last)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        image = pad_to_at_least(image, _SMALLEST_SIDE)
        x, conveyed = image, []
        for layer in self.encoder:
            conveyed.append(layer(x))
            x = functional.relu(conveyed[-1])
        return self.decoder(x, conveyed[-2::-1], image if self.shortcut else None)[..., :rows, :columns]


class Cpce3d(nn.Module):
    """Denoises the centre slice of (batch, 2·context + 1, rows, columns) in [0, 1]: (batch, 1, rows, columns).

    The first `context` convolutions of the encoder (1 to 4) see three slices each, the rest and the decoder one.
    A deeper slab gives every slice that has `context` neighbours on both sides:
    (batch, depth − 2·context, rows, columns).
    """

    takes_slabs = True
    grows_from = "cpce.Cpce2d"

    def __init__(self, *, context: int = 4, channels: int = 32, shortcut: bool = False) -> None:
        super().__init__()
        if not 1 <= context <= _DEPTH:
            raise ValueError(f"context must be 1 to {_DEPTH}: one convolution of the encoder for each")
        widths = [1, *[channels] * _DEPTH]
        self.encoder = nn.ModuleList(
            nn.Conv3d(i, o, kernel_size=(3 if index < context else 1, 3, 3), bias=False)
            for index, (i, o) in enumerate(pairwise(widths))
        )
        self.decoder = _Decoder(channels)
        self.context, self.shortcut = context, shortcut
        start_glorot(self)
        turn_positive(self, self.decoder.last, depth=2 * context + 1)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        image = pad_to_at_least(image, _SMALLEST_SIDE)
        x, conveyed = image.unsqueeze(1), []  # (batch, channels, depth, rows, columns)
        for layer in self.encoder:
            conveyed.append(layer(x))
            x = functional.relu(conveyed[-1])
        depth = x.shape[2]
        skips = [_as_slices(_centre(skip, depth)) for skip in conveyed[-2::-1]]
        shortcut = _as_slices(_centre(image.unsqueeze(1), depth)) if self.shortcut else None
        slices = self.decoder(_as_slices(x), skips, shortcut)
        return slices.reshape(-1, depth, *slices.shape[-2:])[..., :rows, :columns]

    def grown(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights that this network starts from, made of those of a trained `Cpce2d`."""
        return inflate(state, self.context)


class _Decoder(nn.Module):
    """Three times a transposed convolution, conveyed features beside it and a 1×1 convolution; then the image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(channels, channels, kernel_size=3, bias=False) for _ in range(_DEPTH - 1)
        )
        self.merge = nn.ModuleList(
            nn.Conv2d(2 * channels, channels, kernel_size=1, bias=False) for _ in range(_DEPTH - 1)
        )
        self.last = nn.ConvTranspose2d(channels, 1, kernel_size=3, bias=False)

    def forward(self, x: Tensor, conveyed: list[Tensor], shortcut: Tensor | None) -> Tensor:
        for up, merge, skip in zip(self.up, self.merge, conveyed, strict=True):
            beside = torch.cat((skip, up(x)), dim=1)
            x = functional.relu(merge(functional.relu(beside)))
        drawn = at_full_precision(self.last, x)
        return functional.relu(drawn if shortcut is None else drawn + shortcut)


def inflate(state_2d: Mapping[str, Tensor], context: int = 4) -> dict[str, Tensor]:
    """Return weights for `Cpce3d` that make it give what `Cpce2d` with `state_2d` makes of the centre slice.

    Each kernel of the encoder becomes the middle plane of a kernel whose two outer planes are zero; the decoder stays.
    """
    state = dict(state_2d)
    for index in range(_DEPTH):
        plane = state_2d[_ENCODER.format(index)].unsqueeze(2)
        outer = 1 if index < context else 0
        state[_ENCODER.format(index)] = functional.pad(plane, (0, 0, 0, 0, outer, outer))
    return state


def _centre(volume: Tensor, depth: int) -> Tensor:
    """Return the middle `depth` slices of (batch, channels, slices, rows, columns)."""
    outside = (volume.shape[2] - depth) // 2
    return volume[:, :, outside : outside + depth]


def _as_slices(volume: Tensor) -> Tensor:
    """Return (batch · depth, channels, rows, columns) of (batch, channels, depth, rows, columns)."""
    return volume.transpose(1, 2).flatten(0, 1)
