"""Normalisation layers of the cycle-consistent networks, and their published initialisation."""

from __future__ import annotations

from typing import Literal

from torch import nn

Norm = Literal["instance", "batch", "none"]


def normalise(channels: int, norm: Norm) -> nn.Module:
    """Return the layer; instance normalisation has no learned scale or shift, as in Zhu's code."""
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels) if norm == "instance" else nn.Identity()


def initialise_normal(network: nn.Module, deviation: float = 0.02) -> None:
    """Draw weights of convolutions from N(0, 0.02), scales of batch norm from N(1, 0.02); biases become 0."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, deviation)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, deviation)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
