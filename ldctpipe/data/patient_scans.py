"""One patient's two scans: where they are, which state they are in, and the pairs that they make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ldctpipe.data.alignment import Mismatch, aligned
from ldctpipe.data.dose_order import exchanged_doses
from ldctpipe.data.grid_order import in_order_of
from ldctpipe.data.pairing import Pair, pair_volumes
from ldctpipe.data.samplesheet import Row
from ldctpipe.data.scans import load_volumes, scan_outlines
from ldctpipe.dicom.dicomdir import is_dicomdir, referenced_files
from ldctpipe.dicom.discovery import files_below
from ldctpipe.errors import InputError, ReadError
from ldctpipe.files import real_path
from ldctpipe.progress import warn
from ldctpipe.volumes.volume import Volume

if TYPE_CHECKING:  # a store of given pairs needs no torch, which takes longer to load than many a scan
    from ldctpipe.data.simulated_doses import SimulatedDoses
    from ldctpipe.simulation.calibrated_scan import CalibratedScan


@dataclass(frozen=True)
class PatientScans:
    """Where one patient's two scans are; `low_dose` is None where it is simulated."""

    patient: str
    split: str
    low_dose: Path | None
    full_dose: Path

    @classmethod
    def of(cls, row: Row, cases: Path | None, simulated: SimulatedDoses | None) -> PatientScans:
        """Return the scans of a row, or those in `cases/PATIENT`; raises `InputError` where one is missing."""
        low = cases / row.patient / "low_dose" if cases else row.low_dose
        full = cases / row.patient / "full_dose" if cases else row.full_dose
        if full is None or (low is None and simulated is None):
            missing = "full-dose" if full is None else "low-dose"
            remedy = "add it to the samplesheet, or make one with `ldctpipe simulate` or --dose-range"
            raise InputError(row.patient, f"has no {missing} scan", remedy)
        return cls(row.patient, row.split, None if simulated else low, full)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The scans that are read."""
        return (self.full_dose,) if self.low_dose is None else (self.low_dose, self.full_dose)

    def file_states(self) -> list[str]:
        """Return path, size and time of each file of the scans: equal where nothing has changed."""
        return [_state(file) for path in self.paths for file in _files(real_path(path))]

    def pair_shapes(self, threads: int | None) -> list[tuple[int, int, int]]:
        """Return (slices, rows, columns) of each pair that `pairs` will yield.

        Headers tell, unless several low-dose series could be the partner and have different slices in common with it.
        """
        full = scan_outlines(self.full_dose, threads)
        counts = [len(volume.hu) for volume in full]
        if self.low_dose is not None:
            shared = _shared_slices(scan_outlines(self.low_dose, threads), full)
            if any(len(each) > 1 for each in shared):
                counts = [len(pair.full_index) for pair, _ in self.pairs(None, threads)]
            else:  # without a partner, pairing reports the reason
                counts = [each.pop() if each else count for each, count in zip(shared, counts, strict=True)]
        return [(count, *volume.hu.shape[1:]) for count, volume in zip(counts, full, strict=True)]

    def pairs(
        self, simulated: SimulatedDoses | None, threads: int | None
    ) -> Iterator[tuple[Pair, CalibratedScan | None]]:
        """Yield the patient's pairs, with the calibrated full dose where the low dose is simulated."""
        try:
            full = load_volumes(self.full_dose, threads)
            if simulated is not None:
                for scan in map(simulated.scan, full):
                    yield simulated.pair(scan), scan
            elif self.low_dose is not None:
                for pair in pair_volumes(load_volumes(self.low_dose, threads), full):
                    if exchanged := exchanged_doses(pair.low, pair.full, pair.low_index, pair.full_index):
                        warn(f"patient {self.patient}: {exchanged}; check the samplesheet")
                    yield pair, None
        except InputError as error:
            where = f"patient {self.patient}" if error.path is None else f"patient {self.patient}, {error.path}"
            kind = ReadError if isinstance(error, ReadError) else InputError
            raise kind(where, error.fault, error.remedy) from None


def _shared_slices(low: list[Volume], full: list[Volume]) -> list[set[int]]:
    """For each full-dose series the numbers of slices that it has in common with one of the low-dose series."""
    found: list[set[int]] = []
    for volume in full:
        found.append(set())
        for candidate in low:
            with suppress(Mismatch):
                found[-1].add(len(aligned(in_order_of(candidate, volume), volume).full_index))
    return found


def _files(scan: Path) -> list[Path]:
    if scan.is_dir():
        return sorted(files_below(scan))
    return [scan, *referenced_files(scan)] if is_dicomdir(scan) else [scan]


def _state(file: Path) -> str:
    try:
        told = file.stat()
    except OSError:  # a broken link, which reading tells of
        return f"{file} is not there"
    return f"{file} {told.st_size} {told.st_mtime_ns}"
