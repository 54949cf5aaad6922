"""The gradient of images, in which one of DU-GAN's discriminators judges them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))


def sobel_magnitude(image: Tensor, epsilon: float = 1e-4) -> Tensor:
    """Return √(gₓ² + g_y² + `epsilon`) of (batch, 1, rows, columns) in the same shape, as float32 or wider.

    gₓ and g_y are Sobel's filters divided by 4 (twice the slope of a ramp per pixel), with zeros around the image as in
    the published code: the border of the image counts as an edge. `epsilon` keeps the derivative finite where all is
    even (Huang et al. 2022, doi 10.1109/TIM.2021.3128703).
    """
    with torch.autocast(image.device.type, enabled=False):
        image = image.to(torch.promote_types(image.dtype, torch.float32))
        across = image.new_tensor(_SOBEL) / 4
        kernels = torch.stack((across, across.T)).unsqueeze(1)
        slopes = functional.conv2d(image, kernels, padding=1)
        return (slopes.square().sum(dim=1, keepdim=True) + epsilon).sqrt()


def gradient_difference(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference of the gradients' magnitudes."""
    return (sobel_magnitude(output) - sobel_magnitude(target)).abs().mean()
