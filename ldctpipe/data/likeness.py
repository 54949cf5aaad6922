"""How alike two matched stacks of images are, slice by slice, so that a single wrong slice is found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.volume import Volume

Indices = npt.NDArray[np.intp]
Image = npt.NDArray[np.float32]
Values = npt.NDArray[np.float64]

LEAST_CORRELATION = 0.8

_COMPARED_RANGE_HU = (-1000, 1000)
_COMPARED_PIXELS_A_SIDE = 128  # means over blocks: the noise goes, the anatomy stays
_NEIGHBOURS = 2  # on either side
# A neighbour is clearly more alike where its mean squared difference is below this share of the partner's.
_CLEARLY_CLOSER = 2 / 3
_AT_THE_PLACE = 0.1
# A slice stands out where its mean squared difference is this many times the median of the slices around it …
_STANDS_OUT = 4.0
_AROUND = 4
# … and its correlation is below what noise alone does to means over blocks.
_STANDS_OUT_BELOW_CORRELATION = 0.98
_LEAST_DIFFERENCE_HU2 = 1.0


@dataclass(frozen=True)
class Likeness:
    """For each matched slice the correlation (1 for equal images) and the mean squared difference in HU²."""

    correlations: Values
    differences_hu2: Values
    neighbour_differences_hu2: Values

    @property
    def are_equal(self) -> bool:
        """Tell whether no slice differs from its partner."""
        return not self.differences_hu2.any()

    def wrong_slices(self, distances: Values) -> Indices:
        """Return which slices show something else than their partner; counts through the matched slices.

        That is where the images hardly correlate; and, for partners at the very same place, where a neighbour of the
        partner is clearly more alike (slices exchanged), or where one slice differs far more than those around it (a
        slice of another place or patient). `distances` from the partner are in slice distances.
        """
        unlike = self.correlations < LEAST_CORRELATION
        out_of_place = (self._exchanged() | self._standing_out()) & (distances < _AT_THE_PLACE)
        return np.flatnonzero(unlike | out_of_place)

    def _exchanged(self) -> npt.NDArray[np.bool_]:
        closer = self.neighbour_differences_hu2 < _CLEARLY_CLOSER * self.differences_hu2
        return closer & (self.differences_hu2 > _LEAST_DIFFERENCE_HU2)

    def _standing_out(self) -> npt.NDArray[np.bool_]:
        around = np.array([self._median_around_hu2(index) for index in range(len(self.correlations))])
        candidates = self.correlations < _STANDS_OUT_BELOW_CORRELATION
        return candidates & (self.differences_hu2 > _STANDS_OUT * np.maximum(around, _LEAST_DIFFERENCE_HU2))

    def _median_around_hu2(self, index: int) -> float:
        before = self.differences_hu2[max(0, index - _AROUND) : index]
        after = self.differences_hu2[index + 1 : index + 1 + _AROUND]
        around = np.concatenate([before, after])
        return float(np.median(around)) if len(around) >= 2 else np.inf


def likeness(low: Volume, full: Volume, low_index: Indices, full_index: Indices) -> Likeness:
    """Return how alike slice `low_index[i]` of `low` is to slice `full_index[i]` of `full`, and to its neighbours.

    Compares block means within [−1000, 1000] HU over what both have measured; the slices have one size.
    """
    block = -(-max(full.hu.shape[1:]) // _COMPARED_PIXELS_A_SIDE)
    found = []
    for index, around in enumerate(_windows(full, full_index, block)):
        image = _block_means(low, int(low_index[index]), block)
        neighbours_hu2 = [_mean_square_hu2(image, one) for one in around.neighbours]
        own = _correlation(image, around.partner), _mean_square_hu2(image, around.partner)
        found.append((*own, min(neighbours_hu2, default=np.inf)))
    return Likeness(*np.array(found).T)


@dataclass(frozen=True)
class _Window:
    """A slice's partner and the slices next to it."""

    partner: Image
    neighbours: tuple[Image, ...]


def _windows(volume: Volume, index: Indices, block: int) -> Iterator[_Window]:
    """Yield the window around each slice; holds no more slices than one window has."""
    held: dict[int, Image] = {}
    for place in range(len(index)):
        wanted = range(max(0, place - _NEIGHBOURS), min(len(index), place + _NEIGHBOURS + 1))
        held = {one: held[one] if one in held else _block_means(volume, int(index[one]), block) for one in wanted}
        yield _Window(held[place], tuple(image for one, image in held.items() if one != place))


def _block_means(volume: Volume, index: int, block: int) -> Image:
    """Return means over square blocks in a row, with NaN where the scanner padded."""
    hu = np.clip(volume.hu[index], *_COMPARED_RANGE_HU).astype(np.float32)
    if volume.padding is not None:
        hu[volume.padding[index]] = np.nan
    rows, columns = (max(side // block, 1) for side in hu.shape)
    hu = hu[: rows * block, : columns * block]
    along_columns = np.add.reduceat(hu, np.arange(0, hu.shape[0], block), axis=0)
    sums = np.add.reduceat(along_columns, np.arange(0, hu.shape[1], block), axis=1)
    return (sums.ravel() / block**2).astype(np.float32)


def _measured_in_both(first: Image, second: Image) -> tuple[Image, Image]:
    both = np.isfinite(first) & np.isfinite(second)
    return (first, second) if both.all() else (first[both], second[both])


def _mean_square_hu2(first: Image, second: Image) -> float:
    first, second = _measured_in_both(first, second)
    change = first - second
    return float(change @ change) / change.size if change.size else 0.0


def _correlation(first: Image, second: Image) -> float:
    """Pearson correlation; equal images of one grey correlate fully."""
    first, second = _measured_in_both(first, second)
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float(np.array_equal(first, second))
    first, second = first - first.mean(), second - second.mean()
    return float(first @ second / np.sqrt((first @ first) * (second @ second)))
