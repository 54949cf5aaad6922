"""One level of the orthonormal Haar wavelet transform in two dimensions, and its inverse."""

from __future__ import annotations

import torch
from torch import Tensor


def haar(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the orthonormal Haar bands of x, half its sides: approximation, horizontal, vertical, diagonal."""
    a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
    return (a + b + c + d) / 2, (a + b - c - d) / 2, (a - b + c - d) / 2, (a - b - c + d) / 2


def inverse_haar(low: Tensor, horizontal: Tensor, vertical: Tensor, diagonal: Tensor) -> Tensor:
    """Return what `haar` took apart."""
    upper = torch.stack((low + horizontal + vertical + diagonal, low + horizontal - vertical - diagonal), dim=-1)
    lower = torch.stack((low - horizontal + vertical - diagonal, low - horizontal - vertical + diagonal), dim=-1)
    return torch.stack((upper.flatten(-2), lower.flatten(-2)), dim=-2).flatten(-3, -2) / 2
