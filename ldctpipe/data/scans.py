"""Scans of any kind to volumes: DICOM, ingested cases, NIfTI."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from ldctpipe.dicom.discovery import Discovery, discover, discover_all, files_below
from ldctpipe.dicom.reading import read_volume
from ldctpipe.dicom.series import Series, series_key
from ldctpipe.errors import InputError
from ldctpipe.files import require_exists
from ldctpipe.progress import warn
from ldctpipe.volumes.case import is_case, read_case
from ldctpipe.volumes.nifti import even_positions_mm, is_nifti, nifti_grid, read_nifti, refuse_image_pair
from ldctpipe.volumes.volume import HuArray, Volume

_NAMED_FILES = 3


def load_volumes(path: Path, threads: int | None = None) -> list[Volume]:
    """Return the volumes in `path`, in an order that depends on its content only.

    `path` is a DICOM file, folder or zip archive, a case folder, a folder with cases anywhere below it, a NIfTI file or
    a folder of NIfTI files. Where a folder holds several kinds, cases come before NIfTI and NIfTI before DICOM. Raises
    `InputError` where nothing in it can be used, and `ReadError` where something in it can't be read now: what is made
    of a volume would lack its slices for good.
    """
    refuse_image_pair(require_exists(path))
    if path.is_dir() and (cases := case_folders(path)):
        return [read_case(folder) for folder in cases]
    if images := nifti_files(path):
        return [read_nifti(image) for image in images]
    discovery = discover_all(path, threads)
    _warn_of_faults(path, discovery)
    return [_read(path, series, threads) for series in _volumes_of(path, discovery)]


def _volumes_of(path: Path, discovery: Discovery) -> list[Series]:
    """The series that are volumes, with a warning about the others; all if there are none, so that reading raises."""
    volumes = [series for series in discovery.series if not series.refusal]
    for series in discovery.series if volumes else ():
        if series.refusal:
            warn(f"{path}: left out series {series.key}: {series.refusal.reason}; {series.refusal.remedy}")
    return volumes or list(discovery.series)


def _read(path: Path, series: Series, threads: int | None) -> Volume:
    """Read a series, with a warning about faults in its pixels; `inspect` reports those in headers."""
    volume = read_volume(series, threads)
    for warning in volume.warnings[len(series.warnings) :]:
        warn(f"{path}: series {series.key}: {warning}")
    return volume


def _warn_of_faults(path: Path, discovery: Discovery) -> None:
    """Name the files that should have been in a volume and can't be: damaged ones, doubles of a position."""
    files: dict[str, list[Path]] = defaultdict(list)
    for skip in discovery.skipped:
        if skip.is_fault:
            files[skip.reason].append(skip.path)
    for reason, left_out in files.items():
        names = ", ".join(map(str, left_out[:_NAMED_FILES])) + (", …" if len(left_out) > _NAMED_FILES else "")
        warn(f"{path}: left out {len(left_out)} × {reason}: {names}")


def scan_outlines(path: Path, threads: int | None = None) -> list[Volume]:
    """Return each volume that `load_volumes` would return, from headers where there are any, without its HU (all 0).

    Raises `InputError` where nothing in `path` can be read.
    """
    is_folder = require_exists(path).is_dir()
    if is_folder and (cases := case_folders(path)):
        return [_emptied(read_case(folder)) for folder in cases]  # memory-mapped
    if images := nifti_files(path):
        return [_nifti_outline(image) for image in images]
    discovery = discover(path, threads)
    outlines = [_outline(series) for series in discovery.series if not series.refusal]
    return outlines or [_emptied(volume) for volume in load_volumes(path, threads)]  # which says why there are none


def _nifti_outline(image: Path) -> Volume:
    shape, affine = nifti_grid(image)
    return Volume(_no_hu(shape), affine, even_positions_mm(affine, shape[0]))


def _emptied(volume: Volume) -> Volume:
    return replace(volume, hu=_no_hu(_shape(volume)), padding=None)


def _no_hu(shape: tuple[int, int, int]) -> HuArray:
    return np.broadcast_to(np.int16(0), shape)  # which takes the memory of one voxel


def _outline(series: Series) -> Volume:
    return Volume(
        _no_hu((len(series.slices), series.rows, series.columns)),
        series.affine,
        series.positions_mm,
        None,
        series.acquisition,
        series.key,
        series_key(series.frame_of_reference_uid) if series.frame_of_reference_uid else None,
        files=tuple(place.path for place in series.slices),
    )


def _shape(volume: Volume) -> tuple[int, int, int]:
    slices, rows, columns = volume.hu.shape
    return slices, rows, columns


def case_folders(path: Path) -> list[Path]:
    """Return the ingested cases that `path` is or holds, sorted by path."""
    return [path] if is_case(path) else sorted(file.parent for file in files_below(path) if file.name == "case.json")


def nifti_files(path: Path) -> list[Path]:
    """Return the NIfTI files that `path` is or has directly in it, sorted by path."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in files if file.is_file() and is_nifti(file)]


def load_volume(path: Path, threads: int | None = None) -> Volume:
    """Return the one volume in `path`; raises `InputError` where there are several."""
    volumes = load_volumes(path, threads)
    if len(volumes) > 1:
        raise InputError(path, f"holds {len(volumes)} series where one is wanted", "give the folder of one series")
    return volumes[0]
