"""The generators and the discriminator of the CycleGAN family: published counts, reach, and what keeps HU."""

from __future__ import annotations

import pytest
import torch
from pixel_reach import reached_span, without_gradient
from torch import nn

from ldctpipe.models.cagan import CaGan
from ldctpipe.models.criss_cross_attention import CrissCrossAttention
from ldctpipe.models.cycle_gan import ResNetGenerator
from ldctpipe.models.kang_cycle_gan import KangGenerator
from ldctpipe.models.patch_gan import PatchGan
from ldctpipe.models.perceptual_attention_cycle_gan import AttentionFusion, PerceptualAttentionGenerator

FAMILY = {
    "zhu": lambda **options: ResNetGenerator(channels=8, blocks=2, **options),
    "cagan": lambda **options: CaGan(channels=8, blocks=2, **options),
    "perceptual": lambda **options: PerceptualAttentionGenerator(channels=8, blocks=2, **options),
}
SMALL = {**{name: lambda make=make: make() for name, make in FAMILY.items()}, "kang": lambda: KangGenerator(channels=8)}


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (ResNetGenerator(), 11_365_633),  # one channel, instance normalisation without affine parameters
        (PatchGan(), 2_762_689),
        (PatchGan(norm="batch"), 2_763_585),  # trainable; Kang's port
        (KangGenerator(), 4_139_905),  # trainable, layers as drawn in the paper
        (KangGenerator(tied=True), 2_069_633),  # trainable, as the authors' code has it
    ],
    ids=["zhu", "patch", "patch-batch", "kang", "kang-tied"],
)
def test_counts_are_those_of_public_code(network, count):
    assert parameters(network) == count


def test_cagan_is_zhus_generator_with_attention():
    squeeze = 256 * 16 + 16 + 16 * 256 + 256
    criss_cross = 2 * (256 * 32 + 32) + 256 * 256 + 256 + 1

    assert parameters(CaGan()) == 11_365_633 + 9 * squeeze + criss_cross


def test_perceptual_attention_generator_counts_as_its_card_says():
    assert parameters(PerceptualAttentionGenerator()) == 9_022_246


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(2, 1, 37, 50), (1, 1, 64, 64), (1, 1, 9, 8)])
def test_any_size_comes_back_in_its_size(name, shape):
    network = SMALL[name]()

    assert network(torch.rand(shape)).shape == shape


@pytest.mark.parametrize("name", SMALL)
def test_low_precision_ends_before_the_image(name):
    network = SMALL[name]().eval()

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(1, 1, 16, 16)).dtype == torch.float32


@pytest.mark.parametrize("name", SMALL)
def test_a_seed_gives_the_same_weights(name):
    first, second = (torch.manual_seed(5) and SMALL[name]().state_dict() for _ in range(2))

    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", FAMILY)
def test_every_parameter_changes_the_output(name):
    torch.manual_seed(0)
    # Instance normalisation takes the biases before it away again; a running batch norm does not.
    network = FAMILY[name](norm="batch", output="direct").eval()
    for module in network.modules():
        if isinstance(module, CrissCrossAttention):
            nn.init.constant_(module.weight, 0.5)  # starts at 0, which keeps the attention's own weights still

    assert without_gradient(network, network(torch.rand(2, 1, 24, 24))) == []


def test_every_parameter_of_kangs_generator_changes_the_output():
    network = KangGenerator(channels=8).eval()

    assert without_gradient(network, network(torch.rand(2, 1, 16, 16))) == []


@pytest.mark.parametrize("name", FAMILY)
def test_residual_output_starts_as_the_identity(name):
    network = FAMILY[name](output="residual")
    image = torch.rand(2, 1, 30, 21)

    assert torch.equal(network(image), image)


def test_kangs_generator_adds_to_its_input():
    network = KangGenerator(channels=8)
    nn.init.zeros_(network.head.weight)
    image = torch.rand(1, 1, 15, 18)

    assert torch.equal(network(image), image)


