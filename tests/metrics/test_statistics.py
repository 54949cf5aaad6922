"""Intervals, tests and their correction against theory and published examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ldctpipe.metrics.statistics import bootstrap_interval, cohort_value, holm, paired_tests, patient_means


def test_the_patient_is_the_unit_not_the_slice():
    slices = pd.DataFrame({"method": "m", "patient": ["a"] * 9 + ["b"], "psnr_db": [30.0] * 9 + [20.0]})
    means = patient_means(slices, ["psnr_db"])
    assert cohort_value(means["psnr_db"].to_numpy(), seed=1).mean == pytest.approx(25.0)


def test_the_bootstrap_interval_agrees_with_normal_theory():
    patients = np.random.default_rng(2).normal(30, 2, 400)
    lower, upper = bootstrap_interval(patients, seed=1)
    half_width = 1.96 * patients.std(ddof=1) / 20
    assert lower == pytest.approx(patients.mean() - half_width, abs=0.05 * half_width)
    assert upper == pytest.approx(patients.mean() + half_width, abs=0.05 * half_width)


def test_the_bootstrap_interval_of_two_patients_is_their_range():
    assert bootstrap_interval(np.array([28.0, 31.0]), seed=4) == (28.0, 31.0)


def test_the_same_seed_gives_the_same_interval():
    patients = np.random.default_rng(2).normal(30, 2, 12)
    assert bootstrap_interval(patients, seed=9) == bootstrap_interval(patients, seed=9)
    assert bootstrap_interval(patients, seed=9) != bootstrap_interval(patients, seed=10)


def test_one_patient_has_a_mean_but_no_spread():
    value = cohort_value(np.array([np.nan, 31.0]), seed=1)
    assert (value.mean, value.sd, value.ci95) == (31.0, None, None)
    assert cohort_value(np.array([np.nan]), seed=1).mean is None


def test_holm_corrects_step_by_step():
    # Holm (1979): sorted p-values times m, m-1, …, made monotone
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def patients(differences: list[float]) -> pd.DataFrame:
    rows = [("low_dose", f"p{i}", 29.0) for i in range(len(differences))]
    rows += [("model", f"p{i}", 29.0 + difference) for i, difference in enumerate(differences)]
    table = pd.DataFrame(rows, columns=["method", "patient", "psnr_db"])
    return patient_means(table, ["psnr_db"])


def test_six_patients_that_all_gain_reach_the_exact_smallest_p():
    (test,) = paired_tests(patients([1.0, 1.1, 1.2, 1.3, 1.4, 1.5]), "low_dose", ["psnr_db"])
    assert test["p"] == pytest.approx(2 / 2**6)  # 2 of the 2⁶ sign patterns are as extreme
    assert test["p_holm"] == test["p"]
    assert test["median_difference"] == pytest.approx(1.25)


@pytest.mark.parametrize("differences", [[1.0, 1.1, 1.2, 1.3, 1.4], [0.0] * 8])
def test_no_test_for_five_patients_or_without_any_difference(differences):
    assert paired_tests(patients(differences), "low_dose", ["psnr_db"]) == []
