"""ResNet, IRCNN, CNN10, DRL and the wavelet residual network, which all correct the image that they get."""

from __future__ import annotations

import pytest
import torch
from probing import keras_total, parameters, sees, without_gradient, zeroed
from torch.nn import functional

from ldctpipe.models.cnn10 import Cnn10
from ldctpipe.models.drl import Drl, edge_images
from ldctpipe.models.grouped_resnet import GroupedResNet
from ldctpipe.models.ircnn import Ircnn
from ldctpipe.models.stationary_haar import analyse, synthesise
from ldctpipe.models.wavelet_residual import WaveletResidual, WaveletTrunk

SMALL = {
    "resnet": lambda: GroupedResNet(channels=8, blocks=2, groups=4),
    "ircnn": lambda: Ircnn(channels=4),
    "cnn10": lambda: Cnn10(channels=4),
    "drl": lambda: Drl(channels=4),
    "wavelet": lambda: WaveletResidual(channels=4, modules=2),
}


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (GroupedResNet(), 1_843_329),
        (Ircnn(), 186_497),
        (Ircnn(bias=False), 186_112),
        (Cnn10(), 334_721),
        (Drl(), 224_961),
        (Drl(edges=True), 231_416),
        (WaveletResidual(), 4_160_650),
        (WaveletTrunk(bands=15, channels=128, modules=6), 4_172_175),  # what the publication's contourlet would need
    ],
)
def test_trainable_parameters_are_those_of_public_code(network, count):
    assert parameters(network) == count


@pytest.mark.parametrize(("network", "count"), [(Cnn10(), 335_873), (Drl(), 225_601), (Drl(edges=True), 232_056)])
def test_published_counts_are_keras_totals(network, count):
    assert keras_total(network) == count


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (GroupedResNet(channels=8, blocks=3, groups=2), 1 + 8 + 3 * 4 + 2),
        (Ircnn(channels=2), 1 + 2 * (1 + 2 + 3 + 4 + 3 + 2 + 1)),
        (Cnn10(channels=2), 1 + 11 * 2),
        (Drl(channels=2), 1 + 4 + 2 * (2 + 3 + 4 + 3 + 2 + 1)),
        (Drl(channels=2, edges=True), 1 + 2 + 4 + 2 * (2 + 3 + 4 + 3 + 2 + 1) + 2),
        (WaveletResidual(channels=2, modules=2), 7 + (1 + (3 + 2 * 3 + 3) * 2) + 7),  # 8-pixel sums on both sides
    ],
)
def test_a_pixel_sees_what_the_layers_add_up_to(network, side):
    assert sees(network) == (1, side, side)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("shape", [(2, 1, 37, 50), (1, 1, 8, 9)])
def test_any_size_comes_back_in_its_size(name, shape):
    assert SMALL[name]()(torch.rand(shape)).shape == shape


@pytest.mark.parametrize("name", SMALL)
def test_without_weights_the_image_comes_back(name):
    image = torch.rand(2, 1, 12, 30)

    assert torch.allclose(zeroed(SMALL[name]())(image), image, atol=1e-6)


@pytest.mark.parametrize(("name", "sign"), [("resnet", -1), ("ircnn", -1), ("cnn10", -1), ("drl", 1)])
def test_what_the_network_finds_is_taken_away_or_added_as_published(name, sign):
    network = zeroed(SMALL[name]())
    last = network.seventh if name == "drl" else network.last
    with torch.no_grad():
        last.bias.fill_(0.25)

    assert torch.allclose(network(torch.full((1, 1, 9, 9), 0.5)), torch.tensor(0.5 + sign * 0.25))


@pytest.mark.parametrize("kind", [*SMALL.values(), lambda: Drl(channels=4, edges=True)])
def test_every_parameter_learns(kind):
    torch.manual_seed(0)

    assert without_gradient(kind(), torch.rand(2, 1, 32, 32)) == []


@pytest.mark.parametrize("name", SMALL)
def test_no_two_layers_share_weights(name):
    network = SMALL[name]()

    assert len(list(network.parameters())) == len(list(network.named_parameters(remove_duplicate=False)))


@pytest.mark.parametrize("kind", [Cnn10, Drl])
def test_of_two_channels_the_last_is_corrected(kind):
    image = torch.rand(1, 2, 16, 16)

    assert torch.equal(zeroed(kind(in_channels=2, channels=4))(image), image[:, 1:])


