"""The way of an image through a U-Net whose skips are added, not concatenated: DRUNet's and SCUNet's."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from ldctpipe.models.full_precision import at_full_precision


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
    return at_full_precision(tail, x.float() + skips.pop().float())
