"""The samplesheet: one row a patient, `patient,low_dose,full_dose,split`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ldctpipe.data.layouts import Found, MayoSeries, patients_in
from ldctpipe.errors import InputError
from ldctpipe.files import require_exists, write_text
from ldctpipe.foreign import read_text
from ldctpipe.progress import say

# What a row may hold stands in one place, which nextflow_schema.json names and other programs can read too.
_COLUMN_SCHEMAS = json.loads(Path(__file__).with_name("samplesheet_schema.json").read_text("utf-8"))["items"][
    "properties"
]
COLUMNS = tuple(_COLUMN_SCHEMAS)
SPLITS = tuple(split for split in _COLUMN_SCHEMAS["split"]["enum"] if split)

_MAYO_TEST_PATIENT = "L506"  # held out by most papers on the AAPM-Mayo set
_PATIENT_NAME = re.compile(_COLUMN_SCHEMAS["patient"]["pattern"])


@dataclass(frozen=True)
class Row:
    """One patient: where the scans are, and which part of the experiment it belongs to ("" where not said yet)."""

    patient: str
    low_dose: Path | None
    full_dose: Path | None
    split: str = ""


def read_sheet(path: Path, *, check_paths: bool = True) -> list[Row]:
    """Return the rows of the samplesheet at `path`, in its order; relative paths start at the sheet's real folder.

    A sheet that is a link (as workflow managers stage it) counts as where it points. Without `check_paths` scans may
    be missing, as in a container that gets only names and splits from the sheet. Raises `InputError` for the first
    fault: no such file, no rows, a missing column, a patient twice (or in train and test), a path that isn't there, one
    folder for two patients, an unknown split, a name that can't be a folder's.
    """
    try:
        text = read_text(require_exists(path)).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise InputError(path, "is not text in UTF-8", "save it as CSV in UTF-8") from None
    try:
        rows = _rows(path, csv.DictReader(io.StringIO(text), skipinitialspace=True), check_paths)
    except csv.Error as error:
        raise InputError(path, f"is not a CSV file ({error})", "save it as CSV") from None
    if not rows:
        raise InputError(path, "has no rows", "write one row a patient")
    _refuse_repeats(path, rows)
    return rows


def write_sheet(path: Path, rows: Sequence[Row]) -> None:
    """Write `rows` to `path` atomically, with absolute paths; raises `InputError` for a path that is not UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        scans = ("" if scan is None else str(scan.resolve()) for scan in (row.low_dose, row.full_dose))
        writer.writerow((row.patient, *scans, row.split))
    try:
        write_text(path, text.getvalue())
    except UnicodeEncodeError:
        raise InputError(path, "would hold a path that is not text in UTF-8", "rename that folder") from None


def rows_of_cohort(root: Path, test_patients: Sequence[str] = (), mayo: MayoSeries | None = None) -> list[Row]:
    """Return one row a patient for a cohort folder in a known layout, or for a samplesheet; every row has its split.

    `test_patients` are held out. Where nobody says who is, that is L506 if it is there, else the last of two or more
    patients; a line on stderr tells. Raises `InputError` for an unknown layout or an unknown test patient.
    """
    if require_exists(root).is_file():
        rows = read_sheet(root)
    else:
        found = _with_full_dose(patients_in(root, mayo or MayoSeries()))
        rows = [Row(one.patient, one.low_dose, one.full_dose) for one in found]
        _refuse_repeats(root, rows)
    return _with_splits(root, rows, test_patients)


def _with_full_dose(found: list[Found]) -> list[Found]:
    """Leave out patients that can neither train nor test, unless there are no others."""
    kept = [one for one in found if one.full_dose]
    without = [one.patient for one in found if not one.full_dose]
    if kept and without:
        say(f"samplesheet: left out, because they have no full dose: {', '.join(without)}")
    return kept or found


def _rows(path: Path, reader: csv.DictReader[str], check_paths: bool) -> list[Row]:
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(path, f"has no column {' or '.join(missing)}", f"its first line must be {','.join(COLUMNS)}")
    return [_row(path, reader.line_num, fields, check_paths) for fields in reader if any(fields.values())]


def _row(path: Path, line: int, fields: dict[str, str], check_paths: bool) -> Row:
    cells = {name: (fields.get(name) or "").strip() for name in COLUMNS}
    where = f"row in line {line} (patient {cells['patient']!r})"
    if not _PATIENT_NAME.fullmatch(cells["patient"]):
        fault = f"{where} has a name that can't be used for a folder"
        raise InputError(path, fault, "use letters, digits, dots, dashes and underscores")
    if cells["split"] not in ("", *SPLITS):
        raise InputError(
            path, f"{where} has the unknown split {cells['split']!r}", f"use {', '.join(SPLITS)} or nothing"
        )
    low_dose, full_dose = (_scan(path, where, name, cells[name], check_paths) for name in ("low_dose", "full_dose"))
    if low_dose is None and full_dose is None:
        raise InputError(path, f"{where} has neither a low_dose nor a full_dose path", "give at least one")
    if low_dose and full_dose and low_dose.resolve() == full_dose.resolve():
        raise InputError(path, f"{where} has one scan for both doses", "give each dose its own")
    return Row(cells["patient"], low_dose, full_dose, cells["split"])


def _scan(sheet: Path, where: str, column: str, cell: str, check_path: bool) -> Path | None:
    if not cell:
        return None
    scan = sheet.resolve().parent / Path(cell).expanduser()
    if check_path and not scan.exists():
        raise InputError(sheet, f"{where} names a {column} path that isn't there: {cell}", "correct the path")
    return scan


def _refuse_repeats(path: Path, rows: Sequence[Row]) -> None:
    known: dict[str, Row] = {}
    owners: dict[Path, str] = {}
    for row in rows:
        earlier = known.setdefault(row.patient, row)
        if earlier is not row:
            parts = {earlier.split, row.split}
            fault = f"patient {row.patient} is in {' and '.join(sorted(parts))}" if len(parts) > 1 else ""
            raise InputError(path, fault or f"patient {row.patient} is there twice", "keep one row a patient")
        for scan in (row.low_dose, row.full_dose):
            owner = owners.setdefault(scan.resolve(), row.patient) if scan else row.patient
            if owner != row.patient:
                fault = f"patients {owner} and {row.patient} have the same scan"
                raise InputError(path, fault, "give each patient its own")


def _with_splits(root: Path, rows: Sequence[Row], test_patients: Sequence[str]) -> list[Row]:
    names = [row.patient for row in rows]
    unknown = [name for name in test_patients if name not in names]
    if unknown:
        raise InputError(root, f"has no patient {', '.join(unknown)}", f"choose from {', '.join(names)}")
    held_out = set(test_patients)
    if not held_out and all(row.split != "test" for row in rows):
        held_out = _default_test_patient([row.patient for row in rows if not row.split])
    return [replace(row, split="test" if row.patient in held_out else row.split or "train") for row in rows]


def _default_test_patient(names: Sequence[str]) -> set[str]:
    if len(names) < 2:
        say("samplesheet: no patient is held out for testing, because there is none to spare")
        return set()
    chosen = _MAYO_TEST_PATIENT if _MAYO_TEST_PATIENT in names else names[-1]
    say(f"samplesheet: patient {chosen} is held out for testing (name others with --test-patients)")
    return {chosen}
