"""`ldctpipe checksums`: what tells one input scan from another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Overwrite, Quiet


def command(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="JSON file to write.")],
    patient: Annotated[str, typer.Option("--patient", help="Name that the scans go by.")],
    low_dose: Annotated[Path | None, typer.Option("--low-dose", metavar="SCAN", help="Folder or file.")] = None,
    full_dose: Annotated[Path | None, typer.Option("--full-dose", metavar="SCAN", help="Folder or file.")] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write the number of files, the bytes and one SHA-256 of a patient's scans, as the record of a run names them.

    The SHA-256 is taken of the files' own ones, sorted: it tells of no file's name or place. The same comes from
    find -L SCAN -type f -exec sha256sum {} + | cut -c1-64 | sort | sha256sum.
    """
    from ldctpipe.files import refuse_existing, require_exists, write_json
    from ldctpipe.record.checksums import summary_of_scan

    refuse_existing(
        out, overwrite=overwrite, inputs=[scan for scan in (low_dose, full_dose) if scan], starts=[b'{\n  "patient"']
    )
    given = {"low_dose": low_dose, "full_dose": full_dose}
    scans = {dose: summary_of_scan(require_exists(scan)) for dose, scan in given.items() if scan}
    write_json(out, {"patient": patient, "scans": scans})
    print(out)
