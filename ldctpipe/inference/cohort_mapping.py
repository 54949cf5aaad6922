"""Which published name stands for which patient of a cohort: a separate file, for those who may know."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from ldctpipe.errors import InputError
from ldctpipe.files import new_file

COLUMNS = ("published", "patient")
_OWNER_ONLY = 0o600


def refuse_other_file(path: Path) -> None:
    """Raise `InputError` if something other than a mapping exists at `path`."""
    _rows(path)


def write_mapping(path: Path, patients: Iterable[tuple[str, str]]) -> None:
    """Add (published name, patient) to the mapping at `path`, which only its owner may read; sorted by both.

    Raises `InputError` if something else exists there.
    """
    rows = sorted({*_rows(path), *patients})
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    with new_file(path) as temporary:
        temporary.chmod(_OWNER_ONLY)
        temporary.write_bytes(os.fsencode(text.getvalue()))


def _rows(path: Path) -> list[tuple[str, str]]:
    if not path.exists():
        return []
    lines = list(csv.reader(io.StringIO(os.fsdecode(path.read_bytes())))) if path.is_file() else [[]]
    if lines and (tuple(lines[0]) != COLUMNS or any(len(line) != len(COLUMNS) for line in lines)):
        raise InputError(path, "is not a mapping that ldctpipe wrote", "name another file for --mapping")
    return [(published, patient) for published, patient in lines[1:]]
