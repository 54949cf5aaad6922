"""Methods against each other over patients: differences with intervals, effect sizes, tests and equivalence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ldctpipe.metrics.endpoints import EXPLORATORY, PRIMARY, SAFETY, SECONDARY, find_endpoint
from ldctpipe.metrics.slices import BASELINE
from ldctpipe.metrics.statistics import LEAST_PATIENTS_FOR_INTERVAL, Values, cohort_value, t_interval
from ldctpipe.metrics.tissue import SOFT_TISSUE, TISSUES

ALPHA = 0.05
EQUIVALENCE_LEVEL = 0.90  # inside the margins if both one-sided tests at 5 % reject
_MOST_EXACT, _MOST_EXACT_WITH_TIES = 50, 13  # up to here scipy enumerates the signs

Pairs = tuple[tuple[str, str], ...]


def comparisons(
    patients: pd.DataFrame, measures: Sequence[str], *, primary: str, baseline: str, seed: int
) -> list[dict[str, Any]]:
    """Return the difference of each pair of methods in each measure over patients, with effect size and test.

    `patients` is what `patient_means` returns. All models are compared with `baseline`; if that is the low dose, each
    pair of models is compared, too. Holm's correction is over the pairs of one measure and family. A comparison whose
    smallest reachable corrected p is above 0.05 has no p, and says how many patients it needs.
    """
    methods = list(patients.index.get_level_values("method").unique())
    models = [method for method in methods if method != BASELINE]
    against = tuple((model, baseline) for model in models if model != baseline)
    between = tuple((later, earlier) for earlier, later in combinations(models, 2)) if baseline == BASELINE else ()
    found = []
    for measure in measures:
        table = patients[measure].unstack("method")
        role = PRIMARY if measure == primary else SECONDARY
        found += _family(table, against, measure, role, seed)
        found += _family(table, between, measure, EXPLORATORY, seed)
    return found


def _family(table: pd.DataFrame, pairs: Pairs, measure: str, role: str, seed: int) -> list[dict[str, Any]]:
    found = []
    for method, other in pairs:
        both = table[[method, other]].dropna()
        difference = (both[method] - both[other]).to_numpy(dtype=np.float64)
        names = {"measure": measure, "method": method, "baseline": other, "role": role}
        found.append(names | _compared(difference, len(pairs), find_endpoint(measure).higher_is_better, seed))
    # What can't be tested counts as tested without success, so that the correction doesn't depend on the data.
    corrected = holm([1.0 if each["p"] is None else each["p"] for each in found])
    for each, p_holm in zip(found, corrected, strict=True):
        each["p_holm"] = None if each["p"] is None else p_holm
    return found


def _compared(difference: Values, compared: int, higher_is_better: bool, seed: int) -> dict[str, Any]:
    improved = difference > 0 if higher_is_better else difference < 0
    n = len(difference)
    return {
        "n_patients": n,
        "difference": cohort_value(difference, seed).as_json(),
        "median_difference": float(np.median(difference)) if n else None,
        "rank_biserial": rank_biserial(difference),
        "improved_percent": 100 * float(improved.mean()) if n else None,
        **_tested(difference[difference != 0], n, compared),
    }


def _tested(nonzero: Values, n_patients: int, compared: int) -> dict[str, Any]:
    smallest = smallest_p(len(nonzero), compared)
    found: dict[str, Any] = {"compared": compared, "smallest_p_holm": smallest, "test": None, "p": None, "note": None}
    if smallest <= ALPHA:
        test, p = signed_rank(nonzero)
        return found | {"test": test, "p": p}
    needed = patients_needed(compared)
    if n_patients >= needed:
        return found | {"note": f"only {len(nonzero)} of {n_patients} patients differ, and a test needs {needed}"}
    return found | {"note": reason_for_no_test(n_patients, compared)}


def reason_for_no_test(n_patients: int, compared: int) -> str:
    """Return why the patients are too few to test `compared` comparisons, and how many it takes."""
    family = "one comparison" if compared == 1 else f"{compared} comparisons"
    return (
        f"a paired test of {family} needs at least {patients_needed(compared)} patients, there are {n_patients}: "
        f"its smallest reachable p after Holm's correction is {smallest_p(n_patients, compared):.3g}"
    )


def signed_rank(difference: Values) -> tuple[str, float]:
    """Return name and two-sided p of Wilcoxon's signed-rank test of differences, none of which is zero.

    Exact, ties included up to 13 patients; beyond 50 patients, or 13 with ties, the normal approximation.
    """
    ties = len(np.unique(np.abs(difference))) < len(difference)
    exact = len(difference) <= (_MOST_EXACT_WITH_TIES if ties else _MOST_EXACT)
    form = "exact" if exact else "normal approximation"
    return f"Wilcoxon signed-rank, {form}, two-sided", float(stats.wilcoxon(difference).pvalue)


def smallest_p(n_patients: int, compared: int) -> float:
    """Return the smallest p after Holm's correction that `n_patients` can reach among `compared` comparisons.

    Of the 2ⁿ sign patterns, the two in which all patients agree are the most extreme.
    """
    return float(min(1.0, compared * 2 * 0.5**n_patients))


def patients_needed(compared: int) -> int:
    """Return the smallest number of patients with which a corrected p can reach 0.05."""
    return next(n for n in range(1, 64) if smallest_p(n, compared) <= ALPHA)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down method, in the order given."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def rank_biserial(difference: npt.NDArray[np.float64]) -> float | None:
    """Return the matched-pairs rank-biserial correlation: 1 if all differences are positive, −1 if all are negative.

    (W₊ − W₋) / (W₊ + W₋) of Wilcoxon's rank sums (Kerby, Compr. Psychol. 3:1, 2014); None where none differs.
    """
    nonzero = difference[difference != 0]
    if not len(nonzero):
        return None
    ranks = stats.rankdata(np.abs(nonzero))
    return float((ranks * np.sign(nonzero)).sum() / ranks.sum())


def performed_tests(compared: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the comparisons that were tested, with what belongs to the test alone."""
    names = ("test", "measure", "method", "baseline", "role", "n_patients", "compared", "median_difference")
    for each in compared:
        if each["p"] is not None:
            yield {name: each[name] for name in (*names, "p", "p_holm", "smallest_p_holm")}


