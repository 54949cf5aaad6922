"""Doses drawn anew: the noise that weighted unit images give has the variance of the equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ldctpipe.data.dose_weights import dose_weights
from ldctpipe.simulation.exposure import DoseRange
from ldctpipe.simulation.noise_components import ELECTRONIC, QUANTUM


def variances(doses: DoseRange, stored_ratio: float = 7e-5) -> np.ndarray:
    """Variance of each kind of noise, (patches, 2), for independent stored images of unit variance."""
    weights = dose_weights(doses, 4000, 3, stored_ratio, torch.Generator().manual_seed(1))
    return (weights.numpy().astype(float) ** 2).sum(axis=1)


def test_one_dose_gives_the_variance_of_the_equation():
    quarter = variances(DoseRange(0.25, 0.25))

    assert np.allclose(quarter[:, QUANTUM], 1 / 0.25 - 1)
    assert np.allclose(quarter[:, ELECTRONIC], 1 / 0.25**2 - 1)


def test_full_dose_adds_nothing():
    assert variances(DoseRange(1.0, 1.0)).max() == 0


def test_doses_are_log_uniform_over_the_range():
    dose = 1 / (variances(DoseRange(0.05, 0.6))[:, QUANTUM] + 1)

    assert 0.05 - 1e-6 <= dose.min() < 0.052 and 0.58 < dose.max() <= 0.6 + 1e-6
    assert np.median(dose) == pytest.approx(np.sqrt(0.05 * 0.6), rel=0.05)


def test_a_calibration_error_scales_both_kinds_and_electronic_noise_varies_by_itself():
    varied = variances(DoseRange(0.25, 0.25, vary=True))
    plain = variances(DoseRange(0.25, 0.25))

    error, electronic = np.log(varied / plain).T
    assert error.std() == pytest.approx(0.3, rel=0.05)
    ratio = np.exp(electronic - error) * 7e-5
    assert 2e-5 * 0.999 <= ratio.min() < 2.1e-5 and 2.9e-4 < ratio.max() <= 3e-4 * 1.001
