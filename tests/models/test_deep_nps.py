"""The learned noise power spectrum: rings, frequencies, live layers."""

from __future__ import annotations

import pytest
import torch

from ldctpipe.models.deep_nps import DeepNps, NoiseFeatures, SpaceAndSpectrum, radial_profile


def test_a_profile_is_the_mean_over_rings():
    index = torch.arange(16) - 8
    distance = torch.hypot(index[:, None].float(), index[None].float())
    maps = torch.stack((distance.floor(), torch.full((16, 16), 3.0)))

    profile = radial_profile(maps)

    assert profile[0].tolist() == list(range(8))
    assert profile[1].tolist() == [3.0] * 8


@pytest.mark.parametrize(("cycles", "seen"), [(3, True), (10, False)])
def test_only_low_frequencies_reach_the_convolutions_of_amplitudes(cycles, seen):
    torch.manual_seed(0)
    layer = SpaceAndSpectrum(2, radius=6)
    wave = torch.cos(2 * torch.pi * cycles * torch.arange(32) / 32).expand(1, 2, 32, 32)
    for parameter in layer.space.parameters():
        parameter.data.zero_()
    for conv in (layer.spectrum[0], layer.spectrum[2]):
        conv.bias.data.zero_()

    with torch.inference_mode():
        assert (layer(wave).abs().max() > 1e-3) == seen


def test_parameters_are_those_of_the_layers_in_use():
    def conv(c: int, out: int, kernel: int = 3) -> int:
        return c * out * kernel**2 + out

    def mixed(c: int) -> int:
        return 2 * conv(c, c) + 1 + 2 * conv(c, c, 1) + 1

    encoder = conv(1, 16) + conv(16, 16) + 2 + conv(16, 32) + conv(32, 32) + 2
    decoder = conv(32, 16) + 1 + conv(32, 16) + conv(16, 16) + 2 + conv(16, 1, 1)
    assert sum(p.numel() for p in NoiseFeatures(20).parameters()) == encoder + mixed(16) + mixed(32) + decoder


def test_a_profile_trains_both_its_network_and_the_denoiser():
    torch.manual_seed(0)
    network, noise = DeepNps(), torch.randn(2, 1, 32, 32, requires_grad=True)

    profile = network(noise)
    profile.square().sum().backward()

    assert profile.shape == (2, 16) and profile.isfinite().all()
    assert noise.grad.any() and noise.grad.isfinite().all()
    assert all(parameter.grad is not None for parameter in network.parameters())
