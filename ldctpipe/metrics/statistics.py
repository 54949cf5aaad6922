"""From slices to patients to the cohort. The patient is the unit: slices of one patient are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

LEAST_PATIENTS_FOR_TEST = 6  # five patients can't reach p < 0.05 in a two-sided signed-rank test
RESAMPLES = 10_000


@dataclass(frozen=True)
class CohortValue:
    """Mean over patients, standard deviation over patients and 95 % interval; None where it can't be computed."""

    mean: float | None
    sd: float | None
    ci95: tuple[float, float] | None

    def as_json(self) -> dict[str, Any]:
        """Return the value with plain JSON types."""
        return {**asdict(self), "ci95": list(self.ci95) if self.ci95 else None}


def patient_means(slices: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Return one row a (method, patient): the mean of each measure over the slices, without NaN cells."""
    return slices.groupby(["method", "patient"], sort=False)[list(measures)].mean()


def cohort_value(patients: npt.NDArray[np.float64], seed: int) -> CohortValue:
    """Return mean, sd and interval of one value a patient; patients without a value (NaN) don't count."""
    known = patients[np.isfinite(patients)]
    if not len(known):
        return CohortValue(None, None, None)
    if len(known) == 1:
        return CohortValue(float(known[0]), None, None)
    return CohortValue(float(known.mean()), float(known.std(ddof=1)), bootstrap_interval(known, seed))


def bootstrap_interval(patients: npt.NDArray[np.float64], seed: int, resamples: int = RESAMPLES) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean when whole patients are drawn again with replacement."""
    drawn = np.random.default_rng(seed).choice(patients, size=(resamples, len(patients)))
    lower, upper = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    return float(lower), float(upper)


def paired_tests(patients: pd.DataFrame, baseline: str, measures: Sequence[str]) -> list[dict[str, Any]]:
    """Return a Wilcoxon signed-rank test of each method against `baseline`, per measure, over patients.

    `patients` is what `patient_means` returns. `p_holm` is corrected over the methods of one measure. Measures with
    fewer than six patients that have both values are left out.
    """
    tests: list[dict[str, Any]] = []
    for measure in measures:
        table = patients[measure].unstack("method")
        found = [_signed_rank(table[[method, baseline]].dropna(), measure) for method in table if method != baseline]
        kept = [test for test in found if test is not None]
        for test, corrected in zip(kept, holm([test["p"] for test in kept]), strict=True):
            tests.append({**test, "p_holm": corrected})
    return tests


def _signed_rank(pairs: pd.DataFrame, measure: str) -> dict[str, Any] | None:
    method, baseline = pairs.columns
    difference = (pairs[method] - pairs[baseline]).to_numpy()
    if len(difference) < LEAST_PATIENTS_FOR_TEST or not difference.any():
        return None
    result = stats.wilcoxon(difference)
    return {
        "test": "Wilcoxon signed-rank, two-sided",
        "measure": measure,
        "method": method,
        "baseline": baseline,
        "n_patients": len(difference),
        "median_difference": float(np.median(difference)),
        "p": float(result.pvalue),
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method, in the order given."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(np.argsort(p_values)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected
