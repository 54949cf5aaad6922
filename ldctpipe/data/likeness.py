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
# A slice holds anatomy where its block means vary by more than this beyond their noise (air and a flat field do not) …
_LEAST_STRUCTURE_SD_HU = 10.0
# … and if the noise of both images allows a correlation at all.
_LEAST_POSSIBLE_CORRELATION = 0.3
_LARGEST_NOISE_SD_HU, _BEYOND_NOISE_BLOCKS, _LEAST_STRUCTURE_SHARE = 60.0, 6, 0.25
# The correlation that series without a common frame of reference need to count as one scan.
_PROOF_CORRELATION = 0.97
_LEAST_SLICES_TO_COMPARE = 3


@dataclass(frozen=True)
class Likeness:
    """For each matched slice the correlation (1 for equal images) and the mean squared difference in HU².

    `possible_correlations` is the highest correlation that the noise of both images allows; 0 without anatomy.
    """

    correlations: Values
    differences_hu2: Values
    neighbour_differences_hu2: Values
    possible_correlations: Values

    @property
    def are_equal(self) -> bool:
        """Tell whether no slice differs from its partner."""
        return not self.differences_hu2.any()

    @property
    def holds_anatomy(self) -> npt.NDArray[np.bool_]:
        """Return which slices show more than noise: a missing correlation of noise with noise proves nothing."""
        return self.possible_correlations >= _LEAST_POSSIBLE_CORRELATION

    @property
    def of_anatomy(self) -> float:
        """The least correlation among the slices that hold anatomy; −1 where none does."""
        return float(self.correlations[self.holds_anatomy].min()) if self.holds_anatomy.any() else -1.0

    def wrong_slices(self, distances: Values) -> Indices:
        """Return which slices show something else than their partner; counts through the matched slices.

        That is where images with anatomy hardly correlate; and, for partners at the very same place, where a neighbour
        of the partner is clearly more alike (slices exchanged), or where one slice differs far more than those around
        it (a slice of another place or patient). `distances` from the partner are in slice distances.
        """
        # Little anatomy in much noise can't correlate as well; it must still be present in both.
        wanted = LEAST_CORRELATION * np.where(
            self.possible_correlations < LEAST_CORRELATION, self.possible_correlations, 1.0
        )
        unlike = self.correlations < wanted
        out_of_place = (self._exchanged() | self._standing_out()) & (distances < _AT_THE_PLACE)
        return np.flatnonzero((unlike | out_of_place) & self.holds_anatomy)

    def proves_one_scan(self, distances: Values) -> bool:
        """Tell whether the images alone show one scan: alike at the same positions, and less like any other slice.

        Two patients correlate too, but then the slice next to the partner is as similar as the partner.
        """
        anatomy = self.holds_anatomy
        if not anatomy.any() or (distances >= _AT_THE_PLACE).any():
            return False
        if np.median(self.correlations[anatomy]) < _PROOF_CORRELATION:
            return False
        closer = self.differences_hu2[anatomy] < self.neighbour_differences_hu2[anatomy]
        return len(closer) < _LEAST_SLICES_TO_COMPARE or bool(np.mean(closer) > 0.5)

    def _exchanged(self) -> npt.NDArray[np.bool_]:
        closer = self.neighbour_differences_hu2 < _CLEARLY_CLOSER * self.differences_hu2
        return closer & (self.differences_hu2 > _LEAST_DIFFERENCE_HU2)

    def _standing_out(self) -> npt.NDArray[np.bool_]:
        around = np.array([self._median_around_hu2(index) for index in range(len(self.correlations))])
        candidates = self.correlations < _STANDS_OUT_BELOW_CORRELATION
        return candidates & (self.differences_hu2 > _STANDS_OUT * np.maximum(around, _LEAST_DIFFERENCE_HU2))

    def _median_around_hu2(self, index: int) -> float:
        near = np.arange(max(0, index - _AROUND), min(len(self.correlations), index + 1 + _AROUND))
        # slices of air hardly differ: any anatomy would stand out among them
        around = self.differences_hu2[near[(near != index) & self.holds_anatomy[near]]]
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
        columns = max(full.hu.shape[2] // block, 1)
        possible = _possible_correlation(image, around.partner, columns)
        found.append((*own, min(neighbours_hu2, default=np.inf), possible))
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


def _possible_correlation(first: Image, second: Image, columns: int) -> float:
    """The correlation of two noisy images of one anatomy: S/√((S + N₁)(S + N₂)).

    S is the variance beyond the noise, in the clearer one. Where only one of them shows anything, S is what that one
    shows, so that air is not taken for a partner of anatomy.
    """
    (signal_1, noise_1), (signal_2, noise_2) = (_signal_and_noise_hu2(image, columns) for image in (first, second))
    signal = max(signal_1, signal_2)
    if signal < _LEAST_STRUCTURE_SD_HU**2:
        return 0.0
    return float(signal / np.sqrt((signal + noise_1) * (signal + noise_2)))


def _signal_and_noise_hu2(image: Image, columns: int) -> tuple[float, float]:
    """Variance of block means beyond their noise, and that of the noise, from the differences of neighbors in a row.

    Noise of soft kernels reaches over several blocks, but not far: where contrast is no more than noise can be, and
    blocks some way off have hardly more in common than any two, all is noise.
    """
    rows = image.reshape(-1, columns)
    if not np.isfinite(rows).any():
        return 0.0, 0.0
    variance, noise = float(np.nanvar(rows)), _half_mean_square_step_hu2(rows, 1)
    if variance < _LARGEST_NOISE_SD_HU**2:
        far = _half_mean_square_step_hu2(rows, _BEYOND_NOISE_BLOCKS)
        if variance - far < _LEAST_STRUCTURE_SHARE * variance:
            return 0.0, variance
    return max(variance - noise, 0.0), noise


def _half_mean_square_step_hu2(rows: Image, blocks: int) -> float:
    """The variance that blocks at that distance in a row do not share (half the variogram)."""
    steps = rows[:, blocks:] - rows[:, :-blocks]
    return float(np.nanmean(steps**2)) / 2 if np.isfinite(steps).any() else 0.0
