"""What of a slice was measured, and slices as square images for projection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.simulation.flux import AIR_HU
from ldctpipe.volumes.volume import Volume

_TISSUE_FROM_HU = -200.0
_RIM = (0.97, 1.0)
_TISSUE_ON_RIM = 0.03


@dataclass(frozen=True)
class SquareSlices:
    """Slices of a volume as square float32 images with air where nothing was measured, made when asked for."""

    volume: Volume

    def __len__(self) -> int:
        return len(self.volume.hu)

    def __getitem__(self, index: int, /) -> npt.NDArray[np.float32]:
        return squared(self.volume.hu[index], unmeasured(self.volume, index))

    @property
    def size(self) -> int:
        """Rows and columns of the square, an even number."""
        return square_size(*self.volume.hu.shape[1:])

    @property
    def middle(self) -> tuple[slice, slice]:
        """Rows and columns of the square that hold the slice."""
        return middle_of_square(*self.volume.hu.shape[1:])


def square_size(rows: int, columns: int) -> int:
    """Return rows and columns of the square around a slice, an even number."""
    largest = max(rows, columns)
    return largest + largest % 2


def middle_of_square(rows: int, columns: int) -> tuple[slice, slice]:
    """Return the rows and columns of the square that hold the slice."""
    size = square_size(rows, columns)
    row, column = (size - rows) // 2, (size - columns) // 2
    return slice(row, row + rows), slice(column, column + columns)


def squared(hu: npt.NDArray[Any], nowhere: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Return a slice as a square float32 image with air `nowhere` and around it."""
    size = square_size(*hu.shape)
    square = np.full((size, size), AIR_HU, dtype=np.float32)
    square[middle_of_square(*hu.shape)] = np.where(nowhere, np.float32(AIR_HU), hu)
    return square


def unmeasured(volume: Volume, index: int) -> npt.NDArray[np.bool_]:
    """Return True where slice `index` of `volume` holds no measurement.

    That is padding, what is not finite, and everything outside the round field of view where that has one flat value.
    """
    padding = None if volume.padding is None else volume.padding[index]
    return unmeasured_pixels(volume.hu[index], padding)


def unmeasured_pixels(hu: npt.NDArray[Any], padding: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.bool_]:
    """Return True where a slice (rows, columns) holds no measurement; `padding` marks what is known to be none."""
    nowhere: npt.NDArray[np.bool_] = ~np.isfinite(hu)
    if padding is not None:
        nowhere = nowhere | padding
    rows, columns = hu.shape
    down, across = np.linspace(-1, 1, rows), np.linspace(-1, 1, columns)
    outside = down[:, None] ** 2 + across[None] ** 2 > 1.0
    values = hu[outside & ~nowhere]
    if values.size and values.min() == values.max() and values[0] <= AIR_HU:
        nowhere = nowhere | outside
    return nowhere


def touches_edge(hu: npt.NDArray[np.float32]) -> bool:
    """Tell whether the patient reaches the edge of the round field of view of a square slice."""
    line = np.linspace(-1, 1, len(hu))
    radius = np.hypot(line[:, None], line[None])
    rim = (radius > _RIM[0]) & (radius < _RIM[1])
    return bool((hu[rim] > _TISSUE_FROM_HU).mean() > _TISSUE_ON_RIM)
