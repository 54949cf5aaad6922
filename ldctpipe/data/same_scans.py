"""Scans that occur in a cohort under two names, whatever their UIDs: testing on one would test on training data.

Images are compared by how often each CT number occurs. That stays when a scan is exported anew, as NIfTI, with rows in
the opposite order or without its padding, and noise makes it the image's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ldctpipe.data.scans import case_folders, nifti_files
from ldctpipe.dicom.discovery import discover
from ldctpipe.dicom.reading import read_volume
from ldctpipe.errors import InputError
from ldctpipe.progress import warn
from ldctpipe.volumes.case import read_case
from ldctpipe.volumes.nifti import even_positions_mm, nifti_grid, nifti_slices

_EVERY = 8  # slices, by their place in space, so that a copy that lacks some has the same ones
_COMPARED_HU = (-900, 3000)  # neither air and padding nor what one of two formats clips
_LEAST_SHARE, _LEAST_CT_NUMBERS = 0.01, 50  # below, images without noise or anatomy may be equal by chance


@dataclass(frozen=True)
class NamedScan:
    """A scan with the patient's name and the split in the sheet."""

    patient: str
    split: str
    path: Path


def refuse_same_scans(sheet: Path, scans: Iterable[NamedScan], threads: int | None = None) -> None:
    """Raise `InputError` that names both where two patients in different splits have the same images.

    Within one split this is a warning: such a patient counts twice. Unreadable scans are reported where they are read.
    """
    known: dict[str, NamedScan] = {}
    told: set[tuple[str, str]] = set()
    for scan in scans:
        for digest in _digests(scan.path, threads):
            other = known.setdefault(digest, scan)
            if other.patient == scan.patient or (other.patient, scan.patient) in told:
                continue
            fault = (
                f"patients {other.patient} ({other.split}) and {scan.patient} ({scan.split}) are the same scan: "
                f"{other.path} and {scan.path} hold the same images"
            )
            if other.split != scan.split:
                raise InputError(sheet, fault, "keep one of them")
            warn(f"{sheet}: {fault}")
            told.add((other.patient, scan.patient))


def _digests(path: Path, threads: int | None) -> set[str]:
    found: set[str] = set()
    with suppress(InputError):
        for hu in _sampled_slices(path, threads):
            if digest := _digest(hu):
                found.add(digest)
    return found


def _sampled_slices(path: Path, threads: int | None) -> Iterator[npt.NDArray[Any]]:
    if path.is_dir() and (cases := case_folders(path)):
        for volume in map(read_case, cases):  # memory-mapped
            yield from (volume.hu[index] for index in _sample(volume.affine, volume.positions_mm))
        return
    if images := nifti_files(path):
        for image in images:
            shape, affine = nifti_grid(image)
            yield from nifti_slices(image, _sample(affine, even_positions_mm(affine, shape[0])))
        return
    for series in discover(path, threads).series:
        chosen = tuple(series.slices[index] for index in _sample(series.affine, series.positions_mm))
        with suppress(InputError):
            yield from read_volume(replace(series, slices=chosen), threads).hu


def _sample(affine: npt.NDArray[np.float64], positions_mm: npt.NDArray[np.float64]) -> list[int]:
    """Slices at regular positions in space; also both ends and the middle, in case the copy was moved."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    normal /= np.linalg.norm(normal)
    step_mm = float(np.median(np.diff(positions_mm))) if len(positions_mm) > 1 else 1.0
    direction = np.sign(affine[:3, 2] @ normal)
    places = (affine[:3, 3] @ normal + direction * (positions_mm - positions_mm[0])) / max(step_mm, 0.01)
    by_place = np.flatnonzero(np.rint(places) % _EVERY == 0)
    last = len(positions_mm) - 1
    return sorted({0, last // 2, last, *by_place.tolist()})


def _digest(hu: npt.NDArray[Any]) -> str | None:
    """Return a digest of how often each CT number occurs; None if equal counts could be a coincidence."""
    whole = np.rint(hu).astype(np.int32).ravel()
    compared = whole[(whole > _COMPARED_HU[0]) & (whole < _COMPARED_HU[1])]
    if compared.size < _LEAST_SHARE * whole.size:
        return None
    counts = np.bincount(compared - _COMPARED_HU[0], minlength=_COMPARED_HU[1] - _COMPARED_HU[0])
    return (
        hashlib.sha256(counts.astype("<i8").tobytes()).hexdigest()
        if np.count_nonzero(counts) >= _LEAST_CT_NUMBERS
        else None
    )
