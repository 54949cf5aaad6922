"""Contradictions of headers to a samplesheet: exchanged doses, one series under two names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ldctpipe.data.dose_order import more_exposure
from ldctpipe.data.scan_origin import ScanOrigin, origin_of
from ldctpipe.data.scans import nifti_files
from ldctpipe.errors import InputError


def doubts_about(scans: dict[str, tuple[Path | None, Path | None]]) -> Iterator[str]:
    """Yield a sentence for each doubt about low and full dose of the patients named.

    Reads one header per folder and no pixels; `prepare` compares the images. NIfTI has no such headers.
    """
    owners: dict[str, str] = {}
    for patient, pair in scans.items():
        low, full = map(_origin_if_told, pair)
        if exposures := _exchanged(low, full):
            there = f"{exposures[0]:g} for the low and {exposures[1]:g} for the full dose (mAs or mA)"
            yield f"patient {patient}: low and full dose may be exchanged: the headers have {there}"
        others = sorted({owners.setdefault(key, patient) for key in low.series | full.series} - {patient})
        if others:
            names = ", ".join([*others, patient])
            yield f"patients {names} have a series with the same UID: keep one if that is one scan"


def _origin_if_told(scan: Path | None) -> ScanOrigin:
    """The origin of a scan; an empty one where it can't be read, which is for those to say who need the scan."""
    try:
        return ScanOrigin() if scan is None or nifti_files(scan) else origin_of(scan)
    except (InputError, OSError):
        return ScanOrigin()


def _exchanged(low: ScanOrigin, full: ScanOrigin) -> tuple[float, float] | None:
    for low_value, full_value in ((low.exposure_mas, full.exposure_mas), (low.tube_current_ma, full.tube_current_ma)):
        if low_value and full_value:
            return (low_value, full_value) if more_exposure(low_value, full_value) else None
    return None
