"""`ldctpipe simulate`: the reduced-dose partner of full-dose CT."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Device, DeviceName, Overwrite, Quiet, Seed, Threads, dose_ends, numbers
from ldctpipe.errors import InputError, UsageError


def command(
    full_dose: Annotated[
        Path, typer.Argument(help="DICOM file, series or cohort folder, an ingested case, or a NIfTI file in HU.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    dose: Annotated[
        str,
        typer.Option(
            help="Wanted dose as a share of the input's, above 0 and at most 1; several with commas between them."
        ),
    ] = "0.25",
    dose_range: Annotated[
        str | None,
        typer.Option(help="LOW:HIGH: draw the dose of each series at random between them, evenly by its logarithm."),
    ] = None,
    each_slice: Annotated[
        bool, typer.Option("--each-slice", help="With --dose-range: draw for every slice instead.")
    ] = False,
    vary: Annotated[
        bool, typer.Option("--vary", help="With --dose-range: vary quanta, electronic noise and kernel, too.")
    ] = False,
    seed: Seed = 1,
    quanta: Annotated[
        float | None,
        typer.Option(
            help="Effective quanta of the input, instead of fitting them to its noise.", show_default="fitted"
        ),
    ] = None,
    kernel_cutoff: Annotated[
        float | None,
        typer.Option(
            help="Where the kernel's Hann window ends, in cycles per mm, instead of fitting it.", show_default="fitted"
        ),
    ] = None,
    electronic: Annotated[
        float | None,
        typer.Option(help="Electronic variance in quanta² over the quanta in air.", show_default="7e-5"),
    ] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="End with 0 although series were refused.")] = False,
    threads: Threads = None,
    device: Device = DeviceName.CPU,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Simulate what a scan would look like at a lower dose.

    Inserts quantum and electronic noise in the projection domain: streaks, noise texture of the reconstruction kernel
    and correlation between slices follow the patient and the header. Level and kernel come from the noise that the
    series has already; anatomy, geometry and padding stay as they are. Writes derived DICOM in the folder tree of the
    input (NIfTI for NIfTI, a case for a case), below OUT/dose_… where there are several doses, and
    OUT/simulation.json, which says how each series was made.

    Example: ldctpipe simulate full_dose low_dose --dose 0.25 --seed 1
    """
    from ldctpipe.simulation.calibrated_scan import Overrides
    from ldctpipe.simulation.exposure import DoseRange
    from ldctpipe.simulation.partner import SimulationRequest, simulate_partner

    if dose_range is None and (each_slice or vary):
        raise UsageError(None, "--each-slice and --vary draw from a range of doses", "add --dose-range LOW:HIGH")
    doses = (
        numbers(dose, ",", "--dose")
        if dose_range is None
        else DoseRange(*dose_ends(dose_range), vary=vary, each_slice=each_slice)
    )
    overrides = Overrides(quanta, kernel_cutoff, electronic)
    request = SimulationRequest(
        full_dose, out, doses, seed, overrides, threads=threads, device=device.value, overwrite=overwrite
    )
    partners = simulate_partner(request)
    for path in dict.fromkeys(partners.written):
        print(path)
    for key, error in partners.refused.items():
        print(f"refused: series {key}: {error.fault}")
    if partners.refused and not keep_going:
        fault = f"{len(partners.refused)} of {partners.series} series could not be simulated"
        raise InputError(full_dose, fault, "see the reasons above, or add --keep-going to end with 0")
