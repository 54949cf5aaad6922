"""Layers that write image values, outside mixed precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def at_full_precision(layer: nn.Module, features: Tensor) -> Tensor:
    """Return what `layer` makes of `features` in the type of its weights: bfloat16 would have steps of 6 HU."""
    with torch.autocast(features.device.type, enabled=False):
        return layer(features.to(next(layer.parameters()).dtype))
