"""CT-Mamba: wavelet bands of a slice through convolutions and selective scans at three scales.

Li, Wei, Yang, Zhang, Dong, Liu, Huang, Zhao, Computerized Medical Imaging and Graphics 2025,
doi 10.1016/j.compmedimag.2025.102595, arXiv 2411.07930.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.haar import haar, inverse_haar
from ldctpipe.models.zigzag_scan import ZigzagBlock

_TILES_AT_ONCE = 32


class CtMamba(nn.Module):
    """Denoises single-channel slices of any size: (batch, 1, rows, columns) in [0, 1] to the same shape.

    `channels` counts the features, of which a quarter are copies of the image, and those of each wavelet band of them.
    The network works on tiles of `tile` rows and columns, 64 as published. An image of just that size, such as a
    training patch, goes through as it is. Any other is cut into tiles half a tile apart, of each of which the centre is
    kept, as in the public code; its border is reflected where the public code pads with zeros.

    It follows the public code with two differences. Layers whose output that code never uses are left out: two
    residual stages that are computed and overwritten, one convolution, one PReLU. And the network of the horizontal
    band reads the horizontal band, where the code gives it the approximation (its siblings read their own bands).
    """

    def __init__(
        self,
        *,
        channels: int = 32,
        tile: int = 64,
        states: int = 16,
        drop_path: float = 0.1,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if channels % 4:
            raise ValueError(f"{channels} channels can't hold copies of the image in a quarter of them")
        if tile % 16:
            raise ValueError(f"a tile of {tile} does not divide by 16: the wavelet and three poolings halve it")
        self.tile = tile

        def scales(bands: int) -> MultiScaleMamba:
            return MultiScaleMamba(bands * channels, channels, states=states, drop_path=drop_path, dropout=dropout)

        self.extract = FeatureExtraction(channels)
        self.frequencies = FourierBranch(channels // 2)
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels // 2, channels // 2, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.PReLU(),
        )
        self.low = scales(1)
        self.horizontal, self.vertical = scales(2), scales(2)
        self.diagonal = scales(3)
        self.detail = nn.ModuleDict(
            {band: BandUNet(channels, 2 * channels) for band in ("horizontal", "vertical", "diagonal")}
        )
        self.fuse = FeatureFusion(channels)

    def forward(self, image: Tensor) -> Tensor:
        image = image.float()
        if image.shape[-2:] == (self.tile, self.tile):
            return self.denoise_tile(image)
        rows, columns = image.shape[-2:]
        kept, border = self.tile // 2, self.tile // 4
        down, right = border + -rows % kept, border + -columns % kept
        mode = "reflect" if max(down, border) < rows and max(right, border) < columns else "replicate"
        padded = functional.pad(image, (border, right, border, down), mode=mode)
        tiles = padded.unfold(2, self.tile, kept).unfold(3, self.tile, kept)
        pieces = tiles.reshape(-1, 1, self.tile, self.tile).split(_TILES_AT_ONCE)
        return self.joined(torch.cat([self.denoise_tile(piece) for piece in pieces]), rows, columns)

    def joined(self, tiles: Tensor, rows: int, columns: int) -> Tensor:
        """Return (batch, channels, rows, columns) of tiles (number, channels, tile, tile), cut as `forward` does."""
        if rows == columns == self.tile:
            return tiles
        kept, border = self.tile // 2, self.tile // 4
        down, right = -(-rows // kept), -(-columns // kept)
        centres = tiles[..., border : border + kept, border : border + kept]
        grid = centres.unflatten(0, (-1, down, right)).permute(0, 3, 1, 4, 2, 5)
        return grid.flatten(4, 5).flatten(2, 3)[..., :rows, :columns]

    def denoise_tile(self, image: Tensor) -> Tensor:
        """Return (batch, 1, tile, tile), denoised."""
        features = self.extract(image)
        low, horizontal, vertical, diagonal = haar(features)
        first, second = low.chunk(2, dim=1)
        of_vertical = self.detail["vertical"](vertical)
        of_horizontal = self.detail["horizontal"](horizontal)
        of_diagonal = self.detail["diagonal"](diagonal)
        drawn = inverse_haar(
            self.low(torch.cat((self.frequencies(first), self.convolutions(second)), dim=1)),
            self.horizontal(torch.cat((horizontal, of_diagonal), dim=1)),
            self.vertical(torch.cat((vertical, of_diagonal), dim=1)),
            self.diagonal(torch.cat((diagonal, of_vertical, of_horizontal), dim=1)),
        )
        return image + at_full_precision(self.fuse, features + drawn)

    def segments(self) -> list[nn.Module]:
        """Return the parts of which each is small beside the whole: for recomputation of activations."""
        return [self.low, self.horizontal, self.vertical, self.diagonal]


class FeatureExtraction(nn.Module):
    """Features in three quarters of the channels beside copies of the image in one (the publication's PFEN)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.copies = channels // 4
        self.first = _convolutions(1, 4, 8)
        self.second = _convolutions(8 + self.copies, 20, channels - self.copies)

    def forward(self, image: Tensor) -> Tensor:
        copies = image.expand(-1, self.copies, -1, -1)
        features = self.second(torch.cat((self.first(image), copies), dim=1))
        return torch.cat((features, copies), dim=1)


class FeatureFusion(nn.Module):
    """A correction to the image from all channels (the publication's PFFN)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.features = _convolutions(half, 12, 8)
        self.copies = nn.Sequential(nn.Conv2d(half, 8, kernel_size=1), nn.PReLU())
        self.draw = _convolutions(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, dim=1)
        return self.draw(self.features(first) + self.copies(second))


class FourierBranch(nn.Module):
    """A complex convolution of the spectrum, then one channel attention for its amplitude and for its phase."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.real, self.imaginary = (nn.Conv2d(channels, channels, kernel_size=3, padding=1) for _ in range(2))
        for conv in (self.real, self.imaginary):
            nn.init.xavier_uniform_(conv.weight)
        self.norm_real, self.norm_imaginary = nn.BatchNorm2d(channels), nn.BatchNorm2d(channels)
        self.act = nn.LeakyReLU(0.01)
        self.attention = nn.Sequential(
            nn.Linear(channels, max(channels // 16, 1), bias=False),
            nn.ReLU(),
            nn.Linear(max(channels // 16, 1), channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # there is no spectrum of half precision on a CPU
            spectrum = torch.fft.fft2(x.float())
            real = self.real(spectrum.real) - self.imaginary(spectrum.imag)
            imaginary = self.imaginary(spectrum.real) + self.real(spectrum.imag)
            spectrum = torch.complex(self.act(self.norm_real(real)), self.act(self.norm_imaginary(imaginary)))
            amplitude, phase = self._attended(spectrum.abs()), self._attended(spectrum.angle())
            return torch.fft.ifft2(torch.complex(amplitude * phase.cos(), amplitude * phase.sin())).real

    def _attended(self, x: Tensor) -> Tensor:
        return x * self.attention(x.mean(dim=(2, 3)))[..., None, None]


class BandUNet(nn.Module):
    """A small U-Net on one wavelet band: three poolings, three transposed convolutions, two skips."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        widths = (channels, width, 2 * width, 4 * width)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, out, kernel_size=3, padding=1), nn.PReLU(), nn.MaxPool2d(2))
            for c, out in pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(c, out, kernel_size=3, stride=2, padding=1, output_padding=1), nn.PReLU())
            for c, out in pairwise(reversed(widths))
        )
        self.merge = nn.ModuleList(nn.Conv2d(2 * c, c, kernel_size=1) for c in widths[2:0:-1])
        self.act = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        coarse = []
        for down in self.down:
            coarse.append(x := down(x))
        for up, merge, skip in zip(self.up, self.merge, coarse[-2::-1], strict=False):
            x = self.act(merge(torch.cat((skip, up(x)), dim=1)))
        return self.up[-1](x)


class MultiScaleMamba(nn.Module):
    """Zigzag scans at full, half and a quarter of the resolution, one, two and four times with the same weights."""

    def __init__(self, channels: int, out: int, *, states: int, drop_path: float, dropout: float) -> None:
        super().__init__()
        self.residual = _normalised(channels, channels)  # of the input, and again before each coarser scale
        self.scales = nn.ModuleList(
            ZigzagBlock(channels * factor**2, states=states, drop_path=drop_path) for factor in (1, 2, 4)
        )
        self.embed = nn.ModuleList(Embedding(channels, factor) for factor in (2, 4))
        self.expand = nn.ModuleList(Expansion(channels, factor) for factor in (2, 4))
        self.narrow = nn.ModuleList(nn.Conv2d(channels, out, kernel_size=3, padding=1) for _ in range(3))
        self.merge = _normalised(3 * out, out)
        self.last = ZigzagBlock(out, states=states, drop_path=drop_path)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.residual(x)
        fine = self.scales[0](x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        scales = [self.narrow[0](fine)]
        for at, repeats in ((1, 2), (2, 4)):
            coarse = self.dropout(self.embed[at - 1](fine + self.residual(fine)))
            for _ in range(repeats):
                coarse = self.scales[at](coarse)
            scales.append(self.narrow[at](self.expand[at - 1](coarse).permute(0, 3, 1, 2)))
        merged = self.merge(torch.cat(scales, dim=1))
        return self.last(merged.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Embedding(nn.Module):
    """Squares of `factor` × `factor` positions as one vector each, channels last."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels * factor**2, kernel_size=factor, stride=factor)
        self.norm = nn.LayerNorm(channels * factor**2)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x).permute(0, 2, 3, 1))


class Expansion(nn.Module):
    """The way back: each vector as a square of `factor` × `factor` positions, channels last."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.mix = nn.Linear(channels * factor**2, channels * factor**2, bias=False)
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mix(x).unflatten(-1, (self.factor, self.factor, -1))
        return self.norm(x.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2))


def _convolutions(channels: int, between: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, between, kernel_size=3, padding=1),
        nn.PReLU(),
        nn.Conv2d(between, out, kernel_size=3, padding=1),
        nn.PReLU(),
    )


def _normalised(channels: int, out: int) -> nn.Sequential:
    """Two convolutions of reflected features, each with instance norm and PReLU."""
    layers: list[nn.Module] = []
    for c in (channels, out):
        conv = nn.Conv2d(c, out, kernel_size=3, padding=1, padding_mode="reflect")
        layers += [conv, nn.InstanceNorm2d(out), nn.PReLU()]
    return nn.Sequential(*layers)
