"""Cohort folders that are recognised: AAPM-Mayo 2016, TCIA, PATIENT/{low_dose,full_dose}, PATIENT/….dcm.

Names of folders decide where they say enough; headers are read for the kernel and thickness of AAPM-Mayo series and for
TCIA series in folders that are called by UIDs.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ldctpipe.dicom.attributes import Attributes
from ldctpipe.dicom.discovery import DICOM_SUFFIXES, files_below
from ldctpipe.dicom.opening import looks_like_dicom, may_be_dicom
from ldctpipe.dicom.rejection import Rejected
from ldctpipe.dicom.scanning import scan
from ldctpipe.errors import InputError
from ldctpipe.files import safe_name, walk
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


def patients_in(root: Path, mayo: MayoSeries, *, every_entry: bool = False) -> list[Found]:
    """Return the patients in `root`, sorted by name, in the first layout that fits.

    With `every_entry`, folders of `root` in which no scan is recognized count as patients too, and so do archives and
    NIfTI files beside the patients' folders: a denoised cohort lists the outcome of each. Raises
    `InputError` where no layout fits, the wanted reconstruction isn't there, a patient has two of a kind, or two
    patients would get one name.
    """
    root = root.resolve()
    unread: list[OSError] = []
    folders = sorted({file.parent for file in files_below(root, unread.append)})
    if not folders and not unread:
        raise InputError(root, "holds no files", "give a cohort folder or a samplesheet")
    for layout in (_mayo_scans, _tcia_scans, _dose_folders, _tcia_scans_by_header):
        if named := list(layout(root, folders, mayo)):
            found = _by_patient(root, named)
            break
    else:
        found = _plain_patients(root)
    return sorted([*found, *_other_entries(root, found)], key=lambda one: one.patient) if every_entry else found


def patient_in_path(scan: Path) -> str | None:
    """Return the patient's name in the path of one scan in a known layout; None in any other layout."""
    scan = scan.absolute()
    if _MAYO_SERIES.fullmatch(scan.name) or scan.name in (LOW, FULL):
        return scan.parent.name or None
    if _MAYO_SERIES.fullmatch(scan.parent.name):
        return scan.name
    return scan.parent.parent.name or None if _TCIA_SERIES.search(scan.name) else None


def is_public_number(patient_id: str) -> bool:
    """Tell whether a PatientID is the number that a public collection assigned (L506), which identifies nobody."""
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
    headers = [header for file in _files_in(folder) if (header := _header(file))]
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
        header = next((found for file in _files_in(folder) if (found := _header(file))), None)
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
    folders = [folder for folder in _subfolders(root) if _holds_scans(folder)]
    # beside folders of patients, a file that can't be read is more likely a table than an image
    is_one_patient = any(map(may_be_dicom if not folders else looks_like_dicom, _files_in(root)))
    found = _named(root, [(folder.name, None, folder) for folder in folders])
    if is_one_patient:
        return [Found(safe_name(root.name), None, root)]
    if not found:
        raise InputError(root, "holds no CT images in a known layout", "give a cohort folder or write a samplesheet")
    return found


def _refuse_mixed_doses(folder: Path) -> None:
    doses = {match["dose"].upper() for file in _files_in(folder) if (match := _MAYO_FILE.fullmatch(file.name))}
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
    found = _named(root, [(name, of.get(LOW), of.get(FULL)) for name, of in folders.items()])
    return sorted(found, key=lambda one: one.patient)


def _named(root: Path, scans: Sequence[tuple[str, Path | None, Path | None]]) -> list[Found]:
    """Patients under names that folders can have; raises `InputError` if two would get one name."""
    owners: dict[str, str] = {}
    for name, _, _ in scans:
        other = owners.setdefault(safe_name(name).casefold(), name)
        if other != name:
            fault = f"the patients {other!r} and {name!r} would both be named {safe_name(name)} in results"
            if safe_name(other) != safe_name(name):
                fault = f"the names of the patients {other!r} and {name!r} differ only in capitals"
            raise InputError(root, fault, "rename one of the two folders")
    return [Found(safe_name(name), low_dose, full_dose) for name, low_dose, full_dose in scans]


def _other_entries(root: Path, found: Sequence[Found]) -> list[Found]:
    """Other entries of `root` than the scans of `found`, under names that none of them has."""
    scans = [scan for one in found for scan in (one.low_dose, one.full_dose) if scan]
    if root in scans:
        return []
    entries = [*filter(_is_no_known_series, _subfolders(root)), *filter(_is_scan_file, _files_in(root))]
    others = [entry for entry in entries if not any(scan.is_relative_to(entry) for scan in scans)]
    named = _named(
        root,
        [(one.patient, one.low_dose, one.full_dose) for one in found]
        + [(entry.name if entry.is_dir() else _stem(entry), None, entry) for entry in others],
    )
    return named[len(found) :]


def _is_no_known_series(folder: Path) -> bool:
    """Tell whether a folder is not one of AAPM-Mayo's, of which only the selected reconstruction is used."""
    inner = (Path(parent).name for parent, _, _ in walk(folder))
    return not any(map(_MAYO_SERIES.fullmatch, inner))


def _is_scan_file(file: Path) -> bool:
    return is_nifti(file) or file.suffix.lower() in (*DICOM_SUFFIXES, ".zip")


def _stem(file: Path) -> str:
    return re.sub(r"(\.nii)?\.\w+$", "", file.name)


def _files_in(folder: Path) -> list[Path]:
    """The files directly in a folder, including broken links; none if the folder can't be listed."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - names only, which is enough to sort
    except OSError:
        return []
    return [folder / name for name in names if not os.path.isdir(folder / name)]  # noqa: PTH112 - never raises


def _subfolders(root: Path) -> list[Path]:
    folders = (path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(folder for folder in folders if not _holds_results(folder) and not _holds_truth(folder))


def _holds_results(folder: Path) -> bool:
    """Tell whether an earlier run wrote its results into the cohort's own folder."""
    return os.path.isdir(folder / "pipeline_info" / "patients")  # noqa: PTH112 - never raises


def _holds_truth(folder: Path) -> bool:
    """Tell whether `ldctpipe phantom` wrote the folder beside its simulated patients."""
    return folder.name == "truth" and os.path.isfile(folder.parent / "phantom.json")  # noqa: PTH113 - never raises


def _holds_scans(folder: Path) -> bool:
    """Tell whether a folder has a scan of any kind, or what its name says is one; stops at the first."""
    if not os.path.isdir(folder):  # noqa: PTH112 - never raises
        return False
    unread: list[OSError] = []
    return any(map(_is_scan, files_below(folder, unread.append))) or bool(unread)


def _is_scan(file: Path) -> bool:
    # a damaged file counts by its name, and an unreadable one in any case: without it, its patient would silently be
    # missing
    return file.name == "case.json" or file.suffix.lower() in DICOM_SUFFIXES or is_nifti(file) or may_be_dicom(file)
