"""Comparisons of methods over patients, against statsmodels, enumeration and closed forms."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from ldctpipe.metrics.comparisons import (
    comparisons,
    equivalence,
    equivalences,
    holm,
    patients_needed,
    performed_tests,
    rank_biserial,
    signed_rank,
    smallest_p,
)
from ldctpipe.metrics.statistics import patient_means

GAINS = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.7, 1.8, 1.85, 1.9, 2.0, 2.2]


def cohort(**psnr_db: list[float]) -> pd.DataFrame:
    """Patients' PSNR by method; the low dose has 29 dB everywhere."""
    (count,) = {len(values) for values in psnr_db.values()}
    methods = {"low_dose": [0.0] * count} | psnr_db
    rows = [(name, f"p{i}", 29.0 + gain) for name, gains in methods.items() for i, gain in enumerate(gains)]
    return patient_means(pd.DataFrame(rows, columns=["method", "patient", "psnr_db"]), ["psnr_db"])


def compared(patients: pd.DataFrame, baseline: str = "low_dose") -> list[dict]:
    return comparisons(patients, ["psnr_db"], primary="psnr_db", baseline=baseline, seed=1)


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_holm_is_that_of_statsmodels(count):
    p_values = np.random.default_rng(count).choice([1.0, 0.001, 0.01, 0.02, 0.03, 0.2, 0.04], count)
    assert holm(list(p_values)) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_holm_corrects_step_by_step():
    # Holm (1979): sorted p-values times m, m-1, …, made monotone
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(-3, 3), min_size=5, max_size=15, unique=True), st.sampled_from([0.5, 1.0, 2.0]))
@settings(max_examples=30, deadline=None)
def test_equivalence_is_that_of_statsmodels(biases, margin):
    values = np.array(biases)
    found = equivalence(values, margin)
    p, lower, upper = ttost_paired(values, np.zeros(len(values)), -margin, margin)
    assert found["p"] == pytest.approx(p, rel=1e-6, abs=1e-12)
    assert found["p"] == pytest.approx(max(lower[1], upper[1]), rel=1e-6, abs=1e-12)
    assert found["equivalent"] == (p < 0.05)


def test_a_bias_of_no_patient_and_of_few_patients_has_no_verdict():
    assert equivalence(np.array([]), 1.0)["mean"] is None
    assert equivalence(np.array([0.1, 0.1, 0.2, 0.0]), 1.0)["equivalent"] is None
    assert equivalence(np.full(5, 0.3), 1.0)["equivalent"] is True
    assert equivalence(np.full(5, 1.3), 1.0)["equivalent"] is False


def test_soft_tissue_is_the_safety_endpoint_and_has_half_the_margin_of_the_others():
    biases = {f"bias_{name}hu": [1.5, 1.4, 1.6, 1.5, 1.4] for name in ("", "air_", "lung_", "fat_", "bone_")}
    index = pd.MultiIndex.from_product([["low_dose", "m"], list("abcde")], names=["method", "patient"])
    found = equivalences(pd.DataFrame({name: values * 2 for name, values in biases.items()}, index=index))
    assert {each["tissue"]: (each["margin_hu"], each["equivalent"]) for each in found} == {
        "air": (2, True), "lung": (2, True), "fat": (2, True), "soft": (1, False), "bone": (2, True),
    }  # fmt: skip
    assert [each["tissue"] for each in found if each["role"] == "safety"] == ["soft"]


def test_signed_rank_is_the_share_of_sign_patterns_that_are_as_extreme():
    difference = np.array([0.4, -0.1, 0.9, 1.3, -0.2, 0.7, 0.8])
    ranks = stats.rankdata(np.abs(difference))
    sums = np.array([ranks[np.array(signs)].sum() for signs in product([False, True], repeat=7)])
    own = ranks[difference > 0].sum()
    test, p = signed_rank(difference)
    assert p == pytest.approx(2 * min((sums >= own).mean(), (sums <= own).mean()))
    assert test == "Wilcoxon signed-rank, exact, two-sided"


@pytest.mark.parametrize(("compared", "patients"), [(1, 6), (2, 7), (3, 7), (4, 8), (6, 8), (7, 9), (12, 9), (25, 10)])
def test_the_smallest_reachable_p_is_what_all_patients_in_agreement_give(compared, patients):
    assert patients_needed(compared) == patients
    agreement = stats.wilcoxon(np.arange(1.0, patients + 1)).pvalue
    p_values = [agreement] + [1.0] * (compared - 1)
    assert smallest_p(patients, compared) == pytest.approx(multipletests(p_values, method="holm")[1][0])
    assert smallest_p(patients - 1, compared) > 0.05


