"""`ldctpipe simulate`: the reduced-dose partner of full-dose CT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Device, DeviceName, Overwrite, Quiet, Seed, Threads


def command(
    full_dose: Annotated[Path, typer.Argument(help="DICOM file, series or cohort folder, or a NIfTI file in HU.")],
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    dose: Annotated[float, typer.Option(help="Wanted dose as a share of the input's, above 0 and at most 1.")] = 0.25,
    seed: Seed = 1,
    quanta: Annotated[
        float | None,
        typer.Option(
            help="Effective quanta of the input, instead of fitting them to its noise.", show_default="fitted"
        ),
    ] = None,
    threads: Threads = None,
    device: Device = DeviceName.CPU,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Simulate what a scan would look like at a lower dose.

    Inserts quantum and electronic noise in the projection domain: streaks, noise texture of the reconstruction kernel
    and correlation between slices follow the patient and the header. The level comes from the noise that the series
    has already; anatomy, geometry and padding stay as they are. Writes derived DICOM in the folder tree of the input
    (NIfTI for NIfTI), and OUT/simulation.json, which says how each series was made.

    Example: ldctpipe simulate full_dose low_dose --dose 0.25 --seed 1
    """
    from ldctpipe.simulation.partner import simulate_partner

    written = simulate_partner(
        full_dose, out, dose, seed, quanta=quanta, threads=threads, device=device.value, overwrite=overwrite
    )
    for path in dict.fromkeys(written):
        print(path)
