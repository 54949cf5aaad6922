"""The sweep's tables as data: the published table beside this run's, stability, and the list of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from ldctpipe.metrics.table import DISTANCES
from ldctpipe.progress import duration
from ldctpipe.recipes.sweep import PublishedPoint
from ldctpipe.recipes.sweep_plan import Plan, PlannedPoint
from ldctpipe.reporting.sweep_folder import SweepFolder, SweepRun
from ldctpipe.reporting.sweep_results import OverRepeats, PointResult, protocol_of
from ldctpipe.reporting.tables import Group, Row, Table

_NOTHING = "–"
# Heading, name in a publication and in a result, digits.
_MEASURES = (("PSNR (dB)", "psnr_db", 2), ("SSIM", "ssim", 3), ("RMSE (HU)", "rmse_hu", 2))
_DISTANCES = tuple((each.title, each.name, each.digits) for each in DISTANCES)


def results_table(sweep: SweepFolder, results: Sequence[PointResult]) -> Table:
    """Return one row a point: what it changes, the published figures, this run's, and the difference."""
    head, shown = ["Point", *sweep.plan.sweep.columns.values()], _shown(sweep.plan, results)
    for name, measure, _ in shown:
        compared = _is_published(sweep.plan, measure)
        head += [f"{name} published", f"{name} this run", "Difference"] if compared else [name]
    rows = [_result_row(sweep, each, shown) for each in results]
    return Table(_caption(sweep), (*head, "PSNR gain (dB)", "Trainings"), (Group(None, tuple(rows)),))


def _shown(plan: Plan, results: Sequence[PointResult]) -> list[tuple[str, str, int]]:
    """Return the measures of the table: where there are published figures, those; and feature distances if measured."""
    shown = [each for each in _MEASURES if plan.sweep.published is None or _is_published(plan, each[1])]
    measured = [each[1] for each in _DISTANCES if any(getattr(result, each[1]).n for result in results)]
    return shown + [each for each in _DISTANCES if each[1] in measured or _is_published(plan, each[1])]


def _is_published(plan: Plan, measure: str) -> bool:
    return any(getattr(point.published, measure, None) for point in plan.sweep.points)


def comparable_protocol(sweep: SweepFolder) -> bool:
    """Tell whether the run was measured under the protocol of the published figures."""
    published = sweep.plan.sweep.published
    return published is not None and protocol_of(sweep) == published.protocol


def same_data(sweep: SweepFolder) -> bool:
    """Tell whether the run measured the patients and slices of the published figures, under their protocol."""
    published = sweep.plan.sweep.published
    if published is None or not comparable_protocol(sweep):
        return False
    summaries = [run.summary or {} for run in sweep.finished]
    measured = {patient for summary in summaries for patient in summary["patients"]}
    slices = {summary["n_slices"] for summary in summaries}
    return measured == set(published.patients) and (published.slices is None or slices == {published.slices})


def _caption(sweep: SweepFolder) -> str:
    plan, protocol = sweep.plan, protocol_of(sweep)
    if plan.repeats == 1:
        spread = "One training a point, without spread"
    else:
        spread = f"Mean ± standard deviation over {plan.repeats} trainings with different seeds (not over patients)"
    published = plan.sweep.published
    beside = f"; published: over {published.repeats} trainings" if published else ""
    return f"{plan.sweep.title}. {spread}{beside}{f'; protocol {protocol}' if protocol else ''}"


def _result_row(sweep: SweepFolder, result: PointResult, shown: Sequence[tuple[str, str, int]]) -> Row:
    subtracted = comparable_protocol(sweep)
    cells = [f"{value:g}" if isinstance(value, float) else str(value) for value in result.point.values.values()]
    for _, measure, digits in shown:
        own: OverRepeats = getattr(result, measure)
        if _is_published(sweep.plan, measure):
            theirs = _published(result.published, measure)
            cells += [_spread(theirs, digits), _spread((own.mean, own.sd), digits)]
            cells.append(_difference(own.mean, theirs[0], digits) if subtracted else _NOTHING)
        else:
            cells.append(_spread((own.mean, own.sd), digits))
    cells += [_signed(result.gain_db.mean, 2), str(result.psnr_db.n)]
    return Row(result.point.name, tuple(cells), _about_training(result.point))


def _about_training(point: PlannedPoint) -> str | None:
    """Return what sets a point's trainings apart from others: that they are another point's, or start from one."""
    if point.same_as:
        return f"the same training as {point.same_as}, which was trained for both"
    return f"started from {point.init}" if point.init else None


def stability_table(sweep: SweepFolder, results: Sequence[PointResult]) -> Table:
    """Return one row a point: measures of its training curves, the published remark, and the computed one."""
    published = any(each.published and each.published.remark for each in results)
    head = [
        "Point",
        "Critic loss beyond the band",
        "Largest critic loss",
        "Fluctuation (dB)",
        "90 % of gain at iteration",
    ]
    rows = tuple(_stability_row(each, published) for each in results)
    return Table(
        "Stability, computed from the training curves; several trainings: median, and for the largest loss the largest",
        (*head, *(["Published remark"] if published else []), "Remark on this run"),
        (Group(None, rows),),
        prose=2 if published else 1,
    )


