"""`ldctpipe samplesheet`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Overwrite, Quiet


class Thickness(str, Enum):
    """Slice thickness of the AAPM-Mayo reconstructions."""

    MM1 = "1mm"
    MM3 = "3mm"


class Kernel(str, Enum):
    """Kernels of the AAPM-Mayo reconstructions: B30 is soft, D45 sharp."""

    B30 = "B30"
    D45 = "D45"


def command(
    root: Annotated[
        Path, typer.Argument(metavar="ROOT", help="Cohort folder, or a samplesheet to check and complete.")
    ],
    sheet: Annotated[Path, typer.Argument(metavar="SHEET", help="CSV file to write.")],
    test_patients: Annotated[
        str,
        typer.Option("--test-patients", metavar="A,B", help="Patients to hold out for testing, with commas between."),
    ] = "",
    thickness: Annotated[Thickness, typer.Option("--thickness", help="AAPM-Mayo: which slices.")] = Thickness.MM3,
    kernel: Annotated[Kernel, typer.Option("--kernel", help="AAPM-Mayo: which kernel.")] = Kernel.B30,
    every_entry: Annotated[
        bool, typer.Option("--every-entry", help="For denoising: one row for each entry of ROOT, even without a scan.")
    ] = False,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Write one row a patient (patient,low_dose,full_dose,split) for a cohort, with absolute paths.

    Knows the folders of AAPM-Mayo 2016 (quarter_3mm/L506/quarter_3mm, full_3mm/…), of TCIA LDCT-and-Projection-data,
    PATIENT/{low_dose,full_dose} and PATIENT/….dcm (full dose only). Without --test-patients and a split in ROOT, L506
    is held out where it is there, else the last patient of several.
    """
    from ldctpipe.data.layouts import MayoSeries
    from ldctpipe.data.samplesheet import START, rows_of_cohort, write_sheet
    from ldctpipe.files import refuse_existing

    refuse_existing(sheet, overwrite=overwrite, inputs=[root], starts=[START])
    named = [name.strip() for name in test_patients.split(",") if name.strip()]
    mayo = MayoSeries(thickness.value, kernel.value)
    write_sheet(sheet, rows_of_cohort(root, named, mayo, every_entry=every_entry))
    print(sheet)
