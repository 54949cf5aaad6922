"""Figure 7 of the flagship paper from training logs: perceptual, adversarial, total and critic loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ldctpipe.errors import InputError
from ldctpipe.files import require_exists
from ldctpipe.recipes.bundle import RECIPE
from ldctpipe.recipes.library import recipe_from_file
from ldctpipe.recipes.schema import Recipe
from ldctpipe.reporting.curves import INK, STYLE
from ldctpipe.reporting.figure_file import require_figure_name, save_figure
from ldctpipe.reporting.run_folder import read_table
from ldctpipe.reporting.training_curves import Panel, draw_panel

LOG = "training.csv"
PUBLISHED_BAND = (-0.5, 0.5)  # "The discriminator loss remained bounded between −0.5 and 0.5" (the paper, "Results")

_DARK_INK = "#30363c"
_ON_PAPER = {name: _DARK_INK if value == INK else value for name, value in STYLE.items()} | {"axes.edgecolor": INK}
_PERCEPTUAL, _WEIGHTED, _CRITIC = "loss_perceptual", "loss_perceptual_weighted", "loss_critic"


@dataclass(frozen=True)
class TrainingRun:
    """A training's log, and its recipe where one lies beside it (beside checkpoints there is none)."""

    folder: Path
    log: pd.DataFrame
    recipe: Recipe | None


def write_training_figure(source: Path, out: Path) -> int:
    """Write the loss curves of the bundle `source` to `out`, a .png or .svg file; return the number of trainings.

    Where `source` is a folder of several bundles, they are repeats: their mean is drawn, with the standard deviation as
    a band. Raises `InputError` where there is no log with two rows, or repeats differ in more than their seed, and
    `UsageError` for another kind of file.
    """
    require_figure_name(out)
    runs = _read_runs(source)
    with matplotlib.rc_context(_ON_PAPER):
        save_figure(_figure(runs), out)
    return len(runs)


def _read_runs(source: Path) -> list[TrainingRun]:
    require_exists(source)
    folders = [source] if (source / LOG).is_file() else sorted(log.parent for log in source.glob(f"*/{LOG}"))
    if not folders:
        fault = f"holds no {LOG}, and no folder in it does"
        raise InputError(source, fault, "give a bundle of `ldctpipe train`, or a folder of several")
    runs = [_read_run(folder) for folder in folders]
    first, *others = runs
    for run in others:
        if _without_seed(run.recipe) != _without_seed(first.recipe):
            fault = f"is of another recipe than {first.folder.name} beside it, so they are no repeats"
            raise InputError(run.folder, fault, "give a folder whose trainings differ in their seed alone")
    return runs


def _read_run(folder: Path) -> TrainingRun:
    log = read_table(folder / LOG)
    if "iteration" not in log or len(log) < 2:
        raise InputError(folder / LOG, "holds fewer than two logged iterations", "train for longer, or log more often")
    recipe = recipe_from_file(folder / RECIPE) if (folder / RECIPE).is_file() else None
    if recipe is not None and _PERCEPTUAL in log:
        log[_WEIGHTED] = recipe.losses.perceptual * log[_PERCEPTUAL]
    return TrainingRun(folder, log, recipe)


def _without_seed(recipe: Recipe | None) -> Recipe | None:
    return None if recipe is None else recipe.model_copy(update={"seed": 0})


def _figure(runs: Sequence[TrainingRun]) -> Figure:
    recipe, logs = runs[0].recipe, [run.log for run in runs]
    figure = Figure(figsize=(9.6, 5.8), layout="constrained")
    for number, panel in enumerate(_panels(recipe), start=1):
        axes = figure.add_subplot(2, 2, number)
        if panel.drawable(logs):
            draw_panel(axes, panel, logs)
        else:
            axes.set(title=panel.title, xticks=[], yticks=[])
            axes.text(0.5, 0.5, "not in this training's log", ha="center", va="center", transform=axes.transAxes)
        if _CRITIC in panel.curves:
            _mark_published_band(axes)
    repeats = f"; mean and standard deviation of {len(runs)} trainings" if len(runs) > 1 else ""
    figure.suptitle(f"{recipe.title if recipe else 'Training losses'}{repeats}", x=0.01, ha="left", parse_math=False)
    return figure


def _mark_published_band(axes: Axes) -> None:
    low, high = PUBLISHED_BAND
    label = f"published: {low:g} to {high:g}".replace("-", "−")
    axes.axhspan(low, high, color=INK, alpha=0.18, linewidth=0, label=label)
    axes.set_yscale("symlog", linthresh=1)  # the first iterations' losses are some tens of times as high
    axes.legend()


def _panels(recipe: Recipe | None) -> tuple[Panel, ...]:
    weighted = {_WEIGHTED: f"× {recipe.losses.perceptual:g}, as in the total"} if recipe else {}
    return (
        Panel("Perceptual loss", {_PERCEPTUAL: "as computed", **weighted}, is_logarithmic=True),
        Panel("Adversarial", {"loss_adversarial": "generator's term", "wasserstein": "Wasserstein estimate"}),
        Panel("Total loss of the generator", {"loss_generator": "total"}),
        Panel("Loss of the critic", {_CRITIC: "critic"}),
    )
