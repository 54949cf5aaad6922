"""The critic, layer by layer, as published."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import nn

from ldctpipe.models.critic import ConvCritic


def test_layers_are_the_published_ones():
    critic = ConvCritic()
    convolutions = [m for m in critic.modules() if isinstance(m, nn.Conv2d)]
    linear = [m for m in critic.modules() if isinstance(m, nn.Linear)]

    assert [c.out_channels for c in convolutions] == [64, 64, 128, 128, 256, 256]
    assert [c.stride[0] for c in convolutions] == [1, 2, 1, 2, 1, 2]
    assert all(c.kernel_size == (3, 3) for c in convolutions)
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(8 * 8 * 256, 1024), (1024, 1)]


def test_it_has_no_batch_norm_and_no_sigmoid():
    kinds = {type(module) for module in ConvCritic().modules()}

    assert nn.Sigmoid not in kinds
    assert not any("Norm" in kind.__name__ for kind in kinds)


def test_parameters_follow_from_the_layers():
    widths = [1, 64, 64, 128, 128, 256, 256]
    convolutions = sum(9 * a * b + b for a, b in pairwise(widths))
    linear = 16384 * 1024 + 1024 + 1024 + 1

    assert sum(p.numel() for p in ConvCritic().parameters()) == convolutions + linear


def test_one_score_a_patch():
    assert ConvCritic()(torch.rand(3, 1, 64, 64)).shape == (3,)
