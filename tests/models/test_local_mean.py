"""A change of an image whose local mean is kept: constants go, noise stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from ldctpipe.models.efficientnetv2_unet import EfficientNetV2UNet
from ldctpipe.models.local_mean import with_local_mean_of


def test_a_constant_shift_is_taken_back_up_to_the_border():
    image = torch.rand(2, 1, 40, 56, dtype=torch.float64)
    assert with_local_mean_of(image, image + 0.25, 33).numpy() == pytest.approx(image.numpy(), abs=1e-12)


def test_what_is_taken_back_is_the_box_mean_of_scipy():
    image, output = torch.rand(2, 1, 1, 64, 64, dtype=torch.float64)
    kept = with_local_mean_of(image, output, 9)
    expected = output[0, 0].numpy() - uniform_filter((output - image)[0, 0].numpy(), 9)
    inner = np.s_[4:-4, 4:-4]  # SciPy mirrors at borders
    assert kept[0, 0].numpy()[inner] == pytest.approx(expected[inner], abs=1e-12)


def test_white_noise_that_is_removed_stays_removed():
    """Of white noise a box of 33² pixels holds 1/33² of the variance: 3 % of the standard deviation."""
    noise = torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(1))
    left = with_local_mean_of(noise, torch.zeros_like(noise), 33)
    assert float(left.std()) == pytest.approx(1 / 33, rel=0.25)


@pytest.mark.parametrize("output", ["direct", "residual"])
def test_the_generator_keeps_the_mean_of_its_input(output):
    torch.manual_seed(2)
    options = {"decoder_channels": (8, 8, 8, 8, 8), "output": output, "kept_mean": 33}
    network = EfficientNetV2UNet("tf_efficientnetv2_b0.in1k", **options).eval()
    torch.nn.init.normal_(network.head.weight)
    torch.nn.init.constant_(network.head.bias, 3.0)
    image = torch.full((1, 1, 128, 128), 0.5) + 0.01 * torch.randn(1, 1, 128, 128)
    with torch.no_grad():
        change = network(image) - image
    assert float(change.abs().mean()) > 1e-3
    assert abs(float(change.mean())) < 0.05 * float(change.abs().mean())
