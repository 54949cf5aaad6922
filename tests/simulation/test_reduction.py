"""Reduced-dose volumes: what changes, what must not, and how well the dose of the input is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ldctpipe.errors import InputError, UsageError
from ldctpipe.simulation.noise import NoiseModel, dose_noise
from ldctpipe.simulation.randomness import slice_deviates
from ldctpipe.simulation.reduction import reduce_dose
from ldctpipe.volumes.padding import Padding
from ldctpipe.volumes.volume import Acquisition, Volume

SIZE, PIXEL_MM, SLICES, QUANTA, VIEWS = 192, 2.0, 5, 2.0e6, 90


@pytest.fixture(scope="module")
def scan() -> Volume:
    """Return a water-like cylinder with two organs, scanned with `QUANTA` quanta at kernel B30."""
    line = (np.arange(SIZE) - (SIZE - 1) / 2) * PIXEL_MM
    radius = np.hypot(line[None], line[:, None])
    truth = np.where(radius < 140, 50.0, -1000.0)
    truth[np.hypot(line[None] - 50, line[:, None]) < 30] = 110.0
    truth[np.hypot(line[None] + 60, line[:, None] - 20) < 15] = -850.0
    hu = torch.from_numpy(np.tile(truth.astype(np.float32), (SLICES, 1, 1)))
    model = NoiseModel(PIXEL_MM, SIZE, quanta=QUANTA)
    deviates = slice_deviates(99, "full dose", list(range(SLICES)), None)
    noise = dose_noise(model.transmitted(hu), model, 1.0, deviates, range(SLICES), np.ones(SLICES), present_dose=None)
    affine = np.diag([-PIXEL_MM, -PIXEL_MM, 3.0, 1.0])
    return Volume(
        np.rint(hu.numpy() + noise.hu.numpy()).astype(np.int16),
        affine,
        np.arange(SLICES) * 3.0,
        acquisition=Acquisition(kernel="B30f", slice_thickness_mm=3.0),
        key="0123456789ab",
    )


def _only(volume: Volume, slices: slice) -> Volume:
    return replace(volume, hu=volume.hu[slices], positions_mm=volume.positions_mm[slices])


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_full_dose_gives_the_input_back(scan: Volume, dtype: type) -> None:
    volume = replace(scan, hu=scan.hu.astype(dtype))

    reduced = reduce_dose(volume, 1.0, seed=1)

    assert reduced.hu.dtype == dtype
    assert np.array_equal(reduced.hu, volume.hu)
    assert reduced.hu is not volume.hu


@pytest.mark.parametrize("slices", [slice(0, SLICES), slice(2, 3)])
def test_finds_the_quanta_from_the_noise(scan: Volume, slices: slice) -> None:
    record = reduce_dose(_only(scan, slices), 0.5, seed=1, views=VIEWS).record

    assert record["quanta_source"] == "fitted"
    assert record["quanta"] == pytest.approx(QUANTA, rel=0.1 if slices.stop - slices.start > 1 else 0.2)
    assert 0 < record["quanta_relative_uncertainty"] < 0.4


def test_quarter_dose_has_four_times_the_variance(scan: Volume) -> None:
    reduced = reduce_dose(scan, 0.25, seed=1, quanta=QUANTA, electronic_ratio=0.0)

    middle = np.s_[:, 60:84, 78:102]
    ratio = reduced.hu[middle].astype(float).var() / scan.hu[middle].astype(float).var()
    assert ratio == pytest.approx(4.0, rel=0.1)
    assert abs(reduced.hu[middle].mean() - scan.hu[middle].mean()) < 1.0


def test_same_seed_same_bytes_whatever_the_threads(scan: Volume) -> None:
    reference = reduce_dose(scan, 0.25, seed=7, quanta=QUANTA, views=VIEWS).hu
    again = reduce_dose(scan, 0.25, seed=7, quanta=QUANTA, views=VIEWS).hu
    one_by_one = reduce_dose(scan, 0.25, seed=7, quanta=QUANTA, views=VIEWS, threads=1).hu
    five_at_once = reduce_dose(scan, 0.25, seed=7, quanta=QUANTA, views=VIEWS, threads=5).hu

    assert np.array_equal(again, reference)
    assert np.array_equal(one_by_one, reference)
    assert np.array_equal(five_at_once, reference)
    assert not np.array_equal(reduce_dose(scan, 0.25, seed=8, quanta=QUANTA, views=VIEWS).hu, reference)


def test_padding_and_what_is_outside_the_field_of_view_stay(scan: Volume) -> None:
    padding = np.zeros(scan.hu.shape, dtype=bool)
    padding[:, :6] = True
    hu = scan.hu.copy()
    hu[padding] = -3024
    line = np.linspace(-1, 1, SIZE)
    outside = line[None] ** 2 + line[:, None] ** 2 > 1
    hu[:, outside & ~padding[0]] = -1024

    reduced = reduce_dose(
        replace(scan, hu=hu, padding=Padding.of(padding)), 0.25, seed=1, quanta=QUANTA, views=VIEWS
    ).hu

    assert (reduced[padding] == -3024).all()
    assert (reduced[:, outside & ~padding[0]] == -1024).all()
    assert (reduced[:, 96, 40:150] != hu[:, 96, 40:150]).mean() > 0.8


def test_nan_stays_nan_and_hurts_nothing_else(scan: Volume) -> None:
    hu = scan.hu.astype(np.float32)
    hu[:, 10, 10] = np.nan

    reduced = reduce_dose(replace(scan, hu=hu), 0.25, seed=1, quanta=QUANTA, views=VIEWS).hu

    assert np.isnan(reduced[:, 10, 10]).all()
    assert np.isnan(reduced).sum() == SLICES


def test_values_stay_within_what_the_scanner_stores(scan: Volume) -> None:
    hu = scan.hu.copy()
    hu[:, 90:100, 90:100] = 3071

    reduced = reduce_dose(replace(scan, hu=hu), 0.05, seed=1, quanta=QUANTA, views=VIEWS).hu

    assert reduced.max() <= 3071
    assert reduced.min() >= min(-1024, int(hu.min()))


def test_tube_current_of_each_slice_sets_its_noise(scan: Volume) -> None:
    current = (100.0, 100.0, 400.0, 100.0, 100.0)
    modulated = replace(scan, acquisition=replace(scan.acquisition, tube_current_ma=current))

    added = reduce_dose(modulated, 0.25, seed=1, quanta=QUANTA, views=VIEWS).hu.astype(float) - scan.hu

    sd = added[:, 70:120, 70:120].std(axis=(1, 2))
    assert sd[0] / sd[2] == pytest.approx(2.0, rel=0.1)


def test_without_soft_tissue_the_default_is_used_with_a_warning(scan: Volume) -> None:
    plastic = replace(scan, hu=np.where(scan.hu > -500, scan.hu + 900, scan.hu).astype(np.int16))

    record = reduce_dose(plastic, 0.25, seed=1, views=VIEWS).record

    assert record["quanta_source"] == "default"
    assert any("--quanta" in warning for warning in record["warnings"])


def test_says_when_the_noise_can_not_be_that_of_fbp(scan: Volume) -> None:
    iterative = replace(scan, acquisition=replace(scan.acquisition, kernel="I30f\\3"))

    warnings = reduce_dose(iterative, 0.25, seed=1, quanta=QUANTA, views=VIEWS).record["warnings"]

    assert any("iterative" in warning for warning in warnings)


def test_slices_need_not_be_square(scan: Volume) -> None:
    narrow = replace(scan, hu=scan.hu[:, 20:171])

    reduced = reduce_dose(narrow, 0.25, seed=1, quanta=QUANTA, views=VIEWS).hu

    assert reduced.shape == narrow.hu.shape
    assert (reduced != narrow.hu).mean() > 0.5


@pytest.mark.parametrize("dose", [0.0, -0.5, 1.01, float("nan")])
def test_refuses_doses_outside_the_range(scan: Volume, dose: float) -> None:
    with pytest.raises(UsageError, match="dose"):
        reduce_dose(scan, dose, seed=1)


def test_refuses_oblong_pixels(scan: Volume) -> None:
    with pytest.raises(InputError, match="square pixels"):
        reduce_dose(replace(scan, affine=np.diag([-2.0, -1.0, 3.0, 1.0])), 0.5, seed=1)
