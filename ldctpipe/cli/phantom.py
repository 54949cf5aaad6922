"""`ldctpipe phantom`: a simulated paired cohort."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Overwrite, Quiet, Seed, Threads


def command(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    patients: Annotated[
        int, typer.Option(min=1, help="Number of patients: thorax, abdomen and pelvis take turns.")
    ] = 4,
    slices: Annotated[int, typer.Option(min=1, help="Slices of each patient: 3 mm thick, every 2 mm.")] = 20,
    seed: Seed = 1,
    dose: Annotated[float, typer.Option(help="Reduced dose as a share of the full dose.")] = 0.25,
    size: Annotated[int, typer.Option(help="Rows and columns of a slice, a multiple of 8.")] = 512,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make a cohort of simulated CT patients at full and reduced dose, with known truth.

    Writes DICOM in the folder layout of the AAPM-Mayo challenge (OUT/full_3mm and OUT/quarter_3mm), the noise-free
    slices as NIfTI and a table of lesions (OUT/truth), and how it was made (OUT/phantom.json). The same seed gives
    the same files.

    Example: ldctpipe phantom cohort --patients 4 --slices 20 --seed 7
    """
    from ldctpipe.simulation.cohort import make_phantom_cohort

    for folder in make_phantom_cohort(
        out, patients, slices, seed, dose=dose, size=size, threads=threads, overwrite=overwrite
    ):
        print(folder)
