"""WGAN-VGG, CPCE and SMGAN: published counts, windows of slices, and starts that are alive."""

from __future__ import annotations

import pytest
import torch
from probing import parameters, sees, without_gradient

from ldctpipe.models.cpce import Cpce2d, Cpce3d, inflate
from ldctpipe.models.critic import ConvCritic
from ldctpipe.models.smgan import Smgan3d
from ldctpipe.models.wgan_vgg import WganVgg


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (WganVgg(), 56_097),
        (Cpce2d(), 62_016),
        (Cpce3d(context=1), 62_592),
        (Cpce3d(context=2), 81_024),
        (Cpce3d(context=3), 99_456),
        (Cpce3d(), 117_888),
        (Smgan3d(), 111_969),
    ],
)
def test_parameters_are_those_of_public_code(network, count):
    assert parameters(network) == count  # trainable; no batch norm


@pytest.mark.parametrize(("patch_size", "count"), [(64, 7_699_905), (77, 13_991_361), (80, 13_991_361)])
def test_unpadded_critic_has_the_published_ports_parameters(patch_size, count):
    critic = ConvCritic(patch_size, negative_slope=0.01, padding=0)

    assert parameters(critic) == count
    assert critic(torch.rand(2, 1, patch_size, patch_size)).shape == (2,)


def test_padded_critic_takes_odd_patches():
    assert ConvCritic(77, channels=(2, 2, 4, 4), hidden=3)(torch.rand(2, 1, 77, 77)).shape == (2,)


@pytest.mark.parametrize(
    ("network", "depth"),
    [(WganVgg(channels=2), 1), (Cpce2d(channels=2), 1), (Smgan3d(channels=2), 9)]
    + [(Cpce3d(context=context, channels=2), 2 * context + 1) for context in (1, 2, 3, 4)],
)
def test_a_pixel_sees_eight_around_it_and_every_slice_of_the_window(network, depth):
    assert sees(network, depth) == (depth, 17, 17)


@pytest.mark.parametrize(
    ("network", "depth"), [(WganVgg(), 1), (Cpce2d(channels=4), 1), (Cpce3d(channels=4), 9), (Smgan3d(channels=4), 9)]
)
@pytest.mark.parametrize(("rows", "columns"), [(37, 50), (8, 9), (5, 40)])
def test_any_size_comes_back_in_its_size(network, depth, rows, columns):
    assert network(torch.rand(2, depth, rows, columns)).shape == (2, 1, rows, columns)


@pytest.mark.parametrize("network", [Cpce3d(context=1, channels=4), Cpce3d(channels=4, shortcut=True), Smgan3d()])
def test_a_slab_gives_each_slice_as_its_own_window_does(network):
    depth = 2 * network.context + 1
    slab = torch.rand(2, depth + 3, 20, 17)

    whole = network(slab)

    windows = [network(slab[:, first : first + depth]) for first in range(4)]
    assert network.takes_slabs
    assert torch.allclose(whole, torch.cat(windows, dim=1), atol=1e-6)
    assert not torch.allclose(whole[:, :1], whole[:, 1:2], atol=1e-5)


@pytest.mark.parametrize("context", [1, 2, 3, 4])
@pytest.mark.parametrize("shortcut", [False, True])
def test_inflated_weights_give_the_2d_networks_centre_slice(context, shortcut):
    torch.manual_seed(0)
    flat = Cpce2d(channels=4, shortcut=shortcut).double()
    deep = Cpce3d(context=context, channels=4, shortcut=shortcut).double()
    window = torch.rand(2, 2 * context + 1, 19, 23, dtype=torch.float64)
    untrained = deep(window)

    deep.load_state_dict(inflate(flat.state_dict(), context))

    assert torch.allclose(deep(window), flat(window[:, context : context + 1]), atol=1e-12)
    assert not torch.allclose(deep(window), untrained, atol=1e-3)


@pytest.mark.parametrize("context", [0, 5])
def test_cpce_has_four_convolutions_to_see_neighbours_with(context):
    with pytest.raises(ValueError, match="1 to 4"):
        Cpce3d(context=context)


@pytest.mark.parametrize("kind", [WganVgg, Cpce2d, Smgan3d])
def test_no_start_is_dead_behind_the_last_relu(kind):
    depth = 2 * getattr(kind, "context", 0) + 1
    for seed in range(12):
        torch.manual_seed(seed)
        assert kind()(torch.full((1, depth, 24, 24), 0.3)).max() > 0


@pytest.mark.parametrize(("kind", "depth"), [(WganVgg, 1), (Cpce2d, 1), (lambda: Cpce3d(context=2), 5), (Smgan3d, 9)])
def test_every_parameter_learns(kind, depth):
    torch.manual_seed(0)

    assert without_gradient(kind(), torch.rand(2, depth, 24, 24)) == []


@pytest.mark.parametrize("kind", [WganVgg, Smgan3d])
def test_the_last_relu_can_be_left_away(kind):
    depth = 2 * getattr(kind, "context", 0) + 1
    image = torch.rand(1, depth, 16, 16)
    free = kind(output="none")
    rectified = kind()
    rectified.load_state_dict(free.state_dict())

    assert torch.equal(rectified(image), free(image).relu())


def test_margin_of_smgan_reflects():
    torch.manual_seed(0)
    network = Smgan3d(channels=4)
    image = torch.rand(1, 9, 20, 20)
    mirrored = torch.cat((image[..., 1:, :].flip(-2), image), dim=-2)

    # A slice behind whose border its mirror image really lies has the same pixels there.
    assert torch.allclose(network(image)[..., :4, :], network(mirrored)[..., 19:23, :], atol=1e-6)


def test_smgan_sees_neighbours_in_even_layers():
    kernels = [layer.kernel_size for layer in Smgan3d().layers]

    assert kernels == [(1, 3, 3), (3, 3, 3)] * 4


def test_conveyed_features_lie_before_the_decoders_own():
    network = Cpce2d(channels=4)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.1)
        for layer in network.decoder.up:
            layer.weight.zero_()  # now only what is conveyed can reach the output
    image = torch.rand(1, 1, 12, 12)
    through_both = network(image)

    with torch.no_grad():
        for layer in network.decoder.merge:
            layer.weight[:, 4:] = 0
    through_first_half = network(image)

    assert through_both.min() > 0
    assert torch.equal(through_first_half, through_both)
