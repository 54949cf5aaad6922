"""The noise level around each pixel of an image, estimated from the image alone.

Donoho and Johnstone 1994, doi 10.1093/biomet/81.3.425: the median of the finest diagonal wavelet coefficients, which
edges leave small nearly everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_NORMAL_MEDIAN = 0.6744897501960817  # of |x| for a standard normal x
BLOCK = 16  # side of the squares that medians are taken of, in pixels
_FEWEST = 64  # coefficients of a square that a median is taken of


@torch.no_grad()
def noise_level(image: Tensor) -> Tensor:
    """Return the standard deviation of white noise around each pixel of (batch, 1, rows, columns), same shape and unit.

    From the diagonal Haar coefficients of all 2 × 2 pixels: their median in squares of 16 × 16, averaged over each
    square and its neighbors, and interpolated between the centers of squares. A pixel's level depends on what lies
    within 48 pixels of it, so a patch has the level of its place in the slice; medians over whole images differ. Four
    equal pixels are left out: outside the field of view and where the image is cut at its range there is no noise.
    Where nothing else is near, the level is 0. The noise of CT is not white: reconstruction leaves little of it at the
    highest frequencies, and the estimate is lower than the noise's standard deviation, by a factor that belongs to the
    kernel and the pixel size.
    """
    rows, columns = image.shape[-2:]
    levels = _of_squares(_coefficients(image.float()))
    known = levels.isfinite()
    weight, total = (_around(each.float()) for each in (known, levels.nan_to_num()))
    smooth = (total / weight).nan_to_num()  # 0/0 where no square around has a level
    size = (levels.shape[-2] * BLOCK, levels.shape[-1] * BLOCK)
    return functional.interpolate(smooth, size=size, mode="bilinear", align_corners=False)[..., :rows, :columns]


def _coefficients(image: Tensor) -> Tensor:
    """Return the absolute diagonal coefficients of all 2 × 2 pixels, NaN for four equal ones."""
    upper, lower = image[..., :-1, :], image[..., 1:, :]
    first, second, third, fourth = upper[..., :-1], upper[..., 1:], lower[..., :-1], lower[..., 1:]
    detail = ((first - second - third + fourth) / 2).abs()
    return detail.masked_fill((first == second) & (second == third) & (third == fourth), torch.nan)


def _of_squares(detail: Tensor) -> Tensor:
    """Return the level of each square, (batch, 1, squares down, squares across); NaN where it has too few coefficients.

    Squares are cut off at the last row and column. An image smaller than a square is one.
    """
    rows, columns = (side + 1 for side in detail.shape[-2:])  # of the image
    missing = (-columns % BLOCK + 1, -rows % BLOCK + 1)
    padded = functional.pad(detail, (0, missing[0], 0, missing[1]), value=torch.nan)
    squares = padded.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK).flatten(start_dim=4)
    fewest = min(_FEWEST, detail[0].numel())
    enough = squares.isfinite().sum(dim=-1) >= fewest
    return (squares.nanmedian(dim=-1).values / _NORMAL_MEDIAN).masked_fill(~enough, torch.nan)


def _around(squares: Tensor) -> Tensor:
    """Return the sum over each square and its eight neighbors."""
    return functional.avg_pool2d(squares, kernel_size=3, stride=1, padding=1, divisor_override=1)
