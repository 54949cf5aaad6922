"""Augmentation against scikit-image, and its odds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage.transform import rotate

from ldctpipe.data.augmentation import Transforms, apply_transforms, draw_transforms, rotate_windows, window_size
from ldctpipe.volumes.normalization import HuNormalization

CHOICES = ("rotation", "flip", "intensity", "none")


def transforms(**changes) -> Transforms:
    no = torch.zeros(1, dtype=torch.bool)
    values = {"rotate": no, "flip_rows": no, "flip_columns": no, "transpose": no, "factor": torch.ones(1)} | changes
    return Transforms(**values)


def test_rotation_is_scikit_images():
    side = window_size(64, 45)
    window = np.random.default_rng(0).random((side, side))

    ours = rotate_windows(torch.from_numpy(window)[None, None], 64, 45)[0, 0].numpy()

    margin = (side - 64) // 2
    reference = rotate(window, 45, order=1, mode="edge")[margin : margin + 64, margin : margin + 64]
    assert np.abs(ours - reference).max() < 1e-9


def test_rotation_takes_its_corners_from_the_surrounding_image():
    side = window_size(64, 45)
    window = torch.ones(1, 1, side, side)
    window[..., 0, :] = window[..., -1, :] = window[..., 0] = window[..., -1] = torch.nan

    rotated = rotate_windows(window, 64, 45)

    assert torch.isfinite(rotated).all()  # the outermost pixels of the window are never needed
    assert torch.allclose(rotated, torch.ones(()))


def test_flips_and_pass_through():
    patch = torch.rand(1, 2, 64, 64)
    yes = torch.ones(1, dtype=torch.bool)

    assert torch.equal(apply_transforms(patch, transforms(), 64, 45), patch)
    assert torch.equal(apply_transforms(patch, transforms(flip_rows=yes), 64, 45), patch.flip(2))
    assert torch.equal(apply_transforms(patch, transforms(flip_columns=yes), 64, 45), patch.flip(3))
    turned = apply_transforms(patch, transforms(flip_rows=yes, transpose=yes), 64, 45)
    assert torch.equal(turned, torch.rot90(patch, 1, (2, 3)))


def test_intensity_is_clipped_to_the_range():
    patch = torch.tensor([0.1, 0.4, 0.6, 1.0]).view(1, 1, 2, 2)

    doubled = apply_transforms(patch, transforms(factor=torch.tensor([2.0])), 2, 45)
    halved = apply_transforms(patch, transforms(factor=torch.tensor([0.5])), 2, 45)

    assert doubled.flatten().tolist() == pytest.approx([0.2, 0.8, 1.0, 1.0])
    assert halved.flatten().tolist() == pytest.approx([0.05, 0.2, 0.3, 0.5])


def test_a_factor_of_the_intensity_leaves_air_as_it_is():
    """On [−1200, 3072] HU, air at −1000 stays air, and water at 0 becomes 1000 or −500 HU as on [−1000, 2000]."""
    hu = HuNormalization(-1200, 3072)
    patch = hu.normalize(torch.tensor([-1000.0, 0.0, -800.0, 2500.0])).view(1, 1, 2, 2)
    doubled, halved = (
        hu.denormalize(apply_transforms(patch, transforms(factor=torch.tensor([factor])), 2, 45, hu.air))
        for factor in (2.0, 0.5)
    )
    assert doubled.flatten().tolist() == pytest.approx([-1000, 1000, -600, 3072], abs=0.01)
    assert halved.flatten().tolist() == pytest.approx([-1000, -500, -900, 750], abs=0.01)


def test_each_choice_has_equal_odds_and_excludes_the_others():
    drawn = draw_transforms(40_000, CHOICES, (0.5, 2.0), torch.Generator().manual_seed(3))
    changed = torch.stack((drawn.rotate, drawn.flip_rows | drawn.flip_columns, drawn.factor != 1))

    assert changed.sum(dim=0).max() == 1
    assert changed.double().mean(dim=1).tolist() == pytest.approx([0.25] * 3, abs=0.01)  # 4.6 standard errors
    assert float((drawn.factor == 2.0).double().mean()) == pytest.approx(0.125, abs=0.01)
    assert float(drawn.flip_rows.double().mean()) == pytest.approx(0.125, abs=0.01)


def test_no_choice_but_none():
    drawn = draw_transforms(100, ("none",), (0.5, 2.0), torch.Generator().manual_seed(3))

    assert not (drawn.rotate | drawn.flip_rows | drawn.flip_columns).any()
    assert (drawn.factor == 1).all()


@pytest.mark.parametrize(("choice", "ways"), [("mirror", 2), ("flips", 4), ("turns", 8)])
def test_each_way_to_lay_a_patch_has_equal_odds(choice, ways):
    drawn = draw_transforms(40_000, (choice,), (0.5, 2.0), torch.Generator().manual_seed(3))
    way = 4 * drawn.transpose + 2 * drawn.flip_rows + drawn.flip_columns

    assert not drawn.rotate.any()
    assert (drawn.factor == 1).all()
    assert way.unique().numel() == ways
    odds = way.bincount()[way.bincount() > 0] / len(way)
    assert odds.tolist() == pytest.approx([1 / ways] * ways, abs=0.012)  # 4.8 standard errors of a half
    assert choice != "mirror" or not drawn.flip_rows.any()
