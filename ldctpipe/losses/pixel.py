"""Losses from pixel to pixel: means over all pixels of a batch, in float32."""

from __future__ import annotations

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
