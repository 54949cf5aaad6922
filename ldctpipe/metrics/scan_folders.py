"""Scans by patient: which parts of a folder, file or samplesheet belong to a patient, and the patient's name there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ldctpipe.data.layouts import MayoSeries, patients_in
from ldctpipe.data.samplesheet import read_sheet
from ldctpipe.data.scans import nifti_files
from ldctpipe.dicom.discovery import DICOM_SUFFIXES
from ldctpipe.dicom.opening import looks_like_dicom
from ldctpipe.errors import InputError
from ldctpipe.volumes.case import is_case
from ldctpipe.volumes.nifti import is_nifti

# Additions of file names to the patient's name: nnU-Net's channel, and the usual words for the role.
_DOSE = r"(low|full|quarter|half|normal|routine|standard)([_-]?dose)?"
_ROLE = rf"(0000|denoised|(ld|fd|nd|qd|sd)(ct)?|{_DOSE})"
_ROLE_BEHIND = re.compile(rf"(?i)[._-]{_ROLE}$")
_ROLE_BEFORE = re.compile(rf"(?i)^{_ROLE}[._-]")


@dataclass(frozen=True)
class ScansByPatient:
    """Scans by the patient's name.

    `in_layout` are those of a sheet or a known layout, which are patients for certain; `by_name` has every subfolder
    too. `splits` is what a sheet says. All are empty for a single scan.
    """

    by_name: dict[str, Path] = field(default_factory=dict)
    in_layout: dict[str, Path] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)

    def name_like(self, name: str) -> str | None:
        """Return the name that is `name`, or the only one that differs from it in the role and capitals alone."""
        if name in self.by_name:
            return name
        alike = [each for each in self.by_name if bare_name(each).casefold() == bare_name(name).casefold()]
        return alike[0] if len(alike) == 1 else None


def denoised_scans(path: Path) -> dict[str, Path]:
    """Return the denoised scans by the name of their file or folder; raises `InputError` where there are none.

    One scan is a file, a case, or a folder that has images directly in it; several are a folder with a folder a
    patient, or with NIfTI files and no other images, each of which is a patient's. Of the results of a cohort or a
    pipeline it is what lies in `denoised`.
    """
    if (path / "pipeline_info").is_dir() and (path / "denoised").is_dir():
        path = path / "denoised"
    if files := _files_of_patients(path):
        return {nifti_name(file): file for file in files}
    if path.is_file():
        return {nifti_name(path) if is_nifti(path) else path.name: path}
    if is_case(path) or _holds_images(path):
        return {path.name or path.resolve().name: path}
    folders = _subfolders(path)
    if not folders:
        raise InputError(path, "holds no denoised scan", "give the output folder of `ldctpipe denoise`")
    return {folder.name: folder for folder in folders}


def dose_scans(root: Path, dose: str) -> ScansByPatient:
    """Return the scans of one dose in a samplesheet, a cohort in a known layout, or a folder with a folder a patient.

    In the latter a folder called after the dose is looked for first.
    """
    if root.suffix.lower() == ".csv":
        rows = read_sheet(root)
        scans = {row.patient: scan for row in rows if (scan := getattr(row, dose)) is not None}
        return ScansByPatient(scans, scans, {row.patient: row.split for row in rows})
    if files := _files_of_patients(root):
        named = {nifti_name(file): file for file in files}
        return ScansByPatient(named, named)
    if not root.is_dir() or is_case(root):
        return ScansByPatient()
    known = _in_known_layout(root, dose)
    plain = {folder.name: inside(folder, dose) for folder in _subfolders(root)}
    return ScansByPatient(plain | known, known)


def inside(folder: Path, dose: str) -> Path:
    """Return the folder of one dose in a patient's folder; the folder itself where there is none."""
    return folder / dose if (folder / dose).is_dir() else folder


def nifti_name(file: Path) -> str:
    """Return the name of a NIfTI file without its ending."""
    return re.sub(r"(?i)\.nii(\.gz)?$", "", file.name)


def bare_name(name: str) -> str:
    """Return `name` without what names of files add to that of the patient: `P1_low_dose`, `P1_0000` are `P1`."""
    bare = name
    for role in (_ROLE_BEHIND, _ROLE_BEFORE):
        while (shorter := role.sub("", bare)) not in ("", bare):
            bare = shorter
    return bare


def _files_of_patients(path: Path) -> list[Path]:
    """The NIfTI files of a folder that holds several and no DICOM or case beside them."""
    if not path.is_dir() or is_case(path):
        return []
    files = nifti_files(path)
    return files if len(files) > 1 and not any(map(_is_dicom, path.iterdir())) else []


def _holds_images(folder: Path) -> bool:
    return bool(nifti_files(folder)) or any(map(_is_dicom, folder.iterdir()))


def _is_dicom(path: Path) -> bool:
    is_candidate = path.is_file() and not path.name.startswith(".") and not is_nifti(path)
    return is_candidate and (path.suffix.lower() in DICOM_SUFFIXES or looks_like_dicom(path))


def _subfolders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _in_known_layout(root: Path, dose: str) -> dict[str, Path]:
    try:
        found = patients_in(root, MayoSeries())
    except InputError:
        return {}  # one scan, or folders that only their names tell apart
    scans = ((one.patient, getattr(one, dose)) for one in found)
    return {patient: scan for patient, scan in scans if scan is not None}
