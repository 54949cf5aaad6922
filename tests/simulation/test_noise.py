"""Inserted noise ray by ray: its mean, and what starved rays do. Level and texture are in test_acceptance.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ldctpipe.simulation.noise import NoiseModel, dose_noise, mean_of_logarithm, ray_noise
from ldctpipe.simulation.noise_frequency import RadialPower
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


@pytest.mark.parametrize(("expected", "electronic_variance"), [(0.5, 4.0), (8.0, 10.0), (60.0, 100.0)])
def test_the_mean_of_a_logarithm_of_counts_is_that_of_draws(expected: float, electronic_variance: float) -> None:
    random = np.random.default_rng(2)
    counts = random.poisson(expected, 400_000) + random.normal(0, math.sqrt(electronic_variance), 400_000)
    clipped = np.maximum(counts, max(0.5 * math.sqrt(electronic_variance), 0.5))

    mean = mean_of_logarithm(np.array([expected]), electronic_variance)

    assert mean == pytest.approx(-np.log(clipped / expected).mean(), abs=0.005)


def test_many_counts_have_the_known_bias() -> None:
    assert mean_of_logarithm(np.array([20.0]), 0.0) == pytest.approx(1 / 40 + 1 / (12 * 400) * 5, rel=0.05)


def test_starved_rays_do_not_shift_the_mean() -> None:
    quanta = torch.full((200, 500), 12.0)
    deviates = torch.from_numpy(np.random.default_rng(0).standard_normal((200, 500), dtype=np.float32))

    added = ray_noise(quanta, 8.0, 0.25, deviates, np.random.default_rng(1))

    assert abs(float(added.mean())) < 4 * float(added.std()) / math.sqrt(added.numel())


def test_noise_beyond_the_pixels_nyquist_folds_back_as_on_a_finer_grid() -> None:
    pixel_mm, size, finer = 0.9, 96, 3
    named = {"quanta": 1e6, "cutoff_per_mm": 0.9, "bow_tie": "none", "views": 120}

    def drawn(model: NoiseModel) -> np.ndarray:
        line = (torch.arange(model.size) - (model.size - 1) / 2) * model.pixel_mm
        water = torch.where(torch.hypot(line[:, None], line[None]) < 35, 0.0, -1000.0)[None]
        deviates = slice_deviates(4, "folding", list(range(12)), None)
        flux = model.transmitted(water).expand(12, -1, -1)
        return dose_noise(flux, model, 1.0, deviates, range(12), np.ones(12), present_dose=None).hu.numpy()

    coarse = NoiseModel(pixel_mm, size, **named)
    fine = drawn(NoiseModel(pixel_mm / finer, finer * size, **named))[:, 1::finer, 1::finer]
    folded, cut = drawn(coarse.sampled()), drawn(coarse)

    middle = np.s_[:, 32:64, 32:64]
    frequencies = [RadialPower.of(one[middle], pixel_mm).mean_frequency_per_mm() for one in (fine, folded, cut)]
    assert coarse.sampled().channels_per_pixel == 2
    assert folded[middle].std() == pytest.approx(fine[middle].std(), rel=0.04)
    assert cut[middle].std() < 0.95 * fine[middle].std()
    assert frequencies[1] == pytest.approx(frequencies[0], rel=0.04)
    assert frequencies[2] < 0.97 * frequencies[0]


@pytest.mark.parametrize(("pixel_mm", "cutoff_per_mm", "channels"), [(0.5, 0.775, 1), (0.7, 1.87, 2), (2.6, 1.87, 1)])
def test_channels_are_fine_where_the_kernel_asks_for_it(pixel_mm: float, cutoff_per_mm: float, channels: int) -> None:
    assert NoiseModel(pixel_mm, 64, cutoff_per_mm=cutoff_per_mm).sampled().channels_per_pixel == channels
