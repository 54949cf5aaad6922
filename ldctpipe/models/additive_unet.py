"""The way of an image through a U-Net whose skips are added, not concatenated: DRUNet's and SCUNet's."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def through_additive_unet(
    image: Tensor,
    head: nn.Module,
    down: Iterable[nn.Module],
    body: nn.Module,
    up: Iterable[nn.Module],
    tail: nn.Module,
) -> Tensor:
    """Return the image that `tail` draws, as float32: each of `up` takes the sum of what is below and beside it."""
    skips = [head(image)]
    for part in down:
        skips.append(part(skips[-1]))
    x = body(skips[-1])
    for part in up:
        x = part(x + skips.pop())
    with torch.autocast(x.device.type, enabled=False):  # bfloat16 would round the image to 6 HU
        return tail(x.float() + skips.pop().float())  # type: ignore[no-any-return]
