"""`ldctpipe figure`: figures of the flagship's publication, drawn anew from what was prepared and trained here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ldctpipe.cli.options import Quiet, Seed

group = typer.Typer(help="Draw figures of the publication from a training store or from trainings.")

Out = Annotated[Path, typer.Argument(help="File to write, .png or .svg; an older one is replaced.")]


@group.command()
def augmentation(
    store: Annotated[Path, typer.Argument(help="Training store that `ldctpipe prepare` wrote.")],
    out: Out,
    recipe: Annotated[
        str, typer.Option("--recipe", help="Name (`ldctpipe recipes`) or a .yaml file.")
    ] = "wgan-gp-effnetv2",
    seed: Seed = 1,
    quiet: Quiet = False,
) -> None:
    """Show one patch pair under each transform of a recipe's augmentation (figure 6).

    The patch is the most structured of 64 that the seed draws, and goes through the code that training runs.
    """
    from ldctpipe.recipes.library import load_recipe
    from ldctpipe.reporting.augmentation_figure import write_augmentation_figure

    print(f"{out}: {write_augmentation_figure(store, out, load_recipe(recipe), seed)} transforms of one patch pair")


@group.command()
def training(
    bundle: Annotated[
        Path, typer.Argument(help="A bundle, or the checkpoints of a training under way; or a folder of several.")
    ],
    out: Out,
    quiet: Quiet = False,
) -> None:
    """Draw the losses over a training: perceptual, adversarial, total and critic (figure 7).

    Bundles in one folder that differ in their seed alone are repeats: their mean is drawn, with the standard deviation
    as a band. The publication's range of the critic's loss is marked.
    """
    from ldctpipe.reporting.training_figure import write_training_figure

    count = write_training_figure(bundle, out)
    print(f"{out}: losses of {count} training{'s' if count > 1 else ''}")
