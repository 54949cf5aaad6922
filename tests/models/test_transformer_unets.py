"""Uformer, SCUNet, NAFNet, Restormer: public parameter counts, any size, the skip around the network, live branches."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ldctpipe.models.nafnet import Gate, NafBlock, NafNet
from ldctpipe.models.restormer import ChannelNorm, Restormer, TransposedAttention
from ldctpipe.models.scunet import ScuNet
from ldctpipe.models.uformer import LeWinBlock, Uformer

MOTION_BLUR = {"encoder_blocks": (1, 1, 1, 28), "middle_blocks": 1, "decoder_blocks": (1, 1, 1, 1)}
SMALL = {
    "uformer": lambda: Uformer(embed_dim=4, depths=(2,) * 9, heads=(1, 1, 2, 2, 2, 2, 2, 1, 1)),
    "scunet": lambda: ScuNet(channels=8, blocks=(2,) * 7, head_channels=4),
    "nafnet": lambda: NafNet(channels=4, encoder_blocks=(1, 1), middle_blocks=1, decoder_blocks=(1, 1)),
    "restormer": lambda: Restormer(channels=8, blocks=(1, 1, 1, 1), refinement_blocks=1),
}


def trainable(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def small(name: str) -> nn.Module:
    torch.manual_seed(0)
    return SMALL[name]()


@pytest.mark.parametrize(
    ("build", "published"),
    [  # the authors' code, instantiated for one channel
        (lambda: Uformer(embed_dim=16, depths=(2,) * 9), 5_290_987),
        (lambda: Uformer(embed_dim=32, depths=(2,) * 9), 20_749_467),
        (Uformer, 50_879_216),
        (ScuNet, 17_943_768),
        (lambda: ScuNet(blocks=(2,) * 7), 9_660_588),
        (lambda: Restormer(norm="with_bias"), 26_124_052),
    ],
)
def test_trainable_parameters_are_those_of_the_authors_code(build, published):
    with torch.device("meta"):
        assert trainable(build()) == published


def test_restormers_gaussian_denoiser_has_its_released_count():
    rgb = 2 * 48 * 9 + 2 * 96 * 9  # two more colours at the first convolution and at the last
    with torch.device("meta"):
        assert trainable(Restormer()) + rgb == 26_111_668


@pytest.mark.parametrize(
    ("options", "millions"),
    [({}, 29.16), ({"channels": 64}, 115.98), (MOTION_BLUR, 17.11), ({"channels": 64, **MOTION_BLUR}, 67.89)],
)
def test_nafnet_has_its_published_parameters(options, millions):
    width = options.get("channels", 32)
    rgb = 2 * width * 9 + 2 * width * 9 + 2  # two more colours at both ends
    with torch.device("meta"):
        assert round((trainable(NafNet(**options)) + rgb) / 1e6, 2) == millions


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(2, 1, 37, 50), (1, 1, 8, 9)])
def test_any_size_comes_back_in_its_size(name, shape):
    with torch.inference_mode():
        output = small(name).eval()(torch.rand(shape))

    assert output.shape == shape and output.dtype == torch.float32 and output.isfinite().all()


@pytest.mark.parametrize("name", ["uformer", "nafnet", "restormer"])
def test_a_network_that_draws_nothing_is_the_identity(name):
    network, image = small(name).eval(), torch.rand(1, 1, 20, 36)
    for parameter in network.tail.parameters():
        nn.init.zeros_(parameter)

    with torch.inference_mode():
        assert torch.equal(network(image), image)


def test_scunet_draws_the_image_itself():
    network = small("scunet").eval()
    nn.init.zeros_(network.tail.weight)

    with torch.inference_mode():
        assert not network(torch.rand(1, 1, 20, 36)).any()


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_is_used(name):
    network = small(name).train()
    for block in network.modules():
        if isinstance(block, NafBlock):  # its branches begin with the weight 0
            nn.init.ones_(block.beta)
            nn.init.ones_(block.gamma)
        if hasattr(block, "drop_prob"):
            block.drop_prob = 0.0

    network(torch.rand(2, 1, 40, 40)).square().sum().backward()

    silent = [name for name, parameter in network.named_parameters() if not parameter.grad.any()]
    assert silent == []


@pytest.mark.parametrize("name", SMALL)
def test_mixed_precision_does_not_round_the_image(name):
    network, image = small(name).eval(), torch.rand(1, 1, 16, 16)
    with torch.inference_mode():
        exact = network(image)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            mixed = network(image)

    assert mixed.dtype == torch.float32
    assert len(mixed.unique()) > 200  # in bfloat16 there are 128 numbers between a half and one
    assert torch.allclose(mixed, exact, atol=0.05)


@pytest.mark.parametrize("name", SMALL)
def test_the_same_seed_gives_the_same_network(name):
    first, second = small(name).state_dict(), small(name).state_dict()

    assert all(torch.equal(first[key], second[key]) for key in first)


def test_uformers_blocks_are_published_ones():
    network = small("uformer")
    modulated = [block.attention.modulator is not None for block in network.segments()]
    shifts = [block.attention.shift for block in network.segments()]

    assert modulated == [False] * 10 + [True] * 8  # in the decoder alone
    assert shifts == [0, 4] * 4 + [0, 0] + [0, 4] * 4


def test_uformers_depth_of_random_skips_is_mirrored():
    with torch.device("meta"):
        rates = [block.drop_path.drop_prob for block in Uformer().segments() if isinstance(block, LeWinBlock)]

    assert rates[:19] == pytest.approx([0.1 * number / 18 for number in range(19)], abs=1e-6)
    assert rates[19:21] == [0.1, 0.1]
    assert rates[21:] == rates[18::-1]


def test_nafnets_gate_is_the_product_of_two_halves():
    assert Gate()(torch.tensor([2.0, 3.0, 5.0, 7.0]).view(1, 4, 1, 1)).flatten().tolist() == [10.0, 21.0]


def test_a_new_nafnet_block_changes_nothing():
    features = torch.randn(1, 4, 5, 6)

    assert torch.equal(NafBlock(4)(features), features)


def test_restormers_norm_keeps_the_mean_and_the_sign():
    features = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)  # mean 2, standard deviation 1

    assert ChannelNorm(2, bias=False)(features).flatten().tolist() == pytest.approx([1, 3], abs=1e-4)
    assert ChannelNorm(2, bias=True)(features).flatten().tolist() == pytest.approx([-1, 1], abs=1e-4)


def test_restormers_attention_follows_its_equation():
    torch.manual_seed(0)
    attention, features = TransposedAttention(4, heads=2), torch.randn(1, 4, 3, 5)
    attention.temperature.data = torch.tensor([2.0, 5.0]).view(2, 1, 1)
    query, key, value = attention.qkv(features)[0].double().reshape(3, 2, 2, 15)
    expected = []
    for head in range(2):
        for one in range(2):
            angles = [torch.nn.functional.cosine_similarity(query[head, one], key[head, k], dim=0) for k in range(2)]
            weights = torch.stack([(attention.temperature[head, 0, 0] * angle).exp() for angle in angles])
            expected.append((weights[:, None] * value[head]).sum(dim=0) / weights.sum())
    mixed = torch.stack(expected).float().view(1, 4, 3, 5)

    assert torch.allclose(attention(features), attention.project(mixed), atol=1e-5)
