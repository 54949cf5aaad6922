"""Which images of one UID are of one kind: of a size, orientation, spacing and type."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

from ldctpipe.dicom.headers import Header

Group = list[Header]

_DIRECTION_TOLERANCE = 1e-3
_SPACING_TOLERANCE = 1e-3
# Weights that give most orientations sums of their own; those of one kind lie no further apart than a cell is wide.
_DIRECTION_WEIGHTS = (1.0, 0.83, 0.71, 0.59, 0.47, 0.37)
_DIRECTION_CELL = 1.01 * _DIRECTION_TOLERANCE * sum(_DIRECTION_WEIGHTS)
_SPACING_CELL = 1.01 * _SPACING_TOLERANCE  # of the logarithm


def split_by_kind(headers: Sequence[Header]) -> list[Group]:
    """Return `headers` grouped by kind; each image joins the first group whose first image is of its kind.

    Only groups in cells beside its own are looked at, so thousands of images of different kinds take no time.
    """
    groups: list[Group] = []
    cells: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for header in headers:
        kind, (direction, spacing) = _kind(header), _cell(header)
        near = itertools.product((direction - 1, direction, direction + 1), (spacing - 1, spacing, spacing + 1))
        candidates = sorted(number for cell in near for number in cells.get((kind, *cell), ()))
        home = next((number for number in candidates if same_kind(groups[number][0], header)), None)
        if home is not None:
            groups[home].append(header)
            continue
        cells[kind, direction, spacing].append(len(groups))
        groups.append([header])
    return groups


def same_kind(first: Header, second: Header) -> bool:
    """Tell whether two images may be slices of one volume, as far as their headers say without their positions."""
    row_mm, column_mm = first.pixel_spacing_mm
    return (
        _kind(first) == _kind(second)
        and _is_close(first.row_direction, second.row_direction, _DIRECTION_TOLERANCE)
        and _is_close(first.column_direction, second.column_direction, _DIRECTION_TOLERANCE)
        and _is_close(first.pixel_spacing_mm, second.pixel_spacing_mm, _SPACING_TOLERANCE * min(row_mm, column_mm))
    )


def _cell(header: Header) -> tuple[int, int]:
    directions = (*header.row_direction, *header.column_direction)
    place = sum(weight * value for weight, value in zip(_DIRECTION_WEIGHTS, directions, strict=True))
    return math.floor(place / _DIRECTION_CELL), math.floor(math.log(header.pixel_spacing_mm[0]) / _SPACING_CELL)


def _is_close(first: Sequence[float], second: Sequence[float], tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(first, second, strict=True))


def _kind(header: Header) -> tuple[object, ...]:
    taken = header.acquisition
    return (
        header.patient_id,
        header.study_uid,
        header.rows,
        header.columns,
        taken.image_type[:3],
        header.is_denoised,
    )
