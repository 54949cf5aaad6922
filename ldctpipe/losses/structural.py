"""Structural similarity as a loss: SSIM (Wang 2004) and MS-SSIM (Wang 2003), differentiable, on images in [0, 1].

Doi 10.1109/TIP.2003.819861 and 10.1109/ACSSC.2003.1292216.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

_SIDE, _SIGMA = 11, 1.5  # of the Gaussian window, published
_C1, _C2 = 0.01**2, 0.03**2  # published, times the squared data range, which is 1
_SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # published, from the finest scale to the coarsest
_LEAST = 1e-6  # a product of powers of numbers below 0 is none, and the slope of one at 0 is infinite


def structural_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return 1 − SSIM of two batches (batch, channels, rows, columns) in [0, 1]."""
    return 1 - structural_similarity(output, target).mean()


def multi_scale_structural_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return 1 − MS-SSIM of two batches (batch, channels, rows, columns) in [0, 1]."""
    return 1 - multi_scale_structural_similarity(output, target).mean()


def structural_similarity(output: Tensor, target: Tensor) -> Tensor:
    """Return SSIM (batch,) with a Gaussian window of 11×11, σ 1.5; windows over the border do not count.

    In images smaller than the window, the window shrinks to the largest odd side that fits, and σ with it.
    """
    luminance, contrast = _luminance_and_contrast(output, target)
    return (luminance * contrast).flatten(1).mean(dim=1)


def multi_scale_structural_similarity(
    output: Tensor, target: Tensor, weights: Sequence[float] = _SCALE_WEIGHTS
) -> Tensor:
    """Return MS-SSIM (batch,): contrast and structure at each scale of a mean pyramid, luminance at the coarsest.

    Published for five scales, which an 11×11 window wants 176 pixels for; in smaller images the window shrinks at the
    coarse scales, so that patches keep all five (64 pixels end in 4, with a window of 3).
    """
    product = torch.ones(len(output), device=output.device)
    for scale, weight in enumerate(weights):
        if scale:
            output, target = functional.avg_pool2d(output, 2), functional.avg_pool2d(target, 2)
        luminance, contrast = _luminance_and_contrast(output, target)
        term = luminance * contrast if scale == len(weights) - 1 else contrast
        product = product * term.flatten(1).mean(dim=1).clamp(min=_LEAST) ** weight
    return product


def _luminance_and_contrast(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return both factors of SSIM at each window, in float32: variances are differences of near numbers."""
    with torch.autocast(output.device.type, enabled=False):
        x, y = output.float(), target.float()
        kernel = _kernel(x)
        moments = _blur(torch.cat((x, y, x * x, y * y, x * y), dim=1), kernel)
        mean_x, mean_y, square_x, square_y, product = moments.chunk(5, dim=1)
        luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
        variances = square_x - mean_x**2 + square_y - mean_y**2
        return luminance, (2 * (product - mean_x * mean_y) + _C2) / (variances + _C2)


def _kernel(image: Tensor) -> Tensor:
    """Return the weights of the window along one axis."""
    shorter = min(image.shape[-2:])
    side = min(_SIDE, shorter - 1 + shorter % 2)
    offsets = torch.arange(side, device=image.device) - side // 2
    weights = torch.exp(-(offsets**2) / (2 * (_SIGMA * side / _SIDE) ** 2))
    return weights / weights.sum()


def _blur(image: Tensor, kernel: Tensor) -> Tensor:
    channels = image.shape[1]
    column, row = kernel.view(1, 1, -1, 1), kernel.view(1, 1, 1, -1)
    blurred = functional.conv2d(image, column.expand(channels, 1, -1, 1), groups=channels)
    return functional.conv2d(blurred, row.expand(channels, 1, 1, -1), groups=channels)
