"""`ldctpipe verify`: are the files still those that were written?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Quiet
from ldctpipe.errors import InputError


def command(
    run: Annotated[
        Path, typer.Argument(help="Output folder of a run; or a bundle, a training store, a folder of denoised series.")
    ],
    quiet: Quiet = False,
) -> None:
    """Compare every file with its checksum; print a line for each that is altered, missing or extra.

    Reads checksums.json of a run, and the checksums in cards of bundles, manifests of denoised series and training
    stores. Ends with 65 if anything differs.
    """
    from ldctpipe.record.verification import verify

    verdict = verify(run)
    for line in verdict.lines():
        print(line)
    if verdict.faults:
        fault = f"{len(verdict.faults)} files are not as they were written ({len(verdict.compared)} compared)"
        raise InputError(run, fault, "take an unaltered copy, or run again what made them")
    print(f"{run}: {len(verdict.compared)} files are as they were written")
