"""Which slices of two stacks lie at the same place in the patient, and why two stacks can't be of one scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ldctpipe.volumes.volume import Volume

Indices = npt.NDArray[np.intp]
Vector = npt.NDArray[np.float64]

_DIRECTION_TOLERANCE = 1e-3
_THICKNESS_TOLERANCE = 0.1
_FIELD_OF_VIEW_TOLERANCE_PIXELS = 0.5
_SAME_POSITION_MM = 0.01
# Halfway between two slices, both are equally near, and neither is the partner.
_FARTHEST_SLICE_DISTANCES = 0.46
# A stack lacks slices only if its other slices lie at the same positions; otherwise the stacks are shifted.
_FARTHEST_WITH_GAPS = 0.25
_NAMED_SLICES = 3
_SAME_POSITIONS = "reconstruct both doses at the same slice positions"


class Mismatch(Exception):
    """Two volumes do not form a pair; the text says why, and `remedy` what to do if there is a specific remedy.

    With `is_of_content`, they lie at the same position but show different anatomy.
    """

    def __init__(self, reason: str, remedy: str | None = None, *, is_of_content: bool = False) -> None:
        super().__init__(reason)
        self.remedy = remedy
        self.is_of_content = is_of_content


@dataclass(frozen=True)
class Alignment:
    """Slice `low_index[i]` of one stack lies where slice `full_index[i]` of the other does.

    `distances` between the two are in slice distances.
    """

    low_index: Indices
    full_index: Indices
    distances: Vector


def aligned(low: Volume, full: Volume) -> Alignment:
    """Return which slices of `low` and `full` share their place, in the order of `full`; at least one does.

    Partners lie less than half a slice distance apart. Stacks may ascend in opposite directions, start elsewhere, lack
    slices that the other has, and be tilted. Raises `Mismatch` with the first difference: kernel, size, pixel
    grid, slice thickness, tilt, field of view, or slices that occur twice or lie between those of the other stack.
    """
    _require_same_kernel(low, full)
    _require_same_grid(low, full)
    for volume in (low, full):
        _refuse_repeated_positions(volume)
    _require_same_thickness(low, full)
    normal = _normal(full)
    _require_same_field_of_view(low, full, normal)
    low_mm, full_mm = _places_mm(low, normal), _places_mm(full, normal)
    step_mm = _partner_distance_mm(low, full)
    nearest = _nearest(low_mm, full_mm)
    distances = np.abs(low_mm[nearest] - full_mm) / step_mm
    shared = np.flatnonzero(distances <= _FARTHEST_SLICE_DISTANCES)
    _refuse_shifted(low, full, distances, shared, step_mm)
    return Alignment(nearest[shared], shared, distances[shared])


def common_places_mm(volume: Volume, like: Volume) -> Vector:
    """Return where the slices of `volume` lie along the slice normal of `like`, in its frame of reference."""
    return _places_mm(volume, _normal(like))


def _nearest(low_mm: Vector, full_mm: Vector) -> Indices:
    """For each of `full_mm` the index of the nearest of `low_mm`."""
    order = np.argsort(low_mm, kind="stable")
    ascending = low_mm[order]
    after = np.searchsorted(ascending, full_mm).clip(0, len(ascending) - 1)
    before = (after - 1).clip(0)
    is_before = np.abs(ascending[before] - full_mm) <= np.abs(ascending[after] - full_mm)
    nearest: Indices = order[np.where(is_before, before, after)]
    return nearest


def _partner_distance_mm(low: Volume, full: Volume) -> float:
    """The least slice distance, or the slice thickness if that is less: slices farther apart show other anatomy.

    Where slices are missing, the distance of two stacks' neighbours can be several times that of the scan.
    """
    distances_mm = (_slice_distance_mm(low), _slice_distance_mm(full))
    thicknesses_mm = (volume.acquisition.slice_thickness_mm for volume in (low, full))
    return min(*distances_mm, *(mm for mm in thicknesses_mm if mm))


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


def _require_same_kernel(low: Volume, full: Volume) -> None:
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


def _refuse_shifted(low: Volume, full: Volume, distances: Vector, shared: Indices, step_mm: float) -> None:
    """Raise if the stacks have no position in common, or the slices of one lie between those of the other."""
    missing = np.setdiff1d(np.arange(len(full.hu)), shared)
    offset = float(np.median(distances[shared])) if len(shared) else float(distances.min())
    if not len(missing) or (len(shared) and offset <= _FARTHEST_WITH_GAPS):
        return
    counts = f"it has {len(low.hu)} slices, the full dose {len(full.hu)}"
    where = (
        f"{len(missing)} full-dose slice(s) without a low-dose slice at their position: {slice_names(full, missing)}"
    )
    off = f"the nearest lies {offset * step_mm:.3g} mm off"
    if len(shared):
        off = f"the others lie {offset * step_mm:.3g} mm from the nearest"
    raise Mismatch(f"{where}; {off}; {counts}", _SAME_POSITIONS)