def test_drl_is_the_authors_sequence_of_layers():
    torch.manual_seed(0)
    network = Drl(channels=4).eval()
    image = torch.rand(1, 1, 20, 20)
    weights = [p for p in network.parameters() if p.ndim == 4]  # biases start at 0, batch norms as the identity

    def convolved(x, index, dilation):
        return functional.conv2d(x, weights[index], padding="same", dilation=dilation)

    one = convolved(image, 0, 1).relu()
    two = (convolved(one, 1, 2) / (1 + 1e-5) ** 0.5).relu()
    five = two
    for index, dilation in ((2, 3), (3, 4), (4, 3)):
        five = (convolved(five, index, dilation) / (1 + 1e-5) ** 0.5).relu()
    six = (convolved(torch.cat((five, two), dim=1), 5, 2) / (1 + 1e-5) ** 0.5).relu()
    seven = convolved(torch.cat((six, one), dim=1), 6, 1)

    assert seven.std() > 1e-3
    assert torch.allclose(network(image), image + seven, atol=1e-5)


def test_every_stage_of_the_wavelet_network_carries_on_the_one_before():
    torch.manual_seed(0)
    trunk = WaveletTrunk(bands=10, channels=4, modules=3).eval()
    zeroed(trunk.residual_modules)
    gathered = []
    trunk.gather.register_forward_hook(lambda _module, inputs, _output: gathered.append(inputs[0]))
    bands = 1000 * torch.rand(1, 10, 8, 8)

    trunk(bands)

    first = trunk.first(bands)
    assert first.any()
    assert torch.equal(gathered[0], first.repeat(1, 4, 1, 1))


def test_drl_without_weights_but_edges_gives_nothing():
    network = zeroed(Drl(channels=4, edges=True))

    assert not network(torch.rand(1, 1, 16, 16)).any()


def test_edges_answer_to_their_direction():
    down = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 1, 8, 8).contiguous()

    of_rows, of_columns = edge_images(down)[0, :, 4, 4], edge_images(down.transpose(2, 3))[0, :, 4, 4]

    # Horizontal, vertical, and the diagonals, which weigh a slope of 1 by 6 in one sign or the other.
    assert of_rows.tolist() == [8.0, 0.0, -6.0, 6.0]
    assert of_columns.tolist() == [0.0, 8.0, 6.0, 6.0]


@pytest.mark.parametrize("shape", [(2, 1, 16, 24), (1, 1, 13, 9)])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_haar_transform_is_exactly_invertible(shape, levels):
    image = torch.rand(shape, dtype=torch.float64)

    assert torch.allclose(synthesise(analyse(image, levels), levels), image, atol=1e-14)


def test_haar_bands_are_means_and_differences_of_blocks():
    image = torch.rand(1, 1, 32, 32, dtype=torch.float64)
    block = image[0, 0, 3:11, 5:13]

    bands = analyse(image, 3)[0, :, 3, 5]

    assert bands[0].item() == pytest.approx(block.mean().item())
    assert bands[1].item() == pytest.approx((block[:4].sum() - block[4:].sum()).item() / 64)
    assert bands[2].item() == pytest.approx((block[:, :4].sum() - block[:, 4:].sum()).item() / 64)
    finest = image[0, 0, 3:5, 5:7]
    assert bands[9].item() == pytest.approx((finest[0, 0] - finest[0, 1] - finest[1, 0] + finest[1, 1]).item() / 4)


def test_haar_bands_keep_the_energy():
    image = torch.randn(1, 1, 24, 17, dtype=torch.float64)

    assert analyse(image, 3).square().sum().item() == pytest.approx(image.square().sum().item())


def test_wavelet_network_corrects_bands_in_its_unit():
    network = zeroed(WaveletResidual(channels=4, modules=1, scale=1000.0))
    with torch.no_grad():
        network.trunk.last.bias[0] = 80.0  # of the approximation
    image = torch.rand(1, 1, 16, 16)

    assert torch.allclose(network(image), image + 80.0 / 1000, atol=1e-6)
    assert torch.allclose(network.bands(image), 1000 * analyse(image, 3), rtol=1e-4, atol=0.01)
