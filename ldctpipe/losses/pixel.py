"""Distances of two images pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor

_EPSILON = 1e-3  # Uformer's (Wang 2022, arXiv 2106.03106, equation 8)


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean absolute difference."""
    return (output - target).abs().mean()


def squared(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference."""
    return (output - target).square().mean()


def charbonnier(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of √(difference² + ε²) with ε = 0.001: an absolute difference that is smooth at 0."""
    return torch.sqrt((output - target).square() + _EPSILON**2).mean()
