"""Mean frequency of noise: the centroid of its radial noise power spectrum, of a scan and of noise added to it.

The definition is one of two in use (TG-233: the centroid of the 1-D radial spectrum, ∫ f P df / ∫ P df, up to the
pixels' Nyquist frequency). Windows lose a quadratic surface and get a Hann taper. In patients, anatomy dominates at
low frequencies: there the centroid begins at 0.25/mm, and of many windows the quarter with the least power below
0.15/mm, relative to that above, counts. Where neighboring slices hold the same material and don't overlap, half of
their squared difference is used instead.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ldctpipe.simulation.images import Image
from ldctpipe.simulation.radial_spectrum import ROUNDING_HU2, WINDOW_OVERLAP, hann_taper, radial_rings
from ldctpipe.simulation.randomness import generator
from ldctpipe.simulation.tissue_windows import Tissue

FEWEST_WINDOWS = 12
LOWEST_PER_MM = 0.25
"""Where the centroid of a scan begins: below, anatomy and drifts are stronger than noise."""

_WINDOW_MM = 16.0
_NARROW_WINDOW_MM = 12.0
_LEAST_SHARE = 0.9
_LEAST_SHARE_OF_DIFFERENCES = 0.5  # edges that both slices have cancel out
_QUIET_BELOW_PER_MM = 0.15
_QUIET_SHARE = 0.25
_ENOUGH_TO_CHOOSE = 48
_TAIL_OF_NYQUIST = 0.75
_RESAMPLED = 60
_ALIKE_HU = 8.0

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RadialPower:
    """Noise power by frequency up to the Nyquist frequency: `power` (windows, frequencies), HU² per pixel."""

    frequencies_per_mm: Values
    power: Values

    @classmethod
    def of(cls, parts: Image, pixel_mm: float) -> RadialPower:
        """Return the spectra of square windows, (windows, n, n) HU."""
        side = parts.shape[-1]
        taper = hann_taper(side)
        spectrum = np.abs(np.fft.fft2(detrended(parts) * taper)) ** 2 / (taper**2).sum()
        return cls.of_spectra(spectrum, pixel_mm)

    @classmethod
    def of_spectra(cls, spectra: Values, pixel_mm: float) -> RadialPower:
        """Return the means over rings of 2-D power spectra, (windows, n, n)."""
        side = spectra.shape[-1]
        radius, rings = radial_rings(side, pixel_mm, range(1, side // 2 + 1))
        power = np.stack([spectra[:, inside].mean(axis=1) for inside in rings], axis=1)
        return cls(np.array([radius[inside].mean() for inside in rings]), power)

    def without_rounding(self) -> RadialPower:
        """Return the same without what rounding to whole HU adds."""
        return RadialPower(self.frequencies_per_mm, np.maximum(self.power - ROUNDING_HU2, 0.0))

    def mean_frequency_per_mm(self, lowest_per_mm: float = 0.0, *, quiet: bool = False) -> float:
        """Return the centroid of the windows' median power; `quiet` keeps the windows with the least anatomy."""
        typical = self._typical(quiet)
        kept = self.frequencies_per_mm >= lowest_per_mm
        return float((self.frequencies_per_mm * typical)[kept].sum() / typical[kept].sum())

    def tail(self, *, quiet: bool = False) -> float:
        """Return the power from 0.75 of the Nyquist frequency up, as a share of that from `LOWEST_PER_MM` up."""
        weighted = self.frequencies_per_mm * self._typical(quiet)
        high = self.frequencies_per_mm >= _TAIL_OF_NYQUIST * self.frequencies_per_mm[-1]
        return float(weighted[high].sum() / weighted[self.frequencies_per_mm >= LOWEST_PER_MM].sum())

    def _typical(self, quiet: bool) -> Values:
        power = self.power[self._quiet_windows()] if quiet else self.power
        typical: Values = np.median(power, axis=0) if quiet else power.mean(axis=0)
        return typical

    def _quiet_windows(self) -> npt.NDArray[np.bool_]:
        low = self.power[:, self.frequencies_per_mm < _QUIET_BELOW_PER_MM].mean(axis=1)
        high = self.power[:, self.frequencies_per_mm >= LOWEST_PER_MM].mean(axis=1)
        share = low / high
        quiet: npt.NDArray[np.bool_] = share <= np.quantile(share, _QUIET_SHARE)
        return quiet


@dataclass(frozen=True)
class FrequencyComparison:
    """Mean frequencies in 1/mm of a scan's own noise and of noise added to it, in the same `windows`.

    `relative_error` is the standard error of the own frequency, by a bootstrap over windows. The tails are those
    of `RadialPower.tail`. `source` says what the scan's own noise was taken from; the centroids begin at
    `LOWEST_PER_MM`.
    """

    own_per_mm: float
    added_per_mm: float
    relative_error: float
    own_tail: float
    added_tail: float
    windows: int
    source: str

    @property
    def ratio(self) -> float:
        """Return the frequency of the added noise over that of the own noise."""
        return self.added_per_mm / self.own_per_mm


