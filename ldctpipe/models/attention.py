"""Dual-feature attention: what matters (channels) and where it matters (positions)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Weights in (0, 1), one a channel, from the mean and the maximum over all positions."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(channels // reduction, 4)
        self.squeeze = nn.Sequential(
            nn.Conv2d(channels, hidden, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, kernel_size=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels, 1, 1) for (batch, channels, rows, columns)."""
        mean, maximum = x.mean(dim=(2, 3), keepdim=True), x.amax(dim=(2, 3), keepdim=True)
        return torch.sigmoid(self.squeeze(mean) + self.squeeze(maximum))


class SpatialAttention(nn.Module):
    """Weights in (0, 1), one a position, from the mean and the maximum over channels."""

    def __init__(self, kernel: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size=kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, 1, rows, columns) for (batch, channels, rows, columns)."""
        summary = torch.cat((x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)), dim=1)
        return torch.sigmoid(self.conv(summary))


class DualFeatureAttention(nn.Module):
    """Channel attention, then spatial attention, each multiplied onto the features; the shape stays."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels, reduction)
        self.spatial = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.channel(x)
        return x * self.spatial(x)
