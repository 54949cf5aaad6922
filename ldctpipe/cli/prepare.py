"""`ldctpipe prepare`: paired scans become the training store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Overwrite, Quiet, Seed, Threads, dose_ends
from ldctpipe.errors import UsageError


def command(
    sheet: Annotated[Path, typer.Argument(help="Samplesheet: patient,low_dose,full_dose,split.")],
    store: Annotated[Path, typer.Argument(help="Folder to write.")],
    cases: Annotated[
        Path | None,
        typer.Option("--cases", help="Read CASES/PATIENT/{low_dose,full_dose} instead of the paths in the sheet."),
    ] = None,
    patch_size: Annotated[int, typer.Option("--patch-size", min=32, help="Side of the patches in pixels.")] = 64,
    dose_range: Annotated[
        str | None,
        typer.Option(help="LOW:HIGH: make the low dose from the full dose, and train on a new one for each patch."),
    ] = None,
    vary: Annotated[
        bool, typer.Option("--vary", help="With --dose-range: vary calibration and electronic noise, too.")
    ] = False,
    realisations: Annotated[
        int, typer.Option("--realisations", min=1, help="With --dose-range: noise images of a slice to mix from.")
    ] = 2,
    seed: Seed = 1,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write the training store: int16 HU slice pairs in one array, and where in them patches of the body lie.

    Patients whose split is test are left out. Low and full dose are paired by geometry and compared; a pair that does
    not match is an error that names both, and slices that only one of them has are left out with a warning. It is an
    error if one scan is in two splits under different names, whatever its UIDs.

    With --dose-range, only full-dose scans are read: `ldctpipe train` then draws the dose of every patch anew, and
    validates at the middle of the range.

    Works on as many patients at a time as there are threads; the store is the same for any number. A run that was
    stopped or killed goes on when the same command runs again: patients that are done are not done anew. At the end
    the arrays are read back from the disk and compared with what was written.
    """
    from ldctpipe.data.preparation import prepare_store

    if vary and dose_range is None:
        raise UsageError(None, "--vary is about a range of doses", "add --dose-range LOW:HIGH")
    simulated = None
    if dose_range:
        from ldctpipe.data.simulated_doses import SimulatedDoses
        from ldctpipe.simulation.exposure import DoseRange

        simulated = SimulatedDoses(DoseRange(*dose_ends(dose_range), vary=vary), realisations, seed, threads)
    description = prepare_store(
        sheet,
        store,
        cases=cases,
        patch_size=patch_size,
        simulated=simulated,
        threads=threads,
        overwrite=overwrite,
    )
    slices = description["slices"]
    print(
        f"{store}: {slices.get('train', 0)} training and {slices.get('validation', 0)} validation slice pairs, "
        f"noise added by the low dose {description['sd_added_hu']} HU"
    )
