"""What of a slice was measured, and slices as square images for projection."""

from __future__ import annotations

from dataclasses import dataclass

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
        hu = np.asarray(self.volume.hu[index], dtype=np.float32)
        square = np.full((self.size, self.size), AIR_HU, dtype=np.float32)
        square[self.middle] = np.where(unmeasured(self.volume, index), np.float32(AIR_HU), hu)
        return square

    @property
    def size(self) -> int:
        """Rows and columns of the square, an even number."""
        largest: int = max(self.volume.hu.shape[1:])
        return largest + largest % 2

    @property
    def middle(self) -> tuple[slice, slice]:
        """Rows and columns of the square that hold the slice."""
        starts = [(self.size - count) // 2 for count in self.volume.hu.shape[1:]]
        rows, columns = (
            slice(start, start + count) for start, count in zip(starts, self.volume.hu.shape[1:], strict=True)
        )
        return rows, columns


def unmeasured(volume: Volume, index: int) -> npt.NDArray[np.bool_]:
    """Return True where slice `index` holds no measurement.

    That is padding, what is not finite, and everything outside the round field of view where that has one flat value.
    """
    hu = volume.hu[index]
    nowhere: npt.NDArray[np.bool_] = ~np.isfinite(hu)
    if volume.padding is not None:
        nowhere = nowhere | volume.padding[index]
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