def equivalences(patients: pd.DataFrame) -> list[dict[str, Any]]:
    """Return, for each model and tissue, whether the mean bias over patients lies within the tissue's margin.

    Two one-sided t tests at 5 % (TOST, Schuirmann 1987): both reject exactly if the 90 % t interval lies within the
    margins. `p` is the larger of the two; all are None for fewer than five patients.
    """
    models = [method for method in patients.index.get_level_values("method").unique() if method != BASELINE]
    found = []
    for model in models:
        for tissue in TISSUES:
            biases = patients.loc[model][tissue.measure].dropna().to_numpy(dtype=np.float64)
            role = SAFETY if tissue is SOFT_TISSUE else EXPLORATORY
            names = {"measure": tissue.measure, "tissue": tissue.name, "method": model, "role": role}
            found.append(names | equivalence(biases, tissue.gate_hu))
    return found


def equivalence(biases: Values, margin: float) -> dict[str, Any]:
    """Return mean, 90 % t interval, p and verdict of the equivalence of one value per patient with zero."""
    n = len(biases)
    found = {"n_patients": n, "margin_hu": margin, "mean": float(biases.mean()) if n else None}
    if n < LEAST_PATIENTS_FOR_INTERVAL:
        return found | {"ci90": None, "p": None, "equivalent": None}
    low, high = t_interval(biases, EQUIVALENCE_LEVEL)
    return found | {
        "ci90": [low, high],
        "p": _tost(biases, margin),
        "equivalent": bool(-margin < low and high < margin),
    }


def _tost(biases: Values, margin: float) -> float:
    distance = margin - abs(float(biases.mean()))  # to the nearer margin, whose test has the larger p
    error = float(biases.std(ddof=1)) / np.sqrt(len(biases))
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stats.t.sf(distance / error, len(biases) - 1))
