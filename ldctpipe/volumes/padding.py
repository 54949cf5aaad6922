"""Which pixels of a volume hold no measurement, at one bit a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.normalization import AIR_HU

Mask = npt.NDArray[np.bool_]

FILLED_BELOW_HU = -1500.0  # no measurement of air is this far below its −1000 HU

_CORNER = 3


@dataclass(frozen=True, eq=False)
class Padding:
    """The scanner's padding in a volume of `shape` (slices, rows, columns).

    `bits` has one row a slice, eight pixels a byte, so that the padding of a volume takes a sixteenth of its int16 HU.
    `padding[index]` unpacks what `index` (a number, a slice or an array of numbers of slices) asks for, as booleans.
    """

    bits: npt.NDArray[np.uint8]
    shape: tuple[int, int, int]

    @classmethod
    def none(cls, shape: tuple[int, int, int]) -> Padding:
        """Return the padding of a volume that has none yet; `mark` adds to it."""
        return cls(np.zeros((shape[0], -(-shape[1] * shape[2] // 8)), dtype=np.uint8), shape)

    @classmethod
    def of(cls, mask: npt.NDArray[Any]) -> Padding:
        """Return the padding that `mask` (slices, rows, columns) marks, where it is true."""
        slices, rows, columns = mask.shape
        padding = cls.none((slices, rows, columns))
        for index, one in enumerate(mask):
            padding.mark(index, one)
        return padding

    def mark(self, index: int, mask: npt.NDArray[Any]) -> None:
        """Set the padding of slice `index` to `mask` (rows, columns)."""
        self.bits[index] = np.packbits(mask)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice | npt.NDArray[np.integer[Any]]) -> Mask:
        bits = self.bits[index]
        pixels = np.unpackbits(bits, axis=-1, count=self.shape[1] * self.shape[2])
        return pixels.view(np.bool_).reshape(*bits.shape[:-1], *self.shape[1:])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        mask = self[:]
        return mask if dtype is None else mask.astype(dtype)

    def any(self) -> bool:
        """Tell whether any pixel is padding."""
        return bool(self.bits.any())

    def count(self) -> int:
        """Return the number of pixels that are padding."""
        return sum(int(np.unpackbits(row).sum(dtype=np.int64)) for row in self.bits)


def with_air(hu: npt.NDArray[Any], padding: Mask | None) -> npt.NDArray[Any]:
    """Return HU with those of air where `padding`, of the same shape, marks that nothing was measured."""
    return hu if padding is None else np.where(padding, hu.dtype.type(AIR_HU), hu)


def fill_value(values: npt.NDArray[Any], slope: float = 1.0, intercept: float = 0.0) -> list[float]:
    """Return with which values a slice (rows, columns) is filled around what was reconstructed; mostly none or one.

    Those are the values of 3 × 3 pixels in a corner that are even, and at or below −1500 HU: too low for a measurement.
    """
    rows, columns = values.shape
    found = set()
    for row in {0, max(0, rows - _CORNER)}:
        for column in {0, max(0, columns - _CORNER)}:
            corner = values[row : row + _CORNER, column : column + _CORNER]
            value = corner[0, 0]
            if float(value) * slope + intercept <= FILLED_BELOW_HU and bool((corner == value).all()):
                found.add(value)
    return sorted(found)


def filled(hu: npt.NDArray[Any]) -> Padding | None:
    """Return what of a volume (slices, rows, columns) in HU is filled around the reconstructed circle, or None.

    The value of a corner that no measurement can have (see `fill_value`) is fill wherever it occurs in the volume.
    """
    values = sorted({value for one in hu for value in fill_value(one)})
    if not values:
        return None
    padding = Padding.none((hu.shape[0], hu.shape[1], hu.shape[2]))
    for index, one in enumerate(hu):
        padding.mark(index, np.isin(one, values) if len(values) > 1 else one == values[0])
    return padding
