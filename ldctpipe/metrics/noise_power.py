"""The noise power spectrum of patches, by bands of spatial frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ldctpipe.metrics.image_quality import Mask

Array = npt.NDArray[np.float64]
BAND_PER_MM = 0.05
SIDE = 32  # pixels of a patch: 20 mm or so, as TG-233 wants at least 15 mm
_PIXELS_BETWEEN = 16  # patches overlap by half, which their window makes up for


@dataclass(frozen=True)
class NoisePower:
    """Variance in HU² by band: `lower_per_mm` has the lower edges, each band is `width_per_mm` wide.

    Frequencies end at the pixel grid's Nyquist frequency; what lies beyond in the corners is in no band.
    """

    lower_per_mm: Array
    width_per_mm: float
    variance_hu2: Array

    @property
    def shares(self) -> Array:
        """The share of each band in the variance of all."""
        return np.asarray(self.variance_hu2 / self.variance_hu2.sum())

    @property
    def mean_frequency_per_mm(self) -> float:
        """The centroid of the two-dimensional spectrum: the frequency in the mean over the variance."""
        return float(np.sum((self.lower_per_mm + self.width_per_mm / 2) * self.shares))

    def above(self, frequency_per_mm: float) -> float:
        """Return the variance in HU² of the bands from `frequency_per_mm` on."""
        return float(self.variance_hu2[self.lower_per_mm >= frequency_per_mm - 1e-9].sum())


def noise_patches(noise_hu: npt.NDArray[np.floating], mask: Mask) -> Array:
    """Return the patches of a slice (rows, columns) that lie wholly in `mask`, as (patches, SIDE, SIDE)."""
    rows, columns = noise_hu.shape
    corners = (
        (row, column)
        for row in range(0, rows - SIDE + 1, _PIXELS_BETWEEN)
        for column in range(0, columns - SIDE + 1, _PIXELS_BETWEEN)
    )
    places = [(slice(row, row + SIDE), slice(column, column + SIDE)) for row, column in corners]
    found = [noise_hu[place].astype(np.float64) for place in places if mask[place].all()]
    return np.stack(found) if found else np.empty((0, SIDE, SIDE))


def noise_power(patches: Array, pixel_mm: float, width_per_mm: float = BAND_PER_MM) -> NoisePower:
    """Return the power of noise patches (patches, side, side) in HU, without their means.

    Each is windowed (Hann) against leakage from strong low frequencies; the sum over bands is the variance up to the
    Nyquist frequency. Raises `ValueError` for no patch.
    """
    if not len(patches):
        raise ValueError("no patch of noise")
    side = patches.shape[-1]
    window = np.outer(*(np.hanning(side + 2)[1:-1],) * 2)
    centred = patches - np.average(patches, axis=(1, 2), weights=np.broadcast_to(window, patches.shape))[:, None, None]
    spectrum = np.square(np.abs(np.fft.fft2(centred * window))).mean(axis=0) / np.square(window).sum() / side**2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side, pixel_mm),) * 2))
    bands = int(np.ceil(0.5 / pixel_mm / width_per_mm - 1e-9))
    inside = frequency < 0.5 / pixel_mm
    place = np.floor(frequency[inside] / width_per_mm).astype(int)
    variance = np.asarray(np.bincount(place, spectrum[inside], minlength=bands)[:bands], dtype=np.float64)
    return NoisePower(width_per_mm * np.arange(bands, dtype=np.float64), width_per_mm, variance)


def mean_power(powers: Sequence[NoisePower]) -> NoisePower:
    """Return the mean over spectra of one band width; those of coarser pixels have nothing beyond their Nyquist."""
    widest = max(powers, key=lambda power: len(power.variance_hu2))
    bands = len(widest.variance_hu2)
    padded = [np.pad(power.variance_hu2, (0, bands - len(power.variance_hu2))) for power in powers]
    return NoisePower(widest.lower_per_mm, widest.width_per_mm, np.mean(padded, axis=0))


def largest_excess(of: NoisePower, reference: NoisePower, from_per_mm: float = 0.0, least_share: float = 0.01) -> float:
    """Return the largest ratio of power to the reference's among bands from `from_per_mm` on.

    Bands that hold less than `least_share` of the reference's variance are left out.
    """
    counted = (reference.shares >= least_share) & (reference.lower_per_mm >= from_per_mm - 1e-9)
    return float(np.max(of.variance_hu2[counted] / reference.variance_hu2[counted]))
