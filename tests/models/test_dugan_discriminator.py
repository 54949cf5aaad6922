"""DU-GAN's discriminator and the gradient image that one of the two judges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from probing import parameters, without_gradient
from scipy import ndimage
from torch.nn.utils.parametrize import is_parametrized

from ldctpipe.losses.image_gradient import sobel_magnitude
from ldctpipe.models.unet_discriminator import UNetDiscriminator


@pytest.fixture
def small() -> UNetDiscriminator:
    torch.manual_seed(0)
    return UNetDiscriminator(channels=8, levels=3)


def test_parameters_are_those_of_the_authors_code():
    assert parameters(UNetDiscriminator()) == 57_213_839  # trainable; spectral norm's vectors are buffers


@pytest.mark.parametrize(("rows", "columns"), [(64, 64), (37, 50)])
def test_a_score_an_image_and_one_a_pixel(small, rows, columns):
    score, pixels = small(torch.rand(3, 1, rows, columns))

    assert score.shape == (3,)
    assert pixels.shape == (3, 1, rows, columns)


def test_one_image_keeps_its_axis(small):
    assert small(torch.rand(1, 1, 16, 16))[0].shape == (1,)


def test_every_parameter_learns():
    torch.manual_seed(0)
    network = UNetDiscriminator(channels=8, levels=3, spectral_norm=False)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))

    assert without_gradient(network, torch.rand(2, 1, 32, 32)) == []


def test_spectral_norm_leaves_thin_layers_alone(small):
    normed = {
        name: is_parametrized(layer) for name, layer in small.named_modules() if isinstance(layer, torch.nn.Conv2d)
    }
    free = {name for name, is_normed in normed.items() if not is_normed}

    # Those with one channel in (the first block's) or one out (the last block's), and the map of pixels.
    assert free == {
        "down.0.shortcut",
        "down.0.features.0",
        "up.2.shortcut",
        "up.2.features.0",
        "up.2.features.2",
        "pixels",
    }


def test_normed_layers_have_a_largest_singular_value_of_1(small):
    small.train()
    for _ in range(30):
        small(torch.rand(1, 1, 16, 16))
    weight = small.eval().down[1].features[0].weight

    assert torch.linalg.matrix_norm(weight.flatten(1), ord=2).item() == pytest.approx(1.0, rel=1e-2)


def test_gradient_of_a_ramp_is_twice_its_slope():
    ramp = torch.arange(12.0).repeat(9, 1).view(1, 1, 9, 12) * 0.3

    inside = sobel_magnitude(ramp, epsilon=0.01)[..., 1:-1, 1:-1]

    assert torch.allclose(inside, torch.tensor(((2 * 0.3) ** 2 + 0.01) ** 0.5))


def test_gradient_is_scipys():
    image = np.random.default_rng(0).random((21, 16))
    across, down = (ndimage.sobel(image, axis=axis, mode="constant") / 4 for axis in (0, 1))

    ours = sobel_magnitude(torch.from_numpy(image)[None, None], epsilon=1e-4)

    np.testing.assert_allclose(ours[0, 0], np.sqrt(across**2 + down**2 + 1e-4), atol=1e-12)


def test_gradient_of_an_even_image_can_be_derived():
    image = torch.full((1, 1, 8, 8), 0.5, requires_grad=True)

    sobel_magnitude(image).sum().backward()

    assert image.grad.isfinite().all()
