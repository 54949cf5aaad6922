"""Which series a scan is and which it was made from, by UIDs and checksums, for folders whose names differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ldctpipe.data.scans import case_folders
from ldctpipe.dicom.attributes import Attributes
from ldctpipe.dicom.discovery import files_below
from ldctpipe.dicom.rejection import Rejected
from ldctpipe.dicom.scanning import scan
from ldctpipe.dicom.series import KEY_DIGITS, series_key
from ldctpipe.errors import InputError
from ldctpipe.files import read_json, read_object, sha256_of_file
from ldctpipe.volumes.nifti import is_nifti

MANIFEST = "manifest.json"
_FORMAT_START = "ldctpipe-denoised@"
_KEYWORDS = (
    "SpecificCharacterSet",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "PatientID",
    "ReferencedSeriesSequence",
    "Exposure",
    "XRayTubeCurrent",
)


@dataclass(frozen=True)
class ScanOrigin:
    """The keys of a scan's series and of those it was made from, its studies and patients.

    `exposure_mas` and `tube_current_ma` are the largest values of the headers that were read; None without any.
    """

    series: frozenset[str] = frozenset()
    sources: frozenset[str] = frozenset()
    studies: frozenset[str] = frozenset()
    patient_ids: frozenset[str] = frozenset()
    exposure_mas: float | None = None
    tube_current_ma: float | None = None


def origin_of(path: Path) -> ScanOrigin:
    """Return the origin of a DICOM or NIfTI file, a case, or a folder of any of these; empty if it is unknown.

    Reads one header of each folder, which is one of each series in all layouts that keep series apart.
    """
    sources = {entry["key"] for entry in manifest_of(path).get("series", [])}
    if path.is_dir() and (cases := case_folders(path)):
        keys = {str(read_object(case / "case.json", "a case description").get("key")) for case in cases}
        return ScanOrigin(frozenset(keys), frozenset(sources))
    if path.is_file() and is_nifti(path):
        return ScanOrigin(frozenset({sha256_of_file(path)[:KEY_DIGITS]}), frozenset(sources))
    headers = list(_headers(path))
    for header in headers:
        sources |= {series_key(uid) for uid in header.texts_of_items("ReferencedSeriesSequence", "SeriesInstanceUID")}
    return ScanOrigin(
        frozenset(series_key(header.text("SeriesInstanceUID")) for header in headers),
        frozenset(sources),
        frozenset(header.text("StudyInstanceUID") for header in headers) - {""},
        frozenset(header.text("PatientID") for header in headers) - {""},
        *(_largest(headers, keyword) for keyword in ("Exposure", "XRayTubeCurrent")),
    )


def _largest(headers: Sequence[Attributes], keyword: str) -> float | None:
    return max((number for header in headers if (number := header.number(keyword)) is not None), default=None)


def _headers(path: Path) -> Iterator[Attributes]:
    """The first readable DICOM header of each folder."""
    files = [path] if path.is_file() else files_below(path)
    for _, siblings in groupby(files, key=lambda file: file.parent):
        for file in sorted(siblings):
            try:
                yield scan(file, _KEYWORDS).attributes
            except Rejected:
                continue
            break


def manifest_of(path: Path) -> dict[str, Any]:
    """Return the manifest of `ldctpipe denoise` for the scan at `path`; empty without one.

    Raises `InputError` if its series are damaged. A manifest.json of another program is skipped.
    """
    for manifest in (path.with_name(f"{path.name}.{MANIFEST}"), path / MANIFEST, path.parent / MANIFEST):
        if manifest.is_file() and (content := _of_denoise(manifest)):
            if not _has_series(content):
                raise InputError(manifest, "is a damaged manifest", "remove it, or denoise the scan again")
            return content
    return {}


def _of_denoise(manifest: Path) -> dict[str, Any]:
    try:
        content = read_json(manifest, "a manifest of `ldctpipe denoise`")
    except InputError:
        return {}
    return content if isinstance(content, dict) and str(content.get("format")).startswith(_FORMAT_START) else {}


def _has_series(manifest: dict[str, Any]) -> bool:
    series = manifest.get("series")
    return isinstance(series, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("key"), str) and isinstance(entry.get("files", {}), dict)
        for entry in series
    )
