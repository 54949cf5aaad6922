"""Padding of images: to sizes that a network can take, and around those whose convolutions are not padded."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def pad_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Return (batch, channels, rows, columns) padded at the lower right so that both sides divide by `multiple`.

    Padding reflects the image, and repeats its edge where the image is too small to reflect.
    """
    rows, columns = image.shape[-2:]
    down, right = -rows % multiple, -columns % multiple
    if not down and not right:
        return image
    mode = "reflect" if down < rows and right < columns else "replicate"
    return functional.pad(image, (0, right, 0, down), mode=mode)


def pad_around(image: Tensor, margin: int) -> Tensor:
    """Return (batch, channels, rows, columns) with `margin` more pixels on each of its four sides.

    The margin reflects the image, and repeats its edge where the image is too small to reflect.
    """
    mode = "reflect" if margin < min(image.shape[-2:]) else "replicate"
    return functional.pad(image, (margin,) * 4, mode=mode)


def pad_to_at_least(image: Tensor, side: int) -> Tensor:
    """Return (batch, channels, rows, columns) with its edge repeated at the lower right up to `side` pixels a side."""
    rows, columns = image.shape[-2:]
    down, right = max(side - rows, 0), max(side - columns, 0)
    return functional.pad(image, (0, right, 0, down), mode="replicate") if down or right else image
