"""The manifest of a cohort: what became of every series, over all tasks and runs, as JSON and as a table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pydantic import TypeAdapter

from ldctpipe import __version__
from ldctpipe.errors import InputError
from ldctpipe.files import read_object, sha256_of_text, write_json, write_text
from ldctpipe.inference.cohort_record import DONE, NOTHING, PatientRecord
from ldctpipe.inference.manifest import FAILED, REFUSED, SeriesOutcome

FORMAT = "ldctpipe-cohort@1"
MANIFEST_START = b'{\n  "format": "ldctpipe-cohort@'
NO_RECORD = "its task ended before it was done; pipeline_info/trace.txt has the task, and another run tries again"


@dataclass(frozen=True)
class Row:
    """One series of the manifest; a patient without any series that can be read has one row with no key.

    `number`, `description` and `file` (one of the source) are empty with de-identification. `input_checksum`
    stands for UIDs, sizes and times of the files of the source. `output_checksums` has the SHA-256 of each file in
    `folder`, which is below the folder of results.
    """

    patient: str
    series: str
    state: str
    number: int | None = None
    description: str = ""
    file: str = ""
    reason: str = ""
    slices: int = 0
    seconds: float = 0.0
    input_checksum: str = ""
    weights_sha256: str = ""
    settings: str = ""
    folder: str = ""
    output_checksums: dict[str, str] = field(default_factory=dict)

    @property
    def output_checksum(self) -> str:
        """The SHA-256 of what `sha256sum` prints for the files, sorted by name; "" where there are none."""
        lines = [f"{digest}  {name}\n" for name, digest in sorted(self.output_checksums.items())]
        return sha256_of_text("".join(lines)) if lines else ""


@dataclass(frozen=True)
class Tally:
    """How many patients and series there are, and how many series ended how; `slices` are those denoised."""

    patients: int
    series: int
    done: int
    refused: int
    failed: int
    slices: int
    nothing_to_do: int = 0

    def sentence(self) -> str:
        """Return the counts in words."""
        idle = f", {self.nothing_to_do} without any scan" if self.nothing_to_do else ""
        return (
            f"{self.done} of {self.series} series of {self.patients} patients denoised ({self.slices} slices), "
            f"{self.refused} refused, {self.failed} failed{idle}"
        )


def rows_of(records: dict[str, PatientRecord], planned: Iterable[str]) -> list[Row]:
    """Return a row a series, sorted by patient; a planned patient without a record has failed."""
    lost = [Row(patient, "", FAILED, reason=NO_RECORD) for patient in planned if patient not in records]
    rows = [row for record in records.values() for row in _rows_of_record(record)]
    return sorted([*rows, *lost], key=lambda row: (row.patient, row.series))


def _rows_of_record(record: PatientRecord) -> list[Row]:
    if not record.series:
        return [_row(record, SeriesOutcome("", record.state, 0, record.scan, record.reason, record.seconds))]
    return [_row(record, outcome) for outcome in record.series]


def _row(record: PatientRecord, outcome: SeriesOutcome) -> Row:
    state = outcome.state if outcome.state in (REFUSED, FAILED, NOTHING) else DONE
    if state == DONE and record.state == FAILED and record.reason:  # not a fault of one series, but of all
        state = FAILED
    return Row(
        patient=record.patient,
        series=outcome.key,
        state=state,
        number=outcome.number,
        description=outcome.description,
        file=outcome.file,
        reason=outcome.reason or record.reason or "",
        slices=outcome.slices,
        seconds=round(outcome.seconds, 2),
        input_checksum=outcome.source,
        weights_sha256=record.weights_sha256,
        settings=record.settings,
        folder=record.folders.get(outcome.key, "") if outcome.files else "",
        output_checksums=outcome.files,
    )


def tally(rows: Sequence[Row]) -> Tally:
    """Return the counts over the rows of a manifest."""
    states = Counter(row.state for row in rows)
    slices = sum(row.slices for row in rows if row.state == DONE)
    patients = len({row.patient for row in rows if row.state != NOTHING})
    series = len(rows) - states[NOTHING]
    return Tally(patients, series, states[DONE], states[REFUSED], states[FAILED], slices, states[NOTHING])


def write_cohort_manifest(folder: Path, rows: Sequence[Row]) -> Tally:
    """Write `manifest.json` and `manifest.csv` into `folder` and return the counts."""
    counts = tally(rows)
    listed = [asdict(row) for row in rows]
    told = {"format": FORMAT, "ldctpipe": __version__, "counts": asdict(counts), "series": listed}
    write_json(folder / "manifest.json", told)
    text = io.StringIO()
    names = [name for name in Row.__dataclass_fields__ if name != "output_checksums"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "output_files", "output_checksum"])
    for row in rows:
        cells = [getattr(row, name) for name in names]
        writer.writerow([*cells, len(row.output_checksums), row.output_checksum])
    write_text(folder / "manifest.csv", text.getvalue())
    return counts


def tally_in(path: Path) -> Tally:
    """Return the counts that the `manifest.json` at `path` has; raises `InputError` where it is damaged."""
    try:
        return TypeAdapter(Tally).validate_python(read_object(path, "the manifest of a cohort")["counts"], strict=False)
    except (KeyError, ValueError):
        raise InputError(path, "is not a cohort's manifest", "write it again with `ldctpipe cohort manifest`") from None
