"""`ldctpipe inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Threads


def command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Folder, file or zip: DICOM, cases or NIfTI.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, for programs.")] = False,
    threads: Threads = None,
) -> None:
    """Say what CT series are in INPUT, which of them can be denoised, and why the other files can't.

    Reads DICOM headers only and writes nothing. A series goes by its key (12 digits that can't be turned back into a
    patient), as in all that ldctpipe writes. `spacing/mm` is slice × row × column.
    """
    import json

    from ldctpipe.data.inspection import inspect

    found = inspect(source, threads)
    print(json.dumps(found.as_dict(), indent=2, ensure_ascii=False) if as_json else found.as_text())
