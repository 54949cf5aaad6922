"""The noise level of a CT slice, for filters that ask for one."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter
from skimage.filters import threshold_otsu

_MAD_TO_DEVIATION = 1.4826  # of a normal distribution
_FEWEST = 64  # detail coefficients that a median is taken of


def noise_level(image: np.ndarray) -> float:
    """Return the standard deviation of the noise in a slice (rows, columns), in the slice's units.

    The median absolute value of the diagonal Haar details (Donoho and Johnstone 1994), of the brighter of two classes
    (Otsu) alone: air outside the patient is clipped and has little noise, which would pull the median down. Assumes
    white noise: that of a smooth kernel is correlated and comes out too low, which a filter's strength makes up for.
    """
    even = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2].astype(np.float64)
    blocks = even.reshape(even.shape[0] // 2, 2, -1, 2)
    details = (blocks[:, 0, :, 0] - blocks[:, 0, :, 1] - blocks[:, 1, :, 0] + blocks[:, 1, :, 1]) / 2
    tissue = np.abs(details[_brighter(blocks.mean(axis=(1, 3)))])
    chosen = tissue if tissue.size >= _FEWEST else np.abs(details)
    return float(_MAD_TO_DEVIATION * np.median(chosen))


def _brighter(image: np.ndarray) -> np.ndarray:
    smooth = uniform_filter(image, size=5)
    if np.ptp(smooth) == 0:
        return np.ones(image.shape, dtype=bool)
    return smooth > threshold_otsu(smooth)
