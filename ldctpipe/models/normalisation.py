"""Normalisation layers of the cycle-consistent networks."""

from __future__ import annotations

from typing import Literal

from torch import nn

Norm = Literal["instance", "batch", "none"]


def normalise(channels: int, norm: Norm) -> nn.Module:
    """Return the layer; instance normalisation has no learned scale or shift, as in Zhu's code."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels) if norm == "instance" else nn.Identity()
