"""Headers to series: what belongs together, in which order, and what is there twice."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pydicom.uid import UID

from ldctpipe.dicom.copies import with_own_uids
from ldctpipe.dicom.geometry import geometry_warnings, ras_affine
from ldctpipe.dicom.headers import Header
from ldctpipe.dicom.kinds import split_by_kind
from ldctpipe.dicom.phases import in_slice_order, split_by_phase
from ldctpipe.dicom.rejection import COPY, SAME_POSITION, Rejection
from ldctpipe.dicom.series import KEY_DIGITS, Series, Slice, series_key
from ldctpipe.files import sha256_of_text
from ldctpipe.volumes.volume import Acquisition

Group = list[Header]
_LARGEST_INTEGER_STRING = 2**31 - 1  # PS3.5 §6.2, VR IS


def series_of(headers: Iterable[Header]) -> tuple[list[Series], list[tuple[Header, Rejection]]]:
    """Return the series that `headers` form, and the images that find no place in one, each with the reason.

    Images are grouped by SeriesInstanceUID and split where size, orientation, spacing, kernel, tube voltage or kind of
    image differ, and where they are several scans of one place. An image that finds no place is counted in the
    warnings of the series that has its UID or position. The result does not depend on the order of `headers`.
    """
    ordered = sorted(headers, key=lambda header: (header.series_uid, header.sop_uid, str(header.path)))
    patients = _patient_keys(ordered)
    found: list[Series] = []
    left_out: list[tuple[Header, Rejection]] = []
    for uid, members in itertools.groupby(ordered, key=lambda header: header.series_uid):
        unique, namesakes = with_own_uids(list(members))
        left_out += namesakes
        rivals = Counter(header.sop_uid for header, rejection in namesakes if rejection is not COPY)
        groups = [part for group in split_by_kind(unique) for part in split_by_phase(group)]
        for group in groups:
            part = group[0].sop_uid if len(groups) > 1 else ""
            kept, doubles = in_slice_order(group)
            left_out += [(header, SAME_POSITION) for header in doubles]
            losses = _losses(len(doubles), sum(rivals[header.sop_uid] for header in group))
            found.append(_series(uid, part, kept, patients[_patient(kept[0])], losses))
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
        patient = _patient(header)
        studies[patient] = min(studies.get(patient, header.study_uid), header.study_uid)
    return {patient: sha256_of_text(f"{patient}\0{study}")[:KEY_DIGITS] for patient, study in studies.items()}


def _patient(header: Header) -> str:
    """PatientID; where there is none, the study stands for its patient, so that strangers don't become one person."""
    return header.patient_id or f"study {header.study_uid or header.series_uid}"


def _losses(same_position: int, same_uid: int) -> tuple[str, ...]:
    """Sentences about images left out that may hold what no other image does."""
    counts = {"at the position of another slice": same_position, "with the UID of another slice": same_uid}
    return tuple(
        f"{count} {'image' if count == 1 else 'images'} {what} left out" for what, count in counts.items() if count
    )


def _series(uid: str, part: str, headers: Group, patient_key: str, losses: tuple[str, ...]) -> Series:
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
        description=first.series_description,
        transfer_syntaxes=tuple(sorted({UID(header.pixels.transfer_syntax_uid).name for header in headers})),
        is_denoised=first.is_denoised,
        warnings=(*geometry_warnings(headers), *losses),
    )


def _slice(header: Header) -> Slice:
    return Slice(header.path, header.sop_uid, header.position_mm, header.slope, header.intercept, header.pixels)


def _acquisition(headers: Group) -> Acquisition:
    taken = [header.acquisition for header in headers]
    currents = tuple(current for one in taken for current in one.tube_current_ma or ())
    exposures = tuple(exposure for one in taken for exposure in one.exposure_mas or ())
    return replace(taken[0], tube_current_ma=currents, exposure_mas=exposures)
