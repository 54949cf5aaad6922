"""Whether low and full dose are exchanged, judged by noise and exposure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ldctpipe.volumes.volume import HuArray, Volume

Indices = npt.NDArray[np.intp]

_COMPARED_SLICES = 5
_SOFT_TISSUE_HU = (-150, 250)
_LEAST_PIXELS = 200
# Ratios that two series of one dose, or a low dose with slight noise reduction by the scanner, do not reach.
_CLEARLY_NOISIER = 1.25
_LEAST_NOISE_HU = 2.0
_CLEARLY_MORE_EXPOSURE = 1.1
# Noise of a pixel less the mean of its four neighbours, as a multiple of white noise: √(1 + 4/16).
_LAPLACIAN = np.array([[0, -0.25, 0], [-0.25, 1, -0.25], [0, -0.25, 0]])
_LAPLACIAN_GAIN = 1.25**0.5
_SD_PER_MAD = 1.4826


def exchanged_doses(low: Volume, full: Volume, low_index: Indices, full_index: Indices) -> str | None:
    """Return a sentence if low and full dose look exchanged, else None.

    This is so if the full dose is clearly noisier in soft tissue, or if it had less exposure according to the headers
    and the noise does not contradict this. Series of one dose, and phantoms without noise, give None.
    """
    low_noise, full_noise = _noise_hu(low, full, low_index, full_index)
    by_noise = full_noise >= _LEAST_NOISE_HU and full_noise > _CLEARLY_NOISIER * low_noise
    is_in_order = low_noise > _CLEARLY_NOISIER * full_noise
    exposures = _exposures(low, full)
    by_exposure = exposures is not None and more_exposure(*exposures)
    if not (by_noise or (by_exposure and not is_in_order)):
        return None
    figures = [f"noise is {low_noise:.1f} HU in the low and {full_noise:.1f} HU in the full dose"] if by_noise else []
    if by_exposure and exposures:
        figures.append(
            f"the headers have {exposures[0]:g} for the low and {exposures[1]:g} for the full dose (mAs or mA)"
        )
    return f"low and full dose may be exchanged: {'; '.join(figures)}"


def more_exposure(low: float, full: float) -> bool:
    """Tell whether the exposure of a low dose is clearly more than that of the full dose."""
    return low > _CLEARLY_MORE_EXPOSURE * full > 0


def _noise_hu(low: Volume, full: Volume, low_index: Indices, full_index: Indices) -> tuple[float, float]:
    """The median noise of a few slices in soft tissue, of both; 0 if there is no soft tissue."""
    places = np.unique(np.linspace(0, len(full_index) - 1, _COMPARED_SLICES).round().astype(int))
    found = [_noise_of_slice(low.hu[low_index[place]], full.hu[full_index[place]]) for place in places]
    known = np.array([each for each in found if each is not None])
    return (float(np.median(known[:, 0])), float(np.median(known[:, 1]))) if len(known) else (0.0, 0.0)


def _noise_of_slice(low: HuArray, full: HuArray) -> tuple[float, float] | None:
    """Robust noise of both in the same pixels, chosen by the smoothed mean of both so that neither's noise chooses."""
    images = [image.astype(np.float32) for image in (low, full)]
    mean = ndimage.uniform_filter((images[0] + images[1]) / 2, 5)
    tissue = ndimage.binary_erosion((mean > _SOFT_TISSUE_HU[0]) & (mean < _SOFT_TISSUE_HU[1]), iterations=2)
    if np.count_nonzero(tissue) < _LEAST_PIXELS:
        return None
    sd_low, sd_full = (_robust_sd(ndimage.convolve(image, _LAPLACIAN)[tissue]) for image in images)
    return sd_low / _LAPLACIAN_GAIN, sd_full / _LAPLACIAN_GAIN


def _robust_sd(values: npt.NDArray[np.float32]) -> float:
    return _SD_PER_MAD * float(np.median(np.abs(values - np.median(values))))


def _exposures(low: Volume, full: Volume) -> tuple[float, float] | None:
    """Exposure of both, or tube current if a header has no exposure; None if one of them has neither."""
    for name in ("exposure_mas", "tube_current_ma"):
        known = [_median(getattr(volume.acquisition, name)) for volume in (low, full)]
        if known[0] and known[1]:
            return known[0], known[1]
    return None


def _median(values: Sequence[float | None] | None) -> float | None:
    known = [value for value in values or () if value]
    return float(np.median(known)) if known else None
