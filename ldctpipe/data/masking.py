"""Which squares of an image are hidden from a network that is to restore them."""

from __future__ import annotations

import torch
from torch import Tensor


def square_mask(shape: torch.Size, side: int, share: float, generator: torch.Generator) -> Tensor:
    """Return True at hidden pixels, (batch, 1, rows, columns) on the CPU: `share` of each image's squares of `side`.

    Squares at the lower and the right border may be smaller.
    """
    batch, _, rows, columns = shape
    down, across = -(-rows // side), -(-columns // side)
    rank = torch.rand(batch, down * across, generator=generator).argsort(dim=1).argsort(dim=1)
    hidden = (rank < round(share * down * across)).view(batch, 1, down, across)
    return hidden.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)[..., :rows, :columns]
