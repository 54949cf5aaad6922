"""The physics of inserted noise: level, dose, electronic noise, texture, starvation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ldctpipe.simulation.flux import WATER_PER_MM
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


def _centre_sd(noise: np.ndarray, half_width: int = 24) -> float:
    middle = slice(SIZE // 2 - half_width, SIZE // 2 + half_width)
    return float(noise[:, middle, middle].std())


@pytest.mark.parametrize("cutoff_per_mm", [1e6, 0.19, 0.12])
def test_noise_in_the_middle_of_a_cylinder_has_its_closed_form(cutoff_per_mm: float) -> None:
    model = _model(1.5e6, cutoff_per_mm=cutoff_per_mm)

    measured_hu = _centre_sd(_noise(model, _water(300.0), 1.0), half_width=5)

    variance = math.exp(WATER_PER_MM * 300.0) / model.ray_quanta
    nyquist = 0.5 / PIXEL_MM
    f = np.linspace(0, nyquist, 4001)
    window = 0.5 * (1 + np.cos(np.pi * np.minimum(f / cutoff_per_mm, 1)))
    eta = 3 / nyquist**3 * np.trapezoid(f**2 * window**2, f)
    expected_hu = 1000 / WATER_PER_MM * math.pi * math.sqrt(variance * eta / (12 * VIEWS)) / PIXEL_MM
    assert measured_hu == pytest.approx(expected_hu, rel=0.03)


@pytest.mark.parametrize("dose", [0.5, 0.25, 0.1])
def test_quantum_noise_grows_as_one_over_the_root_of_dose(dose: float) -> None:
    model = _model(1.5e7)

    ratio = _centre_sd(_noise(model, _water(300.0), dose)) / _centre_sd(_noise(model, _water(300.0), 1.0))

    assert ratio == pytest.approx(dose**-0.5, rel=0.02)


@pytest.mark.parametrize("dose", [0.5, 0.25])
def test_electronic_noise_makes_it_grow_faster(dose: float) -> None:
    model = _model(1.5e7, electronic_ratio=2e-3)
    at_centre = model.ray_quanta * math.exp(-WATER_PER_MM * 300.0)
    share = model.electronic_variance / at_centre

    ratio = _centre_sd(_noise(model, _water(300.0), dose)) / _centre_sd(_noise(model, _water(300.0), 1.0))

    assert ratio == pytest.approx(math.sqrt((1 / dose + share / dose**2) / (1 + share)), rel=0.03)
    assert ratio > 1.1 * dose**-0.5


def test_full_dose_plus_added_noise_is_the_noise_of_the_low_dose() -> None:
    model, water = _model(1.5e7, electronic_ratio=5e-4), _water(300.0)

    both = _noise(model, water, 1.0, seed=1) + _noise(model, water, 0.25, present_dose=1.0, seed=2)

    assert _centre_sd(both) == pytest.approx(_centre_sd(_noise(model, water, 0.25, seed=3)), rel=0.02)


def test_dose_steps_compose() -> None:
    model, water = _model(1.5e7, electronic_ratio=5e-4), _water(300.0)

    steps = _noise(model, water, 0.5, present_dose=1.0, seed=1) + _noise(model, water, 0.25, present_dose=0.5, seed=2)

    at_once = _noise(model, water, 0.25, present_dose=1.0, seed=3)
    assert _centre_sd(steps) == pytest.approx(_centre_sd(at_once), rel=0.02)


def test_noise_power_spectrum_has_the_shape_of_the_kernel() -> None:
    cutoff_per_mm = 0.17
    noise = _noise(_model(1.5e7, cutoff_per_mm=cutoff_per_mm), _water(300.0), 1.0, slices=60)
    window = noise[:, 32:96, 32:96]
    power = (np.abs(np.fft.fft2(window - window.mean(axis=(1, 2), keepdims=True))) ** 2).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(64, PIXEL_MM)] * 2))
    bins = np.digitize(frequency.ravel(), np.arange(0.025, 0.13, 0.0125))

    measured = np.array([power.ravel()[bins == b].mean() for b in range(1, 8)])
    middle = np.array([frequency.ravel()[bins == b].mean() for b in range(1, 8)])

    shape = middle * (0.5 * (1 + np.cos(np.pi * middle / cutoff_per_mm))) ** 2
    assert measured / measured.mean() == pytest.approx(shape / shape.mean(), rel=0.12)


def test_noise_streaks_along_the_long_axis_of_a_wide_body() -> None:
    line = (torch.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    wide = torch.where((line[None] / 160) ** 2 + (line[:, None] / 75) ** 2 < 1, 0.0, -1000.0)[None]
    noise = _noise(_model(1.5e6, cutoff_per_mm=0.19), wide, 1.0, slices=40)[:, 48:80, 48:80]
    power = (np.abs(np.fft.fft2(noise)) ** 2).mean(axis=0)
    across, down = np.abs(np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))

    assert power[across > 2 * down].mean() / power[down > 2 * across].mean() < 0.5


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


def test_two_seeds_are_independent_and_the_map_follows_the_prediction() -> None:
    model, water = _model(1.5e6), _water(260.0)
    first, second = _noise(model, water, 1.0, 1, seed=1), _noise(model, water, 1.0, 1, seed=2)

    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03
    one, other = (_noise(model, water, 1.0, 32, seed=seed).std(axis=0) for seed in (3, 4))
    ratio = one[::8, ::8] / other[::8, ::8]
    assert np.median(ratio) == pytest.approx(1.0, abs=0.05)
