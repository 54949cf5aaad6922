"""Tube current by slice where the header has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ldctpipe.simulation.calibrated_scan import calibrated_scan
from ldctpipe.simulation.modulation import SliceLevel, current_from_noise, smoothed_current
from ldctpipe.simulation.noise import NoiseModel, dose_noise
from ldctpipe.simulation.randomness import slice_deviates
from ldctpipe.volumes.volume import Acquisition, Volume

SIZE, PIXEL_MM, VIEWS, SLICES = 128, 2.4, 90, 8
PLACES_MM = np.arange(SLICES) * 5.0
DIAMETERS_MM = np.linspace(140, 260, SLICES)


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_well_measured_slices_show_the_strength_of_exposure_control(strength: float) -> None:
    thickness = np.linspace(-1.5, 1.5, SLICES)
    levels = [SliceLevel(value, -strength * value, 0.01) for value in thickness]

    assert smoothed_current(PLACES_MM, levels) == pytest.approx(strength * thickness, abs=0.05)


def test_attenuation_carries_on_where_no_tissue_is_even() -> None:
    thickness = np.linspace(-1.5, 1.5, SLICES)
    errors = [0.05 if index < 4 else math.inf for index in range(SLICES)]
    levels = [SliceLevel(value, -0.8 * value, error) for value, error in zip(thickness, errors, strict=True)]

    logarithm = smoothed_current(PLACES_MM, levels)

    assert logarithm - logarithm[0] == pytest.approx(0.8 * (thickness - thickness[0]), abs=0.35)


def _volume(current: np.ndarray, **acquisition: object) -> Volume:
    """Return cylinders that get thicker, with the noise of `current`, rounded."""
    line = (torch.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    radius = torch.hypot(line[:, None], line[None])
    truth = torch.stack([torch.where(radius < diameter / 2, 50.0, -1000.0) for diameter in DIAMETERS_MM])
    model = NoiseModel(PIXEL_MM, SIZE, 2e5, electronic_ratio=0.0, views=VIEWS)
    deviates = slice_deviates(3, "cylinders", PLACES_MM.tolist(), 5.0)
    noise = dose_noise(model.transmitted(truth), model, 1.0, deviates, range(SLICES), current, present_dose=None)
    hu = np.rint((truth + noise.hu).numpy()).astype(np.int16)
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, 5.0, 1.0])
    stated = Acquisition(kernel="B30f", slice_thickness_mm=5.0, **acquisition)  # type: ignore[arg-type]
    return Volume(hu, affine, PLACES_MM, acquisition=stated, key="cylinders")


@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_a_hidden_current_is_found(ratio: float) -> None:
    current = np.geomspace(1.0, ratio, SLICES)

    scan = calibrated_scan(_volume(current), views=VIEWS)

    assert scan.current_source == "noise"
    assert np.sqrt(np.array(scan.noise.current) / (current / current.mean())) == pytest.approx(1.0, abs=0.1)
    assert scan.record()["tube_current_source"] == "noise"


def test_the_header_is_believed() -> None:
    volume = _volume(np.geomspace(1.0, 4.0, SLICES), tube_current_ma=(100.0,) * SLICES)

    scan = calibrated_scan(volume, views=VIEWS)

    assert scan.current_source == "header"
    assert set(scan.noise.current) == {1.0}


def test_two_slices_are_too_few() -> None:
    hu = np.full((2, SIZE, SIZE), -1000.0, dtype=np.float32)

    assert current_from_noise(hu, PLACES_MM[:2], NoiseModel(PIXEL_MM, SIZE, views=VIEWS)) is None
