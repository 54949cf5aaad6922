"""Where slices lie: positions along the normal, the RAS affine, and what is uneven or sheared about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.headers import Header

Vector = npt.NDArray[np.float64]

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_SAME_POSITION_MM = 0.01
_UNEVEN_FRACTION = 0.02
_SHEAR_DEG = 0.5


def position_mm(header: Header) -> float:
    """Return the distance of a slice from the origin of the frame of reference along the slice normal, in mm."""
    return float(header.origin_mm @ header.normal)


def at_same_position(first_mm: float, second_mm: float) -> bool:
    """Tell whether two positions along the normal are one."""
    return abs(first_mm - second_mm) < _SAME_POSITION_MM


def ras_affine(headers: Sequence[Header]) -> Vector:
    """Return the 4 × 4 matrix from (column, row, slice, 1) to RAS+ mm, as nibabel has it for the same data.

    `headers` are in slice order. DICOM (PS3.3 §C.7.6.2.1.1) is LPS+: x and y change sign. The slice step is the mean
    over the series, so it is exact for even distances, tilted gantry included.
    """
    first = headers[0]
    row_spacing_mm, column_spacing_mm = first.pixel_spacing_mm
    steps = (first.row_direction * column_spacing_mm, first.column_direction * row_spacing_mm, _slice_step(headers))
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ np.column_stack(steps)
    affine[:3, 3] = _LPS_TO_RAS @ first.origin_mm
    return affine + 0.0  # no negative zeros


def _slice_step(headers: Sequence[Header]) -> Vector:
    first, last = headers[0], headers[-1]
    if len(headers) > 1:
        return (last.origin_mm - first.origin_mm) / (len(headers) - 1)
    spacings_mm = (first.spacing_between_slices_mm, first.acquisition.slice_thickness_mm)
    return first.normal * next((mm for mm in spacings_mm if mm and mm > 0), 1.0)


def geometry_warnings(headers: Sequence[Header], positions_mm: Vector) -> tuple[str, ...]:
    """Return sentences about tilt and uneven slice distances; neither changes slice-by-slice work."""
    if len(headers) < 2:
        return ()
    found = []
    tilt_deg = _shear_deg(headers)
    if tilt_deg > _SHEAR_DEG:
        found.append(f"gantry tilt: slices are sheared by {tilt_deg:.1f}° against the table; nothing is resampled")
    steps_mm = np.diff(positions_mm)
    if np.ptp(steps_mm) > max(_UNEVEN_FRACTION * float(np.median(steps_mm)), 2 * _SAME_POSITION_MM):
        found.append(f"slice distances are uneven: {steps_mm.min():.2f} to {steps_mm.max():.2f} mm")
    return tuple(found)


def _shear_deg(headers: Sequence[Header]) -> float:
    step = headers[-1].origin_mm - headers[0].origin_mm
    cosine = step @ headers[0].normal / np.linalg.norm(step)
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
