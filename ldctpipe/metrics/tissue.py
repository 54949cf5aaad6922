"""What physicists ask of a denoised slice: CT-number bias per tissue, and the noise that is left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ldctpipe.metrics.image_quality import Mask
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
_PATCH_MM = 6.0
_BINS_TO_MEDIAN = 50


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
    """Return the global noise level of a slice in HU, or None where soft tissue has no room for 100 patches.

    It is the commonest standard deviation among all 6 mm patches that lie in soft tissue: patches with structure have
    higher ones and do not move the mode (after Christianson et al., AJR 2015).
    """
    side = max(5, 2 * round(_PATCH_MM / pixel_mm / 2) + 1)
    centres = ndimage.minimum_filter(soft_tissue, size=side, mode="constant")
    if np.count_nonzero(centres) < _LEAST_PIXELS:
        return None
    image = image_hu.astype(np.float64)
    mean = ndimage.uniform_filter(image, side)
    variance = (ndimage.uniform_filter(image**2, side) - mean**2)[centres] * side**2 / (side**2 - 1)
    return _mode(np.sqrt(variance.clip(min=0)))


def _mode(values: npt.NDArray[np.float64]) -> float:
    median = float(np.median(values))
    if median == 0:
        return 0.0
    counts, edges = np.histogram(values, bins=3 * _BINS_TO_MEDIAN, range=(0, 3 * median))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), sigma=2, mode="constant")
    return float(edges[int(smooth.argmax())] + edges[1] / 2)
