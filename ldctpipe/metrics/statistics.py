"""From slices to patients to the cohort. The patient is the unit: slices of one patient are not independent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

LEAST_PATIENTS_FOR_INTERVAL = 5
LEAST_PATIENTS_FOR_BCA = 20  # with fewer it is too narrow
RESAMPLES = 10_000
_LEVEL = 0.95

Values = npt.NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class CohortValue:
    """Mean over `n` patients, standard deviation over patients and 95 % intervals; None where it can't be computed.

    `ci95` is the t interval of the mean, `bca95` the bootstrap interval that is shown beside it for information.
    """

    n: int
    mean: float | None
    sd: float | None = None
    ci95: Interval | None = None
    bca95: Interval | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the value with plain JSON types."""
        intervals = {name: list(pair) if pair else None for name, pair in (("ci95", self.ci95), ("bca95", self.bca95))}
        return {"n": self.n, "mean": self.mean, "sd": self.sd, **intervals}


def patient_means(slices: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Return one row per (method, patient): the mean of each measure over the slices, without NaN cells."""
    return slices.groupby(["method", "patient"], sort=False)[list(measures)].mean()


def cohort_value(patients: Values, seed: int) -> CohortValue:
    """Return mean, sd and intervals of one value per patient; patients without a value (NaN) don't count.

    `seed` is that of the bootstrap.
    """
    known = patients[np.isfinite(patients)]
    n = len(known)
    if n < 2:
        return CohortValue(n, float(known[0]) if n else None)
    ci95 = t_interval(known) if n >= LEAST_PATIENTS_FOR_INTERVAL else None
    bca95 = bca_interval(known, seed) if n >= LEAST_PATIENTS_FOR_BCA else None
    return CohortValue(n, float(known.mean()), float(known.std(ddof=1)), ci95, bca95)


def t_interval(patients: Values, level: float = _LEVEL) -> Interval:
    """Return the two-sided t interval of the mean of one value per patient.

    For 5 to 20 patients and nominal 95 % it covers 93 to 96 %, for gamma values of skew 1 too, where percentile and BCa
    bootstrap cover 84 to 93 % (benchmarks/interval_coverage.py).
    """
    n = len(patients)
    half_width = _t_quantile(n - 1, level) * float(patients.std(ddof=1)) / np.sqrt(n)
    mean = float(patients.mean())
    return mean - float(half_width), mean + float(half_width)


@cache
def _t_quantile(degrees_of_freedom: int, level: float) -> float:
    return float(stats.t.ppf((1 + level) / 2, degrees_of_freedom))


def bca_interval(patients: Values, seed: int, resamples: int = RESAMPLES) -> Interval | None:
    """Return the 95 % bias-corrected and accelerated bootstrap interval of the mean, drawing whole patients.

    Efron, J. Am. Stat. Assoc. 82:171 (1987). None where all patients have one value.
    """
    if np.ptp(patients) == 0:
        return None
    options = {"n_resamples": resamples, "confidence_level": _LEVEL, "method": "BCa", "rng": seed}
    interval = stats.bootstrap((patients,), np.mean, vectorized=True, **options).confidence_interval
    return float(interval.low), float(interval.high)
