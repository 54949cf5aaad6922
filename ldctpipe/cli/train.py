"""`ldctpipe train`: a training store becomes a denoiser bundle."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ldctpipe.cli.options import Device, DeviceName, Overwrite, Quiet, Threads

if TYPE_CHECKING:
    from ldctpipe.recipes.schema import Recipe


class Keep(str, Enum):
    """Which weights of a training go into its bundle."""

    BEST = "best"
    LAST = "last"


def command(
    store: Annotated[Path, typer.Argument(help="Training store that `ldctpipe prepare` wrote.")],
    bundle: Annotated[Path, typer.Argument(help="Folder to write the denoiser bundle to.")],
    recipe: Annotated[str, typer.Option("--recipe", help="Name (`ldctpipe recipes`) or a .yaml file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one value of the recipe; repeatable.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Generator updates.", show_default="the recipe's")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option("--checkpoint-every", min=1, help="In iterations.", show_default="the recipe's")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="All randomness follows from it.", show_default="the recipe's")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option("--checkpoints", help="Folder for checkpoints.", show_default="BUNDLE.checkpoints")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint; start afresh where there is none.")
    ] = False,
    pretrained: Annotated[
        bool,
        typer.Option(
            "--pretrained/--no-pretrained",
            help="ImageNet weights from an installed package or timm's hub, or training from scratch.",
        ),
    ] = True,
    backbone_weights: Annotated[
        Path | None, typer.Option("--backbone-weights", help="ImageNet weights in timm's naming (.safetensors, .pth).")
    ] = None,
    perceptual_weights: Annotated[
        Path | None,
        typer.Option(
            "--perceptual-weights",
            help="The same for the network of the perceptual loss; a folder holds NAME.safetensors or NAME.pth.",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option("--init", help="Bundle to start from: another scanner, kernel or dose, or cpce-2d for cpce-3d."),
    ] = None,
    keep: Annotated[
        Keep | None,
        typer.Option(
            "--keep",
            help="Weights for the bundle: best validation loss, or after the last iteration.",
            show_default="the recipe's",
        ),
    ] = None,
    previews: Annotated[
        int, typer.Option("--previews", min=0, help="Pictures of a fixed validation slice over the run, as PNG.")
    ] = 20,
    explain: Annotated[
        bool, typer.Option("--explain", help="Add Grad-CAM, and attention maps where there are any, to the previews.")
    ] = False,
    device: Device = DeviceName.AUTO,
    devices: Annotated[int, typer.Option("--devices", min=1, help="Devices a node; they share each batch.")] = 1,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Nodes, each started by srun or torchrun.")] = 1,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Try torch.compile and CUDA graphs, and keep them where they are faster.")
    ] = False,
    threads: Threads = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Train a denoiser and write its bundle: weights, the complete recipe, and a card that says how it was made.

    Saves checkpoints on the way; SIGTERM, SIGUSR1, SIGUSR2 and Ctrl-C save one more and exit with 75. The same command
    with --resume goes on from there and, on a CPU without --compile, ends with the same bytes as a run that was never
    interrupted.
    """
    from ldctpipe.recipes.library import load_recipe
    from ldctpipe.training.run import TrainingRequest, train_bundle

    given = {"iterations": iterations, "checkpoint_every": checkpoint_every, "keep": keep and keep.value}
    training = {name: value for name, value in given.items() if value is not None}
    chosen = load_recipe(recipe, overrides or (), training=training, **({} if seed is None else {"seed": seed}))
    changes = [*(overrides or ()), *(f"training.{name}={value}" for name, value in training.items())]
    request = TrainingRequest(
        store=store,
        out=bundle,
        recipe=chosen,
        checkpoints=checkpoints or bundle.with_name(bundle.name + ".checkpoints"),
        pretrained=pretrained,
        backbone_weights=backbone_weights,
        perceptual_weights=perceptual_weights,
        init=init,
        previews=previews,
        explain=explain,
        device=device.value,
        devices=devices,
        nodes=nodes,
        compiled=compiled,
        threads=threads,
        resume=resume,
        overwrite=overwrite,
        overrides=_with_effect(changes, load_recipe(recipe), chosen),
    )
    card = train_bundle(request)
    done = card["training"]
    of = done["best_iteration" if done["kept"] == "best" else "iterations"]
    print(f"{bundle}: {chosen.name}, {done['iterations']} iterations, weights of iteration {of}")


def _with_effect(changes: list[str], shipped: Recipe, chosen: Recipe) -> tuple[str, ...]:
    """Return the changes that made the weights other ones: not of the checkpoints, nor a length that was not taken."""
    without = ["training.checkpoint_every"]
    if chosen.training.iterations == shipped.training.iterations:
        without.append("training.iterations")
    return tuple(change for change in changes if change.partition("=")[0].strip() not in without)
