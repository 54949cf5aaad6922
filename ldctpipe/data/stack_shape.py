"""How the slices of a stack lie: plane, tilt, distances, and what is missing between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

_UNEVEN_FRACTION = 0.02
_LEAST_UNEVEN_MM = 0.02
_ALONG_AN_AXIS = np.cos(np.radians(20))  # beyond it a plane is oblique; gantries tilt by up to 30° about the slice
_PLANES = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class StackShape:
    """Plane of the slices, shear of the stack against their normal, distances along it; None for a single slice.

    `missing_slices` counts the holes in an otherwise even stack; it is None where distances are uneven.
    """

    orientation: str
    shear_deg: float | None
    smallest_distance_mm: float | None
    largest_distance_mm: float | None
    missing_slices: int | None

    @property
    def is_uneven(self) -> bool:
        """Tell whether distances differ otherwise than by whole missing slices."""
        return self.smallest_distance_mm is not None and self.missing_slices is None


def stack_shape(affine: Array, positions_mm: Array) -> StackShape:
    """Return the shape of the stack that `affine` ((column, row, slice) to RAS mm) and ascending positions describe."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    if len(positions_mm) < 2:
        return StackShape(_plane(normal), None, None, None, None)
    step = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
    shear_deg = float(np.degrees(np.arccos(min(1.0, abs(float(step @ normal))))))
    distances_mm = np.diff(positions_mm)
    smallest_mm, largest_mm = float(distances_mm.min()), float(distances_mm.max())
    return StackShape(_plane(normal), shear_deg, smallest_mm, largest_mm, _missing_slices(distances_mm))


def _plane(normal: Array) -> str:
    axis = int(np.abs(normal).argmax())
    return _PLANES[axis] if abs(normal[axis]) >= _ALONG_AN_AXIS else f"oblique ({_PLANES[axis]})"


def _missing_slices(distances_mm: Array) -> int | None:
    usual_mm = float(np.median(distances_mm))
    if usual_mm <= 0:
        return None
    multiples = np.rint(distances_mm / usual_mm)
    off_mm = np.abs(distances_mm - multiples * usual_mm)
    is_even = multiples.min() >= 1 and off_mm.max() <= max(_UNEVEN_FRACTION * usual_mm, _LEAST_UNEVEN_MM)
    return int((multiples - 1).sum()) if is_even else None
