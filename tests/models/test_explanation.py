"""Attention maps against their definition, Grad-CAM against closed forms, and the network left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional

from ldctpipe.models.efficientnetv2_unet import EfficientNetV2UNet
from ldctpipe.models.explanation import (
    UnexplainableNetworkError,
    attention_layers,
    attention_maps,
    fused,
    grad_cam,
    normalised,
)
from ldctpipe.models.padding import pad_to_multiple

STAGES = (3, 5, 7)


@pytest.fixture
def network() -> EfficientNetV2UNet:
    torch.manual_seed(0)
    return EfficientNetV2UNet("tf_efficientnetv2_b0.in1k", decoder_channels=(8, 8, 8, 8, 8)).eval()


class TwoFeatures(nn.Module):
    """Adds 3·A₁ − A₂ to the image, where A₁ = 2·image and A₂ = 4·image: a change of 2·image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 2, kernel_size=1, bias=False)
        self.activation = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(2, 1, kernel_size=1, bias=False)
        self.features.weight.data = torch.tensor([2.0, 4.0]).view(2, 1, 1, 1)
        self.head.weight.data = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return image + self.head(self.activation(self.features(image)))


def test_grad_cam_of_a_network_that_can_be_differentiated_by_hand():
    image = torch.rand(2, 1, 32, 32)

    found = grad_cam(TwoFeatures(), image, "features")

    # ∂(mean |change|)/∂A_k is the k-th weight of the head over the number of pixels, at every pixel: so is its mean.
    expected = (3 * 2 * image - 1 * 4 * image)[:, 0] / 32**2
    assert torch.allclose(found, expected, rtol=1e-5)


def test_grad_cam_shows_no_features_that_lessen_the_change():
    network = TwoFeatures()
    network.head.weight.data = torch.tensor([3.0, -1.6]).view(1, 2, 1, 1)  # a change of −0.4·image

    found = grad_cam(network, torch.ones(1, 1, 32, 32), "features")

    # Its absolute value grows by 1.6·A₂ and shrinks by 3·A₁: 6.4 − 6 is left.
    assert torch.allclose(found, torch.full((1, 32, 32), 0.4 / 32**2), rtol=1e-4)
    network.head.weight.data = torch.tensor([3.0, 0.0]).view(1, 2, 1, 1)
    assert grad_cam(network, -torch.ones(1, 1, 32, 32), "features").max() == 0  # ReLU is off: nothing has an effect


def test_grad_cam_asks_about_the_region_alone():
    class Halves(nn.Module):
        """One feature that is heard in the left half only, and one in the right half only."""

        def __init__(self) -> None:
            super().__init__()
            self.features = nn.Conv2d(1, 2, kernel_size=1, bias=False)
            self.features.weight.data.fill_(1.0)

        def forward(self, image: Tensor) -> Tensor:
            left, right = self.features(image).unbind(dim=1)
            return image + torch.cat((left[..., :16], 5 * right[..., 16:]), dim=-1).unsqueeze(1)

    image, region = torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32, dtype=torch.bool)
    region[..., :16] = True

    assert torch.allclose(grad_cam(Halves(), image, "features", region), torch.full((1, 32, 32), 1 / 32**2))
    assert torch.allclose(grad_cam(Halves(), image, "features", ~region), torch.full((1, 32, 32), 5 / 32**2))
    assert torch.allclose(grad_cam(Halves(), image, "features"), torch.full((1, 32, 32), 3 / 32**2))


def test_maps_are_what_the_attention_modules_compute(network):
    image = torch.rand(1, 1, 64, 96)
    features = network.encode(image)

    for stage, module, x in zip(STAGES, network.attention.values(), features[2:], strict=True):
        after_channel = x * module.channel(x)
        gain = after_channel.norm(dim=1, keepdim=True) / x.norm(dim=1, keepdim=True)
        whole = module(x).norm(dim=1, keepdim=True) / x.norm(dim=1, keepdim=True)
        found = attention_maps(network, image)[stage]
        for ours, expected in (
            (found.spatial, module.spatial(after_channel)), (found.channel, gain), (found.combined, whole),
        ):  # fmt: skip
            larger = functional.interpolate(expected, (64, 96), mode="bilinear")[:, 0]
            assert torch.allclose(ours, larger, atol=1e-5)


def test_equal_channel_weights_are_an_even_map(network):
    for module in network.attention.values():
        nn.init.zeros_(module.channel.squeeze[2].weight)
        nn.init.zeros_(module.channel.squeeze[2].bias)

    found = attention_maps(network, torch.rand(1, 1, 64, 64))

    for stage in STAGES:
        assert torch.allclose(found[stage].channel, torch.full((1, 64, 64), 0.5))
        assert normalised(found[stage].channel).max() == 0


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (2, 1, 100, 100), (1, 1, 512, 512), (1, 1, 40, 90)])
def test_maps_have_the_size_of_the_image(network, shape):
    image = torch.rand(shape)

    maps = attention_maps(network, image)
    cam = grad_cam(network, image, attention_layers(network)[3])

    for one in (*(getattr(maps[s], kind) for s in STAGES for kind in ("spatial", "channel", "combined")), cam):
        assert one.shape == (shape[0], *shape[2:])
        assert one.dtype == torch.float32
        assert torch.isfinite(one).all()
        assert normalised(one).amin(dim=(1, 2)).tolist() == pytest.approx([0.0] * shape[0])
    assert all(maps[stage].combined.min() > 0 and maps[stage].combined.max() < 1 for stage in STAGES)


