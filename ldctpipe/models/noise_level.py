"""The noise level of an image, estimated from the image alone.

Donoho and Johnstone 1994, doi 10.1093/biomet/81.3.425: the median of the finest diagonal wavelet coefficients, which
edges leave small nearly everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

_NORMAL_MEDIAN = 0.6744897501960817  # of |x| for a standard normal x


@torch.no_grad()
def noise_level(image: Tensor) -> Tensor:
    """Return (batch, 1, 1, 1): the standard deviation of white noise in images (batch, 1, rows, columns), same unit.

    From the diagonal Haar coefficients of all 2 × 2 squares. Squares of four equal pixels are left out: outside the
    field of view and where the image is cut at its range there is no noise, and they are often most of a CT slice. An
    image of nothing else has noise level 0. The noise of CT is not white: reconstruction leaves little of it at the
    highest frequencies, and the estimate is lower than the noise's standard deviation, by a factor that belongs to the
    kernel and the pixel size.
    """
    pixels = image.float()
    upper, lower = pixels[..., :-1, :], pixels[..., 1:, :]
    first, second, third, fourth = upper[..., :-1], upper[..., 1:], lower[..., :-1], lower[..., 1:]
    detail = ((first - second - third + fourth) / 2).abs()
    even = (first == second) & (second == third) & (third == fourth)
    median = detail.masked_fill(even, torch.nan).flatten(1).nanmedian(dim=1).values
    return (median.nan_to_num() / _NORMAL_MEDIAN).view(-1, 1, 1, 1)
