"""Which low-dose slice shows what a full-dose slice shows: by place in the patient, checked by likeness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ldctpipe.errors import InputError
from ldctpipe.volumes.volume import Volume

Indices = npt.NDArray[np.intp]

_DIRECTION_TOLERANCE = 1e-3
_COMPARED_SLICES = 5
_COMPARED_PIXEL_STEP = 2
_COMPARED_RANGE_HU = (-1000.0, 1000.0)
_LEAST_CORRELATION = 0.8


@dataclass(frozen=True)
class Pair:
    """Two volumes of one anatomy: slice `low_index[i]` of `low` shows what slice `full_index[i]` of `full` shows.

    `full_index` counts through all slices of `full`.
    """

    low: Volume
    full: Volume
    low_index: Indices
    full_index: Indices


class _Mismatch(Exception):
    """Two volumes are no pair; the text says why."""


def pair_volumes(low: Sequence[Volume], full: Sequence[Volume]) -> list[Pair]:
    """Return one pair for each full-dose volume, in the order of `full`; low-dose volumes without partner are left out.

    A pair has the same size, pixel grid, frame of reference and kernel (where both are known); each full-dose slice has
    a low-dose slice within half a slice distance, and the images correlate. Several candidates are told apart by their
    correlation. Raises `InputError` that names both series where a full-dose volume finds no partner.
    """
    unused = list(low)
    pairs = []
    for volume in full:
        pair = _best_pair(unused, volume)
        unused = [candidate for candidate in unused if candidate is not pair.low]
        pairs.append(pair)
    return pairs


def _best_pair(candidates: Sequence[Volume], full: Volume) -> Pair:
    found: list[tuple[float, Pair]] = []
    reasons: list[str] = []
    for low in candidates:
        try:
            pair = _pair(low, full)
            found.append((_checked_correlation(pair), pair))
        except _Mismatch as mismatch:
            reasons.append(f"low-dose series {low.key}: {mismatch}")
    if not found:
        why = "; ".join(reasons) or "no low-dose series is left for it"
        fault = f"full-dose series {full.key} has no matching low-dose series ({why})"
        raise InputError(None, fault, "give the low-dose series of the same scan with all its slices")
    return max(found, key=lambda scored: scored[0])[1]


def _pair(low: Volume, full: Volume) -> Pair:
    """Match slices by position; the reason of a mismatch is the first thing that differs."""
    _require_same_frame(low, full)
    _require_same_grid(low, full)
    tolerance_mm = _half_slice_distance_mm(full)
    distances_mm = np.abs(_places_mm(full)[:, None] - _places_mm(low)[None, :])
    low_index = distances_mm.argmin(axis=1)
    missing = int((distances_mm.min(axis=1) > tolerance_mm).sum())
    if missing:
        counts = f"it has {len(low.hu)} slices, the full dose {len(full.hu)}"
        raise _Mismatch(f"{missing} full-dose slice(s) without a low-dose slice at their position; {counts}")
    if len(np.unique(low_index)) < len(low_index):
        raise _Mismatch("one low-dose slice would stand for several full-dose slices")
    return Pair(low, full, low_index, np.arange(len(full.hu)))


def _require_same_frame(low: Volume, full: Volume) -> None:
    frames = low.frame_of_reference, full.frame_of_reference
    if all(frames) and frames[0] != frames[1]:
        raise _Mismatch("another frame of reference")
    kernels = low.acquisition.kernel, full.acquisition.kernel
    if all(kernels) and kernels[0] != kernels[1]:
        raise _Mismatch(f"kernel {kernels[0]} against {kernels[1]}")


def _require_same_grid(low: Volume, full: Volume) -> None:
    if low.hu.shape[1:] != full.hu.shape[1:]:
        raise _Mismatch(f"{_size(low)} pixels against {_size(full)}")
    in_plane = full.affine[:3, :2]
    if not np.allclose(low.affine[:3, :2], in_plane, rtol=0, atol=_DIRECTION_TOLERANCE):
        raise _Mismatch("another pixel spacing or orientation")
    shift_px = np.linalg.pinv(in_plane) @ (low.affine[:3, 3] - full.affine[:3, 3])
    slide = np.linalg.pinv(in_plane) @ full.affine[:3, 2]  # a tilted stack moves in the plane from slice to slice
    steps = (_places_mm(low)[0] - _places_mm(full)[0]) / _step_mm(full)
    if np.abs(shift_px - steps * slide).max() > 0.5:
        raise _Mismatch("another field of view")


def _size(volume: Volume) -> str:
    return f"{volume.hu.shape[1]} × {volume.hu.shape[2]}"


def _normal(volume: Volume) -> npt.NDArray[np.float64]:
    """Unit slice normal in RAS, on the side to which slices ascend."""
    normal = np.cross(volume.affine[:3, 0], volume.affine[:3, 1])
    normal /= np.linalg.norm(normal)
    return normal if normal @ volume.affine[:3, 2] > 0 else -normal


def _places_mm(volume: Volume) -> npt.NDArray[np.float64]:
    """Positions along the normal from the origin of the frame of reference, whatever zero `positions_mm` has."""
    return volume.affine[:3, 3] @ _normal(volume) + volume.positions_mm - volume.positions_mm[0]


def _step_mm(volume: Volume) -> float:
    """Slice step of the affine along the normal."""
    return float(volume.affine[:3, 2] @ _normal(volume))


def _half_slice_distance_mm(volume: Volume) -> float:
    steps_mm = np.diff(volume.positions_mm)
    return 0.5 * (float(steps_mm.min()) if len(steps_mm) else _step_mm(volume))


def _checked_correlation(pair: Pair) -> float:
    chosen = np.unique(np.linspace(0, len(pair.full_index) - 1, _COMPARED_SLICES).round().astype(int))
    lowest = min(_correlation(pair, pair.low_index[i], pair.full_index[i]) for i in chosen)
    if lowest < _LEAST_CORRELATION:
        raise _Mismatch(f"the images differ (correlation {lowest:.2f}, wanted at least {_LEAST_CORRELATION})")
    return lowest


def _correlation(pair: Pair, low_slice: int, full_slice: int) -> float:
    """Pearson correlation of two slices over what both have measured; equal images of one grey correlate fully."""
    measured = _thinned(pair.low, low_slice)[1] & _thinned(pair.full, full_slice)[1]
    low_hu = _thinned(pair.low, low_slice)[0][measured]
    full_hu = _thinned(pair.full, full_slice)[0][measured]
    if low_hu.size < 2 or low_hu.std() == 0 or full_hu.std() == 0:
        return float(np.array_equal(low_hu, full_hu))
    return float(np.corrcoef(low_hu, full_hu)[0, 1])


def _thinned(volume: Volume, index: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    step = _COMPARED_PIXEL_STEP
    hu = np.asarray(volume.hu[index, ::step, ::step], dtype=np.float64).clip(*_COMPARED_RANGE_HU)
    if volume.padding is None:
        return hu, np.ones(hu.shape, dtype=bool)
    return hu, ~volume.padding[index, ::step, ::step]
