"""Layers that see the image: which they are, and that they compute in float32 wherever the network goes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from ldctpipe.models.antialiasing import Binomial
from ldctpipe.models.full_precision import in_float32, keep_float32_when_compiled, without_autocast
from ldctpipe.models.image_layers import image_layers, see_in_float32
from ldctpipe.training.recomputation import recompute


class Branches(nn.Module):
    """An image that reaches layers in several ways."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.hidden = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1)
        self.beside = nn.Conv2d(3, 2, 3, padding=1)
        self.pooled, self.last = nn.Linear(1, 2), nn.Conv2d(2, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.hidden(torch.relu(self.first(nn.functional.pad(image, (1, 1, 1, 1)))))[..., 1:-1, 1:-1]
        x = self.beside(torch.cat((features, image.square()), dim=1))
        x = x + self.pooled(image.mean(dim=(2, 3)))[..., None, None]
        return image + self.last(x)

    def segments(self) -> list[nn.Module]:
        return [self.hidden]


def half(network: nn.Module, image: Tensor) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return network(image)


def test_layers_count_that_take_in_the_image_itself():
    network = Branches()

    found = image_layers(network, torch.rand(1, 1, 8, 8))

    assert found == [network.first, network.beside, network.pooled]
    assert network.training


def test_what_a_fixed_filter_returns_is_an_image_still():
    smooth, first, hidden = Binomial(3), nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3)
    network = nn.Sequential(smooth, first, hidden)
    image = torch.rand(1, 1, 8, 8)

    assert image_layers(network, image) == [smooth, first]
    see_in_float32(network, slices=1)

    assert torch.equal(half(network[:2], image), network[:2](image))


def test_names_of_weights_and_kinds_of_layers_stay():
    network = Branches()
    names = list(network.state_dict())

    see_in_float32(network, slices=1)

    assert list(network.state_dict()) == names
    assert isinstance(network.first, nn.Conv2d)
    assert "Conv2d(1, 2" in repr(network)


def test_image_layers_compute_under_autocast_what_they_compute_without():
    network = see_in_float32(Branches(), slices=1)
    image = torch.rand(1, 1, 16, 16)
    features: list[Tensor] = []
    network.first.register_forward_hook(lambda _module, _inputs, output: features.append(output))

    network(image)
    half(network, image)

    assert torch.equal(*features)


def test_a_network_without_autocast_gives_what_it_gives_in_float32():
    network = Branches()
    image = torch.rand(2, 1, 16, 16)
    expected = network(image)

    assert torch.equal(half(without_autocast(network), image.half().float()), network(image.half().float()))
    assert torch.equal(half(network, image), expected)


def test_a_copy_computes_with_its_own_weights():
    network = see_in_float32(Branches(), slices=1)
    recompute(network.segments())
    copied = copy.deepcopy(network)
    image = torch.rand(1, 1, 16, 16)
    expected = network(image)

    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()

    assert torch.equal(copied(image), expected)


class Noting(nn.Conv2d):
    """A convolution that notes whether cuDNN might use TF32."""

    def forward(self, image: Tensor) -> Tensor:
        self.allowed = torch.backends.cudnn.allow_tf32
        return super().forward(image)


@pytest.mark.parametrize("compiled", [False, True])
def test_tf32_is_off_in_an_image_layer_alone(compiled):
    layers = nn.Sequential(in_float32(Noting(1, 1, 3)), nn.ReLU(), Noting(1, 1, 3))
    if compiled:
        keep_float32_when_compiled(layers)
        layers.compile(backend="eager")

    half(layers, torch.rand(1, 1, 8, 8))

    assert [layers[0].allowed, layers[2].allowed] == [False, True]  # torch's default for convolutions
    assert torch.backends.cudnn.allow_tf32
