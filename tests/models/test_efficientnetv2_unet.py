"""The flagship's generator against timm, the publication's figures and the cost that it may have."""

from __future__ import annotations

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from ldctpipe.models.efficientnetv2_unet import EfficientNetV2UNet
from ldctpipe.models.padding import pad_to_multiple
from ldctpipe.recipes.library import load_recipe
from ldctpipe.recipes.networks import build_generator

BACKBONE = "tf_efficientnetv2_m.in21k_ft_in1k"
SMALL = "tf_efficientnetv2_b0.in1k"


@pytest.fixture(scope="module")
def flagship() -> EfficientNetV2UNet:
    return build_generator(load_recipe("wgan-gp-effnetv2")).eval()


def parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_encoder_is_timms_network_without_its_head(flagship):
    classifier = timm.create_model(BACKBONE, pretrained=False)
    head = sum(parameters(getattr(classifier, name)) for name in ("conv_head", "bn2", "classifier"))

    assert parameters(classifier) == pytest.approx(54.1e6, rel=0.001)  # the publication's count
    assert parameters(flagship.encoder) == parameters(classifier) - head


def test_blocks_of_the_encoder_are_the_true_efficientnetv2_m(flagship):
    blocks = [len(flagship.encoder.blocks[i]) for i in range(7)]

    assert blocks == [3, 5, 5, 7, 14, 18, 5]


def test_attention_lies_on_stages_3_5_7(flagship):
    channels = {stage: module.channel.squeeze[0].in_channels for stage, module in flagship.attention.items()}

    assert channels == {"2": 80, "3": 176, "4": 512}


@pytest.mark.parametrize(("side", "deepest"), [(64, 2), (128, 4), (512, 16)])
def test_features_have_the_published_sizes(flagship, side, deepest):
    with torch.inference_mode():
        features = flagship.encode(torch.rand(1, 1, side, side))

    assert features[-1].shape == (1, 512, deepest, deepest)


def test_one_slice_costs_at_most_80_gflop(flagship):
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        flagship(torch.rand(1, 1, 512, 512))

    assert 40e9 < counter.get_total_flops() <= 80e9


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (2, 1, 65, 95), (1, 1, 40, 33), (1, 1, 5, 7)])
def test_any_size_comes_back_in_its_size(shape):
    network = EfficientNetV2UNet(SMALL, decoder_channels=(8, 8, 8, 8, 8)).eval()

    with torch.inference_mode():
        assert network(torch.rand(shape)).shape == shape


def test_residual_variant_starts_as_the_identity():
    network = EfficientNetV2UNet(SMALL, decoder_channels=(8, 8, 8, 8, 8), output="residual").eval()
    image = torch.rand(1, 1, 70, 64)

    with torch.inference_mode():
        assert torch.equal(network(image), image)


@pytest.mark.parametrize(
    ("skips", "reached"), [("coarse", [False, True, True, True, True]), ("deep", [False, False, True, True, True])]
)
def test_skips_leave_no_path_for_the_shallow_stages(skips, reached):
    network = EfficientNetV2UNet(SMALL, decoder_channels=(8, 8, 8, 8, 8), skips=skips).eval()
    features = [feature.detach().requires_grad_() for feature in network.encode(torch.rand(1, 1, 64, 64))]

    network.head(network.decode(network.attend(features))).sum().backward()

    assert [feature.grad is not None for feature in features] == reached


def with_a_path() -> EfficientNetV2UNet:
    torch.manual_seed(0)
    options = {"full_resolution_channels": 4, "full_resolution_layers": 2, "full_resolution_scale": 0.02}
    return EfficientNetV2UNet(SMALL, decoder_channels=(8, 8, 8, 8, 8), **options).eval()


def test_a_full_resolution_path_sees_its_neighbourhood_alone_and_reaches_the_last_block():
    network = with_a_path()
    plain = torch.full((1, 1, 64, 64), 0.5)
    point = plain.clone()
    point[..., 31, 31] = 1.0

    with torch.inference_mode():
        details = [network.detail(network.fine(image)) for image in (plain, point)]
        blank = [torch.zeros(feature.shape) for feature in network.encode(plain)]
        outputs = [network.decode(blank, detail) for detail in details]

    places = (details[0] != details[1]).any(dim=1)[0].nonzero()
    assert (places.amin(dim=0).tolist(), places.amax(dim=0).tolist()) == (
        [27, 27],
        [35, 35],
    )  # 2 of the filter, 2 of layers
    assert not torch.equal(*outputs)


def test_the_full_resolution_path_sees_noise_in_its_units_and_no_level():
    image = 0.5 + 0.02 * torch.randn(1, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    network = with_a_path()

    fine = network.fine(image)

    # white noise without its share in the binomial filter (1, 4, 6, 4, 1)/16 by rows and columns
    line = (torch.tensor([1, 4, 6, 4, 1]) / 16).square().sum()
    assert float(fine.var()) == pytest.approx(float(1 - 2 * (6 / 16) ** 2 + line**2), rel=0.03)
    assert torch.allclose(network.fine(image + 0.1), fine, atol=1e-4)


def test_detail_alone_moves_with_the_image():
    """Without the encoder's features nothing is left that has strides but the decoder's response to nothing."""
    network = with_a_path()
    image = torch.rand(1, 1, 64, 64)

    with torch.inference_mode():
        here, there = (network.detail(network.fine(x)) for x in (image, image.roll(1, dims=-1)))

    inside = (..., slice(8, -8), slice(8, -8))
    assert torch.allclose(here.roll(1, dims=-1)[inside], there[inside], atol=1e-4)


def test_with_a_path_residual_training_starts_from_the_identity_too():
    options = {"full_resolution_channels": 4, "residual_scale": 0.02, "output": "residual"}
    network = EfficientNetV2UNet(SMALL, decoder_channels=(8, 8, 8, 8, 8), **options).eval()
    image = torch.rand(1, 1, 70, 64)

    with torch.inference_mode():
        assert torch.equal(network(image), image)


def test_bilinear_upsampling_draws_no_grid_on_even_features():
    torch.manual_seed(0)
    network = EfficientNetV2UNet(SMALL, decoder_channels=(8, 8, 8, 8, 8), upsampling="bilinear").eval()
    published = EfficientNetV2UNet(SMALL, decoder_channels=(8, 8, 8, 8, 8)).eval()
    even = torch.ones(1, 192, 16, 16)

    with torch.inference_mode():
        inside = [each.decoder[0].up(even)[..., 8:-8, 8:-8] for each in (network, published)]

    assert [float(each.std(dim=(-2, -1)).max()) < 1e-6 for each in inside] == [True, False]


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (1, 1, 40, 33), (1, 1, 5, 7)])
def test_options_against_a_mesh_leave_the_size(shape):
    options = {"full_resolution_channels": 4, "encoder_blur": 3, "upsampling": "bilinear"}
    network = EfficientNetV2UNet(SMALL, decoder_channels=(8, 8, 8, 8, 8), **options).eval()

    with torch.inference_mode():
        assert network(torch.rand(shape)).shape == shape


def test_padding_reflects_at_the_lower_right():
    image = torch.arange(12.0).view(1, 1, 3, 4)

    padded = pad_to_multiple(image, 5)

    assert padded[0, 0, :, 4].tolist() == [2.0, 6.0, 10.0, 6.0, 2.0]
    assert torch.equal(padded[..., :3, :4], image)
