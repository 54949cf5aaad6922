"""Bias and noise: planted values come back."""

from __future__ import annotations

import numpy as np
import pytest

from ldctpipe.metrics.tissue import TISSUES, bias_hu, noise_sd_hu, tissue_masks

LEVELS_HU = {"air": -1000, "lung": -800, "fat": -100, "soft": 50, "bone": 600}


@pytest.fixture
def reference() -> np.ndarray:
    """Five slabs of 40 columns, one a tissue, with 12 HU of white noise, int16."""
    slabs = np.repeat(list(LEVELS_HU.values()), 40)[None, :].repeat(160, axis=0)
    return np.rint(slabs + np.random.default_rng(5).normal(0, 12, slabs.shape)).astype(np.int16)


def test_each_tissue_gets_its_own_planted_bias(reference):
    planted = {"air": 0.0, "lung": 4.0, "fat": -3.0, "soft": 1.5, "bone": -20.0}
    shifts = np.repeat(list(planted.values()), 40)[None, :]
    image = (reference + shifts).astype(np.float32)
    masks = tissue_masks(reference, np.ones(reference.shape, dtype=bool))
    assert {name: bias_hu(image, reference, mask) for name, mask in masks.items()} == pytest.approx(planted, abs=1e-3)


def test_independent_noise_is_no_bias(reference):
    """Pixels chosen by a noisy reference would show a bias where there is none (regression to the mean)."""
    clean = np.repeat(list(LEVELS_HU.values()), 40)[None, :].repeat(160, axis=0).astype(np.float32)
    masks = tissue_masks(reference, np.ones(reference.shape, dtype=bool))
    assert abs(bias_hu(clean, reference, masks["soft"])) < 0.5


def test_blurred_edges_are_no_bias(reference):
    from scipy.ndimage import gaussian_filter

    image = gaussian_filter(reference.astype(np.float32), 0.7)
    masks = tissue_masks(reference, np.ones(reference.shape, dtype=bool))
    assert abs(bias_hu(image, reference, masks["soft"])) < 0.5


def test_masks_do_not_overlap_and_keep_out_of_padding(reference):
    measured = np.ones(reference.shape, dtype=bool)
    measured[:30] = False
    masks = np.stack(list(tissue_masks(reference, measured).values()))
    assert masks.sum(axis=0).max() == 1
    assert not masks[:, :30].any()
    assert len(masks) == len(TISSUES)


@pytest.mark.parametrize("sd_hu", [3.0, 12.0, 40.0])
def test_the_noise_level_is_that_of_the_noise(sd_hu):
    image = 50 + np.random.default_rng(7).normal(0, sd_hu, (200, 200)).astype(np.float32)
    everywhere = np.ones(image.shape, dtype=bool)
    assert noise_sd_hu(image, everywhere, pixel_mm=0.7) == pytest.approx(sd_hu, rel=0.04)


def test_a_few_structures_do_not_move_the_noise_level():
    image = 50 + np.random.default_rng(7).normal(0, 10, (200, 200)).astype(np.float32)
    everywhere = np.ones(image.shape, dtype=bool)
    structured = image.copy()
    structured[::40, :] += 60  # vessels
    plain_hu, structured_hu = (noise_sd_hu(each, everywhere, 0.7) for each in (image, structured))
    assert structured_hu == pytest.approx(plain_hu, rel=0.05)
    assert structured.std() > 1.2 * image.std()


def test_too_little_tissue_gives_nothing():
    image = np.zeros((64, 64), dtype=np.int16)
    few = np.zeros(image.shape, dtype=bool)
    few[:6, :6] = True
    assert bias_hu(image, image, few) is None
    assert noise_sd_hu(image, few, 0.7) is None
