"""Perceptual loss against timm's own features."""

from __future__ import annotations

import pytest
import timm
import torch

from ldctpipe.losses.perceptual import PerceptualLoss
from ldctpipe.recipes.library import load_recipe, shipped_names

BACKBONE = "tf_efficientnetv2_b0.in1k"


@pytest.fixture(scope="module")
def loss() -> PerceptualLoss:
    torch.manual_seed(0)
    return PerceptualLoss(BACKBONE, stages=(2, 3, 4))


def test_equal_images_have_none(loss):
    image = torch.rand(2, 1, 64, 64)

    assert float(loss(image, image)) == 0.0


def test_it_is_the_squared_feature_distance_over_width_height_depth(loss):
    a, b = torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64)
    config = timm.create_model(BACKBONE, pretrained=False).pretrained_cfg
    mean, std = (torch.tensor(config[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    expected = 0.0
    with torch.no_grad():
        for one, other in zip(
            loss.network((a.repeat(1, 3, 1, 1) - mean) / std),
            loss.network((b.repeat(1, 3, 1, 1) - mean) / std),
            strict=True,
        ):
            _, depth, height, width = one.shape
            expected += float((one - other).square().sum()) / (width * height * depth)

    assert float(loss(a, b)) == pytest.approx(expected, rel=1e-5)


def test_it_is_computed_in_float32_in_mixed_precision_too(loss):
    """Features in bfloat16 of images 3 HU apart differ more by rounding than by what is in the images."""
    target = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    output = (target + 0.001 * torch.randn(target.shape, generator=torch.Generator().manual_seed(3))).requires_grad_()
    exact = loss(output, target)
    (expected,) = torch.autograd.grad(exact, output)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        distance = loss(output, target)
    (gradient,) = torch.autograd.grad(distance, output)

    assert torch.equal(distance, exact)
    assert torch.equal(gradient, expected)


def perceptual_recipes() -> list[str]:
    return [name for name in shipped_names() if load_recipe(name).losses.perceptual > 0]


# What the authors' networks saw of a pixel of 0 and of one of 0.5: in their code where there is any. Where another
# release of VGG sees what it was trained with, the recipe says that it is a reconstruction.
BY_IMAGENET = ([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], [0.015 / 0.229, 0.044 / 0.224, 0.094 / 0.225])
AS_IT_IS = ([0.0, 0.0, 0.0], [0.5, 0.5, 0.5])
SEEN = {"ct-mamba": AS_IT_IS, "drl-edge": AS_IT_IS, "drl-cascade-2": AS_IT_IS, "drl-cascade-3": AS_IT_IS}


@pytest.mark.parametrize("name", [name for name in perceptual_recipes() if not name.startswith("wgan-gp")])
def test_the_network_of_a_recipe_sees_what_its_authors_gave_it(name):
    dark, middle = SEEN.get(name, BY_IMAGENET)

    target, output = seen_by(load_recipe(name).losses)

    assert target == pytest.approx(dark)
    assert output == pytest.approx(middle, rel=1e-4)
    assert name in SEEN or load_recipe(name).status == "reconstruction"


def test_weights_of_vggs_first_release_see_pixels_times_255_less_the_means_of_blue_green_and_red():
    losses = load_recipe("cpce-2d", ["losses.perceptual_input=caffe"]).losses

    target, output = seen_by(losses)

    assert target == pytest.approx([-103.939, -116.779, -123.68])
    assert output == pytest.approx([127.5 - 103.939, 127.5 - 116.779, 127.5 - 123.68], rel=1e-4)


def seen_by(losses) -> list[list[float]]:
    """What the network of a loss sees, by channel, of a black and of a grey image."""
    loss = PerceptualLoss(
        losses.perceptual_backbone, losses.perceptual_stages, losses.perceptual_layers, seen=losses.perceptual_input
    )
    seen = []
    loss.network.register_forward_pre_hook(lambda _, images: seen.append(images[0].mean(dim=(0, 2, 3)).tolist()))
    loss(torch.full((1, 1, 32, 32), 0.5), torch.zeros(1, 1, 32, 32))
    return seen


def test_network_is_frozen_and_images_are_not(loss):
    image = torch.rand(1, 1, 64, 64, requires_grad=True)

    loss.train()
    loss(image, torch.rand(1, 1, 64, 64)).backward()

    assert image.grad.abs().sum() > 0
    assert not loss.network.training
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())


@pytest.mark.parametrize("layers", [("features.0", "features.1"), ("features.34", "features.35")])
def test_features_of_layers_are_those_that_a_hook_finds(layers):
    """VGG's ReLU work in place, and would overwrite the convolution's output before it is compared."""
    from torchvision.models import vgg19

    torch.manual_seed(0)
    loss = PerceptualLoss("vgg19.tv_in1k", layers=layers)
    reference = vgg19(weights=None).features.eval()
    named = {f"features.{name}": value for name, value in reference.state_dict().items()}
    loss.network.load_state_dict({name: named[name] for name in loss.network.state_dict()})
    found = {}
    for name in layers:
        number = int(name.split(".")[1])
        reference[number].register_forward_hook(lambda _, __, output, name=name: found.update({name: output.clone()}))
    image = torch.rand(2, 1, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        ours = loss.network((image.expand(-1, 3, -1, -1) - mean.view(3, 1, 1)) / std.view(3, 1, 1))
        reference((image.expand(-1, 3, -1, -1) - mean.view(3, 1, 1)) / std.view(3, 1, 1))

    for name in layers:
        assert torch.allclose(ours[name], found[name], atol=1e-6), name
    before, after = (found[name] for name in layers)
    assert (before < 0).any()
    assert torch.equal(after, before.clamp(min=0))


def test_only_what_the_layers_need_is_kept():
    loss = PerceptualLoss("vgg16.tv_in1k", layers=("features.3",))

    assert sorted(loss.network.state_dict()) == [f"features.{n}.{p}" for n in (0, 2) for p in ("bias", "weight")]


def test_a_scale_multiplies_the_distance(loss):
    scaled = PerceptualLoss(BACKBONE, stages=(2, 3, 4), scale=0.25)
    scaled.network.load_state_dict(loss.network.state_dict())
    a, b = torch.rand(1, 1, 64, 64), torch.rand(1, 1, 64, 64)

    assert float(scaled(a, b)) == pytest.approx(0.25 * float(loss(a, b)))


def test_distances_of_layers_are_summed_and_may_be_absolute():
    torch.manual_seed(0)
    both = PerceptualLoss("vgg16.tv_in1k", layers=("features.1", "features.3"), distance="l1")
    a, b = torch.rand(2, 1, 32, 32), torch.rand(2, 1, 32, 32)
    features = [both.network((x.expand(-1, 3, -1, -1) - both.mean) / both.std) for x in (a, b)]

    expected = sum(float((features[0][name] - features[1][name]).abs().mean()) for name in features[0])
    assert float(both(a, b)) == pytest.approx(expected, rel=1e-5)