def compared_frequencies(
    slices: Sequence[Image], noise: Sequence[Sequence[Image]], pixel_mm: float, *, overlap: bool, rounded: bool
) -> FrequencyComparison | None:
    """Return the mean frequencies of `slices` and of `noise` added to them; None where too little tissue is even.

    The slices are square images in HU, neighbors of each other; `noise` has the same number of realisations for each.
    `overlap` says that neighbors share noise.
    """
    pairs = [] if overlap else list(_differences(slices, noise, pixel_mm))
    if sum(len(own) for own, _ in pairs) >= FEWEST_WINDOWS:
        return _comparison(pairs, pixel_mm, rounded, "difference of slices")
    for width_mm, kind in itertools.product((_WINDOW_MM, _NARROW_WINDOW_MM), (Tissue.soft, Tissue.uniform)):
        places = [_parts(kind(hu, pixel_mm).inside, pixel_mm, width_mm) for hu in slices]
        singles = [
            (_cut(hu, at), np.concatenate([_cut(one, at) for one in added]))
            for hu, added, at in zip(slices, noise, places, strict=True)
            if at
        ]
        if sum(len(own) for own, _ in singles) >= 2 * FEWEST_WINDOWS:
            return _comparison(singles, pixel_mm, rounded, "even tissue")
    return None


def _comparison(
    parts: Sequence[tuple[Image, Image]], pixel_mm: float, rounded: bool, source: str
) -> FrequencyComparison:
    own, added = (RadialPower.of(np.concatenate(images), pixel_mm) for images in zip(*parts, strict=True))
    own = own.without_rounding() if rounded else own
    quiet = len(own.power) >= _ENOUGH_TO_CHOOSE
    own_per_mm, added_per_mm = (one.mean_frequency_per_mm(LOWEST_PER_MM, quiet=quiet) for one in (own, added))
    draws = generator("own noise").integers(0, len(own.power), (_RESAMPLED, len(own.power)))
    resampled = [
        RadialPower(own.frequencies_per_mm, own.power[draw]).mean_frequency_per_mm(LOWEST_PER_MM, quiet=quiet)
        for draw in draws
    ]
    error = WINDOW_OVERLAP * float(np.std(resampled)) / own_per_mm
    tails = own.tail(quiet=quiet), added.tail(quiet=quiet)
    return FrequencyComparison(own_per_mm, added_per_mm, error, *tails, len(own.power), source)


def _differences(
    slices: Sequence[Image], noise: Sequence[Sequence[Image]], pixel_mm: float
) -> Iterator[tuple[Image, Image]]:
    """Yield windows of the differences of neighbors over √2, where both hold the same even material."""
    kinds = [Tissue.uniform(hu, pixel_mm).inside for hu in slices]
    smooth = [scipy.ndimage.gaussian_filter(hu, 2.0 / pixel_mm) for hu in slices]
    for index in range(len(slices) - 1):
        both = kinds[index] & kinds[index + 1] & (np.abs(smooth[index] - smooth[index + 1]) < _ALIKE_HU)
        at = _parts(both, pixel_mm, _NARROW_WINDOW_MM, _LEAST_SHARE_OF_DIFFERENCES)
        if at:
            added = [_difference(*pair, at) for pair in zip(noise[index], noise[index + 1], strict=True)]
            yield _difference(slices[index], slices[index + 1], at), np.concatenate(added)


def _difference(one: Image, other: Image, parts: Sequence[tuple[slice, slice]]) -> Image:
    return _cut((one - other) * np.float32(0.5**0.5), parts)


def _parts(
    inside: npt.NDArray[np.bool_], pixel_mm: float, width_mm: float, share: float = _LEAST_SHARE
) -> list[tuple[slice, slice]]:
    """Return half overlapping squares that hold little else than what is `inside`."""
    side = 2 * round(width_mm / 2 / pixel_mm)
    rows, columns = inside.shape
    grid = [
        (slice(row, row + side), slice(column, column + side))
        for row in range(0, rows - side, side // 2)
        for column in range(0, columns - side, side // 2)
    ]
    return [part for part in grid if inside[part].mean() > share]


def _cut(image: Image, parts: Sequence[tuple[slice, slice]]) -> Image:
    return np.stack([image[part] for part in parts])


def detrended(parts: Image) -> Values:
    """Return square windows, (windows, n, n), without the quadratic surface that fits each best."""
    side = parts.shape[-1]
    line = np.linspace(-1, 1, side)
    across, down = np.meshgrid(line, line)
    terms = [np.ones_like(across), across, down, across**2, across * down, down**2]
    basis, _ = np.linalg.qr(np.stack(terms, axis=-1).reshape(side * side, -1))
    flat = parts.reshape(len(parts), -1).astype(np.float64)
    rest: Values = (flat - (flat @ basis) @ basis.T).reshape(parts.shape)
    return rest
