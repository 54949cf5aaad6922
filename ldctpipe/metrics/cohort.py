"""Which denoised, full-dose and low-dose scans belong together: one patient, or folders by patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ldctpipe.data.layouts import FULL, LOW, MayoSeries, patients_in
from ldctpipe.data.samplesheet import read_sheet
from ldctpipe.errors import InputError
from ldctpipe.files import read_object, require_exists
from ldctpipe.volumes.case import is_case

_UNNAMED_METHOD = "denoised"
_MANIFEST = "manifest.json"


@dataclass(frozen=True)
class PatientScans:
    """Where the three scans of one patient lie, and which model denoised."""

    patient: str
    denoised: Path
    full_dose: Path
    low_dose: Path
    method: str
    model: dict[str, Any]


def patients_of(denoised: Path, reference: Path, low_dose: Path) -> tuple[list[PatientScans], list[str]]:
    """Return the scans of each patient, and a warning for each patient that has to be left out.

    `denoised` is one series or holds a folder a patient. `reference` and `low_dose` are each one series, a samplesheet,
    a cohort in a known layout, or hold a folder of the same name a patient, in which `full_dose` and `low_dose` are
    looked for first. Raises `InputError` when something does not exist or no patient is in all three.
    """
    for path in (denoised, reference, low_dose):
        require_exists(path)
    folders = [denoised] if _is_one_patient(denoised) else _subfolders(denoised)
    full, low = _scans_by_patient(reference, FULL), _scans_by_patient(low_dose, LOW)
    kept = [
        _scans(folder, full[folder.name], low[folder.name])
        for folder in folders
        if {folder.name} <= full.keys() & low.keys()
    ]
    if not kept and len(folders) == 1:
        return [_scans(folders[0], _inside(reference, FULL), _inside(low_dose, LOW))], []
    if not kept:
        names = ", ".join(folder.name for folder in folders[:5])
        raise InputError(
            denoised, f"none of its patients ({names}) is in {reference} and {low_dose}", "name their folders alike"
        )
    left_out = [folder.name for folder in folders if folder.name not in {scans.patient for scans in kept}]
    return kept, [f"Patient {name} was denoised but lacks a full or a low dose to compare with." for name in left_out]


def _is_one_patient(path: Path) -> bool:
    if path.is_file() or is_case(path):
        return True
    return any(p.is_file() and p.suffix != ".json" and not p.name.startswith(".") for p in path.iterdir())


def _subfolders(path: Path) -> list[Path]:
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise InputError(path, "holds no denoised scan", "give the output folder of `ldctpipe denoise`")
    return folders


def _scans_by_patient(root: Path, dose: str) -> dict[str, Path]:
    if root.suffix.lower() == ".csv":
        rows = ((row.patient, getattr(row, dose)) for row in read_sheet(root))
        return {patient: scan for patient, scan in rows if scan is not None}
    if not root.is_dir():
        return {}
    plain = {folder.name: _inside(folder, dose) for folder in root.iterdir() if folder.is_dir()}
    return plain | _in_known_layout(root, dose)


def _in_known_layout(root: Path, dose: str) -> dict[str, Path]:
    try:
        found = patients_in(root, MayoSeries())
    except InputError:
        return {}  # one scan, or folders that only their names tell apart
    scans = ((one.patient, getattr(one, dose)) for one in found)
    return {patient: scan for patient, scan in scans if scan is not None}


def _inside(folder: Path, dose: str) -> Path:
    return folder / dose if (folder / dose).is_dir() else folder


def _scans(folder: Path, full_dose: Path, low_dose: Path) -> PatientScans:
    model = _model(folder)
    name = folder.name or folder.resolve().name
    return PatientScans(name, folder, full_dose, low_dose, str(model.get("name") or _UNNAMED_METHOD), model)


def _model(folder: Path) -> dict[str, Any]:
    for manifest in (folder / _MANIFEST, folder.parent / _MANIFEST):
        if manifest.is_file():
            model = read_object(manifest, "a manifest of `ldctpipe denoise`").get("model")
            return model if isinstance(model, dict) else {}
    return {}


def refuse_mixed_models(patients: Sequence[PatientScans]) -> str:
    """Return the one method name of all patients, or raise `InputError` when several models denoised them."""
    first = patients[0]
    for other in patients[1:]:
        if (other.method, other.model.get("sha256")) != (first.method, first.model.get("sha256")):
            raise InputError(
                other.denoised, f"was denoised by another model than {first.denoised}", "evaluate each model apart"
            )
    return first.method
