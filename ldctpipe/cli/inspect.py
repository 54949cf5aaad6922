"""`ldctpipe inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Quiet, Threads
from ldctpipe.cli.streams import json_text


def command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder, file or zip: DICOM, cases or NIfTI.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, for programs.")] = False,
    list_skipped: Annotated[
        bool, typer.Option("--list-skipped", help="Name each file left out; paths can hold a patient's name.")
    ] = False,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Leave out series numbers, descriptions and file names.")
    ] = False,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Say what series are in INPUT, which of them can be denoised, and why the others can't.

    Reads DICOM headers only and writes nothing. A series goes by its key (12 digits that can't be turned back into a
    patient), as in all that ldctpipe writes; below its row stand its number, its description and one of its files, in
    which sites may have written names (--anonymous leaves them out). Columns: `step` from slice to slice, `pixel`
    spacing, tube voltage, mAs (the range over the slices), `tilt` of the stack against its slices, `gaps` (missing
    slices), transfer `syntax`. --json has everything, with the unit in each name.
    """
    from ldctpipe.data.inspection import inspect
    from ldctpipe.data.inspection_table import as_text

    found = inspect(source, threads, list_skipped=list_skipped, anonymous=anonymous)
    print(json_text(found.as_dict()) if as_json else as_text(found))
