"""`ldctpipe record`: what the pipeline calls when a run has ended."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Quiet


def command(
    run: Annotated[Path, typer.Argument(help="Output folder of a pipeline run, which holds run.json.")],
    quiet: Quiet = False,
) -> None:
    """Complete the record of a pipeline run, describe it for archives, and write the checksum of every file.

    The pipeline does this itself when a run ends, well or not; by hand it is for a folder that was copied away from a
    machine without ldctpipe, or was changed on purpose. run.json gets the resolved recipe and the inputs' checksums;
    ro-crate-metadata.json is an RO-Crate 1.1 (profile Workflow Run Crate); checksums.json has SHA-256 of all files.
    """
    from ldctpipe.record.run_record import complete_record

    print(f"{run}: {complete_record(run)} checksums")
