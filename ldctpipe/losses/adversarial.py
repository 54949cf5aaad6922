"""Wasserstein losses and the gradient penalty (Gulrajani 2017, arXiv 1704.00028, equation 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def wasserstein_distance(real_scores: Tensor, generated_scores: Tensor) -> Tensor:
    """Return the critic's estimate of the distance between two batches of scores: E[D(real)] − E[D(generated)]."""
    return real_scores.mean() - generated_scores.mean()


def generator_adversarial(generated_scores: Tensor) -> Tensor:
    """Return what the generator minimises: −E[D(generated)]."""
    return -generated_scores.mean()


def gradient_penalty(critic: nn.Module, real: Tensor, generated: Tensor, mixing: Tensor) -> Tensor:
    """Return the mean of (‖∇D(x̂)‖₂ − 1)² over samples x̂ = mixing · real + (1 − mixing) · generated.

    `real` and `generated` have shape (batch, channels, rows, columns); `mixing` (batch,) holds one number in [0, 1] a
    sample. Computed in float32 whatever the surrounding precision: its double backward loses too much otherwise
    (on GPUs with TF32, torch's default lets convolutions multiply in that).
    """
    with torch.autocast(real.device.type, enabled=False):
        weight = mixing.to(real.dtype).view(-1, 1, 1, 1)
        interpolates = (weight * real + (1 - weight) * generated).float().requires_grad_()
        scores = critic(interpolates)
        (gradient,) = torch.autograd.grad(scores.sum(), interpolates, create_graph=True)
        norm = gradient.flatten(start_dim=1).norm(dim=1)
    return (norm - 1).square().mean()
