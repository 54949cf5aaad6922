"""`ldctpipe explain`: what makes a denoiser change a slice, and where it attends in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Device, DeviceName, Overwrite, Quiet, Threads


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
        str, typer.Option("--stage", help="Which stage of attention the figure shows (flagship: 3, 5, 7), or fused.")
    ] = "fused",
    device: Device = DeviceName.AUTO,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Show what makes a denoiser change a slice (Grad-CAM), and where it attends, if it has dual-feature attention.

    figure.png has the maps beside input and result, maps.npz as arrays on the slice's grid. Grad-CAM is of the mean
    change that the network makes in the body, as a denoiser has no class: of the attended features, or of what enters
    the last convolution. The maps explain the network; they are no evidence of what matters for a diagnosis.
    """
    from ldctpipe.inference.explanation import ExplainRequest, explain

    found = explain(ExplainRequest(bundle, source, out, slice_number, stage, device.value, threads, overwrite))["slice"]
    print(f"{out}: slice {found['number']} of {found['of']} explained")
