"""What is in a folder, before anything is done with it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ldctpipe.data.scans import case_folders
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.series import Series
from ldctpipe.files import require_exists
from ldctpipe.volumes.case import read_case
from ldctpipe.volumes.nifti import is_nifti, read_nifti
from ldctpipe.volumes.volume import Acquisition, Volume

_COLUMNS = ("key", "kind", "modality", "slices", "pixels", "spacing/mm", "kernel", "kVp", "denoisable")


@dataclass(frozen=True)
class Finding:
    """One series: `refusal` says why it can't be denoised and is None where it can."""

    key: str
    kind: str
    modality: str
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float]
    kernel: str | None
    kvp: float | None
    refusal: str | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """The series in a folder, and how many files were left out for each reason."""

    series: tuple[Finding, ...]
    skipped: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """Return a table of the series, their warnings, and the files left out."""
        lines = _table([_COLUMNS, *(_cells(finding) for finding in self.series)])
        lines += [f"warning: {finding.key}: {text}" for finding in self.series for text in finding.warnings]
        lines += [f"skipped: {count} × {reason}" for reason, count in self.skipped.items()]
        return "\n".join(lines)


def inspect(path: Path, threads: int | None = None) -> Inspection:
    """Return what series are in `path` (DICOM, cases or NIfTI) and which can be denoised; of DICOM, reads headers only.

    Raises `InputError` where nothing in it is of use.
    """
    if require_exists(path).is_file() and is_nifti(path):
        return Inspection((_of_volume(read_nifti(path), "NIfTI"),), {})
    if path.is_dir() and (cases := case_folders(path)):
        return Inspection(tuple(_of_volume(read_case(case), "case") for case in cases), {})
    discovery = discover(path, threads)
    return Inspection(tuple(_of_series(series) for series in discovery.series), discovery.skipped_by_reason())


def _of_series(series: Series) -> Finding:
    shape = len(series.slices), series.rows, series.columns
    return _finding(series.key, "DICOM", shape, series, series.denoising_refusal)


def _of_volume(volume: Volume, kind: str) -> Finding:
    slices, rows, columns = volume.hu.shape
    return _finding(volume.key, kind, (slices, rows, columns), volume, None)


def _finding(key: str, kind: str, shape: tuple[int, int, int], source: Series | Volume, refusal: str | None) -> Finding:
    taken: Acquisition = source.acquisition
    return Finding(key, kind, "CT", *shape, source.spacing_mm, taken.kernel, taken.kvp, refusal, source.warnings)


def _cells(finding: Finding) -> tuple[str, ...]:
    return (
        finding.key,
        finding.kind,
        finding.modality,
        str(finding.slices),
        f"{finding.rows}×{finding.columns}",
        "×".join(f"{mm:.3g}" for mm in finding.spacing_mm),
        finding.kernel or "–",
        f"{finding.kvp:g}" if finding.kvp else "–",
        "yes" if finding.refusal is None else f"no: {finding.refusal}",
    )


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
