"""Grad-CAM of what enters the last convolution: which layer that is, where its features lie, what has none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.cagan import CaGan
from ldctpipe.models.classical import Bilateral, Bm3d, NonLocalMeans, TotalVariation
from ldctpipe.models.corediff import CoreDiff
from ldctpipe.models.cpce import Cpce2d, Cpce3d
from ldctpipe.models.ct_mamba import CtMamba
from ldctpipe.models.explanation import UnexplainableNetworkError, attention_layers, attention_maps, grad_cam
from ldctpipe.models.grouped_resnet import GroupedResNet
from ldctpipe.models.last_features import last_convolution
from ldctpipe.models.perceptual_attention_cycle_gan import PerceptualAttentionGenerator
from ldctpipe.models.quadratic_autoencoder import QuadraticAutoencoder
from ldctpipe.models.red_cnn import RedCnn
from ldctpipe.models.smgan import Smgan3d
from ldctpipe.models.uformer import Uformer

NETWORKS = {
    "RED-CNN": lambda: RedCnn(channels=4, output="none"),
    "CPCE-2D": lambda: Cpce2d(channels=4, shortcut=True),
    "CPCE-3D": lambda: Cpce3d(channels=4, context=2, shortcut=True),
    "SMGAN-3D": lambda: Smgan3d(channels=4, output="none"),
    "Q-AE": lambda: QuadraticAutoencoder(channels=4, output="none"),
    "ResNet": lambda: GroupedResNet(channels=8, blocks=1, groups=2),
    "CaGAN": lambda: CaGan(channels=8, blocks=2),
    "CoreDiff": lambda: CoreDiff(timesteps=2, steps=2),
    "Uformer": lambda: Uformer(embed_dim=4, depths=(1,) * 9, heads=(1,) * 9),
}
SLICES = {"CPCE-3D": 5, "SMGAN-3D": 9, "CoreDiff": 3}


class Shifted(nn.Module):
    """Takes `margin` pixels off each side, and puts them back by the last convolution: 3·image is what it adds."""

    def __init__(self, margin: int, last: type[nn.Conv2d] | type[nn.ConvTranspose2d]) -> None:
        super().__init__()
        kernel = 2 * margin + 1
        self.padded = margin if last is nn.Conv2d else 0
        self.first = nn.Conv2d(1, 1, 1 if self.padded else kernel, bias=False)
        self.last = last(1, 1, kernel, bias=False)
        for layer, weight in ((self.first, 1.0), (self.last, 3.0)):
            layer.weight.data.zero_()
            layer.weight.data[..., layer.kernel_size[0] // 2, layer.kernel_size[1] // 2] = weight

    def forward(self, image: Tensor) -> Tensor:
        return image + self.last(self.first(functional.pad(image, (self.padded,) * 4)))


class Tiled(nn.Module):
    """Cuts an image into tiles of 32, adds 2·tile to each, and joins them."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(1, 1, kernel_size=1, bias=False)
        self.last.weight.data.fill_(2.0)

    def forward(self, image: Tensor) -> Tensor:
        rows, columns = image.shape[-2:]
        tiles = image.unfold(2, 32, 32).unfold(3, 32, 32).reshape(-1, 1, 32, 32)
        return self.joined(torch.cat([tile + self.last(tile) for tile in tiles.split(3)]), rows, columns)

    def joined(self, tiles: Tensor, rows: int, columns: int) -> Tensor:
        grid = tiles.unflatten(0, (-1, rows // 32, columns // 32)).permute(0, 3, 1, 4, 2, 5)
        return grid.flatten(4, 5).flatten(2, 3)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(70, 90), (64, 64)])
def test_every_network_has_a_map_of_the_size_of_the_slice(name, size):
    torch.manual_seed(0)
    network, image = NETWORKS[name]().eval(), torch.rand(2, SLICES.get(name, 1), *size)

    found = grad_cam(network, image)

    assert found.shape == (2, *size)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all() and found.min() >= 0


