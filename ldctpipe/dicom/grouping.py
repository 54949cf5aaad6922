"""Headers to series: what belongs together, in which order, and what is there twice."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from pydicom.uid import UID

from ldctpipe.dicom.copies import with_own_uids, without_copies
from ldctpipe.dicom.fields_of_view import split_by_field_of_view
from ldctpipe.dicom.geometry import geometry_warnings, ras_affine
from ldctpipe.dicom.headers import Header
from ldctpipe.dicom.kinds import split_by_kind
from ldctpipe.dicom.phases import acquisition_warning, doubles, places_taken_twice, split_by_phase
from ldctpipe.dicom.protocols import Part, frame_of, split_by_protocol
from ldctpipe.dicom.rejection import (
    COPY,
    MOVING_FIELD_OF_VIEW,
    ONE_UID_FOR_ALL,
    SAME_UID_OTHER_PIXELS,
    Rejection,
    several_scans,
)
from ldctpipe.dicom.series import KEY_DIGITS, Series, Slice, series_key
from ldctpipe.files import sha256_of_text
from ldctpipe.volumes.stack_shape import plane_warning
from ldctpipe.volumes.volume import Acquisition

Group = list[Header]
Misfit = tuple[Header, Rejection]

_LARGEST_INTEGER_STRING = 2**31 - 1  # PS3.5 §6.2, VR IS


def series_of(headers: Iterable[Header]) -> tuple[list[Series], list[tuple[Header, Rejection]]]:
    """Return the series that `headers` form, and the images that find no place in one, each with the reason.

    Images are grouped by SeriesInstanceUID and split where size, orientation, spacing, field of view, kernel, tube
    voltage, frame of reference or kind of image differ, and if they are several scans of one region. Images of
    several scans that can't be distinguished form a series that is refused. An image in no series is counted in the
    warnings of the series that has its UID. The result does not depend on the order of `headers`.
    """
    ordered = sorted(headers, key=lambda header: (header.series_uid, header.sop_uid, str(header.path)))
    patients = _patient_keys(ordered)
    found: list[Series] = []
    left_out: list[tuple[Header, Rejection]] = []
    for uid, members in itertools.groupby(ordered, key=lambda header: header.series_uid):
        images, namesakes = with_own_uids(list(members))
        parts, misfits = _parts(images, namesakes)
        left_out += misfits
        rivals = Counter(header.sop_uid for header, rejection in misfits if rejection is not COPY)
        for part in parts:
            name = part.headers[0].sop_uid if len(parts) > 1 else ""
            losses = _losses(sum(rivals[header.sop_uid] for header in part.headers))
            ordered_part = replace(part, headers=sorted(part.headers, key=lambda header: header.position_mm))
            found.append(_series(uid, name, ordered_part, patients[_patient(part.headers[0])], losses))
    return sorted(_with_derived_numbers(found), key=lambda series: series.key), left_out


def _parts(images: Group, namesakes: Sequence[tuple[Header, Rejection]]) -> tuple[list[Part], list[Misfit]]:
    """The volumes that the images of one SeriesInstanceUID form, and the images that are in none of them."""
    rivals = [header for header, rejection in namesakes if rejection is not COPY]
    if len(rivals) >= len(images):
        copies = [(header, rejection) for header, rejection in namesakes if rejection is COPY]
        return [Part(sorted([*images, *rivals], key=_name), refusal=ONE_UID_FOR_ALL)], copies
    parts: list[Part] = []
    copies = []
    for kind in split_by_kind(images):
        for part in split_by_protocol(kind):
            fields = [part.headers] if part.refusal else split_by_field_of_view(part.headers)
            if fields is None:
                parts.append(replace(part, refusal=MOVING_FIELD_OF_VIEW))
                continue
            for field in fields:
                scans, copies_of_field = ([field], []) if part.refusal else _scans(field)
                copies += copies_of_field
                parts += [_judged(replace(part, headers=scan), namesakes) for scan in scans]
    return parts, [*namesakes, *copies]


def _scans(headers: Group) -> tuple[list[Group], list[Misfit]]:
    """The scans in `headers`; positions occur twice only if neither headers nor pixels distinguish the images."""
    scans: list[Group] = []
    copies: list[Misfit] = []
    for scan in split_by_phase(headers):
        unique = without_copies(scan) if doubles(scan) else scan
        kept = {id(header) for header in unique}
        copies += [(header, COPY) for header in scan if id(header) not in kept]
        scans += split_by_phase(unique) if len(unique) < len(scan) else [scan]
    return scans, copies


def _judged(part: Part, namesakes: Sequence[tuple[Header, Rejection]]) -> Part:
    """The part with a refusal where one of its places is that of several images."""
    if part.refusal:
        return part
    uids = {header.sop_uid for header in part.headers}
    disputed = sum(header.sop_uid in uids for header, rejection in namesakes if rejection is SAME_UID_OTHER_PIXELS)
    if places := disputed + places_taken_twice(part.headers):
        return replace(part, refusal=several_scans(places))
    numbering = acquisition_warning(part.headers)
    return replace(part, warnings=(*part.warnings, *numbering))


def _name(header: Header) -> tuple[str, str]:
    return header.sop_uid, str(header.path)


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


def _losses(same_uid: int) -> tuple[str, ...]:
    """A sentence about images left out that may hold what no other image does."""
    images = "1 image" if same_uid == 1 else f"{same_uid} images"
    return (f"{images} with the UID of another slice left out",) if same_uid else ()


def _series(uid: str, name: str, part: Part, patient_key: str, losses: tuple[str, ...]) -> Series:
    headers, first = part.headers, part.headers[0]
    affine = ras_affine(headers[:1] if part.refusal else headers)
    geometry = () if part.refusal else (*geometry_warnings(headers), *plane_warning(affine))
    return Series(
        key=series_key(uid, name),
        uid=uid,
        study_uid=first.study_uid,
        frame_of_reference_uid=frame_of(headers),
        patient_key=patient_key,
        slices=tuple(_slice(header) for header in headers),
        rows=first.rows,
        columns=first.columns,
        affine=affine,
        acquisition=_acquisition(headers),
        patient_id=first.patient_id,
        number=first.series_number,
        description=first.series_description,
        transfer_syntaxes=tuple(sorted({UID(header.pixels.transfer_syntax_uid).name for header in headers})),
        is_denoised=first.is_denoised,
        warnings=(*geometry, *part.warnings, *losses),
        refusal=part.refusal,
    )


def _slice(header: Header) -> Slice:
    return Slice(header.path, header.sop_uid, header.position_mm, header.slope, header.intercept, header.pixels)


def _acquisition(headers: Group) -> Acquisition:
    taken = [header.acquisition for header in headers]
    currents = tuple(current for one in taken for current in one.tube_current_ma or ())
    exposures = tuple(exposure for one in taken for exposure in one.exposure_mas or ())
    kernel = next((one.kernel for one in taken if one.kernel), None)
    kvp = next((one.kvp for one in taken if one.kvp is not None), None)
    return replace(taken[0], kernel=kernel, kvp=kvp, tube_current_ma=currents, exposure_mas=exposures)
