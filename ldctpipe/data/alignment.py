"""Which slices of two stacks lie at the same place in the patient, and why two stacks can't be of one scan."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.volume import Volume

Indices = npt.NDArray[np.intp]
Vector = npt.NDArray[np.float64]

_DIRECTION_TOLERANCE = 1e-3
_THICKNESS_TOLERANCE = 0.1
_FIELD_OF_VIEW_TOLERANCE_PIXELS = 0.5
_SAME_POSITION_MM = 0.01
_FARTHEST_SLICE_DISTANCES = 0.5
_NAMED_SLICES = 3


class Mismatch(Exception):
    """Two volumes are no pair; the text says why."""


def aligned(low: Volume, full: Volume) -> tuple[Indices, Vector]:
    """Return for each slice of `full` which slice of `low` lies nearest, and how far from it, in slice distances.

    That is 0.5 at most. Stacks may ascend in opposite directions, start elsewhere and be tilted. Raises `Mismatch` with
    the first thing that differs: frame of reference, kernel, size, pixel grid, slice thickness, tilt, field of view, or
    slices that are not there or there twice.
    """
    _require_same_scan(low, full)
    _require_same_grid(low, full)
    for volume in (low, full):
        _refuse_repeated_positions(volume)
    _require_same_thickness(low, full)
    normal = _normal(full)
    _require_same_field_of_view(low, full, normal)
    distances_mm = np.abs(_places_mm(full, normal)[:, None] - _places_mm(low, normal)[None, :])
    low_index = distances_mm.argmin(axis=1)
    distances = distances_mm.min(axis=1) / _slice_distance_mm(full)
    _refuse_missing(low, full, np.flatnonzero(distances > _FARTHEST_SLICE_DISTANCES))
    _refuse_shared(low, full, low_index)
    return low_index, distances


def slice_name(volume: Volume, index: int) -> str:
    """Return words for one slice in a message: its number, its position and, where known, its file."""
    name = f"slice {index + 1} of {len(volume.hu)} at {volume.positions_mm[index]:.1f} mm"
    if len(volume.files) == len(volume.hu):
        return f"{name} ({volume.files[index]})"
    return f"{name} (in {volume.files[0]})" if volume.files else name


def slice_names(volume: Volume, indices: Indices) -> str:
    """Return words for several slices, of which the first few are named."""
    names = ", ".join(slice_name(volume, int(index)) for index in indices[:_NAMED_SLICES])
    more = len(indices) - _NAMED_SLICES
    return f"{names} and {more} more" if more > 0 else names


def _require_same_scan(low: Volume, full: Volume) -> None:
    frames = low.frame_of_reference, full.frame_of_reference
    if all(frames) and frames[0] != frames[1]:
        raise Mismatch("another frame of reference")
    kernels = low.acquisition.kernel, full.acquisition.kernel
    if all(kernels) and kernels[0] != kernels[1]:
        raise Mismatch(f"kernel {kernels[0]} against {kernels[1]}")


def _require_same_grid(low: Volume, full: Volume) -> None:
    if low.hu.shape[1:] != full.hu.shape[1:]:
        raise Mismatch(f"{_size(low)} pixels against {_size(full)}")
    if not np.allclose(low.affine[:3, :2], full.affine[:3, :2], rtol=0, atol=_DIRECTION_TOLERANCE):
        raise Mismatch("another pixel spacing or orientation")


def _size(volume: Volume) -> str:
    return f"{volume.hu.shape[1]} × {volume.hu.shape[2]}"


def _require_same_thickness(low: Volume, full: Volume) -> None:
    """Thin slices at the places of thick ones show something else; where headers are silent, the distances tell."""
    low_mm, full_mm = low.acquisition.slice_thickness_mm, full.acquisition.slice_thickness_mm
    what = "slices"
    if not (low_mm and full_mm):
        if min(len(low.hu), len(full.hu)) < 2:
            return
        low_mm, full_mm = _slice_distance_mm(low), _slice_distance_mm(full)
        what = "slice distances"
    if not np.isclose(low_mm, full_mm, rtol=_THICKNESS_TOLERANCE, atol=0):
        counts = f"{len(low.hu)} and {len(full.hu)} slices"
        raise Mismatch(f"{what} of {low_mm:.3g} mm against {full_mm:.3g} mm ({counts})")


def _require_same_field_of_view(low: Volume, full: Volume, normal: Vector) -> None:
    """Compare where the first pixel lies at both ends of the full dose; a tilted stack moves from slice to slice."""
    in_plane = np.linalg.pinv(full.affine[:3, :2])
    shifts = [
        np.abs(in_plane @ (_corner_mm(low, low, full, normal, mm) - _corner_mm(full, full, low, normal, mm))).max()
        for mm in _places_mm(full, normal)[[0, -1]]
    ]
    if shifts[0] > _FIELD_OF_VIEW_TOLERANCE_PIXELS:
        raise Mismatch("another field of view")
    if shifts[1] > _FIELD_OF_VIEW_TOLERANCE_PIXELS:
        raise Mismatch("another gantry tilt")


def _corner_mm(volume: Volume, stack: Volume, other: Volume, normal: Vector, place_mm: float) -> Vector:
    """Return where the first pixel of `volume` lies in the plane at `place_mm`; one slice slides as `other` does."""
    step = (stack if len(stack.hu) > 1 else other).affine[:3, 2]
    origin: Vector = volume.affine[:3, 3]
    return origin + step / (step @ normal) * (place_mm - origin @ normal)


def _normal(volume: Volume) -> Vector:
    """Unit slice normal in RAS, on the side to which slices ascend."""
    normal = np.cross(volume.affine[:3, 0], volume.affine[:3, 1])
    normal /= np.linalg.norm(normal)
    return normal if normal @ volume.affine[:3, 2] > 0 else -normal


def _places_mm(volume: Volume, normal: Vector) -> Vector:
    """Positions along `normal` from the origin of the frame of reference, whatever zero `positions_mm` has."""
    direction = np.sign(volume.affine[:3, 2] @ normal)
    return volume.affine[:3, 3] @ normal + direction * (volume.positions_mm - volume.positions_mm[0])


def _slice_distance_mm(volume: Volume) -> float:
    if len(volume.hu) > 1:
        return float(np.diff(volume.positions_mm).min())
    return float(np.abs(volume.affine[:3, 2] @ _normal(volume)))


def _refuse_repeated_positions(volume: Volume) -> None:
    repeated = np.flatnonzero(np.diff(volume.positions_mm) < _SAME_POSITION_MM)
    if len(repeated):
        first = int(repeated[0])
        raise Mismatch(f"duplicate slices: {slice_name(volume, first)} and {slice_name(volume, first + 1)}")


def _refuse_missing(low: Volume, full: Volume, missing: Indices) -> None:
    if len(missing):
        counts = f"it has {len(low.hu)} slices, the full dose {len(full.hu)}"
        where = f"{len(missing)} full-dose slice(s) without a low-dose slice at their position"
        raise Mismatch(f"{where}: {slice_names(full, missing)}; {counts}")


def _refuse_shared(low: Volume, full: Volume, low_index: Indices) -> None:
    chosen, counts = np.unique(low_index, return_counts=True)
    if (counts > 1).any():
        index = int(chosen[counts > 1][0])
        sharing = np.flatnonzero(low_index == index)
        raise Mismatch(f"low-dose {slice_name(low, index)} would stand for full-dose {slice_names(full, sharing)}")
