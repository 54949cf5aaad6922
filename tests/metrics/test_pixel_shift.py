"""The change with a shift by one pixel against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from ldctpipe.metrics.pixel_shift import shift_change_hu

EVERYWHERE = np.ones((64, 64), dtype=bool)


def test_a_filter_that_treats_all_pixels_alike_has_none():
    image = np.random.default_rng(0).normal(0, 20, (64, 64))

    changed = shift_change_hu(lambda x: ndimage.gaussian_filter(x, 1.5, mode="wrap"), image, EVERYWHERE)

    assert changed == pytest.approx(0, abs=1e-9)


def test_rows_in_pairs_change_places_with_others_when_the_image_moves_by_a_row():
    """D(x) repeats every second row. Shifted by a row, each row holds another row of x: white noise differs by s·√2.

    A shift by a column changes nothing, so the rms of both is s.
    """
    sd = 20.0
    image = np.random.default_rng(1).normal(0, sd, (512, 512))

    changed = shift_change_hu(lambda x: np.repeat(x[::2], 2, axis=0), image, np.ones(image.shape, dtype=bool))

    assert changed == pytest.approx(sd, rel=0.02)


def test_only_the_mask_counts_and_moves_along():
    image = np.zeros((64, 64))
    mask = np.zeros((64, 64), dtype=bool)
    mask[20:30, 20:30] = True

    def spoils_what_lies_outside(x: np.ndarray) -> np.ndarray:
        return x + (np.arange(64) >= 40)[:, None]

    assert shift_change_hu(spoils_what_lies_outside, image, mask) == 0
    assert shift_change_hu(spoils_what_lies_outside, image, ~mask) > 0
