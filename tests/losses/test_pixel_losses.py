"""Pixel losses against numbers by hand and torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from ldctpipe.losses.pixel import charbonnier, mean_absolute, mean_squared, negative_psnr


def test_they_are_means_over_all_pixels():
    output, target = torch.rand(3, 1, 5, 7), torch.rand(3, 1, 5, 7)

    assert float(mean_squared(output, target)) == pytest.approx(float(functional.mse_loss(output, target)))
    assert float(mean_absolute(output, target)) == pytest.approx(float(functional.l1_loss(output, target)))


def test_charbonnier_by_hand():
    output, target = torch.tensor([0.0, 3e-3, 1.0]), torch.tensor([0.0, 0.0, 1.0 - 4e-3])

    assert float(charbonnier(output, target)) == pytest.approx(
        (1e-3 + math.hypot(3e-3, 1e-3) + math.hypot(4e-3, 1e-3)) / 3, rel=1e-4
    )


def test_charbonnier_has_a_slope_of_zero_where_both_agree():
    output = torch.zeros(2, requires_grad=True)

    charbonnier(output, torch.zeros(2)).backward()

    assert output.grad.tolist() == [0, 0]


@pytest.mark.parametrize("loss", [mean_squared, mean_absolute, charbonnier])
def test_low_precision_is_left_before_the_difference(loss):
    output = torch.full((4,), 0.5, dtype=torch.bfloat16)

    assert loss(output, torch.full((4,), 0.501)).dtype == torch.float32
    assert float(loss(output, torch.full((4,), 0.501))) > 0


def test_negative_psnr_is_skimages_in_the_mean_of_images():
    from skimage.metrics import peak_signal_noise_ratio

    output, target = torch.rand(3, 1, 9, 7), torch.rand(3, 1, 9, 7)
    expected = [
        peak_signal_noise_ratio(t.numpy(), o.numpy(), data_range=1) for o, t in zip(output, target, strict=True)
    ]

    assert float(negative_psnr(output, target)) == pytest.approx(-sum(expected) / 3, rel=1e-5)
    assert float(negative_psnr(target, target)) == pytest.approx(-80)
