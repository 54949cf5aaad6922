"""Inserted noise ray by ray: its mean, and what starved rays do. Level and texture are in test_acceptance.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ldctpipe.simulation.noise import NoiseModel, dose_noise, ray_noise
from ldctpipe.simulation.randomness import generator, slice_deviates

SIZE, PIXEL_MM, VIEWS = 128, 2.6, 120


def _water(diameter_mm: float) -> torch.Tensor:
    line = (torch.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    inside = line[None] ** 2 + line[:, None] ** 2 < (diameter_mm / 2) ** 2
    return torch.where(inside, 0.0, -1000.0)[None]


def _model(quanta: float, electronic_ratio: float = 0.0, cutoff_per_mm: float = 0.775) -> NoiseModel:
    return NoiseModel(
        PIXEL_MM,
        SIZE,
        quanta=quanta,
        electronic_ratio=electronic_ratio,
        cutoff_per_mm=cutoff_per_mm,
        bow_tie="none",
        views=VIEWS,
    )


def _noise(
    model: NoiseModel, hu: torch.Tensor, dose: float, slices: int = 60, present_dose: float | None = None, seed: int = 1
) -> np.ndarray:
    deviates = slice_deviates(seed, "series", list(range(slices)), None)
    transmitted = model.transmitted(hu).expand(slices, -1, -1)
    added = dose_noise(transmitted, model, dose, deviates, range(slices), np.ones(slices), present_dose=present_dose)
    return added.hu.numpy()


def test_gaussian_noise_keeps_the_mean() -> None:
    noise = _noise(_model(1.5e6, electronic_ratio=7e-5), _water(300.0), 0.25, slices=32, present_dose=1.0)

    assert abs(noise[:, 40:88, 40:88].mean()) < 1.0


def test_starved_rays_stay_finite_and_are_counted() -> None:
    model = _model(2e5, electronic_ratio=7e-5)
    deviates = slice_deviates(1, "series", [0.0], None)

    added = dose_noise(model.transmitted(_water(320.0) + 300.0), model, 0.02, deviates, [0], np.ones(1))

    assert torch.isfinite(added.hu).all()
    assert 0.05 < added.starved_fraction[0] < 1.0


def test_gaussian_and_counting_branch_agree_where_they_meet() -> None:
    quanta = torch.full((200_000,), 400.0)
    deviates = torch.from_numpy(generator("deviates").standard_normal(200_000, dtype=np.float32))

    gaussian = ray_noise(quanta, 900.0, 0.5, deviates, generator("counts"))
    counting = ray_noise(quanta, 1e4, 0.5, deviates, generator("counts"))

    assert gaussian.std() == pytest.approx(math.sqrt(1 / 200 - 1 / 400 + 900 / 200**2 - 900 / 400**2), rel=0.01)
    assert counting.isfinite().all()
    assert counting.std() > gaussian.std()
