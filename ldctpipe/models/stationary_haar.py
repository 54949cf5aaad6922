"""The stationary (undecimated) Haar wavelet transform of images and its inverse."""

from __future__ import annotations

import torch
from torch import Tensor


def haar_bands(levels: int) -> int:
    """Return the number of bands of `levels` levels: three details each and one approximation."""
    return 3 * levels + 1


def analyse(image: Tensor, levels: int) -> Tensor:
    """Return (batch, 3·levels + 1, rows, columns) of (batch, 1, rows, columns), coarsest first.

    The order is that of PyWavelets' `swt2`: approximation, then for each level details across rows, across columns and
    across both. As with its `norm=True` low-pass filters have a sum of 1: the approximation is in the image's unit, and
    all bands together have the image's energy. Tails wrap around the image, so that any size is exactly invertible.
    """
    bands: list[Tensor] = []
    approximation = image
    for level in range(levels):
        low, high = _split(approximation, 2**level, dim=-2)
        approximation, across_columns = _split(low, 2**level, dim=-1)
        across_rows, across_both = _split(high, 2**level, dim=-1)
        bands = [across_rows, across_columns, across_both, *bands]
    return torch.cat((approximation, *bands), dim=1)


def synthesise(bands: Tensor, levels: int) -> Tensor:
    """Return the image (batch, 1, rows, columns) of its bands, or the nearest for bands that no image has."""
    approximation, *details = bands.split(1, dim=1)
    for level in reversed(range(levels)):
        across_rows, across_columns, across_both = details[:3]
        details = details[3:]
        low = _merge(approximation, across_columns, 2**level, dim=-1)
        high = _merge(across_rows, across_both, 2**level, dim=-1)
        approximation = _merge(low, high, 2**level, dim=-2)
    return approximation


def _split(x: Tensor, distance: int, dim: int) -> tuple[Tensor, Tensor]:
    """Return half the sum and half the difference of each pixel and the one `distance` further on."""
    further = x.roll(-distance, dims=dim)
    return (x + further) * 0.5, (x - further) * 0.5


def _merge(low: Tensor, high: Tensor, distance: int, dim: int) -> Tensor:
    """Return the mean of the two pixels that sums and differences speak of: each pixel is in two of them."""
    here, further = low + high, low - high
    return (here + further.roll(distance, dims=dim)) * 0.5
