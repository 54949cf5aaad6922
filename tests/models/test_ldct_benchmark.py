"""The same weights in ldct-benchmark's networks give the same images, where the layouts are the same."""

from __future__ import annotations

from argparse import Namespace

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from ldctpipe.losses.image_gradient import sobel_magnitude
from ldctpipe.models.critic import ConvCritic
from ldctpipe.models.grouped_resnet import GroupedResNet
from ldctpipe.models.quadratic_autoencoder import QuadraticAutoencoder
from ldctpipe.models.red_cnn import RedCnn
from ldctpipe.models.unet_discriminator import UNetDiscriminator
from ldctpipe.models.wgan_vgg import WganVgg


def theirs(method: str, module: str = "network"):
    """Return one of ldct-benchmark's modules: networks alone, not its trainers, which need an account for their log."""
    return pytest.importorskip(f"ldctbench.methods.{method}.{module}", reason="ldct-benchmark is not installed")


def copy_in_order(source: list[nn.Module], target: nn.Module) -> None:
    """Copy parameters and buffers one after another; sizes must agree at every step."""
    values = [value for module in source for value in module.state_dict().values()]
    with torch.no_grad():
        for place, value in zip(target.state_dict().values(), values, strict=True):
            assert place.shape == value.shape
            place.copy_(value)


def stir(network: nn.Module) -> nn.Module:
    """Return the network in eval mode with random values in all that it learns or counts."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                spread = 0.5 / max(value[0].numel(), 1) ** 0.5 if value.ndim > 1 else 0.1
                value.copy_((1.0 if "running_var" in name else 0.0) + spread * torch.randn_like(value))
    return network.eval()


def assert_same_image(ours: nn.Module, other: nn.Module, shape: tuple[int, ...] = (2, 1, 40, 33)) -> None:
    image = torch.rand(shape)
    with torch.no_grad():
        expected = other.eval()(image)
        assert expected.std() > 1e-3
        assert torch.allclose(ours(image), expected, rtol=1e-4, atol=1e-4 * expected.abs().max())


def test_red_cnn():
    ours, other = stir(RedCnn(output="none")), theirs("redcnn").Model(Namespace())

    copy_in_order([ours], other)

    assert_same_image(ours, other)


def test_wgan_vgg():
    ours, other = stir(WganVgg(output="none")), theirs("wganvgg").Model(Namespace())

    copy_in_order([ours], other)

    assert_same_image(ours, other)


def test_critic_of_wgan_vgg():
    ours, other = stir(ConvCritic(40, negative_slope=0.01, padding=0)), theirs("wganvgg").Discriminator(40)
    patch = torch.rand(3, 1, 40, 40)

    copy_in_order([ours], other)

    with torch.no_grad():
        assert torch.allclose(ours(patch), other(patch)[:, 0], rtol=1e-4, atol=1e-6)


def test_resnet():
    ours, other = stir(GroupedResNet()), theirs("resnet").Model(Namespace())

    copy_in_order([ours.first, ours.last, ours.blocks], other)

    assert_same_image(ours, other)


def test_quadratic_autoencoder():
    ours, other = stir(QuadraticAutoencoder(output="none")), theirs("qae").Model(Namespace())
    parts = {"W_r": "linear.weight", "W_g": "gate.weight", "W_b": "square.weight"}
    parts |= {"b_r": "linear.bias", "b_g": "gate.bias", "b_b": "square.bias"}
    state = ours.state_dict()

    other.load_state_dict({name: state[f"{name[:-3]}{parts[name[-3:]]}"] for name in other.state_dict()})

    assert_same_image(ours, other)


def test_discriminator_of_du_gan():
    ours = stir(UNetDiscriminator(channels=8, spectral_norm=False))
    other = theirs("dugan").UNet(repeat_num=6, conv_dim=8).eval()
    image = torch.rand(2, 1, 64, 128)

    copy_in_order([ours.down, ours.bottom, ours.score, ours.up, ours.middle, ours.pixels], other)

    with torch.no_grad():
        for mine, expected in zip(ours(image), other(image), strict=True):
            assert expected.std() > 1e-4
            assert torch.allclose(mine, expected, rtol=1e-3, atol=1e-4 * expected.abs().max())


def test_spectral_norm_of_du_gan_acts_on_the_same_layers():
    ours = UNetDiscriminator(channels=8)
    other = theirs("dugan", "utils").turn_on_spectral_norm(theirs("dugan").UNet(repeat_num=6, conv_dim=8))
    parts = (ours.down, ours.bottom, ours.up, ours.middle, ours.pixels)

    mine = [is_parametrized(m) for part in parts for m in part.modules() if isinstance(m, nn.Conv2d)]

    expected = [hasattr(m, "weight_orig") for m in other.modules() if isinstance(m, nn.Conv2d)]
    assert mine == expected
    assert 0 < sum(expected) < len(expected)


def test_image_gradient_of_du_gan():
    image = torch.rand(2, 1, 20, 17)

    assert torch.allclose(sobel_magnitude(image), theirs("dugan", "utils").SobelOperator()(image), atol=1e-6)
