"""What became of each patient of a cohort: a small JSON file for each, written as soon as that is known.

The files lie in `pipeline_info/patients` of the folder of results, beside the patients' folders in `denoised`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import TypeAdapter

from ldctpipe.errors import InputError
from ldctpipe.files import read_object, sha256_of_text, write_json
from ldctpipe.inference.job import Job
from ldctpipe.inference.manifest import FAILED, SeriesOutcome

FORMAT = "ldctpipe-patient@1"
DENOISED_FOLDER = "denoised"
RECORDS_FOLDER = Path("pipeline_info", "patients")
DONE = "done"  # and REFUSED, FAILED, and for a folder without any scan:
NOTHING = "nothing to do"
_PUBLISHED = re.compile("[0-9a-f]{16}")


@dataclass(frozen=True)
class PatientRecord:
    """A patient of a cohort: done, refused (no CT that can be denoised) or failed (worth another try), and why.

    The state is "nothing to do" if no file looks like a scan.

    `scan` stands for the files given, `job` for the model and all settings. A patient is done although some series
    were refused: `series` tells. `folders` has where each series lies below the folder of results, by its key.
    """

    patient: str
    state: str
    scan: str
    job: str
    weights_sha256: str
    settings: str
    seconds: float = 0.0
    reason: str | None = None
    series: tuple[SeriesOutcome, ...] = ()
    folders: dict[str, str] = field(default_factory=dict)
    skipped_files: dict[str, int] = field(default_factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether the same job with the same files would come to the same end."""
        return self.state != FAILED

    @property
    def files(self) -> Iterator[Path]:
        """The files that were made, below the folder of results."""
        return (Path(self.folders[one.key], name) for one in self.series for name in one.files)


_CHECK = TypeAdapter(PatientRecord)  # whose series check themselves


def job_key(job: Job, push: str | None) -> str:
    """Return what stands for the model, all settings and where results are sent."""
    described = {name: value for name, value in job.describe().items() if name != "run_time"}
    return sha256_of_text(json.dumps([described, push], sort_keys=True))


def write_record(folder: Path, record: PatientRecord) -> None:
    """Write a record into a folder of records, in place of an older one of that patient."""
    series = [outcome.as_json() for outcome in record.series]
    write_json(folder / f"{record.patient}.json", {"format": FORMAT, **vars(record), "series": series})


def without_names(record: PatientRecord, names: Iterable[str]) -> PatientRecord:
    """Return `record` with the patient's published name in place of all `names` of the source in its texts."""
    longest_first = sorted({name for name in names if name and name != record.patient}, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest_first)

    def published(text: str) -> str:
        return re.sub(pattern, record.patient, text) if pattern else text

    series = tuple(
        replace(one, reason=one.reason and published(one.reason), warnings=tuple(map(published, one.warnings)))
        for one in record.series
    )
    skipped = {published(reason): count for reason, count in record.skipped_files.items()}
    return replace(record, reason=record.reason and published(record.reason), series=series, skipped_files=skipped)


def read_record(path: Path) -> PatientRecord | None:
    """Return the record at `path`, or None where that is none: the file may be half copied by another program."""
    try:
        told = read_object(path, "a patient's record")
        if told.pop("format") != FORMAT:
            return None
        series = tuple(map(SeriesOutcome.from_json, told.pop("series")))
        record = PatientRecord(**told, series=series)
        _CHECK.validate_json(json.dumps(told), strict=True)
        return record
    except (InputError, TypeError, KeyError, ValueError):
        return None


def read_records(folder: Path, leave_out: Iterable[str] = ()) -> dict[str, PatientRecord]:
    """Return the records in `folder`, which need not exist, by patient; those of `leave_out` are not opened.

    Raises `InputError` where something else lies in its place.
    """
    if os.path.lexists(folder) and not folder.is_dir():
        raise InputError(folder, "is not a folder of records", "give the folder of results of an earlier run")
    known = set(leave_out)
    found = (read_record(path) for path in sorted(folder.glob("*.json")) if path.stem not in known)
    return {record.patient: record for record in found if record}


def refuse_named_records(results: Path) -> None:
    """Raise `InputError` where a run without de-identification left records, which go by patients' names."""
    if any(not _PUBLISHED.fullmatch(path.stem) for path in (results / RECORDS_FOLDER).glob("*.json")):
        fault = "holds results of a run without de-identification, which name patients"
        raise InputError(results, fault, "name another folder")


def results_beside(mark: Path | None) -> Path | None:
    """Return the folder of results that this task can reach, or None.

    `mark` is a file of that folder as it was staged. Where the folder is on a file system that tasks share, it is a
    link into it; a copy, or a link to a file that a container shows without its folder, leads nowhere.
    """
    if mark is None or not mark.is_symlink() or not mark.is_file():
        return None
    folder = mark.resolve().parent
    return folder if folder.stat().st_dev == mark.stat().st_dev else None
