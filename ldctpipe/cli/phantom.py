"""`ldctpipe phantom`: simulated patients and image-quality phantoms with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ldctpipe.cli.options import Overwrite, Quiet, Seed, Threads
from ldctpipe.simulation.phantom_choices import Arms, BodySize, Kind, Like, Region


def command(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    kind: Annotated[
        Kind, typer.Option(help="A cohort of patients, or a water cylinder with the inserts of a test module.")
    ] = Kind.COHORT,
    like: Annotated[
        Like,
        typer.Option(
            help="Folder tree of a cohort: the AAPM-Mayo challenge's, TCIA's, or PATIENT/{full_dose,low_dose}."
        ),
    ] = Like.MAYO,
    patients: Annotated[int, typer.Option(min=1, help="Number of patients of a cohort; the regions take turns.")] = 4,
    region: Annotated[
        list[Region] | None,
        typer.Option(help="Region of the body; may be given several times.", show_default="thorax, abdomen, pelvis"),
    ] = None,
    build: Annotated[BodySize, typer.Option(help="Size of the patients.")] = BodySize.ADULT,
    arms: Annotated[
        Arms, typer.Option(help="Arms above the head or beside the body, where they starve the detector of quanta.")
    ] = Arms.UP,
    realisations: Annotated[
        int, typer.Option(min=1, max=999, help="Series with noise of their own, of each module of a test phantom.")
    ] = 2,
    diameter_mm: Annotated[
        float | None,
        typer.Option(
            "--diameter", help="Diameter in mm of a test phantom's cylinder.", show_default="200; water, metal: 300"
        ),
    ] = None,
    kernel: Annotated[str, typer.Option(help="Reconstruction kernel of a test phantom.")] = "B30f",
    noise_hu: Annotated[
        float, typer.Option("--noise", help="Noise in HU amid a test phantom, at full dose with a B30 kernel.")
    ] = 12.0,
    slices: Annotated[
        int, typer.Option(min=1, help="Slices of each series: 3 mm thick, every 2 mm (test phantoms: 3 mm).")
    ] = 20,
    seed: Seed = 1,
    dose: Annotated[float, typer.Option(help="Reduced dose as a share of the full dose.")] = 0.25,
    size: Annotated[int, typer.Option(help="Rows and columns of a slice, a multiple of 8.")] = 512,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make simulated CT with known truth, at full and reduced dose: patients, or image-quality phantoms.

    Writes DICOM series with noise, the same without noise and a table of lesions or inserts (OUT/truth), and how it
    was made (OUT/phantom.json). A cohort has the folder tree and the noise of the AAPM-Mayo challenge. The same seed
    gives the same files.

    Example: ldctpipe phantom cohort --patients 4 --slices 20 --seed 7

    Example: ldctpipe phantom discs --kind low-contrast --realisations 100 --slices 2
    """
    shared: dict[str, Any] = {"dose": dose, "size": size, "threads": threads}
    if kind is Kind.COHORT:
        from ldctpipe.simulation.cohort import make_phantom_cohort

        body: dict[str, Any] = {"like": like, "build": build, "arms": arms}
        regions = {"regions": tuple(name.value for name in region)} if region else {}
        made = make_phantom_cohort(out, patients, slices, seed, overwrite=overwrite, **body, **regions, **shared)
    else:
        from ldctpipe.simulation.quality_series import QualityPlan, make_quality_phantom

        plan = QualityPlan(
            kind, seed, realisations, slices, diameter_mm=diameter_mm, kernel=kernel, noise_hu=noise_hu, **shared
        )
        made = make_quality_phantom(out, plan, overwrite=overwrite)
    for folder in made:
        print(folder)
