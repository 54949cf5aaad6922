"""Which patients of a cohort are left to do, and which of them go into one task, so that it loads the model once."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ldctpipe.errors import InputError
from ldctpipe.files import write_text
from ldctpipe.foreign import read_text
from ldctpipe.inference.cohort_record import PatientRecord, results_beside
from ldctpipe.inference.cohort_scans import Scan, Size, scan_digest, scan_size
from ldctpipe.inference.job import OutputForm
from ldctpipe.progress import Progress

COLUMNS = ("group", "patient", "series", "slices", "bytes", "number")
_MOST_PATIENTS = 500  # each is a link in the task's folder and a name in its command line


@dataclass(frozen=True)
class Sized:
    """A scan and how large it is."""

    scan: Scan
    size: Size


def unfinished(
    scans: Iterable[Scan], records: dict[str, PatientRecord], job: str, form: OutputForm, mark: Path | None = None
) -> list[Scan]:
    """Return the scans without a final record of the same job on the same files.

    Where the folder of results can be reached from here, the files that a record lists must be there as well.
    """
    results = results_beside(mark)
    return [scan for scan in scans if not _stands(records.get(scan.patient), scan, job, form, results)]


def _stands(record: PatientRecord | None, scan: Scan, job: str, form: OutputForm, results: Path | None) -> bool:
    if record is None or not record.is_final or record.job != job or record.scan != scan_digest(scan, form):
        return False
    return results is None or all((results / file).is_file() for file in record.files)


def sized(scans: Sequence[Scan], threads: int | None = None) -> list[Sized]:
    """Return how large each scan is; reads the headers of all their files."""
    progress, found = Progress("measuring", len(scans), "patients"), []
    for scan in scans:
        found.append(Sized(scan, scan_size(scan, threads)))
        progress.advance(1)
    progress.finish()
    return found


def groups_of(scans: Iterable[Sized], task_slices: int) -> list[list[Sized]]:
    """Return the scans in their order, cut into groups of at most `task_slices` slices each.

    A scan that is larger than that is a group of its own; one that can't be used counts as one slice. What comes behind
    changes no group but the last.
    """
    groups: list[list[Sized]] = []
    room = 0
    for one in scans:
        slices = max(1, one.size.slices)
        if not groups or slices > room or len(groups[-1]) == _MOST_PATIENTS:
            groups.append([])
            room = task_slices
        groups[-1].append(one)
        room -= slices
    return groups


def write_plan(path: Path, groups: Iterable[Sequence[Sized]]) -> None:
    """Write one row per patient, in the order of the groups, each named after its first patient.

    `number` is the patient's position in the cohort, where the name may differ.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for group in groups:
        for one in group:
            size = one.size
            writer.writerow(
                (group[0].scan.patient, one.scan.patient, size.series, size.slices, size.bytes, one.scan.number)
            )
    write_text(path, text.getvalue())


def planned_patients(path: Path) -> list[str]:
    """Return the patients of a plan, in its order; raises `InputError` if `path` is not a plan."""
    try:
        return [row["patient"] for row in csv.DictReader(io.StringIO(read_text(path)))]
    except (ValueError, KeyError, csv.Error):
        raise InputError(path, "is not a cohort's plan", "write it again with `ldctpipe cohort plan`") from None
