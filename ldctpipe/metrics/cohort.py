"""Which denoised, full-dose and low-dose scans belong together: one patient, or several by name or origin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ldctpipe.data.layouts import FULL, LOW, is_public_number, patient_in_path
from ldctpipe.data.scan_origin import ScanOrigin, manifest_of, origin_of
from ldctpipe.errors import InputError, UsageError
from ldctpipe.files import real_path, require_exists
from ldctpipe.metrics.scan_folders import ScansByPatient, bare_name, denoised_scans, dose_scans, inside

_UNNAMED_METHOD = "denoised"
_NAMED = 5
_NOT_FOR_TEST = ("train", "validation")


@dataclass(frozen=True)
class PatientScans:
    """Where the three scans of one patient lie, and which model denoised."""

    patient: str
    denoised: Path
    full_dose: Path
    low_dose: Path
    method: str
    model: dict[str, Any]


@dataclass(frozen=True)
class EvaluatedCohort:
    """The patients to measure, those left out with the reason of each, and what is to be warned of."""

    patients: list[PatientScans]
    left_out: dict[str, str]
    warnings: list[str]


def patients_of(denoised: Path, reference: Path, low_dose: Path, patient: str | None = None) -> EvaluatedCohort:
    """Return the scans of each patient, and which patients have to be left out.

    `denoised`, `reference` and `low_dose` are each one scan, NIfTI files or folders of the same name a patient; the
    latter two can be a samplesheet or a cohort in a known layout, too. Scans with different names are matched by their
    source: the series and study UIDs in headers and manifest, or the checksum of the NIfTI source.
    `patient` names the one patient there is. Raises `InputError` when something does not exist, no patient is in all
    three, or two denoised scans are of one patient.
    """
    for path in (denoised, reference, low_dose):
        require_exists(path)
    scans = denoised_scans(denoised)
    full, low = dose_scans(reference, FULL), dose_scans(low_dose, LOW)
    if patient is not None and len(scans) > 1:
        fault = f"--patient names one patient, and {denoised} holds {len(scans)} denoised scans"
        raise UsageError(None, fault, "give the folder of one patient")
    if patient is not None and patient in full.by_name and patient in low.by_name:
        (scan,) = scans.values()
        return _cohort([_patient(patient, scan, full.by_name[patient], low.by_name[patient])], {}, full, low)
    find = _Finder(full, low)
    found = {name: find(name, scan) for name, scan in scans.items()}
    kept = [_patient(patient or match[0], scans[name], *match[1:]) for name, match in found.items() if match]
    if not kept and len(scans) == 1:
        kept = [_only_patient(next(iter(scans.values())), reference, low_dose, full, low, patient)]
        return EvaluatedCohort(kept, {}, [])
    if not kept:
        raise _nobody(denoised, reference, low_dose, list(scans), find)
    _refuse_twice(kept)
    without = {name: "lacks a full or a low dose to compare with" for name, match in found.items() if not match}
    return _cohort(kept, without, full, low)


def _cohort(
    kept: list[PatientScans], without: dict[str, str], full: ScansByPatient, low: ScansByPatient
) -> EvaluatedCohort:
    warnings = [f"Patient {name} was denoised but {reason}." for name, reason in without.items()]
    measured = {scans.patient for scans in kept}
    used = {real_path(path) for scans in kept for path in (scans.full_dose, scans.low_dose)}
    known = full.in_layout | low.in_layout | dict.fromkeys(full.splits | low.splits)
    absent = [
        name for name, path in known.items() if name not in measured and (not path or real_path(path) not in used)
    ]
    splits = low.splits | full.splits
    training = [name for name in absent if splits.get(name) in _NOT_FOR_TEST]
    missing = [name for name in absent if name not in training]
    if missing:
        warnings.append(f"{len(missing)} patient(s) were not denoised and are left out: {', '.join(sorted(missing))}.")
    if known_to_it := sorted(name for name in measured if splits.get(name) in _NOT_FOR_TEST):
        names = ", ".join(f"{name} ({splits[name]})" for name in known_to_it)
        warnings.append(f"The samplesheet has patients that are measured here for another split than test: {names}.")
    left_out = {name: "was denoised but " + reason for name, reason in without.items()}
    left_out |= dict.fromkeys(missing, "was not denoised")
    left_out |= {name: f"is for {splits[name]} and was not denoised" for name in training}
    return EvaluatedCohort(kept, left_out, warnings)


class _Finder:
    """Finds a denoised scan's patient: by name, by source series, by study, by PatientID."""

    def __init__(self, full: ScansByPatient, low: ScansByPatient) -> None:
        self.full, self.low = full, low
        self._origin: Callable[[Path], ScanOrigin] = cache(origin_of)

    def __call__(self, name: str, scan: Path) -> tuple[str, Path, Path] | None:
        """Return the patient's name, full-dose and low-dose scan; None where nothing tells them."""
        in_full, in_low = self.full.name_like(name), self.low.name_like(name)
        if not (in_full and in_low):
            in_low = self._by_origin(scan, self.low)
            in_full = in_low and (self.full.name_like(in_low) or self._by_origin(scan, self.full))
        if not (in_full and in_low):
            return None
        called = in_full if in_full == in_low else bare_name(in_full)
        return called, self.full.by_name[in_full], self.low.by_name[in_low]

    def _by_origin(self, scan: Path, among: ScansByPatient) -> str | None:
        """The only one among the scans from which `scan` was made, or that shares its study, or else its patient."""
        own = self._origin(scan)
        # Beside patients, subfolders can be whole arms of a cohort, which have something in common with each of them.
        candidates = among.in_layout or among.by_name
        origins = {name: self._origin(path) for name, path in candidates.items()}
        for shared in (
            lambda other: own.sources & other.series,
            lambda other: own.studies & other.studies,
            lambda other: own.patient_ids & other.patient_ids,
        ):
            found = [name for name, other in origins.items() if shared(other)]
            if len(found) == 1:
                return found[0]
        return None

    def patients_in(self, scans: ScansByPatient) -> list[str]:
        """Return the names if they are certainly of several patients; none if subfolders may be series of one."""
        shared = [name for name in self.full.in_layout if self.low.name_like(name) in self.low.in_layout]
        if scans.splits or len(shared) > 1:
            return list(scans.in_layout)
        ids = [self._origin(path).patient_ids for path in scans.in_layout.values()]
        return list(scans.in_layout) if all(ids) and len(set(ids)) > 1 else []