@pytest.mark.parametrize("last", [nn.Conv2d, nn.ConvTranspose2d])
def test_features_of_convolutions_without_padding_lie_where_they_belong(last):
    image = torch.rand(1, 1, 40, 44)

    found = grad_cam(Shifted(2, last), image)

    inner = (..., slice(2, -2), slice(2, -2))
    importance = 3.0 if last is nn.ConvTranspose2d else 3.0 * (40 * 44) / (44 * 48)  # a mean over what is padded, too
    assert torch.allclose(found[inner], importance * image[:, 0][inner] / (40 * 44), rtol=1e-4)


def test_tiles_are_explained_as_one_image():
    image = torch.rand(2, 1, 96, 64)

    found = grad_cam(Tiled(), image)

    assert torch.allclose(found, 2 * image[:, 0] / (96 * 64), rtol=1e-4)


def test_the_tiles_of_ct_mamba_are_joined_as_its_images_are():
    network = CtMamba()
    network.denoise_tile = lambda image: 3 * image
    image = torch.rand(2, 1, 70, 100)

    assert torch.equal(network(image), 3 * image)
    assert network.joined(torch.rand(5, 4, 64, 64), 64, 64).shape == (5, 4, 64, 64)


def test_a_layer_that_runs_again_and_again_is_explained_in_its_last_call():
    class Twice(nn.Module):
        """Adds 2·image, then 2·(that)."""

        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Conv2d(1, 1, kernel_size=1, bias=False)
            self.last.weight.data.fill_(2.0)

        def forward(self, image: Tensor) -> Tensor:
            once = image + self.last(image)
            return once + self.last(once)

    image = torch.rand(1, 1, 32, 32)

    found = grad_cam(Twice(), image)

    assert torch.allclose(found, 2 * (3 * image[:, 0]) / 32**2, rtol=1e-4)


def test_the_change_is_that_of_the_centre_slice():
    class Centre(nn.Module):
        """Adds the mean of all slices to the one in the middle."""

        def __init__(self) -> None:
            super().__init__()
            self.mean = nn.Conv3d(1, 1, kernel_size=(3, 1, 1), bias=False)
            self.mean.weight.data.fill_(1 / 3)

        def forward(self, image: Tensor) -> Tensor:
            return image[:, 1:2] + self.mean(image.unsqueeze(1)).squeeze(1)

    image = torch.rand(1, 3, 32, 32)

    found = grad_cam(Centre(), image)

    assert torch.allclose(found, image[:, 1] / 3 / 32**2, rtol=1e-4)  # each slice counts a third


def test_a_quadratic_convolution_is_one():
    last = last_convolution(QuadraticAutoencoder(channels=4), torch.rand(1, 1, 32, 32))

    assert (last.name, last.calls) == ("decoder.4", 1)


@pytest.mark.parametrize("kind", [Bm3d, NonLocalMeans, TotalVariation, Bilateral])
def test_filters_have_nothing_to_differentiate(kind):
    with pytest.raises(UnexplainableNetworkError, match="has no convolution whose features could be differentiated"):
        grad_cam(kind(), torch.rand(1, 1, 32, 32))


def test_attention_in_other_places_than_the_flagships_is_found():
    torch.manual_seed(0)
    network = PerceptualAttentionGenerator(channels=4, levels=3, blocks=1).eval()
    nn.init.normal_(network.head.weight)
    image = torch.rand(1, 1, 50, 61)

    maps = attention_maps(network, image)

    assert attention_layers(network) == {1: "fusions.0.attention", 2: "fusions.1.attention"}
    assert {stage: each.spatial.shape for stage, each in maps.items()} == dict.fromkeys((1, 2), (1, 50, 61))
    finest = functional.pad(image, (0, 3, 0, 2), mode="reflect")
    assert torch.allclose(maps[2].spatial, attention_maps(network, finest)[2].spatial[:, :50, :61], atol=1e-6)
    assert grad_cam(network, image, "fusions.1.attention").shape == (1, 50, 61)
