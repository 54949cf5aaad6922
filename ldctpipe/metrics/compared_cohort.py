"""The scans of several methods on the same patients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ldctpipe.data.layouts import FULL, LOW
from ldctpipe.errors import InputError, UsageError
from ldctpipe.metrics.cohort import EvaluatedCohort, PatientScans, patients_of, refuse_mixed_models


@dataclass(frozen=True)
class DenoisedScans:
    """The denoised scans of one method, and its name if it is not that in their manifest."""

    path: Path
    name: str | None = None


@dataclass(frozen=True)
class ComparedCohort:
    """The scans of each patient by method, for the patients that all methods have, and the model of each method."""

    patients: list[dict[str, PatientScans]]
    models: dict[str, dict[str, Any]]
    left_out: dict[str, str]
    warnings: list[str]


def named_scans(text: str) -> DenoisedScans:
    """Return what `PATH` or `NAME=PATH` means. What exists under the whole text is a path."""
    name, equals, path = text.partition("=")
    if not equals or not name or "/" in name or Path(text).exists():
        return DenoisedScans(Path(text))
    if not path:
        raise UsageError(None, f"{text} has no path behind the equals sign", "give NAME=PATH")
    return DenoisedScans(Path(path), name)


def compared_cohort(
    denoised: Sequence[DenoisedScans], reference: Path, low_dose: Path, patient: str | None = None
) -> ComparedCohort:
    """Return the patients that every method of `denoised` has; see `patients_of` for what the paths may be.

    Raises `InputError` where two methods have one name or methods have no patient in common, and what `patients_of`
    raises.
    """
    cohorts = _by_method(denoised, reference, low_dose, patient)
    by_patient = {
        name: {scans.patient: replace(scans, method=name) for scans in cohort.patients}
        for name, cohort in cohorts.items()
    }
    every = dict.fromkeys(each for scans in by_patient.values() for each in scans)
    lacking = {each: [name for name in cohorts if each not in by_patient[name]] for each in every}
    kept = [{name: by_patient[name][each] for name in cohorts} for each in every if not lacking[each]]
    if not kept:
        others = ", ".join(str(scans.path) for scans in denoised[:-1])
        raise InputError(denoised[-1].path, f"has no patient in common with {others}", "compare the same patients")
    partly = {each: f"was not denoised by {', '.join(names)}" for each, names in lacking.items() if names}
    return ComparedCohort(
        kept,
        {name: cohort.patients[0].model for name, cohort in cohorts.items()},
        {name: reason for cohort in cohorts.values() for name, reason in cohort.left_out.items()} | partly,
        _unique(
            [
                *(text for cohort in cohorts.values() for text in cohort.warnings),
                *(f"Patient {each} {reason} and is left out." for each, reason in partly.items()),
            ]
        ),
    )


def _by_method(
    denoised: Sequence[DenoisedScans], reference: Path, low_dose: Path, patient: str | None
) -> dict[str, EvaluatedCohort]:
    found: dict[str, EvaluatedCohort] = {}
    for scans in denoised:
        cohort = patients_of(scans.path, reference, low_dose, patient)
        own = refuse_mixed_models(cohort.patients)
        name = scans.name or own
        if name in found:
            raise InputError(scans.path, f"is of {name}, as another method is", "give it a name of its own: NAME=PATH")
        if name in (LOW, FULL):
            raise InputError(scans.path, f"can't be called {name}", "give it another name: NAME=PATH")
        found[name] = cohort
    return found


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
