"""RED-CNN, Q-AE and the generator of DU-GAN: published counts, skips and what they see."""

from __future__ import annotations

import pytest
import torch
from probing import parameters, sees, without_gradient, zeroed
from torch.nn import functional

from ldctpipe.models.dugan import DuGan
from ldctpipe.models.quadratic_autoencoder import QuadraticAutoencoder, QuadraticConvolution
from ldctpipe.models.red_cnn import RedCnn

NETWORKS = [RedCnn, QuadraticAutoencoder, DuGan]


@pytest.mark.parametrize(
    ("network", "count"), [(RedCnn(), 1_848_865), (QuadraticAutoencoder(), 49_818), (DuGan(), 185_569)]
)
def test_parameters_are_those_of_public_code(network, count):
    assert parameters(network) == count  # trainable; no batch norm


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (RedCnn(channels=3), 1 + 10 * 4),
        (RedCnn(channels=3, kernel=3), 1 + 10 * 2),
        (QuadraticAutoencoder(channels=3), 1 + 10 * 2),
        (DuGan(channels=3), 1 + 22 * 2),
    ],
)
def test_a_pixel_sees_what_the_layers_add_up_to(network, side):
    assert sees(network) == (1, side, side)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("shape", [(2, 1, 37, 50), (1, 1, 8, 9), (1, 1, 21, 20)])
def test_any_size_comes_back_in_its_size(kind, shape):
    assert kind(channels=4)(torch.rand(shape)).shape == shape


@pytest.mark.parametrize("kind", NETWORKS)
def test_without_weights_the_skip_gives_the_image_back(kind):
    image = torch.rand(2, 1, 12, 30)

    assert torch.equal(zeroed(kind(channels=4))(image), image)


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_parameter_learns(kind):
    torch.manual_seed(0)
    network = kind(channels=4)
    with torch.no_grad():
        for parameter in network.parameters():  # away from starts that are zero or all but zero
            parameter.add_(0.1 * torch.rand_like(parameter))

    assert without_gradient(network, torch.rand(2, 1, 24, 24)) == []


@pytest.mark.parametrize("kind", [RedCnn, QuadraticAutoencoder])
@pytest.mark.parametrize(("output", "lowest"), [("relu", 0.0), ("none", -0.25)])
def test_the_last_relu_can_be_left_away(kind, output, lowest):
    network = zeroed(kind(channels=4, output=output))

    assert network(torch.full((1, 1, 24, 24), -0.25)).min().item() == lowest


def test_skips_of_red_cnn_come_from_the_second_and_fourth_convolution():
    network = zeroed(RedCnn(channels=2, kernel=1, output="none"))
    with torch.no_grad():
        network.encoder[1].bias.fill_(2.0)  # nothing else than the skip carries it on: all weights are 0
        network.encoder[3].bias.fill_(5.0)
        network.decoder[3].weight.fill_(1.0)
        network.decoder[4].weight.fill_(1.0)
        inner = network(torch.zeros(1, 1, 8, 8))
        network.decoder[1].weight.fill_(1.0)
        network.decoder[2].weight.fill_(1.0)
        both = network(torch.zeros(1, 1, 8, 8))

    # Through k ones-weighted layers of two channels a value grows by 2^(k−1) for each of two channels.
    assert inner.unique().tolist() == [2.0 * 2 * 2]
    assert both.unique().tolist() == [(2.0 + 5.0 * 2 * 2) * 2 * 2]


def test_red_cnn_and_du_gan_start_small():
    torch.manual_seed(0)

    for network in (RedCnn(), DuGan()):
        weights = torch.cat([p.flatten() for name, p in network.named_parameters() if name.endswith("weight")])
        assert weights.std().item() == pytest.approx(0.01, rel=0.02)
        assert not any(p.any() for name, p in network.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("transposed", [False, True])
def test_quadratic_neuron_is_its_formula(transposed):
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    layer = QuadraticConvolution(kind, 1, 1, padding=0)
    with torch.no_grad():
        for part, (weight, bias) in zip(
            (layer.linear, layer.gate, layer.square), ((2, 1), (-1, 3), (0.5, 7)), strict=True
        ):
            part.weight.zero_()
            part.weight[0, 0, 1, 1] = weight
            part.bias.fill_(bias)
    x = torch.rand(1, 1, 6, 5)

    expected = (2 * x + 1) * (-x + 3) + 0.5 * x**2 + 7

    around = functional.pad(layer(x), (-1,) * 4) if transposed else layer(x)
    assert torch.allclose(around, expected if transposed else expected[..., 1:-1, 1:-1])


def test_quadratic_autoencoder_starts_linear():
    torch.manual_seed(0)
    network = QuadraticAutoencoder()
    layer = network.encoder[2]
    x = torch.rand(1, 15, 9, 9)

    assert torch.allclose(layer(x), functional.conv2d(x, layer.linear.weight, padding=1))
    assert layer.linear.weight.abs().max() <= 0.2  # two deviations of 0.1
    assert layer.linear.weight.std().item() == pytest.approx(0.088, rel=0.05)  # of a normal cut at two deviations


def test_du_gan_adds_what_enters_each_convolution():
    network = zeroed(DuGan(channels=1, layers=3))
    with torch.no_grad():
        for layer in (*network.encoder, *network.decoder):
            layer.weight[0, 0, 1, 1] = 1.0

    # Each of the three mirrored layers adds one image to the one that came through.
    assert torch.allclose(network(torch.full((1, 1, 8, 8), 0.25)), torch.tensor(1.0))
