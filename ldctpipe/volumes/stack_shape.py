"""How the slices of a stack lie: plane, tilt, distances, and what is missing between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEAST_SHEAR_DEG = 0.5  # what is below is taken for straight

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
    distances_mm = np.diff(positions_mm)
    steps = whole_steps(distances_mm)
    missing = None if steps is None else int((steps - 1).sum())
    smallest_mm, largest_mm = float(distances_mm.min()), float(distances_mm.max())
    return StackShape(_plane(normal), shear_deg(affine), smallest_mm, largest_mm, missing)


def plane_warning(affine: Array) -> tuple[str, ...]:
    """Return a sentence where slices are nearer to sagittal or coronal than to axial, else nothing."""
    plane = _PLANES[int(np.abs(np.cross(affine[:3, 0], affine[:3, 1])).argmax())]
    return () if plane == "axial" else (f"slices along the third axis are {plane}; models are made for axial ones",)


def shear_deg(affine: Array) -> float:
    """Return the angle between the normal of the slices and the way from one to the next, in degrees."""
    normal, step = np.cross(affine[:3, 0], affine[:3, 1]), affine[:3, 2]
    cosine = abs(float(step @ normal)) / float(np.linalg.norm(step) * np.linalg.norm(normal))
    return float(np.degrees(np.arccos(min(1.0, cosine))))


def whole_steps(distances_mm: Array) -> npt.NDArray[np.int_] | None:
    """Return how many slice distances each of `distances_mm` is, 1 where nothing is missing; None for uneven ones."""
    usual_mm = float(np.median(distances_mm))
    if usual_mm <= 0:
        return None
    steps = np.rint(distances_mm / usual_mm).astype(int)
    off_mm = np.abs(distances_mm - steps * usual_mm)
    return steps if steps.min() >= 1 and off_mm.max() <= max(_UNEVEN_FRACTION * usual_mm, _LEAST_UNEVEN_MM) else None


def _plane(normal: Array) -> str:
    axis = int(np.abs(normal).argmax())
    return _PLANES[axis] if abs(normal[axis]) >= _ALONG_AN_AXIS else f"oblique ({_PLANES[axis]})"
