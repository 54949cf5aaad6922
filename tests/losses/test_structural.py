"""SSIM and MS-SSIM against scikit-image and torchmetrics, and at the sizes of patches."""

from __future__ import annotations

import pytest
import torch
from skimage.metrics import structural_similarity as scikit_image_ssim
from torch.nn.functional import avg_pool2d
from torchmetrics.functional.image import structural_similarity_index_measure

from ldctpipe.losses.structural import (
    multi_scale_structural_loss,
    multi_scale_structural_similarity,
    structural_loss,
    structural_similarity,
)


def pair(side: int, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(2, 1, side, side, generator=generator)
    output = target + noise * torch.randn(target.shape, generator=generator)
    return output.clamp(0, 1), target


def in_scikit_image(output: torch.Tensor, target: torch.Tensor) -> list[float]:
    options = {"data_range": 1, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    pairs = zip(output.double().numpy(), target.double().numpy(), strict=True)
    return [scikit_image_ssim(a[0], b[0], **options) for a, b in pairs]


def test_ssim_is_that_of_scikit_image():
    output, target = pair(40)

    assert structural_similarity(output, target).tolist() == pytest.approx(in_scikit_image(output, target), abs=1e-5)


@pytest.mark.parametrize("noise", [0.02, 0.3])
def test_ms_ssim_is_the_published_product_of_other_libraries_factors(noise):
    output, target = pair(192, noise)
    expected, x, y = torch.ones(2), output, target
    for weight in (0.0448, 0.2856, 0.3001, 0.2363):
        contrast = structural_similarity_index_measure(
            x, y, data_range=1.0, reduction="none", return_contrast_sensitivity=True
        )[1]
        expected, x, y = expected * contrast**weight, avg_pool2d(x, 2), avg_pool2d(y, 2)
    # torchmetrics counts windows over the border in the last factor, as neither Wang nor scikit-image does.
    expected *= torch.tensor(in_scikit_image(x, y)) ** 0.1333

    assert multi_scale_structural_similarity(output, target).tolist() == pytest.approx(expected.tolist(), abs=1e-4)


@pytest.mark.parametrize("loss", [structural_loss, multi_scale_structural_loss])
@pytest.mark.parametrize("side", [16, 35, 64])
def test_patches_have_a_loss_that_their_gradient_lowers(loss, side):
    output, target = pair(side)
    output.requires_grad_()

    before = loss(output, target)
    before.backward()
    after = loss(output.detach() - 0.1 * output.grad / output.grad.norm(), target)

    assert output.grad.isfinite().all()
    assert 0 < after.item() < before.item() < 1


@pytest.mark.parametrize("loss", [structural_loss, multi_scale_structural_loss])
def test_nothing_is_lost_between_equals(loss):
    _, target = pair(64)

    assert float(loss(target, target)) == pytest.approx(0, abs=1e-5)


def test_opposites_have_a_finite_gradient():
    _, target = pair(32)
    output = (1 - target).requires_grad_()  # negative covariance at each scale

    multi_scale_structural_loss(output, target).backward()

    assert output.grad.isfinite().all()


def test_low_precision_is_left_before_variances():
    output, target = pair(32)

    with torch.autocast("cpu", torch.bfloat16):
        assert structural_similarity(output, target).tolist() == structural_similarity(output, target).tolist()
        assert structural_similarity(output, target).dtype == torch.float32
