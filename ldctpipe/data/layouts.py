"""Cohort folders that are recognised: AAPM-Mayo 2016, TCIA, PATIENT/{low_dose,full_dose}, PATIENT/….dcm.

Names of folders decide where they say enough; headers are read for the kernel and thickness of AAPM-Mayo series and for
TCIA series in folders that are called by UIDs.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ldctpipe.dicom.attributes import Attributes
from ldctpipe.dicom.discovery import DICOM_SUFFIXES, files_below
from ldctpipe.dicom.opening import looks_like_dicom
from ldctpipe.dicom.rejection import Rejected
from ldctpipe.dicom.scanning import scan
from ldctpipe.errors import InputError
from ldctpipe.files import safe_name
from ldctpipe.volumes.nifti import is_nifti

LOW, FULL = "low_dose", "full_dose"

# quarter_3mm/L506/quarter_3mm/*.IMA and L506/quarter_3mm/*.IMA; sharp kernels in …_sharp or below a folder named … D45.
# Where headers name the kernel, they are believed.
_MAYO_SERIES = re.compile(r"(?P<dose>full|quarter)_(?P<thickness>[13]mm)(_\w+)?", re.IGNORECASE)
_MAYO_SHARP = re.compile(r"d45|sharp", re.IGNORECASE)
_MAYO_KERNEL = re.compile(r"(?P<kernel>B30|D45).?")
# L506_QD_3_1.CT.0001.0001.2015.12.22.20.19.39.34094.358074219.IMA
_MAYO_FILE = re.compile(r"\w+_(?P<dose>QD|FD)_[13]_\d.*\.ima", re.IGNORECASE)
# PATIENT/DATE-STUDY/1.000000-Low Dose Images-12345/*.dcm (doi 10.7937/9npb-2637)
_TCIA_SERIES = re.compile(r"(?P<dose>low|full) dose images", re.IGNORECASE)
_TCIA_PATIENT = re.compile(r"[CLN]\d{3}")  # the collection's public number, no patient's
_HEADER_KEYWORDS = ("SpecificCharacterSet", "ConvolutionKernel", "SliceThickness", "SeriesDescription", "PatientID")
_THICKNESS_TOLERANCE_MM = 0.05
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
    for layout in (_mayo_scans, _tcia_scans, _dose_folders, _tcia_scans_by_header):
        if named := list(layout(root, folders, mayo)):
            return _by_patient(root, named)
    return _plain_patients(root)


def patient_in_path(scan: Path) -> str | None:
    """Return what the path of one scan in a known layout calls the patient; None where it is in no such layout."""
    scan = scan.absolute()
    if _MAYO_SERIES.fullmatch(scan.name) or scan.name in (LOW, FULL):
        return scan.parent.name or None
    if _MAYO_SERIES.fullmatch(scan.parent.name):
        return scan.name
    return scan.parent.parent.name or None if _TCIA_SERIES.search(scan.name) else None


def is_public_number(patient_id: str) -> bool:
    """Tell whether a PatientID is the number that a public collection gave (L506), and so no patient's."""
    return _TCIA_PATIENT.fullmatch(patient_id) is not None


Scan = tuple[str, str, Path]  # patient, dose, folder


def _mayo_scans(root: Path, folders: list[Path], mayo: MayoSeries) -> Iterator[Scan]:
    named = [found for folder in folders if (found := _mayo_folder(root, folder))]
    known = [(found, kernel) for found in named for kernel in _mayo_kernels(root, found)]
    wanted = [found for found, kernel in known if (found.thickness, kernel) == (mayo.thickness, mayo.kernel)]
    if named and not wanted:
        there = ", ".join(sorted({f"{found.thickness} {kernel}" for found, kernel in known}))
        raise InputError(root, f"holds no {mayo.thickness} {mayo.kernel} series, only {there}", "ask for one of those")
    for found in wanted:
        _refuse_mixed_series(found)
        yield found.patient, found.dose, found.folder


@dataclass(frozen=True)
class _MayoFolder:
    """A folder whose name says that it has one series of AAPM-Mayo; `kernels` and thicknesses are the headers'."""

    patient: str
    dose: str
    thickness: str
    folder: Path
    kernels: frozenset[str]
    thicknesses_mm: frozenset[float]


def _mayo_folder(root: Path, folder: Path) -> _MayoFolder | None:
    parts = folder.relative_to(root).parts
    if inner := _MAYO_SERIES.fullmatch(folder.name) if parts else None:
        match, patient = inner, folder.parent.name
    elif outer := _MAYO_SERIES.fullmatch(folder.parent.name) if len(parts) > 1 else None:
        match, patient = outer, folder.name
    else:
        return None
    kernels, thicknesses_mm = _kernels_and_thicknesses(folder)
    return _MayoFolder(
        patient, _DOSES[match["dose"].lower()], match["thickness"].lower(), folder, kernels, thicknesses_mm
    )


