"""DRUNet against its publication, and its noise level against noise that is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ldctpipe.models.drunet import DruNet
from ldctpipe.models.noise_level import noise_level


@pytest.fixture
def small() -> DruNet:
    torch.manual_seed(0)
    return DruNet(channels=(4, 6, 8), blocks=1).eval()


def noisy(sd: float, size: int = 128) -> torch.Tensor:
    """Two flat regions, an edge and a slope, with white noise."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.linspace(0.3, 0.5, size).expand(1, 1, size, size).clone()
    clean[..., size // 3 : size // 2] = 0.8
    return clean + sd * torch.randn(clean.shape, generator=generator)


@pytest.mark.parametrize("sd", [0.002, 0.01, 0.05])
def test_noise_of_known_level_is_found(sd):
    level = noise_level(noisy(sd))

    assert level.shape == (1, 1, 128, 128)
    assert level.mean().item() == pytest.approx(sd, rel=0.03)


def test_a_border_without_noise_does_not_count():
    image = torch.zeros(1, 1, 256, 256)
    image[..., 64:192, 64:192] = noisy(0.02)  # three quarters are flat, as air that is cut at the range

    level = noise_level(image)

    assert level[..., 64:192, 64:192].median().item() == pytest.approx(0.02, rel=0.05)
    assert not level[..., :16, :].any()


def test_each_image_of_a_batch_has_its_own_level():
    levels = noise_level(torch.cat((noisy(0.01), noisy(0.04), torch.full((1, 1, 128, 128), 0.5))))

    assert levels.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.01, 0.04, 0.0], rel=0.03)


def test_a_patch_has_the_level_of_its_place_in_the_slice():
    """In noise that doubles across the image twice over, where one level for all would be wrong by a factor of 2."""
    generator = torch.Generator().manual_seed(2)
    sd = 0.01 * 4 ** torch.linspace(0, 1, 512).expand(512, 512)
    image = 0.4 + 0.2 * (torch.hypot(*torch.meshgrid(*2 * [torch.linspace(-1, 1, 512)], indexing="ij")) < 0.8)
    image = (image + sd * torch.randn(512, 512, generator=generator))[None, None]
    whole = noise_level(image)[0, 0]

    ratios = []
    for _ in range(60):
        row, column = torch.randint(0, 512 - 64 + 1, (2,), generator=generator).tolist()
        place = (slice(row, row + 64), slice(column, column + 64))
        ratios.append(float(noise_level(image[..., place[0], place[1]]).mean() / whole[place].mean()))

    assert torch.tensor(ratios).median().item() == pytest.approx(1, abs=0.01)
    assert min(ratios) > 0.93 and max(ratios) < 1.07
    assert (whole / sd).median().item() == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("shape", [(1, 1, 8, 9), (2, 1, 16, 40), (1, 1, 33, 17)])
def test_small_images_have_a_level_too(shape):
    image = torch.randn(shape, generator=torch.Generator().manual_seed(3))

    level = noise_level(image)

    assert level.shape == shape
    assert level.mean().item() == pytest.approx(1, rel=0.25)


def test_correlated_noise_is_found_lower_than_it_is():
    smooth = nn.functional.avg_pool2d(torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(1)), 2, 1)
    # the mean of 2 × 2 pixels halves the sd; of the nine pixels under its diagonal Haar coefficient only the corners
    # count, with ±1/8 each: an sd of 1/4
    assert smooth.std().item() == pytest.approx(0.5, rel=0.02)
    assert noise_level(smooth).mean().item() == pytest.approx(0.25, rel=0.03)


def test_trainable_parameters_are_those_of_the_authors_code():
    with torch.device("meta"):
        network = DruNet()

    assert sum(parameter.numel() for parameter in network.parameters()) == 32_638_656
    assert not [name for name, _ in network.named_parameters() if name.endswith("bias")]


@pytest.mark.parametrize("shape", [(2, 1, 37, 50), (1, 1, 8, 9)])
def test_any_size_comes_back_in_its_size(small, shape):
    with torch.inference_mode():
        output = small(torch.rand(shape))

    assert output.shape == shape and output.dtype == torch.float32


def test_a_brighter_image_with_as_much_more_noise_gives_a_brighter_output(small):
    image = torch.rand(1, 1, 24, 24)

    with torch.inference_mode():
        assert torch.allclose(small(8 * image), 8 * small(image), rtol=1e-4)
        assert torch.allclose(small(8 * image, 0.8), 8 * small(image, 0.1), rtol=1e-4)


def test_the_level_is_estimated_where_it_is_not_given(small):
    image = noisy(0.05, size=32)

    with torch.inference_mode():
        estimated = small(image)
        assert torch.equal(estimated, small(image, noise_level(image)))
        assert not torch.allclose(estimated, small(image, 0.5))


def test_every_parameter_is_used(small):
    small(torch.rand(1, 1, 16, 16), 0.1).square().sum().backward()

    assert [name for name, parameter in small.named_parameters() if not parameter.grad.any()] == []


def test_a_network_that_draws_nothing_gives_nothing(small):
    nn.init.zeros_(small.tail.weight)  # the output is the image, not a correction

    with torch.inference_mode():
        assert not small(torch.rand(1, 1, 16, 16)).any()


def test_convolutions_begin_orthogonal_with_gain_a_fifth():
    weight = DruNet(channels=(8, 16), blocks=1).body[0].convs[0].weight.flatten(1)

    assert torch.allclose(weight @ weight.T, 0.04 * torch.eye(16), atol=1e-6)


def test_mixed_precision_does_not_round_the_image(small):
    image = torch.rand(1, 1, 32, 32)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        output = small(image)

    assert output.dtype == torch.float32
    assert not torch.equal(output, output.bfloat16().float())
