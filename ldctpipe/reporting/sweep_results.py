"""From trainings to points: mean and spread over repeats, the remark on stability, and both tables as files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ldctpipe import __version__
from ldctpipe.files import new_file, write_json
from ldctpipe.metrics.published import published_table
from ldctpipe.metrics.stability import Stability
from ldctpipe.recipes.sweep import PublishedPoint
from ldctpipe.recipes.sweep_plan import PlannedPoint
from ldctpipe.reporting.stability_remarks import reached_by, remark_on, slowness
from ldctpipe.reporting.sweep_folder import SweepFolder, SweepRun

FORMAT = "ldctpipe-sweep@1"
_DIGITS = 6


@dataclass(frozen=True)
class OverRepeats:
    """Mean and standard deviation over trainings that differ in their seed alone; None where there are too few."""

    mean: float | None
    sd: float | None
    n: int


@dataclass(frozen=True)
class PointResult:
    """One row of the sweep's table."""

    point: PlannedPoint
    published: PublishedPoint | None
    psnr_db: OverRepeats
    ssim: OverRepeats
    rmse_hu: OverRepeats
    kid: OverRepeats
    fid: OverRepeats
    gain_db: OverRepeats
    trainings: tuple[Stability, ...]
    failed: tuple[str, ...]
    reached: float | None
    remark: str


def over_repeats(values: Sequence[float | None]) -> OverRepeats:
    """Return mean and standard deviation (n − 1) of the values that are there."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    mean = float(np.mean(known)) if known else None
    return OverRepeats(mean, float(np.std(known, ddof=1)) if len(known) > 1 else None, len(known))


def point_results(sweep: SweepFolder) -> list[PointResult]:
    """Return the points in the order of the sweep."""
    results = [_result(sweep, point, None) for point in sweep.plan.points]
    # A point that was trained for an earlier one too could only be the fastest beside itself.
    reached = {each.point.name: each.reached for each in results if each.reached is not None and not each.point.same_as}
    fastest = min(reached.items(), key=lambda item: item[1], default=None)
    return [_result(sweep, point, fastest) for point in sweep.plan.points]


def _result(sweep: SweepFolder, point: PlannedPoint, fastest: tuple[str, float] | None) -> PointResult:
    runs = sweep.runs_of(point)
    trainings = tuple(run.stability for run in runs if run.stability is not None)
    failed = tuple(run.planned.id for run in runs if run.state != "finished")
    reached = reached_by(trainings)
    remarks = [remark_on(trainings, published_table().critic_loss_band)]
    intervals = [measures.validation_interval for measures in trainings if measures.validation_interval]
    slow = slowness(reached, max(intervals, default=None), fastest)
    published = next(each.published for each in sweep.plan.sweep.points if each.name == point.name)
    return PointResult(
        point,
        published,
        over_repeats([run.mean("psnr_db") for run in runs]),
        over_repeats([run.mean("ssim") for run in runs]),
        over_repeats([run.mean("rmse_hu") for run in runs]),
        over_repeats([run.feature_distance("kid") for run in runs]),
        over_repeats([run.feature_distance("fid") for run in runs]),
        over_repeats([run.gain_db for run in runs]),
        trainings,
        failed,
        reached,
        "; ".join([*([f"{len(failed)} of {len(runs)} failed"] if failed else []), *remarks, *([slow] if slow else [])]),
    )


def write_runs(sweep: SweepFolder, path: Path) -> None:
    """Write one row a training to `path` as CSV: how it ended, its figures and its measures of stability."""
    with new_file(path) as temporary:
        pd.DataFrame([_run_row(run) for run in sweep.runs]).to_csv(temporary, index=False, lineterminator="\n")


def _run_row(run: SweepRun) -> dict[str, Any]:
    planned, training = run.planned, (run.card or {}).get("training", {})
    measures: dict[str, Any] = asdict(run.stability) if run.stability else {}
    fall = measures.pop("collapse", None) or {}
    return {
        "run": planned.id,
        "point": planned.point,
        "repeat": planned.repeat,
        "seed": planned.seed,
        "init": planned.init,
        "state": run.state,
        **{measure: _rounded(run.mean(measure)) for measure in ("psnr_db", "ssim", "rmse_hu", "bias_hu")},
        "psnr_gain_db": _rounded(run.gain_db),
        **{distance: _rounded(run.feature_distance(distance)) for distance in ("kid", "fid")},
        "iterations": training.get("iterations"),
        "best_iteration": training.get("best_iteration"),
        "seconds": training.get("seconds"),
        "remark": remark_on([run.stability], published_table().critic_loss_band) if run.stability else None,
        "collapse_iteration": fall.get("iteration"),
        "collapse_drop_db": _rounded(fall.get("drop_db")),
        **{_COLUMNS.get(name, name): _rounded(value) for name, value in measures.items()},
    }


# In a table the names stand alone.
_COLUMNS = {
    "logged": "logged_iterations",
    "share_beyond": "critic_loss_share_beyond_band",
    "critic_drift": "critic_loss_drift",
    "reached": "iteration_of_90_percent_of_gain",
}


def write_points(sweep: SweepFolder, results: Sequence[PointResult], warnings: Sequence[str], path: Path) -> None:
    """Write one entry a point to `path` as JSON, with what was run and what a reader must know."""
    plan = sweep.plan
    spreads = ("psnr_db", "ssim", "rmse_hu", "kid", "fid", "gain_db")
    notes = {}
    if any(getattr(each, name).n < 2 for each in results for name in spreads):
        notes["points.*.sd"] = "null where fewer than two trainings have the figure"
    write_json(
        path,
        {
            "format": FORMAT,
            "ldctpipe": __version__,
            "sweep": plan.sweep.name,
            "title": plan.sweep.title,
            "source": plan.sweep.source,
            "recipe": plan.recipe,
            "small": plan.small,
            "overrides": list(plan.overrides),
            "pretrained": plan.pretrained,
            "repeats": plan.repeats,
            "seeds": [plan.seed, plan.seed + plan.repeats - 1],
            "protocol": protocol_of(sweep),
            "spread": "standard deviation over trainings that differ in their seed alone; not over patients",
            "critic_loss_band": published_table().critic_loss_band,
            "points": [_point_entry(each, spreads) for each in results],
            "failed": {run.planned.id: run.state for run in sweep.failed},
            "warnings": list(warnings),
            "notes": notes,
        },
    )


def protocol_of(sweep: SweepFolder) -> str | None:
    """Return the protocol that the runs were measured under; None where none was measured."""
    return next((str(run.summary["protocol"]) for run in sweep.finished if run.summary), None)


def _point_entry(result: PointResult, spreads: Sequence[str]) -> dict[str, Any]:
    published = result.published.model_dump(mode="json") if result.published else None
    return {
        "name": result.point.name,
        "values": result.point.values,
        "same_as": result.point.same_as,
        "init": result.point.init,
        **{name: _spread_entry(getattr(result, name)) for name in spreads},
        "failed": list(result.failed),
        "remark": result.remark,
        "published": published,
    }


def _spread_entry(spread: OverRepeats) -> dict[str, Any]:
    return {"mean": _rounded(spread.mean), "sd": _rounded(spread.sd), "n": spread.n}


def _rounded(value: Any) -> Any:
    return round(value, _DIGITS) if isinstance(value, float) else value
