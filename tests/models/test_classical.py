"""The filters against closed forms, their libraries and a phantom whose truth is known."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from ldctpipe.errors import UsageError
from ldctpipe.models.classical import Bilateral, Bm3d, NonLocalMeans, TotalVariation
from ldctpipe.models.slice_noise import noise_level

FREE = [NonLocalMeans, TotalVariation, Bilateral]
ALL = [*FREE, pytest.param(Bm3d, marks=pytest.mark.skipif("not __import__('importlib').util.find_spec('bm3d')",
                                                           reason="bm3d is an optional extra"))]  # fmt: skip


def phantom(side: int = 96) -> np.ndarray:
    """Return a body of two tissues in air, in [0, 1]."""
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return np.select([(x - 0.3) ** 2 + y**2 < 0.04, x**2 + y**2 < 0.7], [0.38, 0.34], 0.0)


def noisy(deviation: float, side: int = 96, seed: int = 0) -> np.ndarray:
    image = phantom(side) + np.random.default_rng(seed).normal(0, deviation, (side, side))
    return image.clip(0, 1).astype(np.float32)


def as_batch(*slices: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack(slices).astype(np.float32))[:, None]


@pytest.mark.parametrize("deviation", [0.005, 0.02])
def test_noise_level_is_that_of_tissue_beside_clipped_air(deviation):
    assert noise_level(noisy(deviation, side=256)) == pytest.approx(deviation, rel=0.05)


def test_noise_level_of_a_constant_slice_is_zero():
    assert noise_level(np.full((16, 17), 0.3)) == 0


@pytest.mark.parametrize("filter_class", ALL)
def test_it_comes_nearer_to_the_truth(filter_class):
    low, truth = noisy(0.02), phantom()

    denoised = filter_class()(as_batch(low))[0, 0].numpy()

    body = truth > 0
    assert np.square(denoised - truth)[body].mean() < 0.3 * np.square(low - truth)[body].mean()


@pytest.mark.parametrize("filter_class", ALL)
def test_shape_device_and_type_stay_and_slices_are_their_own(filter_class):
    batch = as_batch(noisy(0.01)[:37, :50], noisy(0.03, seed=1)[:37, :50], np.full((37, 50), 0.5))
    network = filter_class()

    denoised = network(batch.requires_grad_())

    assert denoised.shape == batch.shape and denoised.dtype == torch.float32 and not denoised.requires_grad
    assert torch.equal(denoised[1:2], network(batch[1:2]))
    assert torch.equal(denoised[2], batch[2])  # nothing to remove


@pytest.mark.parametrize("filter_class", [*FREE, Bm3d])
def test_strength_travels_with_the_weights_and_no_optimizer_moves_it(filter_class):
    network = filter_class(strength=1.5)
    other = filter_class()

    other.load_state_dict(network.state_dict())

    assert float(other.strength) == 1.5
    assert list(network.parameters()) == []
    assert len(network.grid) >= 5


@pytest.mark.parametrize("filter_class", [*FREE, Bm3d])
def test_no_strength_changes_nothing(filter_class):
    batch = as_batch(noisy(0.02))

    assert torch.equal(filter_class(strength=0.0)(batch), batch)


@pytest.mark.parametrize("filter_class", ALL)
def test_more_strength_removes_more(filter_class):
    batch = as_batch(noisy(0.02))

    weak, strong = (float((filter_class(strength=s)(batch) - batch).square().mean()) for s in (0.5, 2.0))

    assert strong > weak > 0


def test_total_variation_moves_both_sides_of_a_step_by_the_closed_form():
    # For halves of n columns, ‖u − f‖²/2 + w·TV(u) is least where each half has moved by w/n towards the other.
    step = np.repeat([0.2, 0.6], 16)[None].repeat(24, axis=0)

    denoised = TotalVariation(tolerance=1e-9, iterations=5000).filter_slice(step, 0.8)

    assert denoised[:, :16] == pytest.approx(np.full((24, 16), 0.2 + 0.8 / 16), abs=2e-3)
    assert denoised[:, 16:] == pytest.approx(np.full((24, 16), 0.6 - 0.8 / 16), abs=2e-3)


def test_bilateral_is_its_definition():
    image = np.random.default_rng(0).uniform(0.2, 0.4, (12, 12))
    offset = np.arange(-2, 3)
    near = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
    window = image[4:9, 3:8]
    weights = near * np.exp(-((window - image[6, 5]) ** 2) / (2 * 0.05**2))

    denoised = Bilateral(window=5, spatial_sigma=1.5).filter_slice(image, 0.05)

    assert denoised[6, 5] == pytest.approx((weights * window).sum() / weights.sum(), abs=1e-4)


def test_without_its_library_bm3d_names_the_extra_in_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "bm3d", None)

    with pytest.raises(UsageError, match=r"non-commercial.*ldctpipe\[bm3d\]"):
        Bm3d()(as_batch(noisy(0.02)))
