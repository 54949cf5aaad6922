"""Padding of slices to the sizes that networks want."""

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
