"""Doses drawn anew: the noise that weighted unit images give has the variance of the equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ldctpipe.data.dose_range import ELECTRONIC, QUANTUM, DoseRange
from ldctpipe.errors import UsageError


def weights_of(doses: DoseRange, count: int = 4000, realisations: int = 3, stored_ratio: float = 1e-4) -> np.ndarray:
    return doses.weights(count, realisations, stored_ratio, torch.Generator().manual_seed(1)).numpy().astype(float)


def test_one_dose_and_one_electronic_ratio_give_the_variance_of_the_equation():
    quarter = DoseRange(0.25, 0.25, quanta_spread=0.0, electronic_ratio=(2e-4, 2e-4))

    variance = (weights_of(quarter) ** 2).sum(axis=1)  # of independent realisations of unit variance

    assert np.allclose(variance[:, QUANTUM], 1 / 0.25 - 1)
    assert np.allclose(variance[:, ELECTRONIC], (1 / 0.25**2 - 1) * 2)  # twice the stored ratio


def test_full_dose_adds_nothing():
    assert np.abs(weights_of(DoseRange(1.0, 1.0))).max() == 0


def test_doses_are_log_uniform_over_the_range():
    fixed = DoseRange(0.05, 0.6, quanta_spread=0.0)

    dose = 1 / ((weights_of(fixed)[..., QUANTUM] ** 2).sum(axis=1) + 1)

    assert dose.min() >= 0.05 - 1e-6 and dose.max() <= 0.6 + 1e-6
    assert np.median(dose) == pytest.approx(fixed.middle, rel=0.05)


def test_calibration_error_scales_both_terms_alike():
    spread = DoseRange(0.25, 0.25, quanta_spread=0.3, electronic_ratio=(1e-4, 1e-4))

    variance = (weights_of(spread) ** 2).sum(axis=1)

    assert np.log(variance[:, QUANTUM] / 3).std() == pytest.approx(0.3, rel=0.05)
    assert np.allclose(variance[:, ELECTRONIC] / 15, variance[:, QUANTUM] / 3)


def test_the_description_gives_the_range_back():
    doses = DoseRange.parse("0.05:0.6")

    assert DoseRange.of(doses.describe()) == doses


@pytest.mark.parametrize("text", ["0.25", "0:0.5", "0.5:0.2", "0.5:1.5", "a:b", "nan:0.5", "0.1:0.2:0.3"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(UsageError, match="range"):
        DoseRange.parse(text)
