"""Losses from pixel to pixel: means over all pixels of a batch, in float32."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_squared(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of (output − target)²."""
    return (output.float() - target.float()).square().mean()


def mean_absolute(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of |output − target|."""
    return (output.float() - target.float()).abs().mean()


def charbonnier(output: Tensor, target: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Return the mean of √((output − target)² + ε²): smooth where both agree (Charbonnier 1994; ε as in Uformer)."""
    return ((output.float() - target.float()).square() + epsilon**2).sqrt().mean()


def negative_psnr(output: Tensor, target: Tensor) -> Tensor:
    """Return − PSNR in dB of images (batch, …) in [0, 1], in their mean; 80 dB and more count as 80 (as in NAFNet)."""
    errors = (output.float() - target.float()).square().flatten(start_dim=1).mean(dim=1)
    return 10 * torch.log10(errors + 1e-8).mean()