def _kernels_and_thicknesses(folder: Path) -> tuple[frozenset[str], frozenset[float]]:
    """What the headers in a folder say, each of them: two series can lie mixed in one folder."""
    headers = [header for file in folder.iterdir() if file.is_file() and (header := _header(file))]
    kernels = {header.text("ConvolutionKernel") for header in headers} - {""}
    thicknesses_mm = {mm for header in headers if (mm := header.number("SliceThickness"))}
    return frozenset(kernels), frozenset(thicknesses_mm)


def _header(file: Path) -> Attributes | None:
    try:
        return scan(file, _HEADER_KEYWORDS).attributes
    except Rejected:
        return None


def _mayo_kernels(root: Path, found: _MayoFolder) -> set[str]:
    """B30 or D45, from the headers where they say so, else from the names of the folders."""
    told = {match["kernel"] for kernel in found.kernels if (match := _MAYO_KERNEL.fullmatch(kernel))}
    is_sharp = any(_MAYO_SHARP.search(part) for part in found.folder.relative_to(root).parts)
    return told or {"D45" if is_sharp else "B30"}


def _refuse_mixed_series(found: _MayoFolder) -> None:
    if len(found.kernels) > 1:
        fault = f"holds images of the kernels {' and '.join(sorted(found.kernels))} together"
        raise InputError(found.folder, fault, "move each kernel into a folder of its own, the sharp one named …_sharp")
    wanted_mm = float(found.thickness.removesuffix("mm"))
    if any(abs(mm - wanted_mm) > _THICKNESS_TOLERANCE_MM for mm in found.thicknesses_mm):
        there = " and ".join(f"{mm:g}" for mm in sorted(found.thicknesses_mm))
        raise InputError(found.folder, f"holds slices of {there} mm in spite of its name", "name it by its thickness")


def _tcia_scans(root: Path, folders: list[Path], _: MayoSeries) -> Iterator[Scan]:
    for folder in folders:
        match = _TCIA_SERIES.search(folder.name)
        if match and len(folder.relative_to(root).parts) >= 2:
            study = folder.parent
            yield study.parent.name, _DOSES[match["dose"].lower()], folder


def _tcia_scans_by_header(_root: Path, folders: list[Path], _: MayoSeries) -> Iterator[Scan]:
    """Folders named by UIDs, as downloaders make them: SeriesDescription has the dose, PatientID the public number."""
    for folder in folders:
        header = next((found for file in sorted(folder.iterdir()) if file.is_file() and (found := _header(file))), None)
        match = _TCIA_SERIES.search(header.text("SeriesDescription")) if header else None
        if header and match and _TCIA_PATIENT.fullmatch(patient := header.text("PatientID")):
            yield patient, _DOSES[match["dose"].lower()], folder


def _dose_folders(root: Path, _folders: list[Path], _: MayoSeries) -> Iterator[Scan]:
    for patient in [root, *_subfolders(root)]:
        for dose in (LOW, FULL):
            if _holds_scans(patient / dose):
                yield patient.name, dose, patient / dose


def _plain_patients(root: Path) -> list[Found]:
    """A folder a patient with the full dose only; or, where images lie in `root` itself, one patient."""
    for folder in [root, *_subfolders(root)]:
        _refuse_mixed_doses(folder)
    found = [Found(safe_name(folder.name), None, folder) for folder in _subfolders(root) if _holds_scans(folder)]
    if any(looks_like_dicom(file) for file in root.iterdir() if file.is_file()):
        return [Found(safe_name(root.name), None, root)]
    if not found:
        raise InputError(root, "holds no CT images in a known layout", "give a cohort folder or write a samplesheet")
    return found


def _refuse_mixed_doses(folder: Path) -> None:
    doses = {match["dose"].upper() for file in folder.iterdir() if (match := _MAYO_FILE.fullmatch(file.name))}
    if "QD" in doses:
        fault = "holds quarter-dose images (…_QD_…) in a folder whose name doesn't say so"
        raise InputError(folder, fault, "move them to PATIENT/quarter_3mm, and full dose (…_FD_…) to PATIENT/full_3mm")


def _by_patient(root: Path, scans: list[Scan]) -> list[Found]:
    folders: dict[str, dict[str, Path]] = defaultdict(dict)
    for patient, dose, folder in scans:
        if dose in folders[patient]:
            both = " and ".join(str(one.relative_to(root)) for one in (folders[patient][dose], folder))
            fault = f"patient {patient} has two {dose} series ({both})"
            raise InputError(root, fault, "write a samplesheet that names one")
        folders[patient][dose] = folder
    found = [Found(safe_name(name), of.get(LOW), of.get(FULL)) for name, of in folders.items()]
    return sorted(found, key=lambda one: one.patient)


def _subfolders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _holds_scans(folder: Path) -> bool:
    """Tell whether a folder has a scan of any kind, or what its name says is one; stops at the first."""
    return folder.is_dir() and any(map(_is_scan, files_below(folder)))


def _is_scan(file: Path) -> bool:
    # a damaged file counts by its name: left out here, its patient would be missing without a word
    return file.name == "case.json" or file.suffix.lower() in DICOM_SUFFIXES or is_nifti(file) or looks_like_dicom(file)
