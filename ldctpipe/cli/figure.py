"""`ldctpipe figure`: figures of the flagship's publication, drawn anew from what was prepared and trained here."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Device, DeviceName, Overwrite, Quiet, Seed, Threads
from ldctpipe.errors import UsageError

group = typer.Typer(help="Draw figures of the publication from a training store, from trainings or from a scan.")

Out = Annotated[Path, typer.Argument(help="File to write, .png or .svg.")]


@group.command()
def augmentation(
    store: Annotated[Path, typer.Argument(help="Training store that `ldctpipe prepare` wrote.")],
    out: Out,
    recipe: Annotated[
        str, typer.Option("--recipe", help="Name (`ldctpipe recipes`) or a .yaml file.")
    ] = "wgan-gp-effnetv2",
    seed: Seed = 1,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Show one patch pair under each transform of a recipe's augmentation (figure 6).

    The patch is the most structured of 64 that the seed draws, and goes through the code that training runs.
    """
    from ldctpipe.recipes.library import load_recipe
    from ldctpipe.reporting.augmentation_figure import write_augmentation_figure
    from ldctpipe.reporting.figure_file import refuse_existing_figure

    refuse_existing_figure(out, overwrite=overwrite)
    print(f"{out}: {write_augmentation_figure(store, out, load_recipe(recipe), seed)} transforms of one patch pair")


@group.command()
def training(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle, or the checkpoints of a training under way; or a folder of several.")
    ],
    out: Out,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Draw the losses over a training: perceptual, adversarial, total and critic (figure 7).

    Bundles in one folder that differ in their seed alone are repeats: their mean is drawn, with the standard deviation
    as a band. The publication's range of the critic's loss is marked.
    """
    from ldctpipe.reporting.figure_file import refuse_existing_figure
    from ldctpipe.reporting.training_figure import write_training_figure

    refuse_existing_figure(out, overwrite=overwrite)
    count = write_training_figure(bundle, out)
    print(f"{out}: losses of {count} training{'s' if count > 1 else ''}")


@group.command()
def methods(
    source: Annotated[
        Path, typer.Argument(metavar="INPUT", help="Low dose, one series: DICOM folder or zip; a case; NIfTI in HU.")
    ],
    out: Out,
    model: Annotated[
        list[Path], typer.Option("--model", metavar="BUNDLE", help="Denoiser bundle; once for each method.")
    ],
    reference: Annotated[
        Path | None, typer.Option("--reference", help="The full dose of the same scan: each method is measured.")
    ] = None,
    slice_number: Annotated[
        int | None,
        typer.Option("--slice", min=1, help="Which slice of the low dose, from 1.", show_default="the middle one"),
    ] = None,
    roi: Annotated[
        str | None,
        typer.Option(
            metavar="ROW,COLUMN,SIZE",
            help="Upper left corner and side of the square that is magnified, in pixels as shown, from 0.",
            show_default="the square in the body with the most soft-tissue structure",
        ),
    ] = None,
    window: Annotated[str, typer.Option(metavar="LOW,HIGH", help="HU that are black and white.")] = "-160,240",
    protocol: Annotated[
        str, typer.Option("--protocol", help="How to measure; see `ldctpipe protocols`.")
    ] = "mayo-soft",
    device: Device = DeviceName.AUTO,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Show a slice as several methods denoise it, with a magnified region (figures 8 and 9).

    Low dose, each bundle's result in the order given, and the full dose where there is one: then each has PSNR, SSIM
    and RMSE of this slice in its title. Bundles that see neighbouring slices get them from INPUT.
    """
    from ldctpipe.inference.method_comparison import MethodsRequest, draw_methods
    from ldctpipe.metrics.protocols import find_protocol
    from ldctpipe.reporting.figure_file import refuse_existing_figure

    refuse_existing_figure(out, overwrite=overwrite)
    request = MethodsRequest(
        source, out, tuple(model), find_protocol(protocol), reference, slice_number, _region(roi), _window(window),
        device.value, threads,
    )  # fmt: skip
    number, slices = draw_methods(request)
    print(f"{out}: {len(model)} method{'s' if len(model) > 1 else ''} on slice {number} of {slices}")


_LARGEST_HU = 1e6


def _region(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    try:
        row, column, size = (int(part) for part in text.split(","))
    except ValueError:
        row, column, size = -1, -1, -1
    if min(row, column) < 0 or size < 2:
        raise UsageError(None, f"--roi {text} is not ROW,COLUMN,SIZE", "give three whole numbers, such as 200,180,96")
    return row, column, size


def _window(text: str) -> tuple[float, float]:
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not -_LARGEST_HU <= low < high <= _LARGEST_HU:  # NaN is in no order
        raise UsageError(None, f"--window {text} is not LOW,HIGH", "give two HU, the lower first, such as -160,240")
    return low, high
