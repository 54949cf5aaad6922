"""The distribution of a volume's values: means of small blocks, which noise and single pixels hardly change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.volume import HuArray

BlockMeans = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]

_LARGEST_BLOCK, _BLOCKS_A_SIDE = 8, 16
_BIN_HU, _LOWEST_HU, _HIGHEST_HU = 10, -4000, 8000
_BINS = (_HIGHEST_HU - _LOWEST_HU) // _BIN_HU
_FLAT_BINS = 4  # 40 HU
_FEWEST_FILLED = 0.01
_FEWEST_MEASURED = 0.02


@dataclass(frozen=True)
class Blocks:
    """The blocks of one slice, at most 8 × 8 pixels each, as two arrays (rows, columns).

    `means` are in HU, and NaN where a block holds padding or lies beside one that does: edges of padding may be
    interpolated. `is_filled` marks blocks that hold, or lie beside, what the slice is filled with to its lowest value:
    clipped air, a background.
    """

    means: BlockMeans
    is_filled: Mask


def blocks_of(hu: HuArray, padding: Mask | None = None) -> Blocks:
    """Return the blocks of one slice (rows, columns) in HU, of which `padding` marks what holds no measurement."""
    side = max(1, min(_LARGEST_BLOCK, min(hu.shape) // _BLOCKS_A_SIDE))
    rows, columns = hu.shape[0] // side, hu.shape[1] // side
    cut = hu[: rows * side, : columns * side].reshape(rows, side, columns * side)
    # Whole rows first, which lie together in memory; sums of that many int16 can't overflow.
    added, lowest = cut[:, 0].astype(_sum_type(hu)), cut[:, 0].copy()
    for row in range(1, side):
        added += cut[:, row]
        np.minimum(lowest, cut[:, row], out=lowest)
    means = np.add.reduce(added.reshape(rows, columns, side), axis=2).astype(np.float32) / np.float32(side * side)
    if padding is not None and padding.any():
        of_block = padding[: rows * side, : columns * side].reshape(rows, side, columns, side)
        padded: Mask = np.logical_or.reduce(of_block, axis=(1, 3))
        means[_grown(padded)] = np.nan
    return Blocks(means, _filled(means, np.minimum.reduce(lowest.reshape(rows, columns, side), axis=2)))


def _filled(means: BlockMeans, lowest: npt.NDArray[Any]) -> Mask:
    is_known = ~np.isnan(means)
    fill = lowest[is_known].min() if is_known.any() else np.inf
    if (means == fill).sum() < max(1, _FEWEST_FILLED * is_known.sum()):
        return np.zeros_like(is_known)
    holds_fill: Mask = is_known & (lowest == fill)
    return _grown(holds_fill)


def _sum_type(hu: HuArray) -> npt.DTypeLike:
    return np.int32 if hu.dtype.kind == "i" else np.float64


def _grown(mask: Mask) -> Mask:
    """The mask and its eight neighbors."""
    tall = mask.copy()
    tall[1:] |= mask[:-1]
    tall[:-1] |= mask[1:]
    grown = tall.copy()
    grown[:, 1:] |= tall[:, :-1]
    grown[:, :-1] |= tall[:, 1:]
    return grown


@dataclass
class Levels:
    """A histogram of block means, slice after slice, and two of those at the rim of what was measured.

    Fill is left out where there is anything else: it is no measurement. The rims are the blocks beside the edge of the
    image or padding, mostly the air around a patient: one with the fill, one of what lies within it.
    """

    measured: Counts = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))
    filled: Counts = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))
    outer_rim: Counts = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))
    inner_rim: Counts = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))

    def add(self, blocks: Blocks) -> None:
        """Count the blocks of one slice."""
        is_known = ~np.isnan(blocks.means)
        is_measured = is_known & ~blocks.is_filled
        self.measured += _histogram(blocks.means[is_measured])
        self.filled += _histogram(blocks.means[is_known & ~is_measured])
        self.outer_rim += _histogram(blocks.means[_rim(is_known)])
        self.inner_rim += _histogram(blocks.means[_rim(is_measured)])

    def merge(self, other: Levels) -> None:
        """Add what `other` has counted."""
        self.measured += other.measured
        self.filled += other.filled
        self.outer_rim += other.outer_rim
        self.inner_rim += other.inner_rim

    @property
    def _counts(self) -> Counts:
        few = self.measured.sum() <= _FEWEST_MEASURED * self.filled.sum()
        return self.measured + self.filled if few else self.measured

    def share(self, low_hu: float, high_hu: float) -> float:
        """Return the share of blocks from `low_hu` to below `high_hu` (multiples of 10), fill left out."""
        counts = self._counts
        total = int(counts.sum())
        return int(counts[_bin(low_hu) : _bin(high_hu)].sum()) / total if total else 0.0

    def below(self, hu: float) -> float:
        """Return the share of blocks below a value in HU."""
        return self.share(_LOWEST_HU, hu)

    def above(self, hu: float) -> float:
        """Return the share of blocks at or above a value in HU."""
        return self.share(hu, _HIGHEST_HU)

    def peak(self, low_hu: float) -> tuple[float, float]:
        """Return the level in HU around which most blocks at or above `low_hu` lie within 40 HU, and their share."""
        counts = self._counts[_bin(low_hu) :]
        total = int(counts.sum())
        window = np.convolve(counts, np.ones(_FLAT_BINS, dtype=np.int64), mode="valid")
        first = int(window.argmax())
        return low_hu + _BIN_HU * (first + _FLAT_BINS / 2), int(window[first]) / total if total else 0.0

    def rim_levels(self, least_share: float) -> list[float]:
        """Return the level in HU of each rim of which `least_share` lies within 40 HU: of none, one or both."""
        levels = [_flat_level(rim, least_share) for rim in (self.outer_rim, self.inner_rim)]
        return [level for level in levels if level is not None]


def _rim(mask: Mask) -> Mask:
    outside = np.pad(~mask, 1, constant_values=True)
    return _grown(outside)[1:-1, 1:-1] & mask


def _flat_level(rim: Counts, least_share: float) -> float | None:
    window = np.convolve(rim, np.ones(_FLAT_BINS, dtype=np.int64), mode="valid")
    first = int(window.argmax())
    if window[first] < max(1, least_share * int(rim.sum())):
        return None
    centers = _LOWEST_HU + _BIN_HU * (np.arange(first, first + _FLAT_BINS) + 0.5)
    return float(np.average(centers, weights=rim[first : first + _FLAT_BINS]))


def _bin(hu: float) -> int:
    return int((hu - _LOWEST_HU) // _BIN_HU)


def _histogram(values: npt.NDArray[Any]) -> Counts:
    bins = ((values.clip(_LOWEST_HU, _HIGHEST_HU - 1) - _LOWEST_HU) // _BIN_HU).astype(np.int64)
    return np.bincount(bins, minlength=_BINS)