def test_rank_biserial_is_one_if_all_agree_and_weighs_by_rank():
    assert rank_biserial(np.array([0.2, 3.0, 1.0])) == 1
    assert rank_biserial(np.array([-0.2, -3.0])) == -1
    assert rank_biserial(np.array([-1.0, 2.0, 3.0])) == pytest.approx((5 - 1) / 6)  # ranks 1, 2, 3
    assert rank_biserial(np.zeros(4)) is None


def test_six_patients_that_all_gain_reach_the_smallest_p_of_one_comparison():
    (found,) = compared(cohort(model=GAINS[:6]))
    assert (found["role"], found["compared"], found["n_patients"]) == ("primary", 1, 6)
    assert found["p"] == found["p_holm"] == found["smallest_p_holm"] == pytest.approx(2 / 2**6)
    assert found["difference"]["mean"] == pytest.approx(1.25)
    assert found["median_difference"] == pytest.approx(1.25)
    assert (found["improved_percent"], found["rank_biserial"]) == (100, 1)


def test_three_models_on_six_patients_are_not_tested_and_say_how_many_they_need():
    gains = GAINS[:6]
    found = compared(cohort(a=gains, b=[2 * gain for gain in gains], c=[3 * gain for gain in gains]))
    assert len(found) == 3 + 3 and list(performed_tests(found)) == []
    assert all("at least 7 patients, there are 6" in each["note"] for each in found)
    assert all(each["difference"]["ci95"] is not None for each in found)


def test_each_pair_of_models_is_compared_in_a_family_of_its_own():
    random = np.random.default_rng(1)
    gains = np.array(GAINS)
    patients = cohort(a=list(gains), b=list(gains + random.normal(0, 0.2, 12)), c=list(gains + 0.3 * gains**2))
    found = compared(patients)
    pairs = [(each["method"], each["baseline"], each["role"]) for each in found]
    assert pairs[:3] == [(name, "low_dose", "primary") for name in "abc"]
    assert pairs[3:] == [("b", "a", "exploratory"), ("c", "a", "exploratory"), ("c", "b", "exploratory")]
    for family in (found[:3], found[3:]):
        corrected = multipletests([each["p"] for each in family], method="holm")[1]
        assert [each["p_holm"] for each in family] == pytest.approx(list(corrected))
    wide = patients["psnr_db"].unstack("method")
    t = stats.ttest_rel(wide["c"], wide["b"]).confidence_interval(0.95)
    assert found[5]["difference"]["ci95"] == pytest.approx([t.low, t.high])
    assert found[5]["p"] == pytest.approx(stats.wilcoxon(wide["c"] - wide["b"]).pvalue)


def test_a_named_model_is_what_the_others_are_compared_with():
    found = compared(
        cohort(a=GAINS, b=[g + (-1) ** i * 0.1 * (i + 1) for i, g in enumerate(GAINS)], c=[2 * gain for gain in GAINS]),
        baseline="a",
    )
    assert [(each["method"], each["baseline"], each["compared"]) for each in found] == [("b", "a", 2), ("c", "a", 2)]
    assert found[1]["improved_percent"] == 100 and found[0]["improved_percent"] == 50


def test_patients_improve_downwards_in_a_measure_where_less_is_better():
    index = pd.MultiIndex.from_product([["low_dose", "m"], list("abcd")], names=["method", "patient"])
    patients = pd.DataFrame({"rmse_hu": [9.0, 9.0, 9.0, 9.0, 8.0, 7.0, 8.5, 9.5]}, index=index)
    (found,) = comparisons(patients, ["rmse_hu"], primary="psnr_db", baseline="low_dose", seed=1)
    assert (found["improved_percent"], found["role"]) == (75, "secondary")
    assert found["difference"]["mean"] == pytest.approx(-0.75)
    assert found["difference"]["ci95"] is None and "needs at least 6 patients, there are 4" in found["note"]


def test_patients_without_any_difference_are_not_tested():
    (found,) = compared(cohort(model=[0.0] * 8))
    assert (found["p"], found["rank_biserial"], found["improved_percent"]) == (None, None, 0)
    assert found["note"] == "only 0 of 8 patients differ, and a test needs 6"
