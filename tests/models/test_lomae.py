"""LoMAE's reconstruction: the body's published count, what masking hides, where the image is added."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ldctpipe.data.masking import square_mask
from ldctpipe.models.lomae import LoMae


@pytest.fixture
def small() -> LoMae:
    torch.manual_seed(0)
    return LoMae(channels=12, blocks=(2, 2), heads=3).eval()


def test_the_body_is_the_lightweight_swinir():
    with torch.device("meta"):
        network = LoMae()
    count = sum(parameter.numel() for parameter in network.parameters())

    own = (9 * 60 + 60) + 2 * (9 * 60 + 1) + 60  # grey in, grey out in both trainings, the mask token
    theirs = (3 * 9 * 60 + 60) + (9 * 60 * 12 + 12)  # colour in, doubled resolution out
    assert count - own + theirs == 910_152  # as its public code counts; the paper's 878K are less by one convolution


@pytest.mark.parametrize("shape", [(2, 1, 37, 50), (1, 1, 8, 9)])
def test_any_size_comes_back_in_its_size(small, shape):
    image = torch.rand(shape)
    with torch.inference_mode():
        for output in (small(image), small.reconstruct(image, square_mask(image.shape, 4, 0.5, torch.Generator()))):
            assert output.shape == shape and output.dtype == torch.float32


def test_hidden_pixels_are_seen_by_none(small):
    image = torch.rand(1, 1, 20, 20, requires_grad=True)
    mask = square_mask(image.shape, 4, 0.5, torch.Generator().manual_seed(0))

    small.reconstruct(image, mask).square().sum().backward()

    assert torch.equal(image.grad != 0, ~mask)


def test_denoising_starts_from_the_image_whatever_restoring_learned(small):
    image = torch.rand(1, 1, 16, 16)
    mask = square_mask(image.shape, 4, 0.5, torch.Generator())
    for parameter in small.parameters():
        if parameter is not small.tail.weight and parameter is not small.tail.bias:
            nn.init.normal_(parameter, std=0.5)

    with torch.inference_mode():
        assert torch.equal(small(image), image)
        assert small.reconstruct(image, mask).std() > 0.1


def test_both_trainings_see_the_same_features(small):
    image = torch.rand(1, 1, 16, 24)
    small.tail.load_state_dict(small.restoring_tail.state_dict())

    with torch.inference_mode():
        drawn = small.reconstruct(image, torch.zeros_like(image, dtype=torch.bool))
        assert torch.allclose(small(image), image + drawn)


def test_every_parameter_is_used_in_one_training_or_the_other(small):
    image = torch.rand(2, 1, 16, 16)
    mask = square_mask(image.shape, 4, 0.5, torch.Generator())
    nn.init.normal_(small.tail.weight)

    assert unused_in(small, lambda: small.reconstruct(image, mask)) == ["tail.weight", "tail.bias"]
    assert unused_in(small, lambda: small(image)) == ["mask_token", "restoring_tail.weight", "restoring_tail.bias"]


def unused_in(network, draw) -> list[str]:
    network.zero_grad(set_to_none=True)
    draw().square().sum().backward()
    named = network.named_parameters()
    return [name for name, parameter in named if parameter.grad is None or not parameter.grad.any()]


@pytest.mark.parametrize("ratio", [0.0, 0.25, 0.75, 1.0])
def test_a_mask_hides_its_share_in_whole_squares(ratio):
    mask = square_mask(torch.Size((3, 1, 32, 48)), 8, ratio, torch.Generator())

    squares = mask.unfold(2, 8, 8).unfold(3, 8, 8).flatten(-2)
    assert torch.equal(squares.any(-1), squares.all(-1))
    assert squares.all(-1).float().mean(dim=(1, 2, 3)).tolist() == [ratio] * 3


def test_each_image_has_its_own_mask():
    masks = square_mask(torch.Size((2, 1, 64, 64)), 4, 0.5, torch.Generator().manual_seed(0))

    assert not torch.equal(masks[0], masks[1])
