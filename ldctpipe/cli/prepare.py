"""`ldctpipe prepare`: paired scans become the training store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Overwrite, Quiet


def command(
    sheet: Annotated[Path, typer.Argument(help="Samplesheet: patient,low_dose,full_dose,split.")],
    store: Annotated[Path, typer.Argument(help="Folder to write.")],
    cases: Annotated[
        Path | None,
        typer.Option("--cases", help="Read CASES/PATIENT/{low_dose,full_dose} instead of the paths in the sheet."),
    ] = None,
    patch_size: Annotated[int, typer.Option("--patch-size", min=32, help="Side of the patches in pixels.")] = 64,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write the training store: int16 HU slice pairs in one array, and where in them patches of the body lie.

    Patients whose split is test are left out. Low and full dose are paired by geometry and compared; a pair that does
    not match is an error that names both.
    """
    from ldctpipe.data.preparation import prepare_store

    description = prepare_store(sheet, store, cases=cases, patch_size=patch_size, overwrite=overwrite)
    slices = description["slices"]
    print(
        f"{store}: {slices.get('train', 0)} training and {slices.get('validation', 0)} validation slice pairs, "
        f"noise added by the low dose {description['sd_added_hu']} HU"
    )
