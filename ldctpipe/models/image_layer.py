"""The last layer of a network: from features to an image, always in float32."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn


def draw(layer: nn.Module, features: Tensor) -> Tensor:
    """Return `layer(features)` as float32 whatever the surrounding precision: bfloat16 would have steps of 6 HU."""
    with torch.autocast(features.device.type, enabled=False):
        return cast(Tensor, layer(features.float()))
