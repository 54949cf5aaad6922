"""Where slices lie: the RAS affine, and what is sheared, missing, uneven or overlapping about them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.headers import Header
from ldctpipe.volumes.stack_shape import LEAST_SHEAR_DEG, shear_deg, whole_steps

Array = npt.NDArray[np.float64]

SAME_POSITION_MM = 0.01

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
_THICKEST_MM = 1000.0
_OVERLAP_FRACTION = 0.05
_GAPS_NAMED = 3


def at_same_position(first_mm: float, second_mm: float) -> bool:
    """Tell whether two positions along the normal are one."""
    return abs(first_mm - second_mm) < SAME_POSITION_MM


def ras_affine(headers: Sequence[Header]) -> Array:
    """Return the 4 × 4 matrix from (column, row, slice, 1) to RAS+ mm, as nibabel has it for the same data.

    `headers` are in slice order. DICOM (PS3.3 §C.7.6.2.1.1) is LPS+: x and y change sign. The slice step is the mean
    over the series, so it is exact for even distances, tilted gantry included.
    """
    first = headers[0]
    row_spacing_mm, column_spacing_mm = first.pixel_spacing_mm
    along_row, along_column = np.array(first.row_direction), np.array(first.column_direction)
    steps = (along_row * column_spacing_mm, along_column * row_spacing_mm, _slice_step(headers))
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ np.column_stack(steps)
    affine[:3, 3] = _LPS_TO_RAS @ first.origin_mm
    return affine + 0.0  # no negative zeros


def _slice_step(headers: Sequence[Header]) -> Array:
    first, last = headers[0], headers[-1]
    if len(headers) > 1:
        return np.subtract(last.origin_mm, first.origin_mm) / (len(headers) - 1)
    spacings_mm = (first.spacing_between_slices_mm, first.acquisition.slice_thickness_mm)
    return np.array(first.normal) * next((mm for mm in spacings_mm if mm and 0 < mm < _THICKEST_MM), 1.0)


def geometry_warnings(headers: Sequence[Header]) -> tuple[str, ...]:
    """Return sentences about what is not a plain even stack; nothing of it changes slice-by-slice work.

    That is a single slice, tilt, missing slices (a distance that is a multiple of all others), uneven distances, and
    slices that are thicker than their distance. `headers` are in slice order.
    """
    if len(headers) == 1:
        return ("a single slice",)
    steps_mm = np.diff([header.position_mm for header in headers])
    multiples = whole_steps(steps_mm)
    found = [_tilt(headers)]
    if multiples is None:
        found.append(f"slice distances are uneven: {steps_mm.min():.2f} to {steps_mm.max():.2f} mm")
    else:
        found += _gaps(headers, multiples)
    found.append(_overlap(headers, float(np.median(steps_mm))))
    return tuple(filter(None, found))


def _tilt(headers: Sequence[Header]) -> str:
    tilt_deg = shear_deg(ras_affine(headers))
    text = f"gantry tilt: slices are sheared by {tilt_deg:.1f}° against the table; nothing is resampled"
    return text if tilt_deg >= LEAST_SHEAR_DEG else ""


def _gaps(headers: Sequence[Header], multiples: npt.NDArray[np.int_]) -> list[str]:
    before = np.flatnonzero(multiples > 1)
    named = [_gap(headers[index], headers[index + 1], int(multiples[index]) - 1) for index in before[:_GAPS_NAMED]]
    more = len(before) - len(named)
    return [*named, f"slices are missing at {more} more places"] if more else named


def _gap(before: Header, after: Header, missing: int) -> str:
    slices = "1 slice" if missing == 1 else f"{missing} slices"
    z_mm = (before.origin_mm[2] + after.origin_mm[2]) / 2
    is_axial = abs(before.normal[2]) > max(map(abs, before.normal[:2]))
    place = f"z = {z_mm:.1f}" if is_axial else f"position {(before.position_mm + after.position_mm) / 2:.1f}"
    return f"{slices} missing near {place} mm"


def _overlap(headers: Sequence[Header], usual_mm: float) -> str:
    thickness_mm = headers[0].acquisition.slice_thickness_mm or 0.0
    text = f"slices overlap: {thickness_mm:.2f} mm thick, {usual_mm:.2f} mm apart"
    return text if thickness_mm > (1 + _OVERLAP_FRACTION) * usual_mm else ""