def brighter_by(network: nn.Module, offset: float) -> float:
    """Return by how much the output's mean rises when all of the input does."""
    torch.manual_seed(1)
    image = torch.rand(1, 1, 32, 32) / 2
    with torch.no_grad():
        return float((network(image + offset) - network(image)).mean())


def test_instance_norm_discards_the_mean_and_a_residual_output_keeps_it():
    torch.manual_seed(0)
    direct = FAMILY["zhu"](norm="instance", output="direct")
    residual = FAMILY["zhu"](norm="instance", output="residual")
    nn.init.normal_(residual.head.weight, 0, 0.02)

    assert brighter_by(direct, 0.25) == pytest.approx(0, abs=1e-4)
    assert brighter_by(residual, 0.25) == pytest.approx(0.25, abs=1e-4)


def test_trained_batch_norm_treats_a_patch_as_its_slice_does():
    torch.manual_seed(0)
    network = ResNetGenerator(channels=4, blocks=1, norm="batch").eval()
    image = torch.rand(1, 1, 96, 96)

    with torch.no_grad():
        patch, whole = network(image[..., 16:80, 16:80]), network(image)

    assert torch.allclose(patch[..., 28:36, 28:36], whole[..., 44:52, 44:52], atol=1e-6)


def test_zhus_generator_reaches_82_pixels():
    # From pixel 0 backwards: 7×7 ±3, two upsamplings ±2 and ±1, 18 convolutions ±19, two strides ±39 and ±79, 7×7 ±82.
    network = ResNetGenerator(channels=2, norm="none")

    assert reached_span(network, network, side=192, pixel=96) == (82, 82)


def test_kangs_generator_reaches_one_pixel_a_convolution():
    network = KangGenerator(channels=2).eval()

    assert reached_span(network, network, side=64, pixel=32) == (24, 24)


def test_a_score_sees_70_pixels():
    network = PatchGan(channels=2, norm="none")
    before, after = reached_span(network, network, side=128, pixel=7)

    assert before + after + 1 == 70


@pytest.mark.parametrize(("side", "scores"), [(256, 30), (64, 6), (56, 5), (24, 1)])  # 256 to 30: published
def test_discriminator_gives_a_map_of_scores(side, scores):
    assert PatchGan(channels=4)(torch.rand(2, 1, side, side)).shape == (2, 1, scores, scores)


def test_discriminator_normalises_neither_its_first_nor_its_last_layer():
    layers = list(PatchGan(norm="batch").score)
    normalised = [isinstance(after, nn.BatchNorm2d) for layer, after in zip(layers, [*layers[1:], None], strict=True)
                  if isinstance(layer, nn.Conv2d)]  # fmt: skip

    assert normalised == [False, True, True, True, False]


@pytest.mark.parametrize(("tied", "convolutions", "norms"), [(False, 24, 23), (True, 10, 7)])
def test_kangs_layers_are_untied_unless_asked(tied, convolutions, norms):
    modules = list(KangGenerator(channels=4, tied=tied).modules())  # each object once

    assert sum(isinstance(module, nn.Conv2d) for module in modules) == convolutions
    assert sum(isinstance(module, nn.BatchNorm2d) for module in modules) == norms


def test_cagan_attends_along_rows_and_columns_in_the_middle_of_its_trunk():
    trunk = list(CaGan().trunk)

    assert [isinstance(block, CrissCrossAttention) for block in trunk] == [False] * 5 + [True] + [False] * 4


def test_fusion_weighs_fine_and_coarse_features_together():
    fusion = AttentionFusion(8, 4, "none")
    fine, coarse = torch.rand(2, 8, 12, 16), torch.rand(2, 16, 6, 8)
    nn.init.constant_(fusion.attention.channel.squeeze[2].bias, -50)  # weights of 0 for both sides

    silenced = fusion(fine, coarse)

    assert torch.allclose(silenced, fusion(2 * fine, 3 * coarse))
    assert silenced.shape == fine.shape
