"""Which images share a field of view: their pixel grid is fixed along the stack, or shifts as in a tilted gantry."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from ldctpipe.dicom.geometry import SAME_POSITION_MM
from ldctpipe.dicom.headers import Header

Group = list[Header]
Array = npt.NDArray[np.float64]

_TOLERANCE_PIXELS = 0.5
_STEEPEST_SHEAR = 1.0  # 45°; gantries tilt by up to 30°
_SHEAR_DIGITS = 2
_MOST_PAIRS = 16  # of images at two neighboring places
_MOST_FIELDS, _LEAST_SLICES = 4, 3  # more fields of view, with fewer slices each, move from slice to slice


def split_by_field_of_view(headers: Group) -> list[Group] | None:
    """Return `headers` of one kind by where their grid lies in the plane; None where it moves from slice to slice.

    A constant shift from slice to slice is the shear of a tilted gantry and moves nothing.
    """
    if len(headers) < 2:
        return [headers]
    positions_mm, offsets_mm = _places(headers)
    tolerance_mm = _TOLERANCE_PIXELS * min(headers[0].pixel_spacing_mm)
    shears = _shears(headers[0], positions_mm, offsets_mm)
    codes = _fields(offsets_mm, tolerance_mm)
    for shear in shears if codes.max() else ():
        others = _fields(offsets_mm - positions_mm[:, None] * shear, tolerance_mm)
        codes = others if others.max() < codes.max() else codes
    fields = int(codes.max()) + 1
    if fields > _MOST_FIELDS or (fields > 2 and len(headers) < _LEAST_SLICES * fields):
        return None
    return [[headers[index] for index in np.flatnonzero(codes == field)] for field in range(fields)]


def _places(headers: Group) -> tuple[Array, Array]:
    """Position along the normal, and where the first pixel lies along rows and columns, in mm."""
    first = headers[0]
    origins_mm = np.array([header.origin_mm for header in headers])
    return origins_mm @ np.array(first.normal), origins_mm @ np.array([first.row_direction, first.column_direction]).T


def _shears(first: Header, positions_mm: Array, offsets_mm: Array) -> Iterator[Array]:
    """What the shift in the plane per mm of position may be, if any: that of the table's way, or what positions say."""
    along_table = np.array([first.row_direction[2], first.column_direction[2]])
    from_positions = (_fitted(positions_mm, offsets_mm), _most_frequent(positions_mm, offsets_mm))
    for shear in (along_table / (first.normal[2] or np.inf), *from_positions):
        if np.abs(shear).max() <= _STEEPEST_SHEAR:
            yield shear


def _fitted(positions_mm: Array, offsets_mm: Array) -> Array:
    centered_mm = positions_mm - positions_mm.mean()
    return np.asarray(centered_mm @ offsets_mm / max(float(centered_mm @ centered_mm), SAME_POSITION_MM**2))


def _most_frequent(positions_mm: Array, offsets_mm: Array) -> Array:
    """What most neighbors have; at each place may lie images of several scans, each compared with all at the next."""
    order = np.argsort(positions_mm, kind="stable")
    starts = np.flatnonzero(np.diff(positions_mm[order]) >= SAME_POSITION_MM) + 1
    places = np.split(order, starts)
    votes: Counter[tuple[float, ...]] = Counter()
    for here, there in itertools.pairwise(places):
        pairs = np.array(list(itertools.product(here[:_MOST_PAIRS], there[:_MOST_PAIRS])))
        steps_mm = np.diff(positions_mm[pairs], axis=1)
        slopes = np.round(np.diff(offsets_mm[pairs], axis=1)[:, 0] / steps_mm, _SHEAR_DIGITS) + 0.0
        votes.update(set(map(tuple, slopes.tolist())))
    return np.array(max(votes, key=lambda slope: (votes[slope], slope), default=(0.0, 0.0)))


def _fields(residual_mm: Array, tolerance_mm: float) -> npt.NDArray[np.int_]:
    """Number the fields of view: images in one lie no further apart than `tolerance_mm` along rows and columns."""
    cells = np.column_stack([_cells(residual_mm[:, axis], tolerance_mm) for axis in range(2)])
    return np.asarray(np.unique(cells, axis=0, return_inverse=True)[1]).reshape(-1)


def _cells(values_mm: Array, tolerance_mm: float) -> npt.NDArray[np.int_]:
    order = np.argsort(values_mm, kind="stable")
    codes, first_mm, number = np.zeros(len(values_mm), dtype=np.int_), values_mm[order[0]], 0
    for index in order:
        if values_mm[index] - first_mm > tolerance_mm:
            first_mm, number = values_mm[index], number + 1
        codes[index] = number
    return codes