def _only_patient(
    scan: Path,
    reference: Path,
    low_dose: Path,
    full: ScansByPatient,
    low: ScansByPatient,
    patient: str | None,
) -> PatientScans:
    """The one denoised scan with the one full and low dose there are; raises `InputError` where there are several."""
    find = _Finder(full, low)
    for root, scans in ((reference, full), (low_dose, low)):
        names = find.patients_in(scans)
        if len(names) > 1 or scans.splits:
            fault = f"holds {len(names)} patients ({_listed(names)}), and nothing shows which of them {scan} is"
            raise InputError(root, fault, "name the patient with --patient, or give that patient's scan")
    of_full = next(iter(full.in_layout.values()), reference) if len(full.in_layout) == 1 else inside(reference, FULL)
    of_low = next(iter(low.in_layout.values()), low_dose) if len(low.in_layout) == 1 else inside(low_dose, LOW)
    return _patient(patient or _name_of_only(scan, of_full, of_low), scan, of_full, of_low)


def _name_of_only(scan: Path, full_dose: Path, low_dose: Path) -> str:
    """What both paths, or both headers by a collection's public number, call the patient; else the denoised name."""
    by_path = {patient_in_path(path) for path in (full_dose, low_dose)}
    if len(by_path) == 1 and (name := by_path.pop()):
        return name
    ids = origin_of(full_dose).patient_ids | origin_of(low_dose).patient_ids
    if len(ids) == 1 and is_public_number(next(iter(ids))):
        return next(iter(ids))
    return next(iter(denoised_scans(scan)))


def _nobody(denoised: Path, reference: Path, low_dose: Path, names: Sequence[str], find: _Finder) -> InputError:
    fault = f"none of its patients ({_listed(names)}) is in {reference} and {low_dose}, by name or by UID"
    known = sorted(name for name in find.full.by_name if find.low.name_like(name))
    if known:
        return InputError(denoised, fault, f"give its folders or files the names used there ({_listed(known)})")
    return InputError(denoised, fault, "use the same names for a patient's folders or files in all three")


def _refuse_twice(kept: Sequence[PatientScans]) -> None:
    first: dict[str, PatientScans] = {}
    for scans in kept:
        if (other := first.setdefault(scans.patient, scans)) is not scans:
            fault = f"is of patient {scans.patient}, as {other.denoised} is"
            raise InputError(scans.denoised, fault, "evaluate one of them at a time")


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _patient(name: str, denoised: Path, full_dose: Path, low_dose: Path) -> PatientScans:
    model = manifest_of(denoised).get("model")
    model = model if isinstance(model, dict) else {}
    return PatientScans(name, denoised, full_dose, low_dose, str(model.get("name") or _UNNAMED_METHOD), model)


def refuse_mixed_models(patients: Sequence[PatientScans]) -> str:
    """Return the one method name of all patients, or raise `InputError` when several models denoised them."""
    first = patients[0]
    for other in patients[1:]:
        if (other.method, other.model.get("sha256")) != (first.method, first.model.get("sha256")):
            raise InputError(
                other.denoised, f"was denoised by another model than {first.denoised}", "evaluate each model apart"
            )
    return first.method
