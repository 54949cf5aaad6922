"""What physicists ask of a denoised slice: CT-number bias per tissue, and the noise that is left."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ldctpipe.metrics.image_quality import Mask
from ldctpipe.metrics.local_noise import measure_patches, texture
from ldctpipe.volumes.volume import HuArray


@dataclass(frozen=True)
class Tissue:
    """A class of tissue by its range of CT numbers; a mean shift by more than `gate_hu` either way is warned of."""

    name: str
    lower_hu: float
    upper_hu: float
    gate_hu: float

    @property
    def title(self) -> str:
        """The name for people."""
        return "soft tissue" if self.name == "soft" else self.name

    @property
    def measure(self) -> str:
        """The measure that is this tissue's bias, a column of `metrics.slices`."""
        return "bias_hu" if self.name == "soft" else f"bias_{self.name}_hu"

    def is_shifted(self, bias_hu: float | None) -> bool:
        """Return whether a bias is known and, rounded to 0.01 HU as it is printed, beyond the gate."""
        return bias_hu is not None and abs(round(bias_hu, 2)) > self.gate_hu


SOFT_TISSUE = Tissue("soft", 0, 100, gate_hu=1)  # the range of Christianson 2015 for the global noise level
TISSUES = (
    Tissue("air", -1100, -950, gate_hu=2),
    Tissue("lung", -950, -500, gate_hu=2),
    Tissue("fat", -150, -50, gate_hu=2),
    SOFT_TISSUE,
    Tissue("bone", 250, 3071, gate_hu=2),
)

_SMOOTHING_PIXELS = 1.5
_EROSION_PIXELS = 2
_LEAST_PIXELS = 100
_PATCH_MM = 4.0
_MOST_PATCH_PIXELS = 21
_LEAST_PATCHES = 20
_MOST_PATCHES = 4000  # more do not make the median more certain: patches overlap
_FLATTEST_SHARE = 0.2
# Times the slope of noise, for noise with a slope of 0.4/mm times its standard deviation, as that of a B30 kernel has.
# Coarser noise differs more from patch to patch, so that the limit grows with the square root of its slope. Chosen on
# phantoms: lower limits leave patches with streaks out, higher ones let anatomy in.
_STEEPEST_OF_NOISE = 1.9
_USUAL_SLOPE_PER_MM = 0.4


def tissue_masks(reference_hu: HuArray, measured: Mask) -> dict[str, Mask]:
    """Return one eroded mask a tissue, by name, in the shape of `reference_hu` (rows, columns).

    The reference is smoothed before it is classified: its own noise would otherwise choose the pixels, and pixels
    chosen by their noise have a biased mean. Erosion keeps edges, where blur looks like bias, out.
    """
    smooth = ndimage.gaussian_filter(reference_hu.astype(np.float32), _SMOOTHING_PIXELS)
    return {tissue.name: _eroded(_within(smooth, tissue) & measured) for tissue in TISSUES}


def _within(smooth: npt.NDArray[np.float32], tissue: Tissue) -> Mask:
    return np.asarray((smooth >= tissue.lower_hu) & (smooth <= tissue.upper_hu))


def _eroded(mask: Mask) -> Mask:
    return np.asarray(ndimage.binary_erosion(mask, iterations=_EROSION_PIXELS))


def bias_hu(image_hu: HuArray, reference_hu: HuArray, mask: Mask) -> float | None:
    """Return the mean of image minus reference over `mask` in HU (no window), or None for under 100 pixels."""
    if np.count_nonzero(mask) < _LEAST_PIXELS:
        return None
    return float(image_hu[mask].astype(np.float64).mean() - reference_hu[mask].astype(np.float64).mean())


def noise_sd_hu(image_hu: HuArray, soft_tissue: Mask, pixel_mm: float) -> float | None:
    """Return the noise of a slice in HU, or None where soft tissue has too little room.

    It is the median over patches of 4 mm in soft tissue of the local standard deviation, with a plane taken out of each
    patch and the noise that this removes added again (`metrics/local_noise.py`). Patches count if they are even: the
    flattest fifth, and all others no steeper than about twice what noise of the same level and texture is under a
    Gaussian of 1 mm. Organ borders and vessels are steeper. The global noise level of Christianson et al., AJR 2015,
    205:W93, is the mode over all patches, with their anatomy. Too little room is less than 100 patches, or than 20 that
    do not overlap: the centers of patches cover the area of fewer.
    """
    side = min(_MOST_PATCH_PIXELS, max(5, 2 * round(_PATCH_MM / pixel_mm / 2) + 1))
    centers = np.flatnonzero(ndimage.minimum_filter(soft_tissue, size=side, mode="constant"))
    if len(centers) < max(_LEAST_PIXELS, _LEAST_PATCHES * side**2):
        return None
    patches = measure_patches(image_hu, centers[:: -(-len(centers) // _MOST_PATCHES)], side, pixel_mm)
    slope = patches.slope_hu_per_mm
    flattest = slope <= np.quantile(slope, _FLATTEST_SHARE)
    noise_per_mm = texture(float(np.median(patches.roughness[flattest])), side, pixel_mm).slope_per_mm
    limit_per_mm = _STEEPEST_OF_NOISE * noise_per_mm * math.sqrt(noise_per_mm / _USUAL_SLOPE_PER_MM)
    even = flattest | (slope <= limit_per_mm * float(np.median(patches.sd_hu[flattest])))
    correction = texture(float(np.median(patches.roughness[even])), side, pixel_mm).correction
    return float(np.median(patches.sd_hu[even])) * correction
