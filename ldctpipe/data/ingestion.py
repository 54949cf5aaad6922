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
from ldctpipe.volumes.volume import HuArray, Volume

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
    remedies: set[str] = set()
    with new_folder(cases, overwrite=overwrite, inputs=[source]) as folder:
        for found in track(discovery.series, "ingest", "series"):
            series = deidentifier.series(found) if deidentifier else found
            try:
                identity = _identity(series, keep_identifiers)
                warnings = _ingest_series(series, folder / series.key, threads, discovery, identity)
                for warning in warnings[len(series.warnings) :]:  # what only the pixels show
                    warn(f"series {series.key}: {warning}")
                written.append(replace(series, warnings=warnings))
            except ReadError:
                raise
            except InputError as error:
                refused[series.key] = error.fault
                remedies.add(error.remedy)
        if not written:
            fault = f"has no series that can be read ({'; '.join(sorted(set(refused.values())))})"
            raise InputError(source, fault, " and ".join(sorted(remedies)))
        write_json(folder / "ingest.json", _description(discovery, written, refused, keep_identifiers))
    damaged_files = sum(skip.is_fault for skip in discovery.skipped)
    return Ingestion(tuple(series.key for series in written), refused, discovery.skipped_by_reason(), damaged_files)


def _ingest_series(
    series: Series, folder: Path, threads: int | None, discovery: Discovery, identity: dict[str, str]
) -> tuple[str, ...]:
    """Write one series as a case and return its warnings; its volume is released on return."""
    volume = _whole_hu(read_volume(series, threads))
    folder.mkdir()
    write_case(folder, volume, skipped=discovery.skipped_by_reason(), **identity)
    return volume.warnings


def _identity(series: Series, keep_identifiers: bool) -> dict[str, str]:
    return {"patient_id": series.patient_id} if keep_identifiers else {}


def _whole_hu(volume: Volume) -> Volume:
    """Int16 HU for the disk, with a warning where that rounds what a fractional rescale slope gave."""
    if volume.hu.dtype == np.int16:
        return volume
    whole, largest_hu = _round_in_place(volume)
    warning = f"HU rounded to whole numbers (at most {largest_hu:.2g} HU)"
    return replace(volume, hu=whole, warnings=(*volume.warnings, warning))


def _round_in_place(volume: Volume) -> tuple[HuArray, float]:
    """Return int16 HU in the memory of the volume's float32 HU, and the largest change of a measured value.

    Each slice moves into the memory of slices that were rounded before, so no second volume is allocated.
    """
    whole = volume.hu.reshape(-1).view(np.int16)[: volume.hu.size].reshape(volume.hu.shape)
    largest_hu = 0.0
    for index in range(len(volume.hu)):
        exact = volume.hu[index].copy()
        whole[index] = np.rint(exact).clip(_INT16.min, _INT16.max)
        change = np.abs(whole[index] - exact)
        measured = change if volume.padding is None else change[~volume.padding[index]]
        largest_hu = max(largest_hu, float(measured.max(initial=0)))
    return whole, largest_hu


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
