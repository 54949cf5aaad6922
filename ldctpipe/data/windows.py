"""Windows cut from int16 images, on the CPU from a memory map or on the device; beyond a slice its edge repeats.

Both ways give the same. On the CPU copying one window after the other is some ten times as fast as indexing all of
them at once, which would look every pixel up; on a GPU it is the other way round.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Images = npt.NDArray[np.int16]


def cut_on_cpu(images: Images, slices: Tensor, corners: Tensor, sizes: Tensor, out: Images) -> None:
    """Fill `out` (batch, images, side, side) from `images` (slices, images, rows, columns).

    `slices` (batch,) names the slice of each window, `corners` (batch, 2) its upper left (row, column), which may lie
    outside, and `sizes` (batch, 2) how many rows and columns of that slice count.
    """
    side = out.shape[-1]
    places = zip(out, slices.tolist(), corners.tolist(), sizes.tolist(), strict=True)
    for window, number, (top, left), (rows, columns) in places:
        first_row, end_row = max(top, 0), min(top + side, rows)
        first_column, end_column = max(left, 0), min(left + side, columns)
        inside = images[number, :, first_row:end_row, first_column:end_column]
        if inside.shape == window.shape:
            window[...] = inside
        else:
            beyond = (first_row - top, top + side - end_row), (first_column - left, left + side - end_column)
            window[...] = np.pad(inside, ((0, 0), *beyond), mode="edge")


def cut_on_device(images: Tensor, slices: Tensor, corners: Tensor, sizes: Tensor, side: int) -> Tensor:
    """Return what `cut_on_cpu` fills in, as a tensor on the device of `images`, with no wait for that device."""
    steps = torch.arange(side, device=images.device)
    number, first, last = (to_device(each, images.device) for each in (slices, corners, sizes - 1))
    rows = (first[:, 0:1] + steps).clamp(min=0).minimum(last[:, 0:1])  # (batch, side)
    columns = (first[:, 1:2] + steps).clamp(min=0).minimum(last[:, 1:2])
    every = torch.arange(images.shape[1], device=images.device)
    return images[number[:, None, None, None], every[:, None, None], rows[:, None, :, None], columns[:, None, None, :]]


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on `device`; to a GPU it is copied from pinned memory, so that nothing waits for the copy."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
