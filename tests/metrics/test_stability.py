"""Stability from synthetic curves whose course is known: steady, wavering, running away, collapsing, slow, short."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ldctpipe.metrics.stability import (
    collapse,
    critic_diverges,
    critic_drift,
    fluctuation_db,
    measure_stability,
    reached,
    share_beyond,
)

AT = np.arange(500, 20_500, 500, dtype=float)  # 40 validations
RISING = 33 - 5 * np.exp(-AT / 3000)


def test_a_critic_within_the_band_has_no_share_beyond_it():
    assert share_beyond(np.full(100, -0.5), 0.5) == 0
    assert share_beyond(np.r_[np.full(75, 0.4), np.full(25, -0.6)], 0.5) == 0.25
    assert share_beyond(np.empty(0), 0.5) is None


def test_the_loss_of_an_untrained_critic_does_not_count_as_drift():
    loss = np.r_[np.linspace(10, 0.1, 30), np.full(70, 0.1)]
    assert critic_drift(loss) == pytest.approx(0)
    assert critic_diverges(loss, 0.5) is False


def test_an_exploding_critic_diverges():
    loss = -0.2 * np.exp(np.arange(100) / 15)
    assert critic_diverges(loss, 0.5) is True
    assert critic_drift(loss) < -50


def test_an_oscillating_critic_of_constant_size_does_not_diverge():
    assert critic_diverges(5 * np.sin(np.arange(100.0)), 0.5) is False


def test_growth_within_the_band_is_no_divergence():
    assert critic_diverges(np.linspace(0.0, 0.45, 100), 0.5) is False


def test_a_fall_that_stays_is_a_collapse_where_it_began():
    psnr_db = 33 - 5 * np.exp(-AT / 500)
    psnr_db[9:] -= 3.2
    fall = collapse(AT, psnr_db)
    assert fall is not None
    assert fall.iteration == 5000
    assert fall.drop_db == pytest.approx(3.2, abs=0.05)


def test_a_fall_that_recovers_is_no_collapse():
    psnr_db = RISING.copy()
    psnr_db[9:20] -= 3.2
    assert collapse(AT, psnr_db) is None


def test_neither_two_bad_last_validations_nor_a_shallow_fall_is_a_collapse():
    last, shallow = RISING.copy(), RISING.copy()
    last[-2:] -= 5
    shallow[20:] -= 0.9
    assert collapse(AT, last) is None
    assert collapse(AT, shallow) is None


@pytest.mark.parametrize("seed", range(20))
def test_unrest_of_the_validations_is_no_collapse(seed):
    psnr_db = RISING + np.random.default_rng(seed).normal(0, 0.6, len(RISING))
    assert collapse(AT, psnr_db) is None


def test_fluctuation_is_the_noise_about_a_trend_and_not_the_trend():
    noise_db = np.random.default_rng(1).normal(0, 0.25, 3000)
    at = np.arange(1, 3001, dtype=float)
    assert fluctuation_db(at, 20 + 0.01 * at + noise_db) == pytest.approx(0.25, rel=0.05)
    assert fluctuation_db(AT, 20 + 0.001 * AT) == pytest.approx(0, abs=1e-9)


def test_reached_is_the_time_constant_of_an_exponential_approach():
    at = np.arange(0, 50_000, 10, dtype=float)
    assert reached(at, 33 - 5 * np.exp(-at / 3000)) == pytest.approx(3000 * np.log(10), rel=0.01)


def test_a_training_without_gain_has_no_time_of_reaching_it():
    assert reached(AT, np.full(40, 30.0)) is None
    assert reached(AT, 30 - AT / 1e4) is None


@pytest.mark.parametrize("measure", [collapse, fluctuation_db, reached])
def test_nine_validations_are_too_few(measure):
    assert measure(AT[:9], RISING[:9]) is None


def test_ten_validations_are_enough_for_a_collapse():
    psnr_db = RISING[:10].copy()
    psnr_db[5:] -= 4
    assert collapse(AT[:10], psnr_db) is not None


def test_a_log_with_gaps_is_taken_apart_into_its_curves():
    log = pd.DataFrame({"iteration": np.arange(50, 10_050, 50.0), "loss_critic": -0.1, "validation_psnr_db": np.nan})
    log.loc[log["iteration"] % 500 == 0, "validation_psnr_db"] = RISING[:20]
    measures = measure_stability(log, 0.5, rollbacks=2)
    assert (measures.logged, measures.validations, measures.validation_interval) == (200, 20, 500)
    assert measures.judged and measures.collapse is None and measures.rollbacks == 2


@pytest.mark.parametrize("columns", [["iteration"], ["iteration", "loss_critic"], ["iteration", "validation_psnr_db"]])
def test_a_log_without_a_column_is_not_judged(columns):
    log = pd.DataFrame({"iteration": range(50), "loss_critic": 0.1, "validation_psnr_db": RISING[:50].max()})
    measures = measure_stability(log[columns], 0.5)
    assert not measures.judged
