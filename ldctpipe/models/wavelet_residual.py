"""The wavelet residual network: a residual CNN on the bands of an undecimated transform.

Kang et al. 2018, IEEE Trans Med Imaging 37(6), doi 10.1109/TMI.2018.2823756. The publication transforms by a
nonsubsampled contourlet (15 bands); this is the stationary Haar wavelet, which a public port of it uses (10 bands).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.full_precision import at_full_precision
from ldctpipe.models.initialisation import start_gaussian
from ldctpipe.models.stationary_haar import analyse, haar_bands, synthesise


class WaveletResidual(nn.Module):
    """Denoises (batch, 1, rows, columns) in [0, 1] to the same shape, of any size.

    The network adds to the image's bands, in units of 1/`scale`, what `trunk` makes of them. A training on bands, as
    published, calls `bands` of the full-dose image and `denoised_bands` of the low-dose one.
    """

    def __init__(self, *, levels: int = 3, channels: int = 128, modules: int = 6, scale: float = 78.6432) -> None:
        super().__init__()
        self.levels, self.scale = levels, scale
        self.trunk = WaveletTrunk(haar_bands(levels), channels, modules)

    def forward(self, image: Tensor) -> Tensor:
        # The inverse transform is linear: of the correction alone it leaves the image itself without rounding.
        return image + synthesise(self.trunk(self.bands(image)), self.levels) / self.scale

    def bands(self, image: Tensor) -> Tensor:
        """Return the scaled bands of (batch, 1, rows, columns): (batch, 3·levels + 1, rows, columns)."""
        return analyse(image * self.scale, self.levels)

    def denoised_bands(self, bands: Tensor) -> Tensor:
        """Return the scaled bands of the denoised image for those of the low-dose image."""
        return bands + self.trunk(bands)

    def segments(self) -> list[nn.Module]:
        """Return the modules of the trunk, for recomputation of activations."""
        return list(self.trunk.residual_modules)


class WaveletTrunk(nn.Module):
    """(batch, bands, rows, columns) to the same shape: residual modules whose every output reaches the last layers."""

    def __init__(self, bands: int, channels: int, modules: int) -> None:
        super().__init__()
        self.first = nn.Sequential(*_block(bands, channels), *_block(channels, channels), *_block(channels, channels))
        self.residual_modules = nn.ModuleList(
            nn.Sequential(*(layer for _ in range(3) for layer in _block(channels, channels))) for _ in range(modules)
        )
        self.gather = nn.Sequential(*_block((modules + 1) * channels, channels), *_block(channels, channels))
        self.last = nn.Conv2d(channels, bands, kernel_size=3, padding=1)
        start_gaussian(self, deviation=0.001)

    def forward(self, bands: Tensor) -> Tensor:
        stages = [self.first(bands)]
        for module in self.residual_modules:
            stages.append(functional.relu(stages[-1] + module(stages[-1])))
        return at_full_precision(self.last, self.gather(torch.cat(stages, dim=1)))


def _block(in_channels: int, out_channels: int) -> list[nn.Module]:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
    return [convolution, nn.BatchNorm2d(out_channels, eps=1e-4, momentum=0.05), nn.ReLU()]
