"""The kernel that a series' noise shows, on scans whose kernel is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ldctpipe.simulation.calibration import Calibration, calibrate
from ldctpipe.simulation.kernels import apodisation, match_kernel
from ldctpipe.simulation.noise import DEFAULT_ELECTRONIC_RATIO, NoiseModel, dose_noise
from ldctpipe.simulation.randomness import slice_deviates

SIZE, PIXEL_MM, VIEWS, SLICES, QUANTA = 256, 0.8, 180, 3, 4e5


def _scan(
    cutoff_per_mm: float, edge_boost: float = 0.0, tissue_mm: float = 180.0, window_power: float = 1.0
) -> np.ndarray:
    """Return slices of a cylinder of soft tissue with a fatty insert, rounded to whole HU as scanners store them."""
    line = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    hu = np.where(np.hypot(line[None], line[:, None]) < tissue_mm / 2, 50.0, -1000.0).astype(np.float32)
    hu[np.hypot(line[None] - 30, line[:, None]) < 20] = -90.0
    model = NoiseModel(
        PIXEL_MM, SIZE, QUANTA, DEFAULT_ELECTRONIC_RATIO, cutoff_per_mm, edge_boost, window_power, views=VIEWS
    ).sampled()
    deviates = slice_deviates(11, "known kernel", [3.0 * index for index in range(SLICES)], 3.0)
    flux = model.transmitted(torch.from_numpy(hu[None])).expand(SLICES, -1, -1)
    noise = dose_noise(flux, model, 1.0, deviates, range(SLICES), np.ones(SLICES), present_dose=None)
    return np.rint(hu + noise.hu.numpy()).astype(np.float32)


def _calibrated(hu: np.ndarray, kernel: str | None) -> Calibration:
    return calibrate(hu, NoiseModel(PIXEL_MM, SIZE, views=VIEWS), match_kernel(kernel), np.ones(len(hu)), "series")


@pytest.mark.parametrize("cutoff_per_mm", [0.55, 0.7, 0.9, 1.2])
def test_a_known_cutoff_is_found_whatever_the_header_says(cutoff_per_mm: float) -> None:
    calibration = _calibrated(_scan(cutoff_per_mm), None)

    assert calibration.kernel.cutoff_per_mm == pytest.approx(cutoff_per_mm, rel=0.1)
    assert calibration.kernel.uncertainty < 0.15
    assert calibration.quanta == pytest.approx(QUANTA, rel=0.15)


def test_a_kernel_that_lifts_edges_is_told_from_a_sharper_one() -> None:
    calibration = _calibrated(_scan(0.7, edge_boost=6.0), "B30f")

    assert calibration.kernel.edge_boost > 0
    assert calibration.kernel.cutoff_per_mm == pytest.approx(0.7, rel=0.12)


@pytest.mark.parametrize("window_power", [1.0, 8.0])
def test_the_tail_of_a_kernel_is_found(window_power: float) -> None:
    kernel = _calibrated(_scan(0.7, window_power=window_power), "B30f").kernel

    frequencies = torch.linspace(0, 0.5 / PIXEL_MM, 200, dtype=torch.float64)
    centroids = []
    for cutoff_per_mm, power in ((0.7, window_power), (kernel.cutoff_per_mm, kernel.window_power)):
        spectrum = frequencies * apodisation(frequencies, cutoff_per_mm, window_power=power) ** 2
        centroids.append(float((frequencies * spectrum).sum() / spectrum.sum()))
    assert kernel.edge_boost == 0
    assert centroids[1] == pytest.approx(centroids[0], rel=0.04)


def test_disagreement_with_the_table_is_told() -> None:
    calibration = _calibrated(_scan(0.55), "D45f")

    assert calibration.kernel.measured_per_mm == pytest.approx(0.55, rel=0.1)
    assert any("D45f in the table" in warning for warning in calibration.warnings)


def test_without_hold_the_table_stands_and_says_so() -> None:
    calibration = _calibrated(_scan(0.7, tissue_mm=34.0), "B50f")

    assert calibration.kernel.cutoff_per_mm == pytest.approx(match_kernel("B50f").cutoff_per_mm)
    assert calibration.kernel.measured_per_mm is None
    assert any("--kernel-cutoff" in warning for warning in calibration.warnings)


def test_a_cutoff_that_is_given_stands() -> None:
    hu = _scan(0.7)
    model = NoiseModel(PIXEL_MM, SIZE, views=VIEWS)

    calibration = calibrate(hu, model, match_kernel("B30f"), np.ones(SLICES), "series", cutoff_per_mm=0.66)

    assert calibration.kernel.cutoff_per_mm == 0.66
    assert not calibration.kernel.warnings
