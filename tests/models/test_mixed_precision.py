"""Under autocast the published networks still write float32, and the image stays itself where nothing was found."""

from __future__ import annotations

import pytest
import torch
from probing import zeroed

from ldctpipe.losses.image_gradient import sobel_magnitude
from ldctpipe.models.cascade import Cascade
from ldctpipe.models.cnn10 import Cnn10
from ldctpipe.models.cpce import Cpce2d, Cpce3d
from ldctpipe.models.drl import Drl
from ldctpipe.models.dugan import DuGan
from ldctpipe.models.grouped_resnet import GroupedResNet
from ldctpipe.models.ircnn import Ircnn
from ldctpipe.models.quadratic_autoencoder import QuadraticAutoencoder
from ldctpipe.models.red_cnn import RedCnn
from ldctpipe.models.smgan import Smgan3d
from ldctpipe.models.unet_discriminator import UNetDiscriminator
from ldctpipe.models.wavelet_residual import WaveletResidual
from ldctpipe.models.wgan_vgg import WganVgg

RESIDUAL = [
    lambda: RedCnn(channels=4),
    lambda: QuadraticAutoencoder(channels=4),
    lambda: DuGan(channels=4),
    lambda: GroupedResNet(channels=8, blocks=1),
    lambda: Ircnn(channels=4),
    lambda: Cnn10(channels=4),
    lambda: Drl(channels=4),
    lambda: WaveletResidual(channels=4, modules=1),
    lambda: Cascade(levels=("drl", "drl")),
    lambda: Cpce2d(channels=4, shortcut=True),
]
DIRECT = [
    (lambda: WganVgg(channels=4), 1),
    (lambda: Cpce3d(channels=4), 9),
    (lambda: Smgan3d(channels=4), 9),
    (lambda: Drl(channels=4, edges=True), 1),
]


@pytest.mark.parametrize("kind", RESIDUAL)
def test_the_image_is_not_rounded(kind):
    image = torch.rand(1, 1, 24, 24)
    network = zeroed(kind())

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network(image), image)


@pytest.mark.parametrize(("kind", "depth"), DIRECT)
def test_the_last_layer_is_float32(kind, depth):
    torch.manual_seed(0)
    network = kind().eval()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(torch.rand(1, depth, 24, 24))

    assert output.dtype == torch.float32
    assert not torch.equal(output, output.bfloat16().float())


def test_discriminator_scores_and_edges_are_float32():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score, pixels = UNetDiscriminator(channels=4, levels=2)(torch.rand(1, 1, 16, 16))

        assert (score.dtype, pixels.dtype) == (torch.float32, torch.float32)
        assert sobel_magnitude(torch.rand(1, 1, 8, 8).bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("kind", [*RESIDUAL, *(kind for kind, _ in DIRECT)])
def test_the_same_seed_gives_the_same_start(kind):
    starts = []
    for _ in range(2):
        torch.manual_seed(5)
        starts.append(torch.cat([parameter.flatten() for parameter in kind().parameters()]))

    assert torch.equal(*starts)
