"""Intervals of a mean over patients: what they cover, and where there is none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ldctpipe.metrics.statistics import bca_interval, cohort_value, patient_means, t_interval

DRAWS = 4000  # the standard error of a coverage of 95 % is 0.34 %


def normal(random: np.random.Generator, n: int) -> np.ndarray:
    return random.normal(0.3, 1.0, n) - 0.3


def skewed(random: np.random.Generator, n: int) -> np.ndarray:
    """A gamma distribution of skew 2/√k = 1, with its mean taken off."""
    return random.gamma(4.0, 1.0, n) - 4.0


def test_the_patient_is_the_unit_not_the_slice():
    slices = pd.DataFrame({"method": "m", "patient": ["a"] * 9 + ["b"], "psnr_db": [30.0] * 9 + [20.0]})
    means = patient_means(slices, ["psnr_db"])
    assert cohort_value(means["psnr_db"].to_numpy(), seed=1).mean == pytest.approx(25.0)


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize(("differences", "least"), [(normal, 0.93), (skewed, 0.91)])
def test_of_nominal_95_percent_the_interval_of_few_patients_covers_about_as_much(
    n: int, differences: Callable[[np.random.Generator, int], np.ndarray], least: float
):
    random = np.random.default_rng(17 + n)
    intervals = (t_interval(differences(random, n)) for _ in range(DRAWS))
    covered = np.mean([low < 0 < high for low, high in intervals])
    assert least <= covered <= 0.97


def test_the_interval_is_that_of_the_t_test_of_scipy():
    patients = np.random.default_rng(3).normal(30, 2, 9)
    for level in (0.95, 0.90):
        expected = stats.ttest_1samp(patients, 0).confidence_interval(level)
        assert t_interval(patients, level) == pytest.approx((expected.low, expected.high))


def test_the_bootstrap_interval_agrees_with_normal_theory_for_many_patients():
    patients = np.random.default_rng(2).normal(30, 2, 400)
    half_width = 1.96 * patients.std(ddof=1) / 20
    expected = (patients.mean() - half_width, patients.mean() + half_width)
    assert bca_interval(patients, seed=1) == pytest.approx(expected, abs=0.05 * half_width)


def test_the_bootstrap_interval_leans_to_the_side_of_the_long_tail():
    patients = skewed(np.random.default_rng(4), 40)
    low, high = bca_interval(patients, seed=1)
    assert high - patients.mean() > patients.mean() - low


def test_the_same_seed_gives_the_same_bootstrap_interval():
    patients = np.random.default_rng(2).normal(30, 2, 25)
    assert bca_interval(patients, seed=9) == bca_interval(patients, seed=9)
    assert bca_interval(patients, seed=9) != bca_interval(patients, seed=10)


@pytest.mark.parametrize(
    ("n", "has_t", "has_bca"), [(2, False, False), (4, False, False), (5, True, False), (19, True, False),
                                (20, True, True), (50, True, True)],
)  # fmt: skip
def test_no_interval_below_five_patients_and_no_bootstrap_below_twenty(n, has_t, has_bca):
    patients = np.append(np.random.default_rng(n).normal(30, 2, n), np.nan)
    value = cohort_value(patients, seed=1)
    assert (value.n, value.ci95 is not None, value.bca95 is not None) == (n, has_t, has_bca)
    assert value.sd == pytest.approx(np.nanstd(patients, ddof=1))


def test_patients_of_one_value_have_an_interval_without_width_and_no_bootstrap():
    value = cohort_value(np.full(20, 31.0), seed=1)
    assert (value.ci95, value.bca95) == ((31.0, 31.0), None)


def test_one_patient_has_a_mean_but_no_spread():
    value = cohort_value(np.array([np.nan, 31.0]), seed=1)
    assert (value.mean, value.sd, value.ci95) == (31.0, None, None)
    assert cohort_value(np.array([np.nan]), seed=1).mean is None
