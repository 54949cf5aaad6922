"""Noise in small patches of a slice: its standard deviation once the anatomy is taken out.

A plane is fitted to each patch and subtracted, which also takes out some noise: little of the fine noise of a sharp
kernel, more of the coarse noise of a soft one. How much follows from the texture of the noise itself. Filtered back-
projection leaves noise with the spectrum S(f) ∝ f · A(f)², where A is a Hann window that ends at the cutoff of the
kernel (Kijewski and Judy 1987, doi 10.1088/0031-9155/32/5/003). The cutoff is the one whose noise would have the
measured ratio of differences between neighboring pixels to standard deviation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage, special

from ldctpipe.volumes.volume import HuArray

Floats = npt.NDArray[np.float64]

SMOOTHING_MM = 1.0
"""Standard deviation of the Gaussian under which the slope of a patch is measured."""

_CUTOFFS_PER_MM = np.geomspace(0.45, 6.0, 14)  # the softest kernels of scanners end near 0.55/mm
_FREQUENCIES = 1000
_PIXEL_DIGITS = 3


@dataclass(frozen=True)
class Patches:
    """What patches of one slice show, an array with one value per patch each.

    `sd_hu` is the standard deviation about the fitted plane, `slope_hu_per_mm` the root mean square slope of the
    smoothed image, `roughness` the mean square difference of neighboring pixels over twice the variance, both about
    the plane: near 1 for white noise, less for coarser noise.
    """

    sd_hu: Floats
    slope_hu_per_mm: Floats
    roughness: Floats


def measure_patches(image_hu: HuArray, centers: npt.NDArray[np.intp], side: int, pixel_mm: float) -> Patches:
    """Return the measures of the patches of `side` × `side` pixels (odd) around `centers`.

    `centers` are flat indices into `image_hu` (rows, columns); every patch must lie inside the image.
    """
    rows, columns = np.divmod(centers, image_hu.shape[1])
    windows = np.lib.stride_tricks.sliding_window_view(image_hu, (side, side))
    pixels = windows[rows - side // 2, columns - side // 2].reshape(len(centers), -1).astype(np.float64)
    pixels -= pixels.mean(axis=1, keepdims=True)  # for accuracy, not for the result
    plane = _plane(side)
    rest = pixels - pixels @ plane @ plane.T
    square = (rest**2).sum(axis=1)
    squares = rest.reshape(-1, side, side)
    steps = sum((np.diff(squares, axis=axis) ** 2).sum(axis=(1, 2)) for axis in (1, 2)) / (2 * side * (side - 1))
    roughness = np.divide(steps * side**2, 2 * square, out=np.zeros_like(square), where=square > 0)
    slope = ndimage.gaussian_gradient_magnitude(image_hu.astype(np.float32), SMOOTHING_MM / pixel_mm) / pixel_mm
    slopes = ndimage.uniform_filter(slope.astype(np.float64) ** 2, side).ravel()[centers].clip(min=0)
    return Patches(np.sqrt(square / (side**2 - plane.shape[1])), np.sqrt(slopes), roughness)


@dataclass(frozen=True)
class Texture:
    """How noise of one texture behaves in a patch, as ratios to its standard deviation about the fitted plane.

    `correction` is that of the standard deviation about the mean; `slope_per_mm` that of the slope of smoothed noise.
    """

    correction: float
    slope_per_mm: float


def texture(roughness: float, side: int, pixel_mm: float) -> Texture:
    """Return the texture of noise with this `roughness` in patches of `side` pixels.

    Roughness beyond that of the kernels with cutoffs of 0.45 to 6 per mm counts as that of the nearest of them. The
    slope is at least that of white noise, which is as rough as that of the sharpest kernels and has more coarse noise.
    """
    known, corrections, slopes = _textures(side, round(pixel_mm, _PIXEL_DIGITS))
    white_per_mm = pixel_mm / (math.sqrt(4 * math.pi) * SMOOTHING_MM**2)  # of the gradient under a Gaussian
    slope_per_mm = max(white_per_mm, float(np.interp(roughness, known, slopes)))
    return Texture(float(np.interp(roughness, known, corrections)), slope_per_mm)


@lru_cache(maxsize=64)
def _plane(side: int) -> Floats:
    """Return an orthonormal basis of planes in a patch: shape (side², 3)."""
    line = np.linspace(-1, 1, side)
    rows, columns = np.meshgrid(line, line, indexing="ij")
    return np.linalg.qr(np.stack([np.ones(side**2), rows.ravel(), columns.ravel()], axis=1))[0]


@lru_cache(maxsize=64)
def _textures(side: int, pixel_mm: float) -> tuple[Floats, Floats, Floats]:
    """Return roughness (ascending), correction and slope for the noise of each cutoff."""
    rows, columns = np.divmod(np.arange(side**2), side)
    lags_mm = np.hypot(rows[:, None] - rows, columns[:, None] - columns).round(6) * pixel_mm
    distinct_mm, place = np.unique(lags_mm, return_inverse=True)
    place = place.reshape(lags_mm.shape)
    found = [_texture_of(cutoff, side, distinct_mm, place) for cutoff in _CUTOFFS_PER_MM]
    roughness, corrections, slopes = np.array(sorted(found)).T
    return roughness, corrections, slopes


def _texture_of(
    cutoff: float, side: int, distinct_mm: Floats, place: npt.NDArray[np.intp]
) -> tuple[float, float, float]:
    frequency = (np.arange(_FREQUENCIES) + 0.5) / _FREQUENCIES * cutoff
    power = frequency**2 * (0.5 * (1 + np.cos(np.pi * frequency / cutoff))) ** 2  # S(f) · f: a ring's share
    power /= power.sum()
    # The autocorrelation is the Hankel transform of the spectrum: R(d) = ∫ S(f) J0(2π f d) f df.
    correlation = special.j0(2 * np.pi * distinct_mm[:, None] * frequency) @ power
    covariance = correlation[place]
    about_mean, about_plane = (_residual_covariance(covariance, _plane(side)[:, :count]) for count in (1, 3))
    plain, rest = np.trace(about_mean) / (side**2 - 1), np.trace(about_plane) / (side**2 - 3)
    smooth = (2 * np.pi * frequency) ** 2 * np.exp(-((2 * np.pi * frequency * SMOOTHING_MM) ** 2))
    return _roughness(about_plane, side), float(np.sqrt(plain / rest)), float(np.sqrt((power * smooth).sum() / rest))


def _residual_covariance(covariance: Floats, basis: Floats) -> Floats:
    """Return P C P, where P = 1 - B Bᵀ takes the columns of `basis` out."""
    rest = covariance - basis @ (basis.T @ covariance)
    return np.asarray(rest - (rest @ basis) @ basis.T)


def _roughness(covariance: Floats, side: int) -> float:
    index = np.arange(side**2).reshape(side, side)
    pairs = [(index[1:].ravel(), index[:-1].ravel()), (index[:, 1:].ravel(), index[:, :-1].ravel())]
    steps = [covariance[a, a] + covariance[b, b] - 2 * covariance[a, b] for a, b in pairs]
    return float(np.concatenate(steps).mean() / (2 * np.trace(covariance) / side**2))
