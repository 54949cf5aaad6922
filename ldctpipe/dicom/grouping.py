"""Headers to series: what belongs together, in which order, and what is there twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pydicom.uid import UID

from ldctpipe.dicom.geometry import at_same_position, geometry_warnings, ras_affine
from ldctpipe.dicom.headers import Header
from ldctpipe.dicom.rejection import COPY, SAME_POSITION, SAME_UID, Rejection
from ldctpipe.dicom.series import KEY_DIGITS, Series, Slice, series_key
from ldctpipe.files import sha256_of_text
from ldctpipe.volumes.volume import Acquisition

Group = list[Header]
_DIRECTION_TOLERANCE = 1e-3
_SPACING_TOLERANCE = 1e-3
_LARGEST_INTEGER_STRING = 2**31 - 1  # PS3.5 §6.2, VR IS

# What tells phases under one UID apart, tried in this order. None of them splits a series without two images at one
# position: scanners count acquisitions, and vary the tail of ImageType and the slice thickness, along one scan.
_PHASE_ATTRIBUTES: tuple[Callable[[Header], str], ...] = (
    lambda header: header.temporal_position,
    lambda header: header.acquisition_number,
    lambda header: "\\".join(header.acquisition.image_type),
)


def series_of(headers: Iterable[Header]) -> tuple[list[Series], list[tuple[Header, Rejection]]]:
    """Return the series that `headers` form, and the images that find no place in one, each with the reason.

    Images are grouped by SeriesInstanceUID and split where size, orientation, spacing, kernel, tube voltage or kind of
    image differ, and where one position is taken twice. The result does not depend on the order of `headers`.
    """
    ordered = sorted(headers, key=lambda header: (header.series_uid, header.sop_uid, str(header.path)))
    patients = _patient_keys(ordered)
    found: list[Series] = []
    left_out: list[tuple[Header, Rejection]] = []
    for uid, members in itertools.groupby(ordered, key=lambda header: header.series_uid):
        unique, namesakes = _with_own_uids(list(members))
        left_out += namesakes
        groups = [part for group in _split_by_kind(unique) for part in _split_by_phase(group)]
        for group in groups:
            part = group[0].sop_uid if len(groups) > 1 else ""
            kept, doubles = _in_slice_order(group)
            left_out += [(header, SAME_POSITION) for header in doubles]
            found.append(_series(uid, part, kept, patients[kept[0].patient_id]))
    return sorted(_with_derived_numbers(found), key=lambda series: series.key), left_out


def _with_derived_numbers(found: Sequence[Series]) -> list[Series]:
    """Give each series the number of what may be made from it: no two series of a study share one."""
    taken: dict[str, set[int]] = {}
    for series in found:
        taken.setdefault(series.study_uid, set()).add(series.number or 0)
    numbered = []
    for series in sorted(found, key=lambda series: (series.number or 0, series.key)):
        first = (series.number or 0) * 100 + 1
        wanted = itertools.chain(range(first, _LARGEST_INTEGER_STRING + 1), itertools.count(1))
        number = next(number for number in wanted if number not in taken[series.study_uid])
        taken[series.study_uid].add(number)
        numbered.append(replace(series, derived_number=number))
    return numbered


def _patient_keys(headers: Sequence[Header]) -> dict[str, str]:
    """A key for each PatientID, salted with a UID: patient numbers are short enough to be guessed from a bare hash."""
    studies: dict[str, str] = {}
    for header in headers:
        studies[header.patient_id] = min(studies.get(header.patient_id, header.study_uid), header.study_uid)
    return {patient: sha256_of_text(f"{patient}\0{study}")[:KEY_DIGITS] for patient, study in studies.items()}


def _with_own_uids(headers: Group) -> tuple[Group, list[tuple[Header, Rejection]]]:
    """Images with a UID of their own, and the others: copies, or, where they lie elsewhere, what careless copying made.

    The latter can't be used beside their namesake: what is derived from the two would have one UID again.
    """
    first: dict[str, Header] = {}
    others = [header for header in headers if first.setdefault(header.sop_uid, header) is not header]
    return list(first.values()), [
        (header, COPY if _at_same_place(first[header.sop_uid], header) else SAME_UID) for header in others
    ]


def _at_same_place(first: Header, second: Header) -> bool:
    return _same_kind(first, second) and at_same_position(first.position_mm, second.position_mm)


def _split_by_kind(headers: Group) -> list[Group]:
    groups: list[Group] = []
    for header in headers:
        home = next((group for group in groups if _same_kind(group[0], header)), None)
        if home is None:
            groups.append([header])
        else:
            home.append(header)
    return groups


def _same_kind(first: Header, second: Header) -> bool:
    row_mm, column_mm = first.pixel_spacing_mm
    return (
        _kind(first) == _kind(second)
        and _is_close(first.row_direction, second.row_direction, _DIRECTION_TOLERANCE)
        and _is_close(first.column_direction, second.column_direction, _DIRECTION_TOLERANCE)
        and _is_close(first.pixel_spacing_mm, second.pixel_spacing_mm, _SPACING_TOLERANCE * min(row_mm, column_mm))
    )


def _is_close(first: Sequence[float], second: Sequence[float], tolerance: float) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(first, second, strict=True))


def _kind(header: Header) -> tuple[object, ...]:
    taken = header.acquisition
    return (
        header.patient_id,
        header.study_uid,
        header.rows,
        header.columns,
        header.frame_of_reference_uid,
        taken.kernel,
        taken.kvp,
        taken.image_type[:3],
        header.is_denoised,
    )


def _split_by_phase(headers: Group) -> list[Group]:
    if not _in_slice_order(headers)[1]:
        return [headers]
    for attribute in _PHASE_ATTRIBUTES:
        phases = [list(group) for _, group in itertools.groupby(sorted(headers, key=attribute), key=attribute)]
        if not any(_in_slice_order(phase)[1] for phase in phases):
            return phases
    return [headers]


def _in_slice_order(headers: Group) -> tuple[Group, Group]:
    """Slices by position, and those whose position another one holds already."""
    kept: Group = []
    doubles: Group = []
    for header in sorted(headers, key=lambda header: (header.position_mm, header.sop_uid)):
        taken = bool(kept) and at_same_position(kept[-1].position_mm, header.position_mm)
        (doubles if taken else kept).append(header)
    return kept, doubles


def _series(uid: str, part: str, headers: Group, patient_key: str) -> Series:
    first = headers[0]
    return Series(
        key=series_key(uid, part),
        uid=uid,
        study_uid=first.study_uid,
        frame_of_reference_uid=first.frame_of_reference_uid,
        patient_key=patient_key,
        slices=tuple(_slice(header) for header in headers),
        rows=first.rows,
        columns=first.columns,
        affine=ras_affine(headers),
        acquisition=_acquisition(headers),
        patient_id=first.patient_id,
        number=first.series_number,
        transfer_syntaxes=tuple(sorted({UID(header.pixels.transfer_syntax_uid).name for header in headers})),
        is_denoised=first.is_denoised,
        warnings=geometry_warnings(headers),
    )


def _slice(header: Header) -> Slice:
    return Slice(header.path, header.sop_uid, header.position_mm, header.slope, header.intercept, header.pixels)


def _acquisition(headers: Group) -> Acquisition:
    taken = [header.acquisition for header in headers]
    currents = tuple(current for one in taken for current in one.tube_current_ma or ())
    exposures = tuple(exposure for one in taken for exposure in one.exposure_mas or ())
    return replace(taken[0], tube_current_ma=currents, exposure_mas=exposures)
