"""`ldctpipe ingest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import (
    DeidentificationKey,
    Deidentify,
    KeepIdentifiers,
    Overwrite,
    Quiet,
    Threads,
    deidentifier,
)


def command(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="DICOM folder (any tree), file, DICOMDIR or zip.")],
    cases: Annotated[Path, typer.Argument(metavar="CASES", help="Folder to make: one case a series in it.")],
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="End with 0 even where a series could not be read.")
    ] = False,
    deidentify: Deidentify = False,
    deidentification_key: DeidentificationKey = None,
    keep_identifiers: KeepIdentifiers = False,
    overwrite: Overwrite = False,
    threads: Threads = None,
    quiet: Quiet = False,
) -> None:
    """Turn raw DICOM into cases: CASES/KEY/volume.nii (int16 HU) and case.json, one folder a CT series.

    Every file is tried, whatever its name; what is no CT image is left out, and CASES/ingest.json counts it by reason.
    KEY is made from the series' UID and says nothing about the patient. Cases hold no identity of the patient but UIDs;
    --deidentify replaces these too.
    """
    from ldctpipe.data.ingestion import ingest
    from ldctpipe.errors import InputError
    from ldctpipe.progress import say, warn

    remover = deidentifier(deidentify, deidentification_key, keep_identifiers=keep_identifiers)
    done = ingest(
        source, cases, threads=threads, overwrite=overwrite, deidentifier=remover, keep_identifiers=keep_identifiers
    )
    for reason, count in done.skipped.items():
        say(f"skipped {count} × {reason}")
    if done.damaged_files:
        warn(f"{done.damaged_files} file(s) of {source} could not be used; {cases / 'ingest.json'} says why")
    for key in done.cases:
        print(cases / key)
    if done.refused and not keep_going:
        reasons = "; ".join(f"{key}: {reason}" for key, reason in done.refused.items())
        raise InputError(
            source, f"{len(done.refused)} series refused ({reasons})", "export them again or add --keep-going"
        )
    if done.refused:
        warn(f"{len(done.refused)} series refused")
