"""Perceptual loss against timm's own features."""

from __future__ import annotations

import pytest
import timm
import torch

from ldctpipe.losses.perceptual import PerceptualLoss

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


def test_network_is_frozen_and_images_are_not(loss):
    image = torch.rand(1, 1, 64, 64, requires_grad=True)

    loss.train()
    loss(image, torch.rand(1, 1, 64, 64)).backward()

    assert image.grad.abs().sum() > 0
    assert not loss.network.training
    assert all(p.grad is None and not p.requires_grad for p in loss.parameters())
