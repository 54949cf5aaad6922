"""Raw DICOM to cases: one folder a series with its HU and its description."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ldctpipe import __version__
from ldctpipe.dicom.deidentification import Deidentifier
from ldctpipe.dicom.discovery import Discovery, discover_all
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series
from ldctpipe.errors import InputError, ReadError
from ldctpipe.files import new_folder, refuse_occupied, write_json
from ldctpipe.progress import track, warn
from ldctpipe.volumes.case import write_case
from ldctpipe.volumes.volume import Volume

FORMAT = "ldctpipe-ingest@1"
_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Ingestion:
    """What became of a folder: keys of the cases written, series refused with the reason, files left out by reason."""

    cases: tuple[str, ...]
    refused: dict[str, str]
    skipped: dict[str, int]
    damaged_files: int


def ingest(
    source: Path,
    cases: Path,
    *,
    threads: int | None = None,
    overwrite: bool = False,
    deidentifier: Deidentifier | None = None,
    keep_identifiers: bool = False,
) -> Ingestion:
    """Write each CT series in `source` as the case `cases/<key>` and `cases/ingest.json`, and return what became of it.

    `cases` appears whole or not at all; a series that can't be read doesn't keep the others from being written. Keys
    and UIDs go through `deidentifier`; with `keep_identifiers`, descriptions hold the PatientID. Raises `ReadError`
    where something can't be read now, `InputError` where `source` holds no usable CT series, or `cases` holds files and
    `overwrite` is not given, and `UsageError` where `cases` would take the place of `source`.
    """
    refuse_occupied(cases, overwrite=overwrite, inputs=[source])  # before the time it takes to read every header
    discovery = discover_all(source, threads, without=cases)
    written: list[Series] = []
    refused: dict[str, str] = {}
    with new_folder(cases, overwrite=overwrite, inputs=[source]) as folder:
        for found in track(discovery.series, "ingest", "series"):
            series = deidentifier.series(found) if deidentifier else found
            try:
                volume = _whole_hu(read_volume(series, threads))
                _write(folder / series.key, volume, discovery, _identity(series, keep_identifiers))
                for warning in volume.warnings[len(series.warnings) :]:  # what only the pixels show
                    warn(f"series {series.key}: {warning}")
                written.append(replace(series, warnings=volume.warnings))
            except ReadError:
                raise
            except InputError as error:
                refused[series.key] = error.fault
        if not written:
            fault = f"has no series that can be read ({'; '.join(sorted(set(refused.values())))})"
            raise InputError(source, fault, "export the series again")
        write_json(folder / "ingest.json", _description(discovery, written, refused, keep_identifiers))
    damaged_files = sum(skip.is_fault for skip in discovery.skipped)
    return Ingestion(tuple(series.key for series in written), refused, discovery.skipped_by_reason(), damaged_files)


def _write(folder: Path, volume: Volume, discovery: Discovery, identity: dict[str, str]) -> None:
    folder.mkdir()
    write_case(folder, volume, skipped=discovery.skipped_by_reason(), **identity)


def _identity(series: Series, keep_identifiers: bool) -> dict[str, str]:
    return {"patient_id": series.patient_id} if keep_identifiers else {}


def _whole_hu(volume: Volume) -> Volume:
    """Int16 HU for the disk, with a warning where that rounds what a fractional rescale slope gave."""
    if volume.hu.dtype == np.int16:
        return volume
    whole = np.rint(volume.hu).clip(_INT16.min, _INT16.max).astype(np.int16)
    largest_hu = float(np.abs(whole[volume.measured()] - volume.hu[volume.measured()]).max())
    warning = f"HU rounded to whole numbers (at most {largest_hu:.2g} HU)"
    return replace(volume, hu=whole, warnings=(*volume.warnings, warning))


def _description(
    discovery: Discovery, written: list[Series], refused: dict[str, str], keep_identifiers: bool
) -> dict[str, object]:
    series = [
        {
            "key": one.key,
            "patient": one.patient_key,
            "slices": len(one.slices),
            "spacing_mm": list(one.spacing_mm),
            "warnings": list(one.warnings),
            **_identity(one, keep_identifiers),
        }
        for one in written
    ]
    return {
        "format": FORMAT,
        "ldctpipe": __version__,
        "series": series,
        "refused": refused,
        "skipped": discovery.skipped_by_reason(),
    }
