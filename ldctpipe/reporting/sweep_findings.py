"""What a reader of a sweep must know before any figure: the warnings on top of its page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ldctpipe.metrics.comparisons import patients_needed
from ldctpipe.metrics.tissue import TISSUES
from ldctpipe.reporting.findings import Finding
from ldctpipe.reporting.sweep_folder import SweepFolder
from ldctpipe.reporting.sweep_results import PointResult
from ldctpipe.reporting.sweep_tables import comparable_protocol, same_data

_LEAST_REPEATS = 3  # a standard deviation of two values is off by a factor of two in every second case


def sweep_findings(sweep: SweepFolder, results: Sequence[PointResult]) -> list[Finding]:
    """Return all warnings of a sweep, serious ones first."""
    found = [
        *_about_size(sweep),
        *_about_failures(sweep),
        *_about_quality(sweep),
        *_about_comparison(sweep),
        *_about_equal_points(sweep),
        *_about_repeats(sweep, results),
        *_about_patients(sweep),
        *_about_models(sweep),
    ]
    return sorted(found, key=lambda finding: not finding.serious)


def _about_size(sweep: SweepFolder) -> Iterator[Finding]:
    if sweep.plan.small:
        text = "The networks were cut down for a trial: no figure here is a method's, and their order means nothing."
        yield Finding(True, text)


def _about_failures(sweep: SweepFolder) -> Iterator[Finding]:
    failed = sweep.failed
    if failed:
        names = ", ".join(f"{run.planned.id} ({run.state})" for run in failed)
        yield Finding(
            True, f"{len(failed)} of {len(sweep.runs)} runs failed and are in no figure: {names}. Their logs say why."
        )


def _about_quality(sweep: SweepFolder) -> Iterator[Finding]:
    for tissue in TISSUES:
        shifted = [run.planned.id for run in sweep.finished if tissue.is_shifted(run.mean(tissue.measure))]
        if shifted:
            text = f"CT numbers of {tissue.title} are shifted by more than ±{tissue.gate_hu:g} HU in"
            yield Finding(True, f"{text} {_some(shifted, sweep)}.")
    worse = [run.planned.id for run in sweep.finished if (run.gain_db or 0) < 0]
    if worse:
        yield Finding(True, f"The denoised images are worse than the low dose in PSNR in {_some(worse, sweep)}.")


def _some(names: Sequence[str], sweep: SweepFolder) -> str:
    shown = ", ".join(names[:4]) + (", …" if len(names) > 4 else "")
    return f"{len(names)} of {len(sweep.runs)} runs ({shown})"


def _about_comparison(sweep: SweepFolder) -> Iterator[Finding]:
    published = sweep.plan.sweep.published
    if published is None or not sweep.finished:
        return
    if not comparable_protocol(sweep):
        yield Finding(False, f"Published figures use {published.protocol}, this run another protocol: not comparable.")
    elif not same_data(sweep):
        yield Finding(
            False,
            f"The published figures are for {published.data}; this run measured other data, so absolute figures are "
            "not comparable. At most the order of the points is.",
        )
    if any(point.published and point.published.fid for point in sweep.plan.sweep.points) and not any(
        run.feature_distance("fid") is not None for run in sweep.finished
    ):
        yield Finding(False, "FID was not measured: no weights of its network were given (--feature_weights FILE).")
    if sweep.plan.recipe is not None and sweep.plan.recipe != published.recipe:
        yield Finding(False, f"Published with {published.recipe}, run with {sweep.plan.recipe}.")


def _about_equal_points(sweep: SweepFolder) -> Iterator[Finding]:
    equal = {point.name: point.same_as for point in sweep.plan.points if point.same_as}
    if not equal:
        return
    pairs = ", ".join(f"{name} is {other}" for name, other in equal.items())
    reason = "" if sweep.plan.pretrained else " (without ImageNet weights the perceptual loss is left out)"
    yield Finding(False, f"Points that come to the same training{reason} were trained once for all of them: {pairs}.")


def _about_repeats(sweep: SweepFolder, results: Sequence[PointResult]) -> Iterator[Finding]:
    repeats = sweep.plan.repeats
    if repeats == 1:
        yield Finding(False, "One training a point: how much of a difference is chance can't be told.")
    elif repeats < _LEAST_REPEATS:
        yield Finding(False, f"{repeats} trainings a point: their spread is hardly known.")
    means = [each.psnr_db.mean for each in results if each.psnr_db.mean is not None]
    spreads = [each.psnr_db.sd for each in results if each.psnr_db.sd is not None]
    if len(means) > 1 and spreads and max(means) - min(means) < max(spreads):
        yield Finding(
            False,
            f"The points lie within {max(means) - min(means):.2f} dB, trainings of one point spread by up to "
            f"{max(spreads):.2f} dB: this run gives the points no order.",
        )


def _about_patients(sweep: SweepFolder) -> Iterator[Finding]:
    summaries = [run.summary for run in sweep.finished if run.summary]
    for text in dict.fromkeys(text for summary in summaries for text in summary["warnings"]):
        yield Finding(False, str(text))
    least = min((summary["n_patients"] for summary in summaries), default=None)
    if least is not None and least < patients_needed(1):
        number = "one patient" if least == 1 else f"{least} patients"
        yield Finding(False, f"Measured on {number}: the figures describe this data and do not generalise.")


def _about_models(sweep: SweepFolder) -> Iterator[Finding]:
    """Yield what the cards of all models say alike; what one point changed is in the table."""
    cards = sweep.cards
    for note in cards[0].get("notes", []) if cards else []:
        if all(note in card.get("notes", []) for card in cards):
            yield Finding(False, str(note) if str(note).endswith(".") else f"{note}.")
