"""Curves over a training's iterations: losses, gradients, validation, time and memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ldctpipe.reporting.curves import LOW_COLOUR, MODEL_COLOUR, OTHER_COLOUR, STYLE, data_uri

COLOURS = (MODEL_COLOUR, LOW_COLOUR, OTHER_COLOUR, "#6a9a3c")

_SMOOTHED_FROM, _POINTS_SHOWN = 60, 600


@dataclass(frozen=True)
class Panel:
    """Columns of the training log that are drawn together, each with its label."""

    title: str
    curves: dict[str, str]
    is_logarithmic: bool = False
    colours: Sequence[str] = COLOURS  # in the order of the curves, also where some are missing

    def drawable(self, runs: Sequence[pd.DataFrame]) -> dict[str, str]:
        """Return those of its curves that have two points or more in one of the `runs`."""
        return {
            column: label
            for column, label in self.curves.items()
            if any(len(points_of(run, column, self.is_logarithmic)) > 1 for run in runs)
        }


_PANELS = (
    Panel("Generator", {
        "loss_generator": "total", "loss_pixel": "L1",
        "loss_perceptual": "perceptual", "loss_adversarial": "adversarial",
    }),
    Panel("Critic", {
        "loss_critic": "loss", "wasserstein": "Wasserstein estimate", "gradient_penalty": "gradient penalty",
    }),
    Panel("Norm of the gradient of each term", {
        "gradient_norm_pixel": "L1", "gradient_norm_perceptual": "perceptual",
        "gradient_norm_adversarial": "adversarial",
    }, is_logarithmic=True, colours=COLOURS[1:]),
    Panel("Norm of the gradient of each network", {
        "gradient_norm_generator": "generator", "gradient_norm_critic": "critic",
    }, is_logarithmic=True),
    Panel("Validation loss", {"validation_loss": "validation loss"}),
    Panel("Validation PSNR (dB)", {"validation_psnr_db": "validation PSNR"}),
    Panel("Validation SSIM", {"validation_ssim": "validation SSIM"}),
    Panel("Validation RMSE (HU)", {"validation_rmse_hu": "validation RMSE"}),
    Panel("Time of an iteration (s)", {"iteration_s": "time"}),
    Panel("Memory (MiB)", {"memory_mib": "memory"}),
)  # fmt: skip


def training_curves(training: pd.DataFrame) -> str | None:
    """Return a data URI of the curves that a training log has, or None where none has two points."""
    panels = [panel for panel in _PANELS if panel.drawable([training])]
    if not panels:
        return None
    down = (len(panels) + 1) // 2
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.7 * down), layout="constrained")
        for number, panel in enumerate(panels, start=1):
            draw_panel(figure.add_subplot(down, min(2, len(panels)), number), panel, [training])
        return data_uri(figure)


def draw_panel(axes: Axes, panel: Panel, runs: Sequence[pd.DataFrame]) -> None:
    """Draw what a panel has: of one run its points, of several the mean and its standard deviation as a band."""
    drawable = panel.drawable(runs)
    for (column, label), colour in zip(panel.curves.items(), panel.colours, strict=False):
        if column not in drawable:
            continue
        points = [points_of(run, column, panel.is_logarithmic) for run in runs]
        if len(points) == 1:
            _curve(axes, points[0], label, colour)
        else:
            _mean_and_band(axes, points, label, colour)
    axes.set(title=panel.title, xlabel="iteration")
    if panel.is_logarithmic:
        axes.set_yscale("log")
    if len(panel.curves) > 1:
        axes.legend(ncols=2)


def points_of(run: pd.DataFrame, column: str, positive: bool = False) -> pd.Series:
    """Return the logged values of a column by iteration, none where the log has no such column."""
    if column not in run:
        return pd.Series(dtype=float)
    values = run.set_index("iteration")[column].dropna()
    return values[values > 0] if positive else values


def _curve(axes: Axes, points: pd.Series, label: str, colour: str) -> None:
    if len(points) < _SMOOTHED_FROM:
        axes.plot(points.index, points, color=colour, label=label, marker=".", markersize=4)
        return
    step = max(1, len(points) // _POINTS_SHOWN)
    axes.plot(points.index[::step], points[::step], color=colour, alpha=0.25, linewidth=0.8)
    axes.plot(points.index[::step], _smooth(points)[::step], color=colour, label=label)


def _mean_and_band(axes: Axes, runs: Sequence[pd.Series], label: str, colour: str) -> None:
    table = pd.concat([_smooth(run) for run in runs], axis=1).sort_index()
    step = max(1, len(table) // _POINTS_SHOWN)
    mean, deviation = table.mean(axis=1)[::step], table.std(axis=1)[::step]
    axes.fill_between(mean.index, mean - deviation, mean + deviation, color=colour, alpha=0.2, linewidth=0)
    axes.plot(mean.index, mean, color=colour, label=label)


def _smooth(points: pd.Series) -> pd.Series:
    if len(points) < _SMOOTHED_FROM:
        return points
    return points.rolling(max(5, len(points) // 40), center=True, min_periods=1).median()
