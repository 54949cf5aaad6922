"""The sweep's page: the published table beside this run's, stability, curves and every training, in one HTML file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ldctpipe.files import write_text
from ldctpipe.metrics import stability
from ldctpipe.metrics.published import published_table
from ldctpipe.progress import duration
from ldctpipe.recipes.sweep_plan import Plan
from ldctpipe.reporting.document import render_page
from ldctpipe.reporting.facts import Facts, facts_of
from ldctpipe.reporting.run_folder import Run
from ldctpipe.reporting.sweep_curves import point_curves
from ldctpipe.reporting.sweep_findings import sweep_findings
from ldctpipe.reporting.sweep_folder import SweepFolder, SweepRun, read_sweep
from ldctpipe.reporting.sweep_results import PointResult, point_results, write_points, write_runs
from ldctpipe.reporting.sweep_tables import as_text, costs_table, results_table, runs_table, same_data, stability_table

_SHOWN_FACTS = ("Training data", "Measurement", "Software")


def write_sweep_report(folder: Path, out: Path) -> str:
    """Write the page of the sweep in `folder` to `out`, both tables beside it, and return the tables as text.

    `out` with the endings .csv (a row a training) and .json (an entry a point) holds the figures of the page. Raises
    `InputError` where `folder` has no plan or a part of it can't be read.
    """
    sweep = read_sweep(folder)
    results = point_results(sweep)
    findings = sweep_findings(sweep, results)
    write_text(out, render_sweep(sweep, results))
    write_runs(sweep, out.with_suffix(".csv"))
    write_points(sweep, results, [finding.text for finding in findings], out.with_suffix(".json"))
    tables = (results_table, costs_table, stability_table)
    return "\n\n".join(as_text(table(sweep, results)) for table in tables)


def render_sweep(sweep: SweepFolder, results: list[PointResult]) -> str:
    """Return the page as HTML."""
    band = published_table().critic_loss_band
    trained = {each.point.name: _logs(sweep, each) for each in results if not each.point.same_as}
    return render_page(
        "sweep.html",
        sweep=sweep.plan.sweep,
        plan=sweep.plan,
        findings=sweep_findings(sweep, results),
        results=results_table(sweep, results),
        same_data=same_data(sweep),
        costs=costs_table(sweep, results),
        stability=stability_table(sweep, results),
        runs=runs_table(sweep),
        finished=len(sweep.finished),
        psnr_curves=point_curves(trained, "validation_psnr_db", "validation PSNR (dB)"),
        critic_curves=point_curves(trained, "loss_critic", "critic loss", band=band),
        facts=_facts(sweep),
        band=band,
        rules=stability,
    )


def _logs(sweep: SweepFolder, result: PointResult) -> list[pd.DataFrame]:
    return [run.training for run in sweep.runs_of(result.point) if run.training is not None]


def _facts(sweep: SweepFolder) -> dict[str, Facts]:
    plan = sweep.plan
    last_seed = plan.seed + plan.repeats - 1
    facts = {
        "Recipe": plan.recipe or "each point's own",
        "Size": "cut down for a trial: no network is its publication's" if plan.small else "as the recipes have it",
        "Budget": _budget(plan),
        "Changed for all points": ", ".join(plan.overrides) or "nothing",
        "Repeats": str(plan.repeats),
        "Seeds": f"{plan.seed} to {last_seed}" if plan.repeats > 1 else str(plan.seed),
        "ImageNet weights": "yes" if plan.pretrained else "no, trained from scratch",
        "Devices": ", ".join(sorted({str(card.get("training", {}).get("device")) for card in sweep.cards})),
        "Time of all trainings": duration(sum(card.get("training", {}).get("seconds") or 0 for card in sweep.cards)),
    }
    groups = {"Sweep": facts}
    if sweep.finished:
        alike = facts_of(_as_run(sweep.finished[0]))
        groups |= {heading: alike[heading] for heading in _SHOWN_FACTS if heading in alike}
    return groups


def _budget(plan: Plan) -> str:
    lengths = [each.partition("=")[2] for each in plan.overrides if each.startswith("training.iterations=")]
    return f"equal: {int(lengths[-1]):,} iterations each" if lengths else "each recipe's own, as published"


def _as_run(run: SweepRun) -> Run:
    return Run(run.summary, None, (), run.card, None, None, None, ())
