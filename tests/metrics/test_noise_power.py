"""Noise power by bands against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ldctpipe.metrics.noise_power import SIDE, NoisePower, largest_excess, mean_power, noise_patches, noise_power

PIXEL_MM = 0.7
RANDOM = np.random.default_rng(0)
WHITE = RANDOM.normal(0, 12, (600, SIDE, SIDE))


def test_white_noise_has_power_in_proportion_to_the_area_of_a_band():
    power = noise_power(WHITE, PIXEL_MM)

    nyquist = 0.5 / PIXEL_MM
    lower = power.lower_per_mm
    upper = np.minimum(lower + power.width_per_mm, nyquist)
    expected = 144 * np.pi * (upper**2 - lower**2) * PIXEL_MM**2
    assert power.variance_hu2[3:].sum() == pytest.approx(expected[3:].sum(), rel=0.02)
    assert power.variance_hu2.sum() == pytest.approx(144 * np.pi / 4, rel=0.02)  # of the square, the disc is π/4
    assert power.mean_frequency_per_mm == pytest.approx(2 / 3 * nyquist, rel=0.02)


def test_a_filter_changes_each_band_by_its_transfer_squared():
    image = RANDOM.normal(0, 12, (1024, 1024))
    smooth = ndimage.gaussian_filter(image, 1.0, mode="wrap")
    patches = [noise_patches(each, np.ones(each.shape, dtype=bool)) for each in (smooth, image)]

    after, before = (noise_power(each, PIXEL_MM) for each in patches)

    middle = before.lower_per_mm + 0.025
    expected = np.exp(-((2 * np.pi * middle * PIXEL_MM) ** 2))
    ratio = after.variance_hu2 / before.variance_hu2
    assert ratio[3:8] == pytest.approx(expected[3:8], rel=0.15)


def test_a_mesh_of_two_pixels_shows_near_nyquist_alone():
    mesh = 3 * (-1.0) ** np.arange(SIDE)[None, None, :]
    power, reference = noise_power(WHITE + mesh, PIXEL_MM), noise_power(WHITE, PIXEL_MM)

    added = power.variance_hu2 - reference.variance_hu2
    assert added[:-2] == pytest.approx(np.zeros(len(added) - 2), abs=0.3)


def test_excess_leaves_out_bands_that_hold_next_to_nothing():
    reference = noise_power(WHITE, PIXEL_MM)
    doubled = noise_power(WHITE * np.sqrt(2), PIXEL_MM)

    assert largest_excess(doubled, reference) == pytest.approx(2)
    low = reference.shares < 0.01
    assert low[0] and not low[-1]


def test_excess_may_count_fine_bands_alone():
    reference = noise_power(WHITE, PIXEL_MM)
    coarse = NoisePower(
        reference.lower_per_mm, reference.width_per_mm, reference.variance_hu2 * (1 + (reference.lower_per_mm < 0.3))
    )

    assert largest_excess(coarse, reference) == pytest.approx(2)
    assert largest_excess(coarse, reference, from_per_mm=0.3) == pytest.approx(1)


def test_the_mean_over_pixel_sizes_adds_nothing_beyond_the_coarser_ones_nyquist():
    fine, coarse = noise_power(WHITE, 0.5), noise_power(WHITE, 1.0)

    both = mean_power([coarse, fine])

    assert both.variance_hu2[:10] == pytest.approx((fine.variance_hu2[:10] + coarse.variance_hu2) / 2)
    assert both.variance_hu2[10:] == pytest.approx(fine.variance_hu2[10:] / 2)


def test_patches_lie_wholly_in_the_mask():
    mask = np.zeros((100, 100), dtype=bool)
    mask[10:60, 10:60] = True

    patches = noise_patches(np.arange(10_000.0).reshape(100, 100), mask)

    assert patches[:, 0, 0].tolist() == [1616.0]  # of the grid of 16 pixels, one fits
    assert noise_patches(np.zeros((100, 100)), np.zeros((100, 100), dtype=bool)).shape == (0, SIDE, SIDE)


def test_no_patch_is_refused():
    with pytest.raises(ValueError, match="no patch"):
        noise_power(np.empty((0, SIDE, SIDE)), PIXEL_MM)