def test_what_is_padded_is_cropped_away(network):
    image = torch.rand(1, 1, 100, 70)
    padded = pad_to_multiple(image, 32)
    layer, region = attention_layers(network)[5], torch.zeros_like(padded, dtype=torch.bool)
    region[..., :100, :70] = True

    assert torch.allclose(
        attention_maps(network, image)[3].spatial, attention_maps(network, padded)[3].spatial[:, :100, :70]
    )
    assert torch.allclose(
        grad_cam(network, image, layer), grad_cam(network, padded, layer, region)[:, :100, :70], rtol=1e-4, atol=1e-9
    )


def test_the_network_stays_as_it_was(network):
    network.train()
    network.encoder.bn1.eval()
    for parameter in network.decoder.parameters():
        parameter.requires_grad_(False)
    network.head.weight.grad = torch.ones_like(network.head.weight)
    before = copy.deepcopy(network.state_dict())
    modes = [module.training for module in network.modules()]
    flags = [parameter.requires_grad for parameter in network.parameters()]

    attention_maps(network, torch.rand(2, 1, 64, 64))
    with torch.inference_mode():
        grad_cam(network, torch.rand(2, 1, 64, 64), "attention.4")
    with pytest.raises(UnexplainableNetworkError):
        grad_cam(network, torch.rand(2, 1, 64, 64), "attention.9")

    assert [module.training for module in network.modules()] == modes
    assert [parameter.requires_grad for parameter in network.parameters()] == flags
    assert all(torch.equal(network.state_dict()[name], tensor) for name, tensor in before.items())
    gradients = [name for name, parameter in network.named_parameters() if parameter.grad is not None]
    assert gradients == ["head.weight"] and torch.equal(network.head.weight.grad, torch.ones_like(network.head.weight))
    assert not any(module._forward_hooks for module in network.modules())


def test_the_mode_of_the_network_does_not_matter(network):
    image, layer = torch.rand(2, 1, 64, 64), "attention.2"
    expected = grad_cam(network, image, layer)

    assert torch.equal(grad_cam(network.train(), image, layer), expected)
    assert torch.equal(grad_cam(network.requires_grad_(False), image, layer), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mixed_precision_changes_little(network, dtype):
    image, layer = torch.rand(1, 1, 128, 128), attention_layers(network)[3]
    expected, maps = normalised(grad_cam(network, image, layer)), attention_maps(network, image)[7]

    with torch.autocast("cpu", dtype=dtype):
        found, mixed = normalised(grad_cam(network, image, layer)), attention_maps(network, image)[7]

    assert found.dtype == mixed.channel.dtype == torch.float32
    assert (found - expected).abs().mean() < 0.05
    assert (mixed.combined - maps.combined).abs().max() < 0.05


def test_a_network_in_training_can_be_explained(network):
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    wrapped = fabric.setup(network, torch.optim.SGD(network.parameters(), lr=0.1))[0]
    image = torch.rand(1, 1, 64, 64)

    assert torch.equal(attention_maps(wrapped, image)[3].spatial, attention_maps(network, image)[3].spatial)
    assert torch.equal(grad_cam(wrapped, image, attention_layers(wrapped)[7]), grad_cam(network, image, "attention.4"))


def test_fusion_weighs_the_stages_alike():
    ramp = torch.arange(5.0).expand(1, 4, 5)

    assert torch.allclose(fused([ramp, 100 + 7 * ramp]), ramp / 4)
    assert torch.allclose(fused([ramp, torch.full((1, 4, 5), 3.0)]), ramp / 4)
    assert fused([ramp, ramp.flip(2)]).max() == 0


def test_networks_without_the_layers_are_told_apart(network):
    class Unheard(TwoFeatures):
        def forward(self, image: Tensor) -> Tensor:
            return image + 0 * self.features(image).detach().sum()

    image = torch.rand(1, 1, 32, 32)
    with pytest.raises(UnexplainableNetworkError, match="no dual-feature attention"):
        attention_maps(TwoFeatures(), image)
    with pytest.raises(UnexplainableNetworkError, match="no layer 'nothing'"):
        grad_cam(network, image, "nothing")
    with pytest.raises(UnexplainableNetworkError, match="no single path"):
        grad_cam(Unheard(), image, "features")
    with pytest.raises(UnexplainableNetworkError, match="no feature maps"):
        grad_cam(network, image, "encoder")
