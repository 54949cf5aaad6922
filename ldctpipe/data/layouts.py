"""Cohort folders that are recognised: AAPM-Mayo 2016, TCIA, PATIENT/{low_dose,full_dose}, PATIENT/….dcm."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ldctpipe.dicom.discovery import files_below
from ldctpipe.dicom.opening import looks_like_dicom
from ldctpipe.errors import InputError
from ldctpipe.volumes.nifti import is_nifti

LOW, FULL = "low_dose", "full_dose"

# quarter_3mm/L506/quarter_3mm/*.IMA and L506/quarter_3mm/*.IMA; sharp kernels in …_sharp or below a folder named … D45
_MAYO_SERIES = re.compile(r"(?P<dose>full|quarter)_(?P<thickness>[13]mm)(_\w+)?", re.IGNORECASE)
_MAYO_SHARP = re.compile(r"d45|sharp", re.IGNORECASE)
# PATIENT/DATE-STUDY/1.000000-Low Dose Images-12345/*.dcm (doi 10.7937/9npb-2637)
_TCIA_SERIES = re.compile(r"(?P<dose>low|full) dose images", re.IGNORECASE)
_DOSES = {"low": LOW, "quarter": LOW, "full": FULL}


@dataclass(frozen=True)
class MayoSeries:
    """Which of the AAPM-Mayo reconstructions to take: slice thickness (3mm, 1mm) and kernel (B30, D45)."""

    thickness: str = "3mm"
    kernel: str = "B30"


@dataclass(frozen=True)
class Found:
    """The scans of one patient in a cohort folder."""

    patient: str
    low_dose: Path | None
    full_dose: Path | None


def patients_in(root: Path, mayo: MayoSeries) -> list[Found]:
    """Return the patients in `root`, sorted by name, in the first layout that fits.

    Raises `InputError` where no layout fits, the wanted reconstruction isn't there, or a patient has two of a kind.
    """
    root = root.resolve()
    folders = sorted({file.parent for file in files_below(root)})
    if not folders:
        raise InputError(root, "holds no files", "give a cohort folder or a samplesheet")
    named = list(_mayo_scans(root, folders, mayo)) or list(_tcia_scans(root, folders)) or list(_dose_folders(root))
    return _by_patient(root, named) if named else _plain_patients(root)


Scan = tuple[str, str, Path]  # patient, dose, folder


def _mayo_scans(root: Path, folders: list[Path], mayo: MayoSeries) -> Iterator[Scan]:
    scans = [scan for folder in folders if (scan := _mayo_scan(root, folder))]
    wanted = [(patient, dose, folder) for patient, dose, folder, series in scans if series == mayo]
    if scans and not wanted:
        there = ", ".join(sorted({f"{series.thickness} {series.kernel}" for *_, series in scans}))
        raise InputError(root, f"holds no {mayo.thickness} {mayo.kernel} series, only {there}", "ask for one of those")
    yield from wanted


def _mayo_scan(root: Path, folder: Path) -> tuple[str, str, Path, MayoSeries] | None:
    parts = folder.relative_to(root).parts
    if inner := _MAYO_SERIES.fullmatch(folder.name) if parts else None:
        match, patient = inner, folder.parent.name
    elif outer := _MAYO_SERIES.fullmatch(folder.parent.name) if len(parts) > 1 else None:
        match, patient = outer, folder.name
    else:
        return None
    kernel = "D45" if any(_MAYO_SHARP.search(part) for part in parts) else "B30"
    return patient, _DOSES[match["dose"].lower()], folder, MayoSeries(match["thickness"].lower(), kernel)


def _tcia_scans(root: Path, folders: list[Path]) -> Iterator[Scan]:
    for folder in folders:
        match = _TCIA_SERIES.search(folder.name)
        if match and len(folder.relative_to(root).parts) >= 2:
            study = folder.parent
            yield study.parent.name, _DOSES[match["dose"].lower()], folder


def _dose_folders(root: Path) -> Iterator[Scan]:
    for patient in [root, *_subfolders(root)]:
        for dose in (LOW, FULL):
            if _holds_scans(patient / dose):
                yield patient.name, dose, patient / dose


def _plain_patients(root: Path) -> list[Found]:
    """A folder a patient with the full dose only; or, where images lie in `root` itself, one patient."""
    found = [Found(_safe(folder.name), None, folder) for folder in _subfolders(root) if _holds_scans(folder)]
    if any(looks_like_dicom(file) for file in root.iterdir() if file.is_file()):
        return [Found(_safe(root.name), None, root)]
    if not found:
        raise InputError(root, "holds no CT images in a known layout", "give a cohort folder or write a samplesheet")
    return found


def _by_patient(root: Path, scans: list[Scan]) -> list[Found]:
    folders: dict[str, dict[str, Path]] = defaultdict(dict)
    for patient, dose, folder in scans:
        if dose in folders[patient]:
            fault = f"patient {patient} has two {dose} series ({folders[patient][dose].name} and {folder.name})"
            raise InputError(root, fault, "write a samplesheet that names one")
        folders[patient][dose] = folder
    found = [Found(_safe(name), of.get(LOW), of.get(FULL)) for name, of in folders.items()]
    return sorted(found, key=lambda one: one.patient)


def _safe(name: str) -> str:
    """A patient's name that can be a folder's: what is odd in a file name becomes "_"."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".-") or "_"


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _holds_scans(folder: Path) -> bool:
    """Tell whether a folder has a scan of any kind that can be read; stops at the first."""
    if not folder.is_dir():
        return False
    return any(file.name == "case.json" or is_nifti(file) or looks_like_dicom(file) for file in files_below(folder))