def _stability_row(result: PointResult, published: bool) -> Row:
    trainings = result.trainings
    share = _of([measures.share_beyond for measures in trainings], median)
    largest = _of([measures.largest_critic_loss for measures in trainings], max)
    fluctuation = _of([measures.fluctuation_db for measures in trainings], median)
    cells = [
        _NOTHING if share is None else f"{100 * share:.0f} %",
        _NOTHING if largest is None else f"{largest:.3g}",
        _NOTHING if fluctuation is None else f"{fluctuation:.2f}",
        _NOTHING if result.reached is None else f"{result.reached:,.0f}",
    ]
    if published:
        cells.append((result.published.remark if result.published else None) or _NOTHING)
    same = f"the same training as {result.point.same_as}" if result.point.same_as else None
    return Row(result.point.name, (*cells, result.remark), same)


def costs_table(sweep: SweepFolder, results: Sequence[PointResult]) -> Table:
    """Return one row a point: what its network and its trainings cost, and how much data these saw."""
    head = (
        "Point",
        "Parameters",
        "GFLOP a slice",
        "Seconds a slice",
        "Training time",
        "Memory in training (MiB)",
        "Mpixel seen",
    )
    rows = tuple(_costs_row(result.point.name, sweep.runs_of(result.point)) for result in results)
    return Table(f"Cost; several trainings: median. {_slices(sweep)}. {_SEEN}", head, (Group(None, rows),))


# An iteration is another amount of data for each recipe.
_SEEN = (
    "Mpixel seen: low-dose pixels in the batches of all iterations, those of critic updates and of neighbouring slices "
    "included; not those of a bundle that a training started from"
)


def _slices(sweep: SweepFolder) -> str:
    sizes = {f"{cost['slice'][-2]}×{cost['slice'][-1]}" for cost in (card.get("cost") for card in sweep.cards) if cost}
    return f"A slice has {' or '.join(sorted(sizes))} pixels" if sizes else "No slice was timed"


def _costs_row(name: str, runs: Sequence[SweepRun]) -> Row:
    cards = [run.card for run in runs if run.card is not None]
    costs = [card.get("cost", {}) for card in cards]
    memory = [
        float(run.training["memory_mib"].max())
        for run in runs
        if run.training is not None and "memory_mib" in run.training
    ]
    parameters = _of([card.get("weights", {}).get("parameters") for card in cards], median)
    gflop, seconds = (_of([cost.get(key) for cost in costs], median) for key in ("gflop", "seconds"))
    training = _of([card.get("training", {}).get("seconds") for card in cards], median)
    pixels = _of([run.pixels_seen for run in runs], median)
    cells = (
        _NOTHING if parameters is None else f"{parameters:,.0f}",
        _NOTHING if gflop is None else _figures(gflop),
        _NOTHING if seconds is None else f"{seconds:.3g}",
        _NOTHING if training is None else duration(training),
        _NOTHING if not memory else f"{median(memory):,.0f}",
        _NOTHING if pixels is None else _figures(pixels / 1e6),
    )
    return Row(name, cells)


def _figures(value: float) -> str:
    return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"


def runs_table(sweep: SweepFolder) -> Table:
    """Return one row a training."""
    head = ("Run", "Seed", "Ended as", "PSNR (dB)", "SSIM", "RMSE (HU)", "Bias (HU)", "Iterations", "Best at", "Time")
    rows = tuple(_run_row(run) for run in sweep.runs)
    return Table("Every training; the results of each lie in runs/ID", head, (Group(None, rows),))


def _run_row(run: SweepRun) -> Row:
    training = (run.card or {}).get("training", {})
    seconds = training.get("seconds")
    cells = (
        str(run.planned.seed),
        run.state if run.state == "finished" else f"failed: {run.state}",
        _spread((run.mean("psnr_db"), None), 2),
        _spread((run.mean("ssim"), None), 3),
        _spread((run.mean("rmse_hu"), None), 2),
        _signed(run.mean("bias_hu"), 2),
        _count(training.get("iterations")),
        _count(training.get("best_iteration")),
        _NOTHING if seconds is None else duration(seconds),
    )
    return Row(run.planned.id, cells)


def as_text(table: Table) -> str:
    """Return a table in plain text for a terminal, its caption first and its remarks last."""
    rows = [table.head, *((row.label, *row.cells) for group in table.groups for row in group.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    lines = [_line(row, widths, left_last=table.prose > 0) for row in rows]
    return "\n".join([table.caption, "", *lines, *table.remarks])


def _line(cells: Sequence[str], widths: Sequence[int], *, left_last: bool) -> str:
    first, *others = (
        cell.ljust(width) if index == 0 or (left_last and index == len(cells) - 1) else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _published(point: PublishedPoint | None, measure: str) -> tuple[float | None, float | None]:
    figures = getattr(point, measure) if point else None
    return figures or (None, None)


def _spread(figures: tuple[float | None, float | None], digits: int) -> str:
    mean, sd = figures
    if mean is None:
        return _NOTHING
    return _minus(f"{mean:.{digits}f}" if sd is None else f"{mean:.{digits}f} ± {sd:.{digits}f}")


def _difference(own: float | None, theirs: float | None, digits: int) -> str:
    return _NOTHING if own is None or theirs is None else _signed(own - theirs, digits)


def _signed(value: float | None, digits: int) -> str:
    return _NOTHING if value is None else _minus(f"{value:+.{digits}f}")


def _minus(text: str) -> str:
    return text.replace("-", "−")


def _count(number: Any) -> str:
    return f"{number:,}" if isinstance(number, int) else _NOTHING


def _of(values: Sequence[float | None], how: Callable[[Sequence[float]], float]) -> float | None:
    known = [value for value in values if value is not None]
    return how(known) if known else None
