"""The scans of a cohort by patient, what stands for the files of each, and how large each is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ldctpipe.data.samplesheet import rows_of_cohort
from ldctpipe.dicom.archives import is_zip
from ldctpipe.dicom.discovery import files_below, survey
from ldctpipe.errors import InputError, reading
from ldctpipe.files import real_path, require_exists, sha256_of_text
from ldctpipe.inference.job import OutputForm
from ldctpipe.volumes.nifti import is_nifti

_LINKED = "ldctpipe-linked"  # a folder with a link to a scan whose name Nextflow can't stage (workflows/staging.nf)
_BYTES_A_SLICE = 512 * 512 * 2
_COMPRESSION = 2  # of archives and of .nii.gz, roughly


@dataclass(frozen=True)
class Scan:
    """One patient of a cohort, by the name in the results, and the path of the scan to denoise.

    `number` is the patient's position in the cohort, from 1, and `source` the name there, which may differ.
    """

    patient: str
    path: Path
    number: int = 0
    source: str = ""


@dataclass(frozen=True)
class Size:
    """How much work a scan is, from headers; of archives and NIfTI, `slices` is an estimate from the bytes."""

    series: int
    slices: int
    bytes: int


def scans_of_cohort(
    cohort: Path, patients: Sequence[str] = (), form: OutputForm | None = None, *, without: Path | None = None
) -> list[Scan]:
    """Return the scan of each patient: the low dose where there are two doses, else the only one.

    `cohort` is a cohort folder in a known layout, of which every folder is there, or a samplesheet. With `patients`, it
    is a folder with a numbered folder for each of them in this order (1, 2, …), which holds nothing but the scan. A
    `form` that removes identity gives each patient another name. What lies below `without`, where results go, is no
    patient. Raises `InputError` where that is not so, and what `rows_of_cohort` raises.
    """
    if patients:
        named = [(patient, _staged_scan(cohort / str(number))) for number, patient in enumerate(patients, 1)]
        results = None  # staged scans may lie in the task's folder, where its results go
    else:
        rows = rows_of_cohort(cohort, every_entry=True)
        named = [(row.patient, path) for row in rows if (path := row.low_dose or row.full_dose)]
        results = real_path(without) if without else None
    return [
        Scan(form.published_name(name) if form else name, path, number, name)
        for number, (name, path) in enumerate(named, 1)
        if not results or not real_path(path).is_relative_to(results)
    ]


def _staged_scan(folder: Path) -> Path:
    scan = _only_entry(folder)
    return _only_entry(scan) if scan.name == _LINKED else scan


def _only_entry(folder: Path) -> Path:
    entries = list(require_exists(folder).iterdir())
    if len(entries) != 1:
        raise InputError(folder, f"holds {len(entries)} entries and not the scan alone", "put one scan into it")
    return entries[0]


def scan_digest(scan: Scan, form: OutputForm) -> str:
    """Return what stands for all files of a scan, whatever they are: their names, sizes and times; reads none."""
    files = sorted(files_below(scan.path)) if os.path.isdir(scan.path) else [scan.path]  # noqa: PTH112 - never raises
    told = [_told(file, scan.path) for file in files]
    digest = sha256_of_text("\n".join(told))
    return form.deidentifier.uid(digest) if form.deidentifier else digest


def _told(file: Path, root: Path) -> str:
    name = ascii(str(file.relative_to(root))) if file != root else file.suffix
    try:
        status = file.stat()
    except OSError:  # a link to nowhere
        return f"{name} gone"
    return f"{name} {status.st_size} {status.st_mtime_ns}"


def scan_size(scan: Scan, threads: int | None = None) -> Size:
    """Return how large a scan is; one that can't be used has no series."""
    try:
        with reading(scan.path):
            return _size(scan.path, threads)
    except InputError:
        return Size(0, 0, 0)


def _size(path: Path, threads: int | None) -> Size:
    files = list(files_below(path)) if path.is_dir() else [path]
    size_bytes = sum(file.stat().st_size for file in files if file.is_file())
    if path.is_file() and is_zip(path):
        return Size(1, _estimated_slices(size_bytes * _COMPRESSION), size_bytes)
    if volumes := [file for file in files if is_nifti(file)]:
        factor = _COMPRESSION if volumes[0].suffix == ".gz" else 1
        return Size(len(volumes), _estimated_slices(size_bytes * factor), size_bytes)
    try:
        series = survey(path, threads).series
    except InputError:
        return Size(0, 0, size_bytes)
    return Size(len(series), sum(len(one.slices) for one in series), size_bytes)


def _estimated_slices(size_bytes: int) -> int:
    return max(1, round(size_bytes / _BYTES_A_SLICE))
