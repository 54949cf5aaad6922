"""What a reader must know before any figure: the warnings on top of the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ldctpipe.metrics.comparisons import patients_needed
from ldctpipe.metrics.endpoint_text import safety_results
from ldctpipe.metrics.endpoints import ENDPOINTS, Endpoint
from ldctpipe.metrics.slices import BASELINE
from ldctpipe.metrics.tissue_shift import tissue_shifts
from ldctpipe.reporting.run_folder import Run

_OVERSMOOTHED = 0.6  # of the noise of the full dose: 36 % of its power; below it, texture of the full dose is lost


@dataclass(frozen=True)
class Finding:
    """One warning. `serious` ones question the result, the others limit what can be concluded from it."""

    serious: bool
    text: str


def findings_of(run: Run) -> list[Finding]:
    """Return all warnings of a run, serious ones first."""
    found = [*_about_quality(run), *_about_split(run), *_about_evidence(run), *_about_model(run)]
    found += [Finding(False, text) for text in run.missing]
    return sorted(found, key=lambda finding: not finding.serious)


def _about_quality(run: Run) -> Iterator[Finding]:
    if run.summary is None:
        return
    for method in run.methods:
        for found in _about_quality_of(run.summary, method):
            yield found if len(run.methods) == 1 else Finding(found.serious, f"{method}: {found.text}")


def _about_quality_of(summary: dict[str, Any], method: str) -> Iterator[Finding]:
    low, model = summary["methods"][BASELINE], summary["methods"][method]
    for shift in tissue_shifts(summary, method):
        if shift.sentence:
            yield Finding(shift.is_shifted, shift.sentence)
    worse = [endpoint.title for endpoint in ENDPOINTS if _is_worse(low, model, endpoint)]
    if worse:
        yield Finding(True, f"The denoised images are worse than the low dose in {', '.join(worse)}.")
    noise_hu, full_hu = model["noise_sd_hu"]["mean"], model["full_dose_noise_sd_hu"]["mean"]
    if noise_hu is not None and full_hu and noise_hu < _OVERSMOOTHED * full_hu:
        yield Finding(
            False,
            f"The denoised images are smoother than the full dose (noise {noise_hu:.1f} HU against {full_hu:.1f} HU): "
            "fine structure may be lost with the noise.",
        )


def _is_worse(low: dict[str, Any], model: dict[str, Any], endpoint: Endpoint) -> bool:
    before, after = low[endpoint.measure]["mean"], model[endpoint.measure]["mean"]
    if before is None or after is None:
        return False
    return bool(after < before if endpoint.higher_is_better else after > before)


def _about_split(run: Run) -> Iterator[Finding]:
    if run.summary is None or run.card is None:
        return
    trainings = [
        run.card,
        *run.card.get("lineage", []),
    ]  # a bundle that another started from has seen its patients, too
    seen = [card.get("data", {}).get(name, []) for card in trainings for name in ("patients", "validation_patients")]
    shared = sorted({str(patient) for patients in seen for patient in patients} & set(run.summary["patients"]))
    if shared:
        yield Finding(
            True, f"Measured on patients that the training has seen: {', '.join(shared)}. The figures are too good."
        )


def _about_evidence(run: Run) -> Iterator[Finding]:
    if run.summary is None:
        return
    for text in run.summary["warnings"]:
        yield Finding(False, text)
    for result in safety_results(run.summary):
        if result["equivalent"] is False and abs(result["mean"]) <= result["margin_hu"]:
            low_hu, high_hu = result["ci90"]
            yield Finding(
                False,
                f"The patients don't show that the soft-tissue bias of {result['method']} lies within "
                f"±{result['margin_hu']:g} HU: its 90 % interval is {low_hu:+.2f} to {high_hu:+.2f} HU.",
            )
    patients, needed = run.summary["n_patients"], patients_needed(len(run.methods))
    if patients < needed:
        number = "one patient" if patients == 1 else f"{patients} patients"
        yield Finding(
            False,
            f"Measured on {number}: too few for a paired test, which needs {needed}. "
            "The figures describe this data and do not generalise.",
        )


def _about_model(run: Run) -> Iterator[Finding]:
    if run.card is None:
        return
    notes = [str(note) for note in run.card.get("notes", [])]
    if "mini" in str(run.card.get("name", "")) and not any("mini" in note.lower() for note in notes):
        yield Finding(
            False, "This is the mini recipe: a small stand-in for the published method, sized for two CPU cores."
        )
    for note in notes:
        yield Finding(False, note if note.endswith(".") else f"{note}.")
    if rollbacks := run.card.get("training", {}).get("rollbacks"):
        times = "once" if rollbacks == 1 else f"{rollbacks} times"
        yield Finding(False, f"The training diverged {times} and went back to its last good state.")
    if (
        run.card.get("pretrained") is False
        and not run.card.get("lineage")
        and not any("scratch" in note or "pretrain" in note for note in notes)
    ):
        yield Finding(
            False, "The encoder was trained from scratch, without the ImageNet weights of the published method."
        )
