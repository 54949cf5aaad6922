"""`ldctpipe inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Quiet, Threads
from ldctpipe.cli.streams import json_text
from ldctpipe.errors import UsageError


def command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder, file or zip: DICOM, cases or NIfTI.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, for programs.")] = False,
    list_skipped: Annotated[
        bool, typer.Option("--list-skipped", help="Name each file left out; paths can hold a patient's name.")
    ] = False,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Omit series numbers, descriptions and file names.")
    ] = False,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Say what series are in INPUT, which of them can be denoised, and why the others can't.

    Reads DICOM headers only and writes nothing. A series goes by its key (12 digits that can't be turned back into a
    patient), as in all that ldctpipe writes. The lines below its row show its number, its description and one of its
    files, which may contain patients' names (--anonymous omits them). Columns: `step` from slice to slice, `pixel`
    spacing, tube voltage, mAs (the range over the slices), `tilt` of the stack against its slices, `gaps` (missing
    slices), transfer `syntax`. --json has everything, with the unit in each name.
    """
    if anonymous and list_skipped:
        raise UsageError("--list-skipped", "names files, which --anonymous leaves out", "give one of them")
    from ldctpipe.data.inspection import inspect
    from ldctpipe.data.inspection_table import as_text

    found = inspect(source, threads, list_skipped=list_skipped, anonymous=anonymous)
    print(json_text(found.as_dict()) if as_json else as_text(found))
