"""The samplesheet: one row a patient, `patient,low_dose,full_dose,split`."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ldctpipe.data.layouts import Found, MayoSeries, patients_in
from ldctpipe.data.sheet_doubts import doubts_about
from ldctpipe.errors import InputError
from ldctpipe.files import real_path, require_exists, write_text
from ldctpipe.foreign import read_bytes
from ldctpipe.progress import say, warn

# What a row may hold stands in one place, which nextflow_schema.json names and other programs can read too.
_COLUMN_SCHEMAS = json.loads(Path(__file__).with_name("samplesheet_schema.json").read_text("utf-8"))["items"][
    "properties"
]
COLUMNS = tuple(_COLUMN_SCHEMAS)
START = b"patient"  # of every samplesheet that this program writes
SPLITS = tuple(split for split in _COLUMN_SCHEMAS["split"]["enum"] if split)

_UTF_16 = ((b"\xff\xfe", "text in UTF-16"), (b"\xfe\xff", "text in UTF-16"))
_SAVE_AS_CSV = "save it as CSV in UTF-8"
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
    text = _text(require_exists(path))
    try:
        # line breaks as they are: a folder's name can hold any of them
        rows = _rows(path, csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True), check_paths)
    except csv.Error as error:
        raise InputError(path, f"is not a CSV file ({error})", "save it as CSV") from None
    if not rows:
        raise InputError(path, "has no rows", "write one row a patient")
    _refuse_repeats(path, rows)
    return rows


def _text(path: Path) -> str:
    content = read_bytes(path)
    kinds = ((b"PK\x03\x04", "an Excel workbook"), (b"\xd0\xcf\x11\xe0", "an Excel workbook"), *_UTF_16)
    for start, kind in kinds:
        if content.startswith(start):
            raise InputError(path, f"is {kind}", _SAVE_AS_CSV)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(path, "is not text in UTF-8", _SAVE_AS_CSV) from None
    if "\0" in text:
        raise InputError(path, "is text in UTF-16, or no text at all", _SAVE_AS_CSV)
    return text


def write_sheet(path: Path, rows: Sequence[Row]) -> None:
    """Write `rows` to `path` atomically, with absolute paths; raises `InputError` for a path that is not UTF-8."""
    cells = [(row.patient, _path_cell(row.low_dose), _path_cell(row.full_dose), row.split) for row in rows]
    text = io.StringIO()
    # the only character that needs quotes without the writer adding them
    has_returns = any("\r" in cell for row in cells for cell in row)
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL if has_returns else csv.QUOTE_MINIMAL)
    writer.writerow(COLUMNS)
    writer.writerows(cells)
    write_text(path, text.getvalue())


def _path_cell(scan: Path | None) -> str:
    text = "" if scan is None else str(real_path(scan))
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(text, "has a name that is not text in UTF-8", "rename it") from None
    return text


def rows_of_cohort(
    root: Path, test_patients: Sequence[str] = (), mayo: MayoSeries | None = None, *, every_entry: bool = False
) -> list[Row]:
    """Return one row a patient for a cohort folder in a known layout, or for a samplesheet; every row has its split.

    With `every_entry`, no entry is left out: neither patients without full dose nor folders without a known scan.
    `test_patients` are held out. Where nobody says who is, that is L506 if it is there, else the last of two or more
    patients; a line on stderr tells, and warns of headers that contradict the sheet. Raises `InputError` for an unknown
    layout or an unknown test patient.
    """
    if require_exists(root).is_symlink():
        root = root.resolve()  # the user's own name, where a workflow manager staged it under another
    if root.is_file():
        rows = read_sheet(root)
    else:
        found = patients_in(root, mayo or MayoSeries(), every_entry=every_entry)
        found = found if every_entry else _with_full_dose(found)
        rows = [Row(one.patient, one.low_dose, one.full_dose) for one in found]
        _refuse_repeats(root, rows)
    for doubt in doubts_about({row.patient: (row.low_dose, row.full_dose) for row in rows}):
        warn(f"{root}: {doubt}")
    return _with_splits(root, rows, test_patients, quiet=every_entry)  # a cohort to denoise holds nobody out


def _with_full_dose(found: list[Found]) -> list[Found]:
    """Leave out patients that can neither train nor test, unless there are no others."""
    kept = [one for one in found if one.full_dose]
    without = [one.patient for one in found if not one.full_dose]
    if kept and without:
        say(f"samplesheet: {len(without)} patient(s) left out, because they have no full dose: {', '.join(without)}")
    return kept or found


def _rows(path: Path, reader: csv.DictReader[str], check_paths: bool) -> list[Row]:
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise _fault_of_columns(path, reader.fieldnames or (), missing)
    return [_row(path, reader.line_num, fields, check_paths) for fields in reader if any(fields.values())]


def _fault_of_columns(path: Path, names: Sequence[str], missing: Sequence[str]) -> InputError:
    """The error for a first line that a spreadsheet changed; not repaired, because other programs read it, too."""
    first = f"its first line must be {','.join(COLUMNS)}"
    line = ",".join(names)
    for sign, meaning in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if COLUMNS[0] in (cell.strip(' "').casefold() for cell in line.split(sign)) and sign in line:
            remedy = "save it as CSV with commas, and with quotes around a path that has one"
            return InputError(path, f"has {meaning} between its columns instead of commas", remedy)
    if line.startswith("sep="):
        return InputError(path, f"starts with the line {line!r}, which only Excel knows", first)
    plain = {re.sub(r"[\s_-]+", "_", name.strip()).casefold(): name for name in names}
    if alike := [name for name in missing if name in plain]:
        changed = " and ".join(f"{plain[name]!r} instead of {name!r}" for name in alike)
        return InputError(path, f"has the column {changed}", first)
    return InputError(path, f"has no column {' or '.join(missing)}", first)


def _row(path: Path, line: int, fields: dict[str, str], check_paths: bool) -> Row:
    cells = {name: fields.get(name) or "" for name in COLUMNS}
    cells |= {name: cells[name].strip() for name in ("patient", "split")}
    where = f"row in line {line} (patient {cells['patient']!r})"
    beyond = next((cells for name, cells in fields.items() if name is None), ())  # where csv puts surplus cells
    if any(beyond):
        fault = f"{where} has more cells than the first line"
        raise InputError(path, fault, "put quotes around a path that has a comma")
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
    if low_dose and full_dose and real_path(low_dose) == real_path(full_dose):
        raise InputError(path, f"{where} has one scan for both doses", "give each dose its own")
    return Row(cells["patient"], low_dose, full_dose, cells["split"])


def _scan(sheet: Path, where: str, column: str, cell: str, check_path: bool) -> Path | None:
    if not cell.strip():
        return None
    folder = sheet.resolve().parent
    # a name may have blanks at its ends, or begin like a home folder
    candidates = [folder / cell, folder / cell.strip(), folder / os.path.expanduser(cell.strip())]  # noqa: PTH111 - never raises
    scan = next((candidate for candidate in candidates if _is_there(candidate)), candidates[-1])
    if check_path and not _is_there(scan):
        raise InputError(sheet, f"{where} names a {column} path that isn't there: {cell}", "correct the path")
    return scan


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except ValueError:  # a zero byte
        return False
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def _refuse_repeats(path: Path, rows: Sequence[Row]) -> None:
    known: dict[str, Row] = {}
    owners: dict[Path, str] = {}
    capitals: dict[str, str] = {}
    for row in rows:
        earlier = known.setdefault(row.patient, row)
        if earlier is not row:
            parts = {earlier.split, row.split}
            fault = f"patient {row.patient} is in {' and '.join(sorted(parts))}" if len(parts) > 1 else ""
            raise InputError(path, fault or f"patient {row.patient} is there twice", "keep one row a patient")
        namesake = capitals.setdefault(row.patient.casefold(), row.patient)
        if namesake != row.patient:  # their results would lie in one folder of a disk that knows no capitals
            fault = f"the names of the patients {namesake} and {row.patient} differ only in capitals"
            raise InputError(path, fault, "rename one of them")
        for scan in (row.low_dose, row.full_dose):
            owner = owners.setdefault(real_path(scan), row.patient) if scan else row.patient
            if owner != row.patient:
                fault = f"patients {owner} and {row.patient} have the same scan"
                raise InputError(path, fault, "give each patient its own")


def _with_splits(root: Path, rows: Sequence[Row], test_patients: Sequence[str], *, quiet: bool) -> list[Row]:
    names = [row.patient for row in rows]
    unknown = [name for name in test_patients if name not in names]
    if unknown:
        raise InputError(root, f"has no patient {', '.join(unknown)}", f"choose from {', '.join(names)}")
    held_out = set(test_patients)
    if not held_out and all(row.split != "test" for row in rows):
        held_out = _default_test_patient([row.patient for row in rows if not row.split], quiet=quiet)
    return [replace(row, split="test" if row.patient in held_out else row.split or "train") for row in rows]


def _default_test_patient(names: Sequence[str], *, quiet: bool) -> set[str]:
    if len(names) < 2:
        line, chosen = "no patient is held out for testing, because there is none to spare", set[str]()
    else:
        name = _MAYO_TEST_PATIENT if _MAYO_TEST_PATIENT in names else names[-1]
        line, chosen = f"patient {name} is held out for testing (name others with --test-patients)", {name}
    if not quiet:
        say(f"samplesheet: {line}")
    return chosen
