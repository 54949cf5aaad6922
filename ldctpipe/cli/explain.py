"""`ldctpipe explain`: where a denoiser attends in a slice, and what makes it change the image."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Device, DeviceName, Overwrite, Quiet, Threads


class StageName(str, Enum):
    """The stages of the encoder that have attention, by the publication's numbers."""

    FUSED = "fused"
    STAGE_3 = "3"
    STAGE_5 = "5"
    STAGE_7 = "7"


def command(
    bundle: Annotated[Path, typer.Argument(help="Denoiser bundle: the folder that `ldctpipe train` wrote.")],
    source: Annotated[
        Path, typer.Argument(metavar="SLICE", help="One series: DICOM file, folder or zip; a case; NIfTI in HU.")
    ],
    out: Annotated[Path, typer.Argument(help="New folder for figure.png, maps.npz and explanation.json.")],
    slice_number: Annotated[
        int | None,
        typer.Option("--slice", min=1, help="Which slice of the series, from 1.", show_default="the middle one"),
    ] = None,
    stage: Annotated[
        StageName, typer.Option("--stage", help="Which stage the figure shows; maps.npz has all.")
    ] = StageName.FUSED,
    device: Device = DeviceName.AUTO,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Show where a denoiser attends in a slice: spatial, channel and combined attention, and Grad-CAM.

    figure.png has them beside input and result, maps.npz as arrays on the slice's grid. Grad-CAM is of the mean change
    that the network makes in the body, as a denoiser has no class. The maps explain the network; they are no evidence
    of what matters for a diagnosis.
    """
    from ldctpipe.inference.explanation import ExplainRequest, explain

    found = explain(ExplainRequest(bundle, source, out, slice_number, stage.value, device.value, threads, overwrite))[
        "slice"
    ]
    print(f"{out}: slice {found['number']} of {found['of']} explained")
