"""The folder of a sweep, read once and checked: its plan, and what each of its trainings left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ldctpipe.files import require_exists
from ldctpipe.metrics.published import published_table
from ldctpipe.metrics.slices import BASELINE
from ldctpipe.metrics.stability import Stability, measure_stability
from ldctpipe.metrics.summary_file import read_summary
from ldctpipe.metrics.table import feature_distance
from ldctpipe.recipes.bundle import RECIPE
from ldctpipe.recipes.card import Told, read_card
from ldctpipe.recipes.library import recipe_from_file
from ldctpipe.recipes.schema import Recipe
from ldctpipe.recipes.sweep_plan import Plan, PlannedPoint, PlannedRun, read_plan
from ldctpipe.reporting.run_folder import read_table

PLAN = "runs/plan.json"


@dataclass(frozen=True)
class SweepRun:
    """One training; a part that is not there is None, and then the run counts as failed."""

    planned: PlannedRun
    card: dict[str, Any] | None
    recipe: Recipe | None
    training: pd.DataFrame | None
    summary: dict[str, Any] | None
    stability: Stability | None

    @property
    def pixels_seen(self) -> float | None:
        """Low-dose pixels that the training drew, again as often as they were drawn again."""
        iterations = (self.card or {}).get("training", {}).get("iterations")
        return None if self.recipe is None or iterations is None else iterations * self.recipe.pixels_an_iteration

    @property
    def state(self) -> str:
        """How far it came: "finished", "not measured" (trained only) or "not trained"."""
        if self.summary is not None and self.card is not None:
            return "finished"
        return "not trained" if self.card is None else "not measured"

    def mean(self, measure: str) -> float | None:
        """Return the mean over patients of a measure of the denoised images."""
        return self._measured and self._measured["methods"][self.method][measure]["mean"]

    def feature_distance(self, name: str) -> float | None:
        """Return "kid" or "fid" of the denoised images; None where it was not measured."""
        return self._measured and feature_distance(self._measured, self.method, name)

    @property
    def gain_db(self) -> float | None:
        """Mean over patients of the PSNR above the low dose."""
        return self._measured and self._measured["gains"][self.method]["psnr_db"]["mean"]

    @property
    def _measured(self) -> Any:
        """The summary of a run that finished, else None."""
        return self.summary if self.state == "finished" else None

    @property
    def method(self) -> str:
        """Name of the denoiser in the evaluation."""
        return next(name for name in (self.summary or {})["methods"] if name != BASELINE)


@dataclass(frozen=True)
class SweepFolder:
    """A plan and its runs, in the order of the plan, without those that are the same as another."""

    plan: Plan
    runs: tuple[SweepRun, ...]

    @property
    def finished(self) -> list[SweepRun]:
        """The runs that have figures."""
        return [run for run in self.runs if run.state == "finished"]

    @property
    def failed(self) -> list[SweepRun]:
        """The runs that have none."""
        return [run for run in self.runs if run.state != "finished"]

    @property
    def cards(self) -> list[dict[str, Any]]:
        """The cards of all models there are."""
        return [run.card for run in self.runs if run.card is not None]

    def runs_of(self, point: PlannedPoint) -> list[SweepRun]:
        """Return the runs that give the figures of a point, whether they finished or not."""
        wanted = {run.id for run in self.plan.runs_of(point)}
        return [run for run in self.runs if run.planned.id in wanted]


def read_sweep(folder: Path) -> SweepFolder:
    """Return the sweep in `folder`: `runs/plan.json`, and `runs/ID/model` and `runs/ID/metrics` of each run.

    `model/ID` and `metrics/ID` are found too. Raises `InputError` where there is no plan or a part can't be read.
    """
    require_exists(folder)
    plan = read_plan(folder / PLAN)
    return SweepFolder(plan, tuple(_run(folder, run) for run in plan.runs if run.same_as is None))


def _run(folder: Path, planned: PlannedRun) -> SweepRun:
    model, metrics = _part(folder, planned.id, "model"), _part(folder, planned.id, "metrics")
    card = _card(model / "card.json")
    training = _training(model / "training.csv")
    recipe = recipe_from_file(model / RECIPE) if (model / RECIPE).is_file() else None
    return SweepRun(planned, card, recipe, training, _summary(metrics / "summary.json"), _stability(card, training))


def _part(folder: Path, run: str, part: str) -> Path:
    published = folder / "runs" / run / part
    return published if published.is_dir() else folder / part / run


def _card(path: Path) -> dict[str, Any] | None:
    return read_card(path, of=Told) if path.is_file() else None


def _summary(path: Path) -> dict[str, Any] | None:
    return read_summary(path, of_sweep=True) if path.is_file() else None


def _training(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    return read_table(path, ("iteration",))


def _stability(card: dict[str, Any] | None, training: pd.DataFrame | None) -> Stability | None:
    if training is None:
        return None
    rollbacks = (card or {}).get("training", {}).get("rollbacks") or 0
    return measure_stability(training, published_table().critic_loss_band, int(rollbacks))
