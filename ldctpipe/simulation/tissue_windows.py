"""Where in a slice noise can be measured: windows of even tissue, free of edges and gas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.ndimage

from ldctpipe.simulation.images import Image

SOFT_TISSUE_HU = (0.0, 120.0)
UNIFORM_MATERIAL_HU = (-250.0, 600.0)
UNIFORM_AIR_HU = (-1020.0, -970.0)

HIGH_PASS_MM = 1.5

_SMOOTHING_MM = 2.0
_EROSION_MM = 4.5
_WINDOW_MM = 12.0
_STEEPEST_HU_PER_MM = 8.0
_LEAST_SHARE = 0.7
_MOST_CLIPPED = 0.02
_FIELD_OF_VIEW = 0.95


@dataclass(frozen=True)
class Tissue:
    """The pixels of one slice whose noise can be measured, `inside` (rows, columns), away from edges."""

    inside: npt.NDArray[np.bool_]
    pixel_mm: float

    @classmethod
    def soft(cls, hu: Image, pixel_mm: float) -> Tissue:
        """Return soft tissue: between 0 and 120 HU after smoothing, and some millimetres deep."""
        return cls._between(scipy.ndimage.gaussian_filter(hu, _SMOOTHING_MM / pixel_mm), pixel_mm, SOFT_TISSUE_HU)

    @classmethod
    def uniform(cls, hu: Image, pixel_mm: float) -> Tissue:
        """Return any material without slopes (plastic of a test object, bone excluded): for scans without tissue."""
        smooth = scipy.ndimage.gaussian_filter(hu, _SMOOTHING_MM / pixel_mm)
        down, across = np.gradient(smooth, pixel_mm)
        flat = np.where(np.hypot(down, across) < _STEEPEST_HU_PER_MM, smooth, np.float32(-1000.0))
        return cls._between(flat, pixel_mm, UNIFORM_MATERIAL_HU)

    @classmethod
    def air(cls, hu: Image, pixel_mm: float) -> Tissue:
        """Return air in the round field of view, for scans without other even material; nothing where it is clipped."""
        found = cls._between(scipy.ndimage.gaussian_filter(hu, _SMOOTHING_MM / pixel_mm), pixel_mm, UNIFORM_AIR_HU)
        line = np.linspace(-1, 1, len(hu))
        inside = found.inside & (np.hypot(line[:, None], line[None]) < _FIELD_OF_VIEW)
        values = hu[inside]
        clipped = values.size == 0 or (values <= values.min()).mean() > _MOST_CLIPPED
        return cls(np.zeros_like(inside) if clipped else inside, pixel_mm)

    @classmethod
    def _between(cls, smooth: Image, pixel_mm: float, range_hu: tuple[float, float]) -> Tissue:
        wanted = (smooth > range_hu[0]) & (smooth < range_hu[1])
        return cls(scipy.ndimage.distance_transform_edt(wanted) * pixel_mm > _EROSION_MM, pixel_mm)

    def windows(self) -> Windows:
        """Return the windows of 12 mm, half overlapping, that hold little else than this tissue."""
        width, step = round(_WINDOW_MM / self.pixel_mm), max(1, round(_WINDOW_MM / self.pixel_mm / 2))
        share = scipy.ndimage.uniform_filter(self.inside.astype(np.float32), width)
        grid = np.zeros_like(self.inside)
        grid[step // 2 :: step, step // 2 :: step] = True
        rows, columns = np.nonzero(grid & (share > _LEAST_SHARE))
        return Windows(self, share, (rows, columns), width)


@dataclass(frozen=True)
class Windows:
    """Windows of one slice by their centres; `share` is how much of the window around each pixel is tissue."""

    tissue: Tissue
    share: Image
    places: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    width: int

    def __len__(self) -> int:
        return int(self.places[0].size)

    def power(self, hu: Image, high_pass_mm: float = HIGH_PASS_MM) -> npt.NDArray[np.float64]:
        """Return the mean square of the high-passed image in each window, HU²."""
        return self.mean(high_passed(hu, self.tissue.pixel_mm, high_pass_mm) ** 2)

    def mean(self, image: Image) -> npt.NDArray[np.float64]:
        """Return the mean of the tissue's pixels in each window."""
        mean = scipy.ndimage.uniform_filter(np.where(self.tissue.inside, image, np.float32(0.0)), self.width)
        return (mean[self.places] / self.share[self.places]).astype(np.float64) + 1e-9


def high_passed(hu: Image, pixel_mm: float, high_pass_mm: float = HIGH_PASS_MM) -> Image:
    """Return the image without what is wider than noise grains."""
    rough: Image = hu - scipy.ndimage.gaussian_filter(hu, high_pass_mm / pixel_mm)
    return rough
